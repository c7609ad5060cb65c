"""Ops that move channels into space and back."""

from __future__ import annotations

import numpy as np

from kerasurgeon.layers.onnx_convolving import write_patches
from kerasurgeon.layers.onnx_windows import spatial_order
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class DepthToSpace(Free):
    """``ops.depth_to_space``: channels are (rows of a block, columns, what stays channels)."""

    def onnx(self, call: OnnxCall) -> None:
        """DepthToSpace."""
        order = spatial_order(call.config, call.input.rank)
        name = call.op("DepthToSpace", call.read(call.input, order), blocksize=int(call.config["block_size"]))
        call.give(name, order)

    def channels(self, call: ChannelCall) -> Labels:
        """What becomes one channel is tied."""
        axis = channel_axis(call.config)
        kept = call.only(call.input, axis)
        ids = call.along(kept, axis)
        if ids is None:
            return Labels(call.shape, (), call.input.why)
        rows = ids.reshape(call.config["block_size"] ** 2, -1)
        call.tie(rows, rows[:1])
        return call.output(np.ascontiguousarray(rows[0]), axis)


class SpaceToDepth(Free):
    """``ops.space_to_depth`` and ``ops.image.extract_patches``: every channel several times, position by position."""

    def onnx(self, call: OnnxCall) -> None:
        """SpaceToDepth, or a Conv with ones in its kernel."""
        if "size" in call.config:
            return write_patches(call)
        order = spatial_order(call.config, call.input.rank)
        name = call.op("SpaceToDepth", call.read(call.input, order), blocksize=int(call.config["block_size"]))
        return call.give(name, order)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are repeated; those along spatial axes may not go."""
        axis = channel_axis(call.config)
        if "size" in call.config and call.input.rank != 2 + len(call.config["size"]):
            axis = axis if axis < 0 else 0
        kept = call.only(call.input, axis)
        ids = call.along(kept, axis)
        if ids is None:
            return Labels(call.shape, (), call.input.why)
        made = call.shape[axis]
        assert made is not None
        return call.output(np.tile(ids, made // len(ids)), axis)


register_rule("ops.depth_to_space", DepthToSpace())
register_rule(("ops.space_to_depth", "ops.extract_patches"), SpaceToDepth())
