"""Passes that tests need: honest ones, liars and those that break things. At module level, as recipes name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np

from kerasurgeon.authoring import (
    EXACT,
    Context,
    Graph,
    Match,
    OptionError,
    Pass,
    Pattern,
    Preserves,
    RewritePass,
    Skip,
    Value,
    anything,
    call,
    infer,
    layers,
    substitute,
)


@dataclass(frozen=True)
class LookOnly(Pass):
    """Changes nothing and says why."""

    preserves: ClassVar[Preserves] = EXACT

    def run(self, graph: Graph, context: Context) -> None:
        for node in graph.nodes():
            context.left(node.name, "it is only looked at")


@dataclass(frozen=True)
class Abstract(Pass):
    """Does not say what it does."""


@dataclass(frozen=True)
class SayNothing(Pass):
    """Changes nothing and says nothing."""

    def run(self, graph: Graph, context: Context) -> None:
        pass


@dataclass(frozen=True)
class ScaleKernels(Pass):
    """Multiply kernels by a factor.

    Args:
        factor: What to multiply by.
        kinds: Kinds of layers to look at.
        only: Name of the one layer to change.
            By default all.
    """

    factor: float = 2.0
    kinds: tuple[str, ...] = ("Dense", "Conv2D")
    only: str | None = None
    table: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.factor == 0:
            raise OptionError("ScaleKernels: option 'factor' must not be 0.", got="0")

    def run(self, graph: Graph, context: Context) -> None:
        for position, node in enumerate(graph.nodes()):
            context.progress(position / len(graph), node.name)
            layer = graph.layer_of(node)
            kernel = layer.array("kernel")
            if layer.kind in self.kinds and kernel is not None and self.only in (None, node.name):
                graph.set_weight(node.layer, "kernel", kernel * self.factor)
                context.changed(node.name, f"scaled by {self.factor}")


@dataclass(frozen=True)
class Liar(ScaleKernels):
    """Claims that nothing changes."""

    preserves: ClassVar[Preserves] = EXACT


@dataclass(frozen=True)
class Needs(Pass):
    """Has an option without a default."""

    units: int

    def run(self, graph: Graph, context: Context) -> None:
        pass


@dataclass(frozen=True)
class Raises(Pass):
    """Raises in the middle of its work."""

    def run(self, graph: Graph, context: Context) -> None:
        node = next(each for each in graph.nodes() if each.inputs)
        graph.rename(node, "half_done")
        raise ZeroDivisionError(f"no way to go on at {'half_done'!r}")


@dataclass(frozen=True)
class Tears(Pass):
    """Leaves a node without the edge to its operand."""

    def run(self, graph: Graph, context: Context) -> None:
        node = [each for each in graph.nodes() if each.inputs][-1]
        graph._digraph.remove_edge(node.inputs[0].node, node.name, 0)
        graph.revision += 1


@dataclass(frozen=True)
class CutsTooMuch(Pass):
    """Cuts the units of a layer and forgets who reads it."""

    layer: str = "hidden"

    def run(self, graph: Graph, context: Context) -> None:
        layer = graph.layers[self.layer]
        kernel, bias = layer.weights["kernel"].array, layer.weights["bias"].array
        graph.update_layer(self.layer, layer.with_config(units=2).with_weights(kernel=kernel[:, :2], bias=bias[:2]))
        if context.data == "infer":
            infer(graph)


@dataclass(frozen=True)
class BreaksNumbers(Pass):
    """Leaves NaN behind."""

    def run(self, graph: Graph, context: Context) -> None:
        name = next(each.layer for each in graph.nodes() if graph.layer_of(each).array("kernel") is not None)
        graph.set_weight(name, "kernel", np.full(graph.layers[name].weights["kernel"].shape, np.nan))


@dataclass(frozen=True)
class AddRandom(Pass):
    """Puts a randomly initialised layer before each output, and noise on its bias."""

    def run(self, graph: Graph, context: Context) -> None:
        value = graph.outputs
        size = graph.spec(value).shape[-1]
        new = call(graph, keras.layers.Dense(size, name="random"), value)
        graph.set_weight("random", "bias", context.rng.normal(size=size))
        graph.set_output(value, new)
        context.changed(value.node, "added")


@dataclass(frozen=True)
class DropRelu(RewritePass):
    """Remove ReLU layers: a rewrite with every outcome."""

    keep: str = "kept"

    def pattern(self) -> Pattern:
        return layers.ReLU(anything("x")).bind("relu")

    def check(self, match: Match, graph: Graph) -> None:
        if match.root.name == self.keep:
            raise Skip("it is to be kept")

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str | None:
        substitute(graph, match.root, match.value("x"))
        return "removed" if match.root.name != "silent" else None


@dataclass(frozen=True)
class Endless(RewritePass):
    """Puts there what it looks for."""

    def pattern(self) -> Pattern:
        return layers.ReLU(anything("x"))

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        value = call(graph, keras.layers.ReLU(), match.value("x"), like=match.root)
        substitute(graph, match.root, value)
        return "again"


@dataclass(frozen=True)
class RewritesNothing(DropRelu):
    """Says that it rewrote and did not."""

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        return "nothing"


@dataclass(frozen=True)
class ChecksWithHands(DropRelu):
    """Changes the graph in check()."""

    def check(self, match: Match, graph: Graph) -> None:
        graph.replace_uses(match.root.value, match.value("x"))


@dataclass(frozen=True)
class Cascades(RewritePass):
    """Removes a ReLU in front of a ReLU: each rewrite makes the next site."""

    def pattern(self) -> Pattern:
        return layers.ReLU(layers.ReLU(anything("x")).bind("inner")).bind("outer")

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        inner = match.node("inner")
        graph.replace_uses(inner.value, match.value("x"))
        graph.remove(inner)
        return "one of two"


class NotADataclass(Pass):
    """Has no options at all."""

    def run(self, graph: Graph, context: Context) -> None:
        context.left(graph.outputs.node if isinstance(graph.outputs, Value) else "", "as it is")


def some_function(x: Any) -> Any:
    """For options that hold a function."""
    return x


@dataclass(frozen=True)
class HoldsFunction(SayNothing):
    """Has an option that is a function."""

    function: Any = None
