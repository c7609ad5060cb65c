"""Fourier transforms: cuts equal the masked twin, and costs are those of the butterflies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers, ops

from kerasurgeon.testing import assert_rule
from tests.channels.building import Case, array, assert_case, dense, image, steps
from tests.cost.counting import macs_of

FREE = {"one": 8}
FIRST: dict[str, Any] = {"data_format": "channels_first"}


def along_steps(tail: Callable[[Any], Any], length: int = 6, **options: Any) -> Callable[[], keras.Model]:
    """Channels first, a transform along the steps, and channels last again."""

    def turned(x: Any) -> Any:
        y = tail(ops.transpose(x, (0, 2, 1)))
        return ops.transpose(y, (0, *range(2, len(y.shape)), 1))

    return lambda: steps(turned, length=length, **options)


def parts(transformed: Any) -> Any:
    return transformed[0] + 0.5 * transformed[1]


def inverse_of_two(x: Any, y: Any) -> Any:
    pair = ops.ifft2((ops.transpose(x, (0, 3, 1, 2)), ops.transpose(y, (0, 3, 1, 2))))
    return ops.transpose(parts(pair), (0, 2, 3, 1))


def with_a_constant() -> keras.Model:
    x = dense(8, "one")(keras.Input(batch_shape=(3, 6, 3)))
    pair = ops.fft((ops.transpose(x, (0, 2, 1)), array(3, 8, 6)))
    return keras.Model(x._keras_history.operation.input, dense(2)(ops.transpose(parts(pair), (0, 2, 1))))


CASES: dict[str, Case] = {
    "fft": (along_steps(lambda x: parts(ops.fft((x, ops.square(x))))), FREE),
    "fft over the channels": (lambda: steps(lambda x: parts(ops.fft((x, x)))), {"one": 0}),
    "fft with a constant": (with_a_constant, FREE),
    "fft2 over the channels": (lambda: steps(lambda x: ops.fft2((x, ops.zeros_like(x)))[0]), {"one": 0}),
    "ifft2 of two": (lambda: image(inverse_of_two, two=8), {"one": 8, "two": 8}),
    "rfft": (along_steps(lambda x: parts(ops.rfft(x, 8))), FREE),
    "irfft": (along_steps(lambda x: ops.irfft((x, ops.square(x)))), FREE),
    "stft": (along_steps(lambda x: parts(ops.stft(x, 4, 2, 4)), 8), FREE),
    "istft": (along_steps(lambda x: ops.istft(ops.stft(x, 4, 2, 4), 4, 2, 4), 8), FREE),
    "spectrogram": (lambda: steps(lambda x: spectrogram()(x), length=12), FREE),
    "spectrogram, maps": (lambda: steps(lambda x: spectrogram(mode="stft", expand_dims=True)(x), length=12), FREE),
    "spectrogram, channels first": (
        lambda: steps(lambda x: ops.transpose(spectrogram(**FIRST)(ops.transpose(x, (0, 2, 1))), (0, 2, 1)), length=12),
        FREE,
    ),
}


def spectrogram(mode: str = "magnitude", **options: Any) -> Any:
    return layers.STFTSpectrogram(mode, frame_length=4, frame_step=2, fft_length=4, **options)


@pytest.mark.parametrize("name", CASES)
def test_cuts_equal_the_masked_twin(name: str) -> None:
    assert_case(CASES[name])


def butterflies(points: int) -> int:
    """Real products of a recursive transform: two of half the size, and a complex product for every pair."""
    return 0 if points == 1 else 2 * butterflies(points // 2) + 4 * (points // 2)


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        (lambda x: ops.fft((x, x))[0], (3, 8), 3 * butterflies(8)),
        (lambda x: ops.fft((x, x))[0], (3, 7), 3 * 2 * 7 * 3),
        (lambda x: ops.fft2((x, x))[0], (3, 4, 8), 3 * (4 * butterflies(8) + 8 * butterflies(4))),
        (lambda x: ops.rfft(x)[0], (3, 8), 3 * butterflies(8) // 2),
        (lambda x: ops.rfft(x, 16)[0], (3, 8), 3 * butterflies(16) // 2),
        (lambda x: ops.irfft((x, x)), (3, 5), 3 * butterflies(8) // 2),
        (lambda x: ops.stft(x, 4, 2, 8, center=False)[0], (3, 16), 3 * 5 * butterflies(8) // 2),
        (lambda x: ops.istft((x, x), 4, 2, 8), (3, 5, 5), 3 * 5 * butterflies(8) // 2),
        (
            layers.MelSpectrogram(fft_length=8, sequence_stride=4, num_mel_bins=3),
            (15,),
            5 * (butterflies(8) // 2 + 5 * 3),
        ),
    ],
)
def test_costs(function: Any, shape: tuple[int, ...], expected: int) -> None:
    assert macs_of(function, shape) == expected


@pytest.mark.parametrize("mode", ["log", "real"])
def test_a_spectrogram_costs_its_convolutions(mode: str) -> None:
    assert_rule(spectrogram(mode), (12, 3), cuts=0)
