"""What TFLite has for ONNX's convolutions, poolings and resizings: channels last, and up to two spatial axes.

ONNX's operators have the channels before the positions. What they read is turned so that the channels stand last, and
what they give is turned back; turns that meet cancel each other, so that none is left between two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_resizing import by_matrices, enlarged
from kerasurgeon.layers.onnx_terms import Term
from kerasurgeon.layers.tflite_moving import known_sizes, padded
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.tflite_call import Sizes, TfliteCall, Translation

_END = 2**63 - 1
Ints = Sequence[int]
Sides = list[tuple[int, int]]


def to_last(rank: int) -> tuple[int, ...]:
    """The turn that brings channels from place 1 to the end."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """The turn that brings channels from the end to place 1."""
    return (0, rank - 1, *range(1, rank - 1))


class _Windows:
    """How windows lie on an operand whose channels stand last: with TFLite's paddings, and zeros put around before.

    Args:
        call: The call.
        x: The operand, channels first.
        taps: Per axis.
        strides: Per axis.
        dilations: Per axis.
        pads: What is put around, all fronts and then all ends, if it is told.
        auto_pad: ``"SAME_UPPER"`` where what is put around depends on sizes that are unknown.
    """

    def __init__(
        self, call: TfliteCall, x: str, taps: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str
    ) -> None:
        rank = len(call.sizes(x))
        self.call, self.axes = call, rank - 2
        self.x = call.transpose(x, to_last(rank))
        self.taps, self.strides, self.dilations = tuple(taps), tuple(strides), tuple(dilations)
        amounts = tuple(pads or (0,) * 2 * self.axes)
        self.sides: Sides = list(zip(amounts[: self.axes], amounts[self.axes :], strict=True))
        self.auto = auto_pad == "SAME_UPPER"
        if self.axes == 1:
            self.x = call.unsqueeze(self.x, [1])
            self.taps, self.strides, self.dilations = (1, *self.taps), (1, *self.strides), (1, *self.dilations)
            self.sides = [(0, 0), *self.sides]

    def lie(self, *, zeros: bool) -> tuple[str, str, Sizes]:
        """The operand, the name of TFLite's padding, and the sizes of the result.

        Args:
            zeros: Whether zeros may be put around where TFLite's own padding is another.
        """
        own = self.call.sizes(self.x)[1:-1]
        reaches = [dilation * (taps - 1) + 1 for taps, dilation in zip(self.taps, self.dilations, strict=True)]
        about = list(zip(own, reaches, self.strides, self.sides, strict=True))
        if self.auto or (any(map(any, self.sides)) and all(_is_same(*each) for each in about)):
            return self.x, "SAME", tuple(None if size is None else -(-size // stride) for size, _, stride, _ in about)
        if any(map(any, self.sides)):
            if not zeros:
                raise CannotTell("TFLite puts another border around what it pools")
            self.x = padded(self.call, self.x, [(0, 0), *self.sides, (0, 0)])
        sizes = tuple(
            None if size is None else (size + sum(sides) - reach) // stride + 1 for size, reach, stride, sides in about
        )
        return self.x, "VALID", sizes

    def back(self, made: str) -> str:
        """What they give, with the channels before the positions again."""
        if self.axes == 1:
            made = self.call.squeeze(made, [1])
        return self.call.transpose(made, to_first(self.axes + 2))


def _is_same(size: int | None, reach: int, stride: int, sides: tuple[int, int]) -> bool:
    """Whether TFLite's SAME puts just this around."""
    if size is None:
        if stride != 1:
            return False
        total = reach - 1
    else:
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return sides == (total // 2, total - total // 2)


def _options(strides: Ints, dilations: Ints | None = None) -> dict[str, int]:
    axes = "DHW"[-len(strides) :]
    found = {f"stride{axis}": stride for axis, stride in zip(axes, strides, strict=True)}
    if dilations is not None:
        found |= {f"dilation{axis}Factor": dilation for axis, dilation in zip(axes, dilations, strict=True)}
    return found


def _convolved(
    call: TfliteCall,
    x: str,
    kernel: str,
    bias: str | None = None,
    *,
    outputs: int,
    kernel_shape: Ints | None = None,
    strides: Ints | None = None,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    auto_pad: str = "NOTSET",
    group: int = 1,
) -> list[str]:
    shape = [size or 0 for size in call.sizes(kernel)]
    axes = len(shape) - 2
    ones = (1,) * axes
    if axes == 3 and group > 1:
        options = {"strides": strides, "dilations": dilations, "pads": pads}
        return [_group_by_group(call, x, kernel, bias, group, options)]
    windows = _Windows(call, x, shape[2:], strides or ones, dilations or ones, pads, auto_pad)
    if axes == 1:
        kernel, shape = call.unsqueeze(kernel, [2]), [*shape[:2], 1, shape[2]]
    operand, padding, sizes = windows.lie(zeros=True)
    filters, channels = shape[0], call.sizes(operand)[-1]
    if bias is None:
        bias = call.constant(np.zeros(filters), call.type_of(operand), "bias")
    settings: dict[str, Any] = {"padding": padding, **_options(windows.strides, windows.dilations)}
    result = (call.sizes(operand)[0], *sizes, filters)
    if axes == 3:
        turned = call.transpose(kernel, (2, 3, 4, 1, 0))
        return [windows.back(call.native("CONV_3D", operand, turned, bias, sizes=result, **settings))]
    if shape[1] == 1 and group > 1 and group == channels:
        turned = call.transpose(kernel, (1, 2, 3, 0))
        settings["depthMultiplier"] = filters // group
        return [windows.back(call.native("DEPTHWISE_CONV_2D", operand, turned, bias, sizes=result, **settings))]
    turned = call.transpose(kernel, (0, 2, 3, 1))
    return [windows.back(call.native("CONV_2D", operand, turned, bias, sizes=result, **settings))]


def _group_by_group(
    call: TfliteCall, x: str, kernel: str, bias: str | None, groups: int, options: Mapping[str, Any]
) -> str:
    several = [call.ops("Split", name, outputs=groups, axis=axis) for name, axis in ((x, 1), (kernel, 0))]
    biases = [None] * groups if bias is None else call.ops("Split", bias, outputs=groups, axis=0)
    made = [call.op("Conv", *each, **options) for each in zip(*several, biases, strict=True)]
    return call.op("Concat", *made, axis=1)


def _transposed(
    call: TfliteCall,
    x: str,
    kernel: str,
    bias: str | None = None,
    *,
    outputs: int,
    kernel_shape: Ints,
    strides: Ints,
    dilations: Ints,
    pads: Ints,
    output_padding: Ints | None = None,
) -> list[str]:
    axes = len(kernel_shape)
    array = _spread(call.value(kernel, "the kernel"), dilations)
    filters = array.shape[1]
    operand = call.transpose(x, to_last(axes + 2))
    cropped = list(zip(pads[:axes], pads[axes:], strict=True))
    more = list(output_padding or (0,) * axes)
    stride = list(strides)
    if axes == 1:
        operand, array = call.unsqueeze(operand, [1]), array[:, :, None]
        cropped, more, stride = [(0, 0), *cropped], [0, *more], [1, *stride]
    own, reaches = call.sizes(operand), array.shape[2:]
    # How much longer than the operand times the stride, per axis: the result, and what TFLite makes of it.
    lacking = [max(reach - by, 0) for reach, by in zip(reaches, stride, strict=True)]
    wanted = [
        reach - by + extra - sum(pair) for reach, by, extra, pair in zip(reaches, stride, more, cropped, strict=True)
    ]
    same = not any(wanted) and all(
        pair == (gap // 2, gap - gap // 2) for pair, gap in zip(cropped, lacking, strict=True)
    )
    longer = [0 if same else max(gap, out + pair[0]) for gap, out, pair in zip(lacking, wanted, cropped, strict=True)]
    made_sizes = tuple(
        None if size is None else size * by + rest for size, by, rest in zip(own[1:-1], stride, longer, strict=True)
    )
    if axes == 3:
        kind, weights = "CONV_3D_TRANSPOSE", call.constant(array.transpose(2, 3, 4, 1, 0), called="kernel")
        options = {**_options(stride), "dilationDFactor": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    else:
        kind, weights = "TRANSPOSE_CONV", call.constant(array.transpose(1, 2, 3, 0), called="kernel")
        options = _options(stride)
    if None in own:
        shape = Term(call, call.cast(call.op("Shape", operand), "int32"), "int32")
        target = (shape * np.array([1, *stride, 0]) + np.array([0, *longer, filters])).name
    else:
        target = call.index(*(size or 0 for size in (own[0], *made_sizes)), filters)
    name = call.native(
        kind,
        target,
        weights,
        operand,
        bias,
        sizes=(own[0], *made_sizes, filters),
        dtype=call.type_of(operand),
        padding="SAME" if same else "VALID",
        **options,
    )
    if not same:
        for axis, (made, out, pair) in enumerate(zip(longer, wanted, cropped, strict=True), 1):
            if made != out:
                bounds = (call.integers(number) for number in (pair[0], pair[0] + out - made or _END, axis))
                name = call.op("Slice", name, *bounds)
    name = call.squeeze(name, [1]) if axes == 1 else name
    return [call.transpose(name, to_first(axes + 2))]


def _spread(array: Any, dilations: Ints) -> Any:
    """A kernel with zeros between its taps."""
    if set(dilations) == {1}:
        return array
    sizes = [dilation * (taps - 1) + 1 for taps, dilation in zip(array.shape[2:], dilations, strict=True)]
    wide = np.zeros((*array.shape[:2], *sizes), array.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, dilation) for dilation in dilations))] = array
    return wide


def _pooled(kind: str) -> Translation:
    def add(
        call: TfliteCall,
        x: str,
        *,
        outputs: int,
        kernel_shape: Ints,
        strides: Ints | None = None,
        pads: Ints | None = None,
        auto_pad: str = "NOTSET",
    ) -> list[str]:
        axes = len(kernel_shape)
        strides = strides or (1,) * axes
        if axes == 3:
            return [_in_two(call, x, kernel_shape, strides, pads, auto_pad)]
        windows = _Windows(call, x, kernel_shape, strides, (1,) * axes, pads, auto_pad)
        return [windows.back(_pool(call, windows))]

    def _pool(call: TfliteCall, windows: _Windows) -> str:
        operand, padding, sizes = windows.lie(zeros=False)
        own = call.sizes(operand)
        height, width = windows.taps
        options: dict[str, Any] = {
            "padding": padding,
            "filterHeight": height,
            "filterWidth": width,
            **_options(windows.strides),
        }
        return call.native(kind, operand, sizes=(own[0], *sizes, own[-1]), **options)

    def _in_two(call: TfliteCall, x: str, taps: Ints, strides: Ints, pads: Ints | None, auto_pad: str) -> str:
        """Rows and columns of every slice first, then the slices: a maximum of maxima, a mean of means."""
        given = tuple(pads or (0,) * 6)
        last = call.transpose(x, to_last(5))
        n, d, h, w, c = known_sizes(call, last)
        flat = call.transpose(call.reshape(last, [-1, h, w, c]), to_first(4))
        around = (given[1], given[2], given[4], given[5])
        flat = call.op(_ONNX[kind], flat, kernel_shape=taps[1:], strides=strides[1:], pads=around, auto_pad=auto_pad)
        flat = call.transpose(flat, to_last(4))
        _, rows, columns, _ = known_sizes(call, flat)
        if isinstance(rows, int) and isinstance(columns, int):
            deep = call.reshape(flat, [-1, d, rows * columns, c])
        else:
            deep = call.reshape(flat, [n, d, -1, c])
        deep = call.op(
            _ONNX[kind],
            call.transpose(deep, to_first(4)),
            kernel_shape=(taps[0], 1),
            strides=(strides[0], 1),
            pads=(given[0], 0, given[3], 0),
            auto_pad=auto_pad,
        )
        deep = call.transpose(deep, to_last(4))
        made = call.reshape(deep, [-1, known_sizes(call, deep)[1], rows, columns, c])
        return call.transpose(made, to_first(5))

    return add


_ONNX = {"MAX_POOL_2D": "MaxPool", "AVERAGE_POOL_2D": "AveragePool"}


def _whole(kind: str) -> Translation:
    def add(call: TfliteCall, x: str, *, outputs: int) -> list[str]:
        rank = len(call.sizes(x))
        last = call.transpose(x, to_last(rank))
        made = call.reduce(kind, last, range(1, rank - 1), keepdims=True)
        return [call.transpose(made, to_first(rank))]

    return add


def _resized(
    call: TfliteCall,
    x: str,
    region: str | None = None,
    scales: str | None = None,
    target: str | None = None,
    *,
    outputs: int,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "floor",
    **more: Any,
) -> list[str]:
    own = call.sizes(x)
    rank = len(own)
    if scales is not None:
        factors = [float(factor) for factor in call.value(scales)]
        wanted = [None if size is None else int(size * by) for size, by in zip(own, factors, strict=True)]
    else:
        factors = []
        wanted = [int(size) for size in call.value(target, "the size")] if call.is_constant(target) else [None] * rank
    if mode == "cubic":
        made = Term(call, x, call.type_of(x))
        if None in own[2:] and factors and all(factor.is_integer() for factor in factors):
            for axis, length in enumerate(known_sizes(call, x)[2:], 2):
                made = enlarged(made, axis, rank, length, int(factors[axis]), "bicubic")
            return [made.name]
        if None in own[2:] or None in wanted[2:]:
            raise CannotTell("bicubic interpolation of images whose size is unknown: keras.Input can say it")
        before, after = ([size or 0 for size in sizes[2:]] for sizes in (own, wanted))
        return [by_matrices(made, before, after, "bicubic", False).name]
    if rank != 4:
        if mode != "nearest" or not factors:
            raise CannotTell(f"TFLite interpolates in images, not in tensors of {rank} axes")
        for axis, times in enumerate(map(int, factors)):
            size = own[axis]
            if times == 1:
                continue
            if size is None:
                long = Term(call, call.size_at(x, axis), "int64") * times
                numbers = (call.constant(number, "int32") for number in (0, 1))
                at = call.op("Range", next(numbers), call.squeeze(long.to("int32").name, [0]), next(numbers))
                at = (Term(call, at, "int32") / times).name
            else:
                at = call.constant(np.arange(size * times) // times, "int64")
            x = call.op("Gather", x, at, axis=axis)
        return [x]
    last = call.transpose(x, to_last(4))
    n, channels = call.sizes(last)[0], call.sizes(last)[-1]
    rows, columns = wanted[2:]
    if rows is not None and columns is not None:
        size_name = call.index(rows, columns)
    elif factors:
        shape = call.op("Gather", call.op("Shape", last), call.integers(1, 2), axis=0)
        by = call.constant(np.asarray(factors[2:]), "int32")
        size_name = call.native("MUL", call.cast(shape, "int32"), by, sizes=(2,))
    else:
        bounds = (call.integers(number) for number in (2, 4, 0))
        assert target is not None
        size_name = call.cast(call.op("Slice", target, *bounds), "int32")
    kind = "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR"
    made_name = call.native(kind, last, size_name, sizes=(n, rows, columns, channels), halfPixelCenters=True)
    return [call.transpose(made_name, to_first(4))]


WINDOWS: Mapping[str, Translation] = {
    "Conv": _convolved,
    "ConvTranspose": _transposed,
    "MaxPool": _pooled("MAX_POOL_2D"),
    "AveragePool": _pooled("AVERAGE_POOL_2D"),
    "GlobalAveragePool": _whole("ReduceMean"),
    "GlobalMaxPool": _whole("ReduceMax"),
    "Resize": _resized,
}
"""TFLite's operators for ONNX's, by the latter's names."""
