"""A call as a rule sees it: the layer, what goes in, what comes out. No graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, map_leaves
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef

OPEN_SIZE = "a size is unknown until run time; pass sizes= to fix the sizes of the inputs"

Leaf = TypeVar("Leaf")
Specs = Mapping[str, tuple[TensorSpec, ...]]


class CannotTell(Exception):  # noqa: N818 - not a failure: an answer that a rule may give
    """A rule has no answer for this call. The message is the reason, shown to the user as it is."""


def elements(shape: Iterable[int | None]) -> int:
    """The product of some sizes.

    Raises:
        CannotTell: One of them is unknown.
    """
    product = 1
    for size in shape:
        if size is None:
            raise CannotTell(OPEN_SIZE)
        product *= size
    return product


class Called(Generic[Leaf]):
    """A layer with its operands, in which ``leaf`` stands for tensors, weights and constant arrays.

    What the view of a call by specs (``Call``) has in common with that by labels (``ChannelCall``).
    """

    __slots__ = ()

    leaf: ClassVar[type]
    layer: Layer
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of the layer: ``"Conv2D"``, ``"ops.add"``, ``"custom:package.module.Class"``."""
        return self.layer.kind

    @property
    def config(self) -> Mapping[str, Any]:
        """The layer's config."""
        return self.layer.config

    @property
    def weights(self) -> Mapping[str, Weight]:
        """The layer's weights by path."""
        return self.layer.weights

    @property
    def inputs(self) -> tuple[Leaf, ...]:
        """All tensors, weights and arrays among the operands, flattened, positional ones first."""
        found: Any = (leaf for leaf in leaves((self.args, dict(self.kwargs))) if isinstance(leaf, self.leaf))
        return tuple(found)

    @property
    def input(self) -> Leaf:
        """The first of ``inputs``.

        Raises:
            CannotTell: The call has no tensor operands.
        """
        first: Any = self.args[0] if self.args else None
        if isinstance(first, self.leaf):
            return first  # type: ignore[return-value]  # the leaf that the class is generic in
        for found in self.inputs:
            return found
        raise CannotTell("it has no operands")

    def operand(self, position: int, name: str, default: Any = None) -> Any:
        """An operand by position or, where it was not given so, by keyword; ``default`` if it was not given."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


@dataclass(frozen=True, slots=True)
class Call(Called[TensorSpec]):
    """One call of a layer or op, with the specs of all tensors that take part.

    Attributes:
        name: The node's name; for a call inside a wrapper, the inner layer's name.
        layer: The definition that is called.
        args: Positional operands as they were nested. Tensors, weights and constant arrays are ``TensorSpec``
            leaves, other values stand as they are.
        kwargs: Keyword operands likewise.
        outputs: The flattened outputs.
        node: The node, or ``None`` for a call inside a wrapper.
    """

    leaf: ClassVar[type] = TensorSpec

    name: str
    layer: Layer
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    outputs: tuple[TensorSpec, ...] = ()
    node: Node | None = None

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    def tensor(self, position: int, name: str) -> TensorSpec:
        """An operand that must be a tensor. A Python number counts as a tensor without axes.

        Raises:
            CannotTell: It is none.
        """
        found = self.operand(position, name)
        if isinstance(found, TensorSpec):
            return found
        if isinstance(found, (bool, int, float, complex)):
            return TensorSpec((), "float32")
        raise CannotTell(f"its operand {name!r} is no tensor")


def call_of(graph: Graph, node: Node, specs: Specs) -> Call:
    """The call that a node makes.

    Args:
        graph: The graph, for the node's layer and the weights it refers to.
        node: The node.
        specs: The outputs of all nodes by name, with the sizes that count (see ``sizes.resolve``).
    """

    def translate(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return specs[leaf.node][leaf.index]
        if isinstance(leaf, WeightRef):
            return array_spec(graph.layers[leaf.layer].weights[leaf.key].array)
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            return array_spec(leaf)
        return leaf

    return Call(
        node.name,
        graph.layers[node.layer],
        map_leaves(translate, node.args),
        map_leaves(translate, dict(node.kwargs)),
        specs[node.name],
        node,
    )


def array_spec(array: Any) -> TensorSpec:
    """The spec of a constant array."""
    return TensorSpec(tuple(array.shape), str(getattr(array.dtype, "name", array.dtype)))
