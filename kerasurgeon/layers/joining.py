"""Concatenation and stacking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.structure import leaves
from kerasurgeon.layers.elementwise import joined
from kerasurgeon.layers.onnx_moving import write_stacked
from kerasurgeon.rules.answers import Join
from kerasurgeon.rules.call import Call
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Labels, placed
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.positions import Each
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class Concatenation(Free):
    """Concatenate and ``ops.concatenate``: labels are concatenated as the data are."""

    def keeps_batch(self, layer: Layer) -> bool:
        """Not along axis 0. Which axis -2 and below are depends on the operands, so that Keras is asked."""
        axis: int = layer.config["axis"]
        return axis > 0 or axis == -1

    def channels(self, call: ChannelCall) -> Labels:
        """Along the axis one after the other; along others as for a sum."""
        return concatenated(call, call.inputs, call.config.get("axis", -1))

    def positions(self, layer: Layer, rank: int) -> Each:
        """Each by itself, where channels are joined."""
        return Each()

    def combination(self, layer: Layer, operands: int) -> Join:
        """Along the axis."""
        return Join(int(layer.config.get("axis", -1)))

    def identity(self, call: Call) -> str | None:
        """Of a single operand."""
        node = call.node
        if node is None or not len(node.inputs) == len(list(leaves(node.operands))) == 1:
            return None
        return "it merges one tensor"

    def onnx(self, call: OnnxCall) -> None:
        """Concat, in the order of axes of the largest operand."""
        order = call.best_order(*call.inputs)
        names = [call.read(operand, order, call.output.dtype) for operand in call.inputs]
        axis = int(call.config.get("axis", -1)) % len(order)
        call.give(call.op("Concat", *names, axis=order.index(axis)), order)


class Stacking(Free):
    """``ops.stack``: along a new axis, which cannot shrink."""

    def onnx(self, call: OnnxCall) -> None:
        """A Concat of tensors with one more axis."""
        write_stacked(call, call.inputs, int(call.config.get("axis", 0)))

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def channels(self, call: ChannelCall) -> Labels:
        """As for a sum of the operands, at their places beside the new axis."""
        axis = call.config.get("axis", 0) % len(call.shape)
        flat = _join_others(call, call.inputs, None)
        places = [place for place in range(len(call.shape)) if place != axis]
        return Labels(call.shape, tuple(placed(f.ids, [places[own] for own in f.axes]) for f in flat))


def concatenated(call: ChannelCall, operands: Sequence[Labels], axis: int) -> Labels:
    """The labels of a concatenation of tensors and constants along an axis."""
    rank = len(call.shape)
    axis %= rank
    others = _join_others(call, operands, axis)
    if all(labels.factor(axis) is None for labels in operands):
        return Labels(call.shape, tuple(others), operands[0].why)
    parts = []
    for labels in operands:
        if labels.array is None:
            parts.append(call.along_or_fixed(labels, axis))
        else:
            parts.append(call.fixed(labels.shape[axis], labels.why))
    return Labels(call.shape, (*others, Factor((axis,), np.concatenate(parts))))


def _join_others(call: ChannelCall, operands: Sequence[Labels], axis: int | None) -> list[Factor]:
    """Factors along the axes that are not concatenated, which must be the same in all operands."""
    usual = all(f.axes == (axis,) for labels in operands for f in labels.factors)
    if usual:
        return []
    stripped = []
    for labels in operands:
        kept = []
        for factor in labels.factors:
            inside = [place for place in factor.axes if place != axis]
            if len(inside) == len(factor.axes):
                kept.append(factor)
            elif inside:
                kept.append(call.collapse(factor, inside))
        shape = tuple(1 if place == axis else size for place, size in enumerate(labels.shape))
        stripped.append(Labels(shape, tuple(kept), labels.why, labels.array))
    tensors = [labels for labels in stripped if labels.array is None]
    if len(tensors) < len(stripped):
        for labels in tensors:
            for factor in labels.factors:
                call.freeze(factor.ids, labels.why[0])
    shape = tensors[0].shape
    held, call.outputs = call.outputs, (type(call.outputs[0])(shape, call.outputs[0].dtype),)
    try:
        return list(joined(call, tensors).factors)
    finally:
        call.outputs = held


register_rule(("Concatenate", "ops.concatenate"), Concatenation())
register_rule("ops.stack", Stacking())
