"""Every kind of layer with its options, alone in a model, as .onnx and as .tflite: both compute what Keras does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tests.export.both_files import errors
from tests.export.layer_options import LAYERS
from tests.export.single_layers import Case
from tests.export.test_onnx_writer import run as run_onnx
from tests.export.test_onnx_writer import written as onnx_written
from tests.export.test_tflite_writer import run as run_tflite
from tests.export.test_tflite_writer import written as tflite_written


@pytest.mark.spread(12)
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_both_files_compute_what_keras_does(case: Case) -> None:
    for said in errors(case).values():
        assert isinstance(said, float), said
        assert said <= case.rtol


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in LAYERS}) == len(LAYERS) >= 150


@pytest.mark.parametrize("kind", ["GRU", "Bidirectional", "ConvLSTM1D"])
def test_a_file_begins_where_the_model_is(kind: str) -> None:
    """Of a layer that keeps its state: every run of the file begins at the state as it was when it was written."""
    film = keras.Input(batch_shape=(2, 3, 5, 4) if kind == "ConvLSTM1D" else (2, 3, 4))
    made = {
        "GRU": lambda: layers.GRU(3, stateful=True),
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3, stateful=True)),
        "ConvLSTM1D": lambda: layers.ConvLSTM1D(3, 2, stateful=True),
    }[kind]()
    model = keras.Model(film, made(film))
    data = np.random.default_rng(0).normal(size=film.shape).astype("float32")
    first = np.asarray(model(data))
    proto, content = onnx_written(model, batch_size=2), tflite_written(model, batch_size=2)
    second = np.asarray(model(data))
    assert np.abs(second - first).max() > 1e-2
    for _ in range(2):
        for (got,) in (run_onnx(proto, data), run_tflite(content, data)):
            np.testing.assert_allclose(got, second, atol=1e-5)
