"""Windows written to ONNX: what is put around, and the order of axes that convolutions and poolings want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Order, channels_first, natural
from kerasurgeon.rules.positions import Window


def spatial_order(config: Mapping[str, Any], rank: int) -> Order:
    """The order of axes with the channels before the positions."""
    return natural(rank) if config.get("data_format") == "channels_first" else channels_first(rank)


def padding(window: Window, sizes: Sequence[int | None], sides: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The attributes that say what is put around, one entry per spatial axis.

    Args:
        window: The window.
        sizes: The operand's sizes.
        sides: Zeros that are put around it beside those of the window.
    """
    if window.padding == "same" and any(
        stride > 1 and size is None for stride, size in zip(window.strides, sizes, strict=True)
    ):
        return {"auto_pad": "SAME_UPPER"}
    front, behind = [], []
    for axis, size in enumerate(sizes):
        reach, stride = window.dilation[axis] * (window.size[axis] - 1) + 1, window.strides[axis]
        own = (0, 0)
        if window.padding == "same":
            lacking = reach - stride if size is None or size % stride == 0 else reach - size % stride
            own = (max(lacking, 0) // 2, max(lacking, 0) - max(lacking, 0) // 2)
        elif window.padding == "causal":
            own = (reach - 1, 0)
        front.append(own[0] + sides[axis][0])
        behind.append(own[1] + sides[axis][1])
    return {"pads": [*front, *behind]} if any(front + behind) else {}


def bias_lies_last(call: OnnxCall) -> bool:
    """Whether Keras adds the bias of a layer whose channels come first along the last axis.

    On TensorFlow it does where that axis is as long as there are channels (``keras.ops.add``, Keras 3.15).
    """
    count, first = call.output.shape[1], call.config.get("data_format") == "channels_first"
    return bool(first and count and 1 < count == call.output.shape[-1]) and keras.config.backend() == "tensorflow"


def with_bias_last(call: OnnxCall, x: str, bias: str | None) -> str:
    """A result with the bias along its last axis, where Keras adds it there."""
    return call.op("Add", x, bias) if bias is not None and bias_lies_last(call) else x
