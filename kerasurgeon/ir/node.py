"""A node: one call of a layer. A scope: one call of a nested model, whose nodes were inlined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef


@dataclass(frozen=True, slots=True)
class Node:
    """One call of a layer.

    Attributes:
        name: Unique in its graph: the layer's name under its scope, ``:1`` and so on for later calls.
        layer: Key of the layer called.
        args: Positional operands, nested as they were given; leaves are values, weight references or constants.
        kwargs: Keyword operands likewise.
        outputs: What is known of each flattened output.
        scope: Path of the nested model that the call belongs to; empty at top level.
        origin: Names of the nodes of the lifted model that this one came from.
    """

    name: str
    layer: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    outputs: tuple[TensorSpec, ...] = ()
    scope: str = ""
    origin: tuple[str, ...] = ()

    @property
    def operands(self) -> tuple[Any, dict[str, Any]]:
        """``(args, kwargs)``: the whole nested structure of operands."""
        return self.args, dict(self.kwargs)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The tensors it reads, in flattened order, repeated where they repeat."""
        return values_in(self.operands)

    @property
    def value(self) -> Value:
        """Its first output."""
        return Value(self.name)

    @property
    def spec(self) -> TensorSpec:
        """What is known of its first output."""
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class Slot:
    """In the operands of a call that is kept for later: the ``index``-th of the tensors that it reads."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The closed layer that the nodes of a scope were made from, by running its code or walking its graph.

    Attributes:
        layer: The layer, as it was.
        operands: ``(args, kwargs)`` of its call, tensors as ``Slot``.
        weights: Where the graph has its weights, by their paths.
        content: What the nodes of the scope were: see ``keras_io.open_folding``.
        layers: The layers that they called.
        needs: The scopes of opened layers that must be closed too, since masks come from them.
    """

    layer: Layer
    operands: Any
    weights: Mapping[str, WeightRef] = field(default_factory=lambda: MappingProxyType({}))
    content: Any = None
    layers: Mapping[str, Layer] = field(default_factory=lambda: MappingProxyType({}))
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """One call of a nested model. Its nodes are inlined in the graph; this is what puts them back together.

    Attributes:
        path: Unique: ``"backbone"``, ``"backbone:1"`` for the second call, ``"backbone/stem"`` when nested.
        model: Key of the model definition: calls of one model share it.
        name: The Keras name of the model.
        cls: Class of the model.
        trainable: The model's own trainable flag.
        inputs: The input layers of the model, in flattened order.
        input_structure: Nesting of the inputs: leaves are indices into ``inputs``.
        args: Operands of the call, in terms of the enclosing graph's values.
        kwargs: Keyword operands of the call (``training=False``).
        outputs: Nested outputs of the model, as values of inlined nodes; ``None`` where one was removed.
        dtype: The model's own dtype policy, serialised, where it has one.
        opened: The closed layer that stands in its place while nothing of it has changed.
        masked: Whether a tensor that it is called on carries a mask. Keras' models do not support masks: it is emitted
            flat.
    """

    path: str
    model: str
    name: str
    cls: type[Any]
    trainable: bool
    inputs: tuple[Layer, ...]
    input_structure: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: Any
    dtype: Any = None
    opened: Opened | None = None
    masked: bool = False

    @property
    def parent(self) -> str:
        """Path of the enclosing scope; empty at top level."""
        return self.path.rpartition("/")[0]


def in_scope(node_scope: str, path: str) -> bool:
    """Whether a node of scope ``node_scope`` lies in the scope ``path`` or in one nested in it."""
    return not path or node_scope == path or node_scope.startswith(path + "/")
