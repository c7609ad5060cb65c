"""Which layers of a model are opened when it is lifted, and what they were."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import EmitError, LiftError, OptionError, did_you_mean
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Opened
from kerasurgeon.keras_io.foreign import is_foreign
from kerasurgeon.keras_io.internals import flatten_layers, functional_graph
from kerasurgeon.keras_io.layers import capture, construct, keyed_variables
from kerasurgeon.keras_io.open_redirects import takes_training
from kerasurgeon.keras_io.open_sizes import UntraceableError
from kerasurgeon.keras_io.open_tracing import Opener, Traced
from kerasurgeon.keras_io.tensors import array_of

LOCK = threading.RLock()
"""Held while layers are opened: the calls that are made meanwhile stand in the lists of the model's layers."""

ANSWERED: list[Callable[[type[Any]], bool]] = []
"""Who knows classes of layers as they are; the room of rules puts itself here."""


_TRIED = 8
_SIZES = "with sizes that are known it is opened: kerasurgeon.change_input(model, shape) fixes them"


class Openings:
    """The choice of one lift, and what became of it.

    Args:
        option: ``"auto"``, ``"all"``, ``"none"``, or names.
        kept: Why layers must stay closed whatever the option says, by path.
        inside: Whether all layers are inside code from outside Keras: that of a model with a constructor of its own.

    Attributes:
        closed: Why layers stayed closed, by path.
        traces: What calls were opened to, by the id of Keras' node.
        records: Each opened layer, ``None`` where it cannot say how it was made, and its variables by path; by its id.

    Raises:
        OptionError: The option is none of these.
    """

    def __init__(self, option: Any, kept: Mapping[str, str], *, inside: bool) -> None:
        names = {option} if isinstance(option, str) else option
        if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
            raise OptionError(
                "open= cannot be used.", expected='"auto", "all", "none" or names of layers', got=repr(option)
            )
        self.names = frozenset(names) - {"auto", "all", "none"}
        self.mode = option if isinstance(option, str) and not self.names else "names"
        self.kept, self.inside = kept, inside
        self.found: set[str] = set()
        self.seen: set[str] = set()
        self.opener = Opener()
        self.closed: dict[str, str] = {}
        self.traces: dict[int, Traced] = {}
        self.records: dict[int, tuple[Layer | None, dict[str, Any]]] = {}
        self._kept: list[Any] = []
        self._owners: dict[int, tuple[Any, dict[str, Any]]] = {}

    def wants(self, operation: Any, path: str) -> bool:
        """Whether to open a layer."""
        written = is_written(operation)
        if (
            self.mode == "none"
            or not isinstance(operation, keras.Layer)
            or not (written or is_foreign(type(operation)))
        ):
            return False
        self.seen |= {path, operation.name}
        if self.mode == "names":
            named = self.names & {path, operation.name}
            self.found |= named
            wanted = bool(named) or any(path.startswith(f"{name}/") for name in self.found)
        else:
            wanted = self.mode == "all" or (
                not any(answered(type(operation)) for answered in ANSWERED)
                and (written or self.inside or "/" in path or len(flatten_layers(operation)) > 1)
            )
        if wanted and path in self.kept:
            self.closed[path] = self.kept[path]
        return wanted and path not in self.kept

    def trace(self, operation: Any, nodes: Iterable[Any]) -> list[Traced]:
        """What a layer does in each of its calls.

        Raises:
            UntraceableError: It cannot be told of one of them.
        """
        if operation.activity_regularizer is not None:
            raise UntraceableError("it has an activity regulariser")
        nodes = list(nodes)
        try:
            found = [(node, self.opener.trace(operation, node)) for node in nodes]
        except UntraceableError as error:
            if not self._needs_sizes(operation, nodes):
                raise
            raise UntraceableError(error.what, where=error.where, hint=_SIZES) from error
        for node, traced in found:
            self.traces[id(node)] = traced
            self._kept.append(node)
        self.note(operation)
        return [traced for _, traced in found]

    def _needs_sizes(self, operation: Any, nodes: Iterable[Any]) -> bool:
        """Whether a layer that cannot be opened could be, were the sizes known that the model leaves open."""
        free = [node for node in nodes if any(None in tensor.shape[1:] for tensor in node.input_tensors)]
        if not free or self.opener.fixed is not None:
            return False
        self.opener.fixed = _TRIED
        try:
            for node in free:
                self.opener.trace(operation, node)
        except UntraceableError:
            return False
        finally:
            self.opener.fixed = None
        return True

    def note(self, operation: Any) -> None:
        """Remember a layer as it is closed, if it can be made again from what it says of itself."""
        # Later lifts would not know to open it.
        alone = self.mode == "auto" and len(flatten_layers(operation)) == 1 and not is_written(operation)
        try:
            definition = None if alone or id(operation) in self.opener.only_opened else capture(operation)
            if definition is not None and functional_graph(operation) is None:
                construct(definition)
        except (LiftError, EmitError):
            definition = None
        self.records[id(operation)] = definition, keyed_variables(operation, operation.weights)

    def not_made_again(self, operation: Any) -> str:
        """Why a layer cannot be made from what it says of itself; empty if it can."""
        try:
            construct(capture(operation))
        except (LiftError, EmitError) as error:
            return f"cannot be made again: {reason(error)}"
        return ""

    def refuse_unknown(self) -> None:
        """Refuse names that no layer has.

        Raises:
            OptionError: There are such.
        """
        missing = sorted(self.names - self.found) if self.mode == "names" else []
        if missing:
            raise OptionError(
                f"There is no layer {missing[0]!r} that could be opened.",
                expected="layers from outside Keras: " + (", ".join(sorted(self.seen)) or "there are none"),
                hint=did_you_mean(missing[0], self.seen),
            )

    def variables_of(self, operation: Any) -> list[Any]:
        """The variables of a layer; of one that was made to hold a variable, that one."""
        holder = self.opener.holders.get(id(operation))
        return list(operation.weights) if holder is None else [holder[1]]

    def captured(self, operation: Any, nodes: Iterable[Any] = ()) -> Layer:
        """The definition of a layer; of one that was made to hold a variable, with that one."""
        layer, holder = capture(operation), self.opener.holders.get(id(operation))
        if holder is None:
            if self.opener.bare.get(id(operation), (None, False))[1]:
                return replace(layer, config={**layer.config, "activation": "linear"})
            return replace(layer, idle=True) if self._is_idle(operation, nodes) else layer
        variable = holder[1]
        weight = Weight(np.reshape(array_of(variable), tuple(variable.shape) or (1,)), bool(variable.trainable))
        return replace(layer, weights={"kernel": weight}, paths={"kernel": variable.path})

    def _is_idle(self, operation: Any, nodes: Iterable[Any]) -> bool:
        return (
            isinstance(operation, keras.Layer)
            and is_foreign(type(operation))
            and self.mode != "none"
            and takes_training(operation)
            and not operation.weights
            and operation.activity_regularizer is None
            and not any(answered(type(operation)) for answered in ANSWERED)
            and all(self.opener.is_idle(operation, node) for node in nodes)
        )

    def opened(self, operation: Any, traced: Traced | None) -> Opened | None:
        """What a call of a layer or model was before it was opened; ``None`` where it is made again by Keras' means."""
        definition, keyed = self.records.get(id(operation), (None, {}))
        if definition is None:
            return None
        found = Opened(definition, None if traced is None else traced.operands)
        self._owners[id(definition)] = operation, keyed
        return found

    def owner_of(self, opened: Opened) -> tuple[Any, dict[str, Any]]:
        """The layer that was opened, and its variables by path."""
        return self._owners[id(opened.layer)]


def is_written(operation: Any) -> bool:
    """Whether a layer is a Python function, and makes no mask of its own."""
    return isinstance(operation, keras.layers.Lambda) and operation.mask is None


def reason(error: UntraceableError | LiftError | EmitError) -> str:
    """Why a layer stays closed, on one line."""
    where = f" ({error.where})" if error.where else ""
    then = f"; {error.hint}" if isinstance(error, UntraceableError) and error.hint else ""
    return f"{error.what.rstrip('.')}{where}{then}"


__all__ = ["ANSWERED", "LOCK", "Openings", "reason"]
