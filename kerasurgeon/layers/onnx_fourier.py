"""Fourier transforms written to ONNX: products with matrices of sines, and convolutions with them.

Both formats run these, with real numbers alone. A transform of n points is n times as many products as its n results:
for the few hundred points of a frame of sound or a line of tokens that is quick, and for very long ones it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.layers.onnx_functions import arctan2
from kerasurgeon.layers.onnx_terms import Term, concat, give, operands_of, term
from kerasurgeon.layers.onnx_windows import padding
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Array
from kerasurgeon.rules.positions import Window

LARGEST = 2**23
"""The most numbers that a matrix may have: 32 MB of the file."""


def waves(points: int, times: int, frequencies: int, *, copies: int = 1) -> tuple[Array, Array]:
    """Cosines and sines of 2 pi k t / points, for times t (rows) and frequencies k (columns).

    Raises:
        CannotTell: They are too many, each so often as there are ``copies`` of it in a matrix.
    """
    numbers = 2 * copies * times * frequencies
    if numbers > LARGEST:
        raise CannotTell(f"its transform of {points} points would be a matrix of {numbers:,} numbers")
    # Whole turns are left out, so that the angles of great products stay exact.
    angles = 2 * np.pi / points * (np.outer(np.arange(times), np.arange(frequencies)) % points)
    return np.cos(angles), np.sin(angles)


def write_fourier(call: OnnxCall, axes: int = 1, *, back: bool = False) -> None:
    """Write ``ops.fft``, ``ops.fft2`` and ``ops.ifft2``: of real and imaginary parts along the last axes."""
    real, imag = _parts(call)
    rank = call.input.rank
    for axis in range(rank - 1, rank - 1 - axes, -1):
        points = _length(call, axis)
        cosines, sines = waves(points, points, points, copies=2)
        matrix = np.block([[cosines, -sines], [sines, cosines]])
        matrix = matrix.T / points if back else matrix
        turn = [*range(rank)]
        turn[axis], turn[-1] = turn[-1], turn[axis]
        both = concat([real.transpose(turn), imag.transpose(turn)], rank - 1).matmul(matrix)
        real, imag = (part.transpose(turn) for part in both.split(rank - 1, [points, points]))
    give(call, real)
    give(call, imag, index=1)


def write_real_fourier(call: OnnxCall) -> None:
    """Write ``ops.rfft``: of as many points as asked, of which what is there counts."""
    axis, there = call.input.rank - 1, _length(call, call.input.rank - 1)
    points = int(call.config.get("fft_length") or there)
    count, frequencies = min(there, points), points // 2 + 1
    x = term(call, call.input, None, call.outputs[0].dtype)
    x = x.slice(axis, 0, count) if count < there else x
    cosines, sines = waves(points, count, frequencies)
    both = x.matmul(np.concatenate([cosines, -sines], axis=1))
    for index, part in enumerate(both.split(axis, [frequencies, frequencies])):
        give(call, part, index=index)


def write_real_fourier_back(call: OnnxCall) -> None:
    """Write ``ops.irfft``: the frequencies that are there stand for their mirror images too."""
    parts = _parts(call)
    axis, there = call.input.rank - 1, _length(call, call.input.rank - 1)
    points = int(call.config.get("fft_length") or 2 * (there - 1))
    count = min(there, points // 2 + 1)
    parts = [part.slice(axis, 0, count) if count < there else part for part in parts]
    cosines, sines = waves(points, count, points)
    times = np.where((np.arange(count) == 0) | (2 * np.arange(count) == points), 1.0, 2.0)[:, None] / points
    give(call, concat(parts, axis).matmul(np.concatenate([times * cosines, -times * sines])))


def write_short_time(call: OnnxCall) -> None:
    """Write ``ops.stft``."""
    _, *given = operands_of(call)
    if any(operand.array is None for operand in given):
        raise CannotTell("its window is computed")
    config = {**call.config, **({"window": given[0].array} if given else {})}
    for index, part in enumerate(_short_time(call, config, call.outputs[0].dtype)):
        give(call, part, index=index)


def write_mel_spectrogram(call: OnnxCall) -> None:
    """Write MelSpectrogram."""
    config, dtype, rank = call.config, call.output.dtype, len(call.output.shape)
    if dtype not in ("float32", "float64"):
        raise CannotTell(f"it transforms in float32 and gives {dtype}")
    real, imag = _short_time(call, {**config, "center": True}, dtype)
    spectrum = (real * real + imag * imag).op("Sqrt")
    spectrum = spectrum.op("Pow", float(config["mag_exp"]))
    layer = keras.layers.MelSpectrogram.from_config(dict(config))
    bands = layer.linear_to_mel_weight_matrix(
        num_mel_bins=layer.num_mel_bins,
        num_spectrogram_bins=layer.fft_length // 2 + 1,
        sampling_rate=layer.sampling_rate,
        lower_edge_hertz=layer.min_freq,
        upper_edge_hertz=layer.max_freq,
    )
    made = spectrum.matmul(keras.ops.convert_to_numpy(bands))
    if layer.power_to_db:
        least = float(layer.min_power)
        made = made.op("Max", least).op("Log") * (10 / np.log(10))
        made = made - 10 * np.log10(max(abs(float(layer.ref_power)), least))
        made = made.op("Max", made.reduce("ReduceMax", range(rank)) - float(layer.top_db))
    give(call, made.transpose([*range(rank - 2), rank - 1, rank - 2]))


def write_spectrogram(call: OnnxCall) -> None:
    """Write STFTSpectrogram: convolutions of every channel with kernels that are weights."""
    config, mode = call.config, call.config["mode"]
    axis = channel_axis(config) % 3
    channels = call.input.shape[axis]
    if channels is None:
        raise CannotTell("the number of its channels is unknown")
    dtype, positions = call.output.dtype, 3 - axis
    step = config["frame_step"] or config["frame_length"] // 2
    window = Window((config["frame_length"],), (step,), (1,), config["padding"])
    options = padding(window, [call.input.shape[positions]], [(0, 0)])
    x = term(call, call.input, (0, axis, positions), dtype)

    def convolved(key: str) -> Term:
        array = call.layer.weights[key].array

        def make(source: Array) -> Array:
            return np.tile(source.transpose(2, 1, 0), (channels or 1, 1, 1))

        kernel = x.made_of(array, f"{channels} times", make, key)
        return x.op(
            "Conv", kernel, strides=(step,), dilations=(1,), kernel_shape=window.size, group=channels, **options
        )

    frequencies = next(iter(call.layer.weights.values())).array.shape[-1]
    parts = {key: convolved(key) for key in ("real_kernel", "imag_kernel") if key in call.layer.weights}
    made = _of_mode(mode, parts, frequencies, channels)
    if mode == "stft":
        frequencies *= 2
    if not config["expand_dims"]:
        return give(call, made, (0, axis, positions))
    apart = made.reshape([0, channels, frequencies, -1])
    return give(call, apart, (0, 3, 2, 1) if axis == 2 else (0, 1, 3, 2))


def _of_mode(mode: str, parts: dict[str, Term], frequencies: int, channels: int) -> Term:
    """What a spectrogram gives, (batch, channels x frequencies, frames)."""
    if mode in ("real", "imag"):
        return parts[f"{mode}_kernel"]
    real, imag = parts["real_kernel"], parts["imag_kernel"]
    if mode == "angle":
        return arctan2({}, imag, real)
    if mode == "stft":
        sizes = [frequencies] * channels
        pairs = zip(real.split(1, sizes), imag.split(1, sizes), strict=True)
        return concat([part for pair in pairs for part in pair], 1)
    power = real * real + imag * imag
    if mode == "psd":  # frequencies between the first and the last stand for two
        times = np.full((frequencies, 1), 2.0)
        times[[0, -1]] = 1.0
        return power * np.tile(times, (channels, 1))
    epsilon = float(keras.config.epsilon())
    magnitude = power.op("Max", epsilon).op("Sqrt")
    return magnitude if mode == "magnitude" else magnitude.op("Max", epsilon).op("Log")


def _short_time(call: OnnxCall, config: Any, dtype: str) -> list[Term]:
    """Real and imaginary parts (..., frames, frequencies) of windows of a signal (..., times)."""
    points, length, step = (int(config[key]) for key in ("fft_length", "sequence_length", "sequence_stride"))
    rank, window = call.input.rank, config.get("window", "hann")
    length = points if window is None else length  # Keras cuts frames as long as the transform, whole without a window
    shape = _window(window, length)
    before = (points - length) // 2
    cosines, sines = waves(points, points, points // 2 + 1)
    rows = slice(before, before + length)  # what the window leaves of a frame
    kernel = np.concatenate([cosines[rows], -sines[rows]], axis=1) * shape[:, None]
    there = _length(call, rank - 1)
    x = term(call, call.input, None, dtype)
    if config.get("center", True):
        sides = call.integers(*[0] * (rank - 1), points // 2, *[0] * (rank - 1), points // 2)
        x = x.named(call.op("Pad", x.name, sides, None, mode="reflect"))
        there += 2 * (points // 2)
    frames = 1 + (there - points) // step
    x = x.slice(rank - 1, before, before + (frames - 1) * step + length)
    rows_of = x.reshape([-1, 1, (frames - 1) * step + length])
    filters = rows_of.made_of(kernel, "filters first", lambda source: source.T[:, None], "window")
    made = rows_of.op("Conv", filters, strides=(step,), dilations=(1,), kernel_shape=(length,), group=1)
    sizes = [call.size(call.input, axis) for axis in range(rank - 1)]
    parts = made.transpose([0, 2, 1]).split(2, [points // 2 + 1] * 2)
    return [part.reshape([*sizes, frames, points // 2 + 1]) for part in parts]


def _window(window: Any, length: int) -> Array:
    """The weights of a frame."""
    if window is None:
        return np.ones(length)
    if isinstance(window, str):
        turns = np.cos(2 * np.pi * np.arange(length) / length)
        return 0.5 - 0.5 * turns if window == "hann" else 0.54 - 0.46 * turns
    return np.asarray(window, np.float64)


def _parts(call: OnnxCall) -> list[Term]:
    dtype = call.outputs[0].dtype
    operands: Sequence[Any] = operands_of(call)
    if len(operands) != 2:
        raise CannotTell("it is not given real and imaginary parts")
    return [term(call, operand, None, dtype) for operand in operands]


def _length(call: OnnxCall, axis: int) -> int:
    size = call.input.shape[axis]
    if size is None:
        raise CannotTell("the length of what it transforms is unknown: keras.Input can say it")
    return int(size)
