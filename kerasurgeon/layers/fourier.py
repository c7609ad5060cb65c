"""Fourier transforms, as ops and as layers.

A fast transform of n points is counted with ``n / 2 * log2(n)`` complex products, log2 rounded up, of four real ones
each; of real numbers with half of that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.onnx_fourier import (
    write_fourier,
    write_mel_spectrogram,
    write_real_fourier,
    write_real_fourier_back,
    write_short_time,
    write_spectrogram,
)
from kerasurgeon.layers.onnx_terms import no
from kerasurgeon.rules.call import Call, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free, NeverLinear


def products(points: int | None) -> int:
    """Real products of one transform of complex numbers."""
    number = elements([points])
    return 2 * number * max(number - 1, 0).bit_length()


class Fourier(Free):
    """A transform of the last axes, of real and imaginary parts.

    Args:
        write: Writes it to ONNX.
        axes: How many of the last axes of what goes in are transformed.
        gives: How many of the last axes of what comes out are made of them.
    """

    def __init__(self, write: Callable[[OnnxCall], None], axes: int = 1, gives: int | None = None) -> None:
        super().__init__(keeps_batch=gives is None)
        self.write, self.axes, self.gives = write, axes, axes if gives is None else gives

    def onnx(self, call: OnnxCall) -> None:
        """Products with sines."""
        self.write(call)

    def macs(self, call: Call) -> int:
        """One transform along every transformed axis, for every line along it."""
        shape = call.input.shape
        return sum(elements(shape) // elements([size]) * products(size) for size in shape[-self.axes :])

    def channels(self, call: ChannelCall) -> Labels | tuple[Labels, ...]:
        """Labels over other axes pass, the same in both parts; nothing along the transformed ones may go."""
        others = range(call.input.rank - self.axes)
        tensors = [part for part in call.inputs if part.array is None]
        kept = [call.only(part, *others) for part in tensors]
        passing: dict[Any, Ids] = {}
        for axis in others:
            first, *rest = (call.along(labels, axis) for labels in kept)
            for other in rest:
                call.tie(first, other)
            if first is not None:
                passing[axis] = first
        for part in call.inputs:
            if part.array is not None:
                call.constant(part, passing)
        outputs = tuple(call.output(passing, index=index) for index in range(len(call.outputs)))
        return outputs if len(outputs) > 1 else outputs[0]


class RealFourier(Fourier):
    """A transform of real numbers, or back to them: of the ``fft_length``, or of all there is."""

    def macs(self, call: Call) -> int:
        """Half of a transform, for every line or frame."""
        lines = (call.output if self.gives > 1 else call.input).shape[:-1]
        points = call.config.get("fft_length")
        if points is None:
            points = max(elements(call.input.shape[-1:]), elements(call.output.shape[-1:]))
        return elements(lines) * products(points) // 2


class Spectrogram(NeverLinear):
    """STFTSpectrogram: convolutions of every channel with kernels of sines."""

    why_not_linear = "it gives the spectrum of each channel"

    def onnx(self, call: OnnxCall) -> None:
        """Conv per part."""
        write_spectrogram(call)

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    def macs(self, call: Call) -> int:
        """Frames x channels x elements of the kernels."""
        last = channel_axis(call.config) == -1
        frames = elements([call.output.shape[0], call.output.shape[1 if last else 2]])
        kernels = sum(weight.array.size for weight in call.weights.values())
        return frames * elements([call.input.shape[channel_axis(call.config)]]) * kernels

    def channels(self, call: ChannelCall) -> Labels:
        """Every channel gives as many as there are frequencies, or one map of them."""
        axis = channel_axis(call.config)
        reads = call.along(call.only(call.input, axis), axis)
        for key in call.weights:
            call.weight(key, {})
        if reads is None:
            return Labels(call.shape, (), call.input.why)
        if call.config["expand_dims"]:
            return call.output(reads, axis)
        return call.output(np.repeat(reads, elements([call.shape[axis]]) // len(reads)), axis)


class MelSpectrogram(NeverLinear):
    """MelSpectrogram: a transform of frames, and a product with the bands."""

    why_not_linear = "it gives a spectrum"

    def onnx(self, call: OnnxCall) -> None:
        """Conv with windows of sines, and a product with the bands."""
        write_mel_spectrogram(call)

    def keeps_batch(self, layer: Layer) -> bool:
        """Of a batch; a single signal has none."""
        return False

    def macs(self, call: Call) -> int:
        """For every frame half of a transform, and every frequency with every band."""
        *batch, bands, frames = call.output.shape
        length = int(call.config["fft_length"])
        return elements([*batch, frames]) * (products(length) // 2 + (length // 2 + 1) * elements([bands]))

    def channels(self, call: ChannelCall) -> Labels:
        """Nothing of the signal may go; other axes are none of channels."""
        call.only(call.input)
        return Labels(call.shape, (), call.input.why)


register_rule("ops.fft", Fourier(write_fourier))
register_rule("ops.fft2", Fourier(partial(write_fourier, axes=2), 2))
register_rule("ops.ifft2", Fourier(partial(write_fourier, axes=2, back=True), 2))
register_rule("ops.rfft", RealFourier(write_real_fourier, 1, 1))
register_rule("ops.irfft", RealFourier(write_real_fourier_back, 1, 1))
register_rule("ops.stft", RealFourier(write_short_time, 1, 2))
register_rule("ops.istft", RealFourier(no("frames that overlap are not put together by ONNX's operators"), 2, 1))
register_rule("STFTSpectrogram", Spectrogram())
register_rule("MelSpectrogram", MelSpectrogram())
