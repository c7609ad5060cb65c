"""Rules of ``Simplify`` for what adds and cuts borders.

A convolution that pads itself (``"same"``) puts ``max((ceil(n / s) - 1) s + (k - 1) d + 1 - n, 0)`` zeros around
an axis of ``n`` elements, half of them in front, rounded down. Zeros in front say where each window begins: they must
be the same as the padding layer's; zeros behind need not be, as long as there are as many windows: those that no window
reads change nothing. That matters for strides of 2, where (0, 1) around an even size is ``"same"`` and (1, 1) is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.rewrite.calls import substitute
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.asking import linear_form, positions_of
from kerasurgeon.rules.positions import Border, Gone, Window
from kerasurgeon.simplify.rules import (
    Rule,
    bypass,
    operand,
    require_free_name,
    require_merged,
    require_only_user,
    require_unmasked,
    require_unshared,
    rule,
    source,
)


@dataclass(frozen=True)
class Frame:
    """What is added to each spatial axis, in front and behind, or cut from it."""

    sides: tuple[tuple[int, int], ...]
    data_format: str


def _pads(graph: Graph, node: Node) -> bool:
    positions = positions_of(graph, node)
    return isinstance(positions, Border) and not positions.cuts


def _cuts(graph: Graph, node: Node) -> bool:
    positions = positions_of(graph, node)
    return isinstance(positions, Border) and positions.cuts


@rule("borders", sites=lambda graph, node: _pads(graph, node) or graph.kind(node) == "ops.pad")
def padding_into_convolution(graph: Graph, node: Node) -> str:
    """Zero padding before a convolution that can pad by itself."""
    user = require_only_user(graph, node.value)
    kind, window = graph.kind(user), positions_of(graph, user)
    if isinstance(window, (Window, Gone)) and window.takes in ("mean", "max"):
        raise Skip(f"{user.name!r} is {kind}: what it pads with itself does not count as zeros")
    if linear_form(graph.layer_of(user)) is None or not isinstance(window, Window) or window.transposed:
        raise Skip(f"{user.name!r} behind it is {kind}, not a convolution")
    layer = require_unshared(graph, user)
    if window.padding != "valid":
        raise Skip(f"{user.name!r} pads by itself already")
    border = _border(graph, node, layer.config["data_format"])
    if border.data_format != layer.config["data_format"]:
        raise Skip(f"{user.name!r} has the other data format, {layer.config['data_format']}")
    start = source(node)
    padding = _padding_mode(layer, window, border, graph.spec(start).shape)
    require_unmasked(graph, node, start)
    require_free_name(graph, node, start)
    graph.update_layer(user.layer, layer.with_config(padding=padding))
    graph.replace_uses(node.value, start)
    graph.remove(node)
    return f"merged into {user.name!r}, which pads {padding!r}"


@rule("borders", sites=_pads)
def padding_of_padding(graph: Graph, node: Node) -> str:
    """Two paddings in a row."""
    return _merge_alike(graph, node, _pads, "padding")


@rule("borders", sites=_cuts)
def cropping_of_cropping(graph: Graph, node: Node) -> str:
    """Two croppings in a row."""
    return _merge_alike(graph, node, _cuts, "cropping")


@rule("borders", sites=_cuts)
def cropping_of_padding(graph: Graph, node: Node) -> str:
    """A cropping that cuts off what a padding has put on."""
    first = graph.producer(source(node))
    if not _pads(graph, first):
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not a padding")
    require_merged(graph, first, node)
    added, cut = _border(graph, first), _border(graph, node)
    if added.data_format != cut.data_format:
        raise Skip(f"{first.name!r} has the other data format")
    start = source(first)
    left = [
        tuple(more - less for more, less in zip(*sides, strict=True))
        for sides in zip(added.sides, cut.sides, strict=True)
    ]
    flat = [side for sides in left for side in sides]
    if not any(flat):
        return bypass(graph, node, f"it cuts off what {first.name!r} adds", start)
    if min(flat) >= 0:  # what is left is a padding: the first one, with less of it
        layer = require_unshared(graph, first)
        require_free_name(graph, node, first.value)
        graph.update_layer(first.layer, layer.with_config(padding=_setting(left)))
        graph.set_outputs(first, node.outputs)
        substitute(graph, node, first.value)
        return f"merged into {first.name!r}, which adds that much less"
    if max(flat) > 0:
        raise Skip(f"it cuts more than {first.name!r} adds at one side and less at another")
    layer = require_unshared(graph, node)
    require_unmasked(graph, first, start)
    graph.update_layer(node.layer, layer.with_config(cropping=_setting([tuple(-n for n in s) for s in left])))
    graph.set_operands(node, (start,), {})
    return f"merged with {first.name!r}: it cuts what that does not add"


def _merge_alike(graph: Graph, node: Node, alike: Callable[[Graph, Node], bool], entry: str) -> str:
    first = graph.producer(source(node))
    if not alike(graph, first):
        raise Skip(f"what it reads is computed by {graph.kind(first)}, not another {entry}")
    require_merged(graph, first, node)
    one, other = _border(graph, first), _border(graph, node)
    if one.data_format != other.data_format:
        raise Skip(f"{first.name!r} has the other data format")
    layer = require_unshared(graph, node)
    both = [tuple(a + b for a, b in zip(*sides, strict=True)) for sides in zip(one.sides, other.sides, strict=True)]
    require_unmasked(graph, first, source(first))
    graph.set_operands(node, (source(first),), {})
    graph.update_layer(node.layer, layer.with_config(**{entry: _setting(both)}))
    return f"merged with {first.name!r}: it does both"


def _padding_mode(layer: Layer, reach: Window, border: Frame, shape: tuple[int | None, ...]) -> str:
    """The ``padding`` of a convolution that does what a border in front of it does."""
    sizes = shape[2:] if border.data_format == "channels_first" else shape[1:-1]
    windows = [(size - 1) * dilation + 1 for size, dilation in zip(reach.size, reach.dilation, strict=True)]
    if layer.kind == "Conv1D" and border.sides == ((windows[0] - 1, 0),):
        return "causal"
    for axis, (window, stride) in enumerate(zip(windows, reach.strides, strict=True)):
        size, (front, behind) = sizes[axis], border.sides[axis]
        if stride > 1 and size is None:
            raise Skip(f"how {layer.name!r} would pad depends on the size of axis {axis}, which is unknown")
        # With a stride of 1 any size that is large enough stands for all.
        size = max(size or 0, window) if stride == 1 else (size or 0)
        count = -(-size // stride)
        total = max((count - 1) * stride + window - size, 0)
        if front != total // 2 or (size + front + behind - window) // stride + 1 != count:
            raise Skip(
                f"it adds ({front}, {behind}) to axis {axis}, where {layer.name!r} would add "
                f"({total // 2}, {total - total // 2})"
            )
    return "same"


def _border(graph: Graph, node: Node, data_format: str = "channels_last") -> Frame:
    layer, positions = graph.layer_of(node), positions_of(graph, node)
    if isinstance(positions, Border):
        return Frame(positions.sides, layer.config.get("data_format") or "channels_last")
    if layer.config["mode"] != "constant" or operand(graph, node, "constant_values") not in (None, 0, 0.0):
        raise Skip("it pads with something else than zeros")
    rank = len(node.spec.shape)
    width = layer.config["pad_width"]
    pairs = [(width, width)] * rank if isinstance(width, int) else list(width)
    if len(pairs) != rank:
        raise Skip("it pads all axes alike, the batch too")
    channels = 1 if data_format == "channels_first" else rank - 1
    if any(any(pairs[axis]) for axis in (0, channels)):
        raise Skip("it pads the batch or the channels")
    spatial = [pair for axis, pair in enumerate(pairs) if axis not in (0, channels)]
    return Frame(tuple((int(a), int(b)) for a, b in spatial), data_format)


def _setting(sides: list[Any]) -> Any:
    """Sides as the config of a padding or cropping layer has them."""
    return tuple(sides[0]) if len(sides) == 1 else tuple(tuple(pair) for pair in sides)


RULES: tuple[Rule, ...] = (
    padding_of_padding,
    cropping_of_cropping,
    cropping_of_padding,
    padding_into_convolution,
)

__all__ = ["RULES", "Frame"]
