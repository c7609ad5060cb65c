"""Where blocks end: the tensors between which a cut leaves whole blocks.

Of the tensors that everything flows through, those that a layer with weights, or several layers, read; not those
in front of the first convolution, in front of a batch norm or an activation, or inside a depthwise-separable unit,
which are

* behind a depthwise convolution, in front of the 1x1 convolution that belongs to it;
* in front of a depthwise convolution with a projection to fewer channels behind it: expansions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.regions import cut_points

# What finishes the layer before it: a tensor in front of one of these is no end.
_FINISHING = frozenset(
    {
        "Activation",
        "BatchNormalization",
        "Dropout",
        "ELU",
        "GroupNormalization",
        "LayerNormalization",
        "LeakyReLU",
        "PReLU",
        "ReLU",
        "SpatialDropout2D",
        "gelu",
        "hard_silu",
        "relu",
        "relu6",
        "silu",
    }
)


def block_ends(graph: Graph) -> frozenset[Value]:
    """The tensors at which blocks end, the inputs of the model left out."""
    spine = cut_points(graph)
    linear = [_linear(graph, value) for value in spine]
    ends = []
    for place, value in enumerate(spine):
        users = {use.node for use in graph.uses(value)}
        kinds = {graph.kind(name) for name in users}
        padded = "Padding" in graph.kind(value.node)
        if graph.kind(value.node) == "InputLayer" or padded or not users or kinds <= _FINISHING:
            continue
        before = next((kind for kind in reversed(linear[: place + 1]) if kind is not None), None)
        behind = (kind for kind in linear[place + 1 :] if kind is not None)
        if before is not None and not _inside_a_unit(before, behind, _channels(graph, value)):
            ends.append(value)
    return frozenset(ends)


class _Linear(NamedTuple):
    """A convolution."""

    depthwise: bool
    pointwise: bool
    channels: int


def _linear(graph: Graph, value: Value) -> _Linear | None:
    kind, config = graph.kind(value.node), graph.layer_of(value.node).config
    if "Conv" not in kind:
        return None
    window = config.get("kernel_size", (0,))
    depthwise = "Depthwise" in kind
    return _Linear(depthwise, set(window) == {1} and not depthwise, _channels(graph, value))


def _inside_a_unit(before: _Linear, behind: Iterator[_Linear], channels: int) -> bool:
    following, after = next(behind, None), next(behind, None)
    if following is None:
        return False
    if before.depthwise and following.pointwise:
        return True
    return following.depthwise and after is not None and not after.depthwise and after.channels < channels


def _channels(graph: Graph, value: Value) -> int:
    # On one spine the layout is the same throughout; the product of the other sizes does not matter where it shrinks.
    shape = graph.spec(value).shape
    config = graph.layer_of(value.node).config
    axis = 1 if config.get("data_format") == "channels_first" else -1
    return (shape[axis] or 0) if len(shape) > 1 else 0
