"""Fourier transforms, as ONNX writes them: products with sines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting import export
from tests.export.single_layers import Case, In, check

LINES = (In((3, 8)), In((3, 8)))
SIGNAL = (In((40,)),)
CHANNELS = (In((40, 2)),)


def _spectrograms(**options: Any) -> Any:
    """A spectrogram in each mode."""
    modes = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
    return lambda x: [layers.STFTSpectrogram(mode, frame_length=8, **options)(x) for mode in modes]


CASES = [
    Case("fft", lambda x, y: [*ops.fft((x, y)), *ops.fft((y[..., :7], x[..., :7]))], LINES),
    Case("fft2", lambda x, y: [*ops.fft2((x, y)), *ops.ifft2((x, y))], LINES),
    Case(
        "rfft",
        lambda x, y: [*ops.rfft(x), *ops.rfft(x[..., :7]), *ops.rfft(y, fft_length=6), *ops.rfft(y, fft_length=11)],
        LINES,
    ),
    Case(
        "irfft",
        lambda x, y: [ops.irfft((x, y)), ops.irfft((x, y), fft_length=9), ops.irfft((x, y), fft_length=20)],
        LINES,
    ),
    Case(
        "stft",
        lambda x: [
            *ops.stft(x, 8, 3, 8),
            *ops.stft(x, 6, 4, 9, window="hamming", center=False),
            *ops.stft(x, 8, 5, 16, window=None),
            *ops.stft(x, 4, 2, 4, window=np.array([0.5, 1.0, 2.0, 1.5], "float32")),
        ],
        SIGNAL,
    ),
    Case("STFTSpectrogram", _spectrograms(frame_step=3, fft_length=16), CHANNELS),
    Case("STFTSpectrogram apart", _spectrograms(expand_dims=True, padding="same"), CHANNELS),
    Case("STFTSpectrogram, channels first", _spectrograms(data_format="channels_first"), (In((1, 40)),)),
    Case(
        "STFTSpectrogram apart, channels first",
        _spectrograms(data_format="channels_first", expand_dims=True),
        (In((1, 40)),),
    ),
    Case(
        "MelSpectrogram",
        lambda x: [
            layers.MelSpectrogram(16, 8, sampling_rate=2000, min_freq=10.0, num_mel_bins=4)(x),
            layers.MelSpectrogram(16, 5, 12, window="hamming", sampling_rate=2000, num_mel_bins=3, power_to_db=False)(
                x
            ),
        ],
        SIGNAL,
        rtol=1e-4,  # decibels of bands that hold next to nothing
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fourier(case: Case) -> None:
    check(case)


def test_great_matrices_are_refused(tmp_path: Path) -> None:
    inputs = keras.Input((2, 4096))
    model = keras.Model(inputs, ops.rfft(inputs)[0])
    with pytest.raises(ExportError) as caught:
        export(model, tmp_path / "long.onnx", writer="graph")
    assert "4096 points would be a matrix of 16,785,408 numbers" in str(caught.value)
