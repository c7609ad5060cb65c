"""Put numbers in place of unknown sizes: the batch, and on request the sizes of the inputs.

Most layers keep the batch as axis 0, so that a number is put there. Where an op may have made something else
of it (windows of an image folded into the batch, say), and where other input sizes are wanted, Keras derives
the shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, TypeAlias

from kerasurgeon.errors import OptionError, VerificationError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io import derive_specs
from kerasurgeon.rules.call import CannotTell, call_of
from kerasurgeon.rules.registry import rule_for
from kerasurgeon.rules.rule import Rule

Specs = dict[str, tuple[TensorSpec, ...]]
Sizes: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]
"""Sizes of inputs without the batch: one shape for a model with one input, or shapes by the names of the inputs."""


def plain_sizes(sizes: Any) -> Sizes:
    """Sizes as plain data that a recipe can hold: a tuple of numbers, or such tuples by name.

    Raises:
        OptionError: They are no sizes.
    """
    several = sizes if isinstance(sizes, Mapping) else {"": sizes}
    found = {name: _whole(shape) for name, shape in several.items()}
    if not found or not all(isinstance(name, str) for name in found) or None in found.values():
        raise OptionError(
            "sizes= cannot be used.",
            expected="whole numbers above 0, without the batch, as (224, 224, 3); or such by the names of the inputs",
            got=repr(sizes)[:80],
        )
    plain = {name: shape for name, shape in found.items() if shape is not None}
    return plain if isinstance(sizes, Mapping) else plain[""]


def _whole(shape: Any) -> tuple[int, ...] | None:
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Iterable):
        return None
    sizes = tuple(shape)
    fits = all(isinstance(size, Integral) and not isinstance(size, bool) and int(size) > 0 for size in sizes)
    return tuple(map(int, sizes)) if fits else None


def input_shapes(graph: Graph, sizes: Sizes) -> dict[str, tuple[Any, ...]]:
    """Whole shapes of inputs, by the name of their node, from the sizes that a user gives.

    Args:
        graph: The graph.
        sizes: One shape without the batch axis for a model with one input, or shapes by the names of the inputs.

    Raises:
        OptionError: They do not fit the inputs.
    """
    recorded = {node.name: node.spec.shape for node in graph.input_nodes()}
    if not isinstance(sizes, Mapping):
        if len(recorded) != 1:
            raise OptionError(
                f"The model has {len(recorded)} inputs; one shape does not say which it is for.",
                expected=f"sizes by name: {', '.join(recorded)}",
                got=repr(sizes),
            )
        sizes = {next(iter(recorded)): sizes}
    shapes = {}
    for name, wanted in sizes.items():
        if name not in recorded:
            raise OptionError(f"The model has no input {name!r}.", where="sizes", hint=did_you_mean(name, recorded))
        shape = _whole(wanted)
        if shape is None or len(shape) != len(recorded[name]) - 1:
            raise OptionError(
                f"The sizes of input {name!r} cannot be used.",
                where="sizes",
                expected=f"as many whole numbers above 0 as in {recorded[name][1:]}, no batch size",
                got=repr(wanted),
            )
        shapes[name] = (recorded[name][0], *shape)
    return shapes


def resolve(
    graph: Graph,
    *,
    batch_size: int = 1,
    sizes: Sizes | None = None,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> Specs:
    """The outputs of every node for given sizes of the inputs. The graph is only read.

    Args:
        graph: The graph.
        batch_size: Size of axis 0 of the inputs where the model leaves it open.
        sizes: Sizes of the inputs without the batch, as a user gives them: see ``input_shapes``.
        shapes: Instead: whole shapes of inputs, by the name of their node, that differ from those recorded.

    Returns:
        Specs by node, in the order of ``graph.nodes()``. Sizes that neither rules nor Keras can tell stay
        ``None``.

    Raises:
        OptionError: The sizes do not fit the inputs, or the model cannot be called with them.
    """
    shapes = shapes if sizes is None else input_shapes(graph, sizes)
    order = graph.nodes()
    others = [name for name, shape in (shapes or {}).items() if tuple(shape) != graph[name].spec.shape]
    resolver = _Resolver(graph, order, derive_all=bool(others))
    layers = graph.layers
    for node in order:
        if layers[node.layer].kind == "InputLayer":
            spec = node.spec
            shape = (shapes or {}).get(node.name, spec.shape)
            resolver.specs[node.name] = (replace(spec, shape=_with_batch(tuple(shape), batch_size)),)
        else:
            resolver.specs[node.name] = resolver.outputs(node)
    return resolver.specs


class _Resolver:
    def __init__(self, graph: Graph, order: Sequence[Node], *, derive_all: bool) -> None:
        self.graph = graph
        self.layers = graph.layers
        self.recorded = {node.name: node.outputs for node in order}
        self.derive_all = derive_all
        self.specs: Specs = {}
        self.twin: Graph | None = None

    def outputs(self, node: Node) -> tuple[TensorSpec, ...]:
        if not self.derive_all and all(None not in spec.shape for spec in node.outputs):
            return node.outputs
        layer = self.layers[node.layer]
        rule = rule_for(layer.kind)
        if not self.derive_all and rule.keeps_batch(layer):
            known = self._with_batch_of_operands(node)
            if known is not None:
                return known
        return self._sharpened(node, rule, self._derived(node))

    def _with_batch_of_operands(self, node: Node) -> tuple[TensorSpec, ...] | None:
        """The recorded outputs with their batch filled in, or ``None`` if more than that is unknown."""
        batch: int | None = None
        for value in node.inputs:
            recorded = self.recorded[value.node][value.index].shape
            if recorded and recorded[0] is None:
                size = self.specs[value.node][value.index].shape[0]
                if size is None or batch not in (None, size):
                    return None
                batch = size
            elif recorded and recorded[0] != 1 and len(recorded) == len(node.spec.shape):
                return None  # broadcast against the batch, perhaps
            if None in recorded[1:]:
                return None
        if batch is None or any(None in spec.shape[1:] for spec in node.outputs):
            return None
        return tuple(
            replace(spec, shape=_with_batch(spec.shape, batch)) if None in spec.shape else spec for spec in node.outputs
        )

    def _derived(self, node: Node) -> tuple[TensorSpec, ...]:
        if self.twin is None:
            self.twin = self.graph.copy()
        for value in node.inputs:
            self.twin.set_outputs(value.node, self.specs[value.node])
        try:
            return derive_specs(self.twin, node.name)
        except VerificationError as error:
            if not self.derive_all:
                return node.outputs  # what Keras cannot derive with numbers stays as it was recorded
            raise OptionError(
                "The model cannot be called with inputs of these sizes.",
                where=f"node {node.name!r}",
                got=error.got,
                hint="the sizes that the model was built with are fixed in this node; ask for those",
            ) from error

    def _sharpened(self, node: Node, rule: Rule, derived: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        if all(None not in spec.shape for spec in derived):
            return derived
        try:
            return rule.output_specs(call_of(self.graph, node, {**self.specs, node.name: derived}))
        except CannotTell:
            return derived


def _with_batch(shape: tuple[int | None, ...], batch: int) -> tuple[int | None, ...]:
    return (batch, *shape[1:]) if shape and shape[0] is None else shape
