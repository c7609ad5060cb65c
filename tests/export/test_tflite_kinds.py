"""Layers and ops of every sort written to TFLite and compared with Keras on the runtime."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from tests.export.cases import CASES
from tests.export.single_layers import Case, compare, model_of
from tests.export.test_tflite_writer import run, written


def chosen() -> Iterator[Case]:
    """Of the cases that ONNX is tested with, the first of every layer and op."""
    seen = set()
    for case in CASES:
        first = case.name.split()[0].rstrip(",")
        if not case.turned and first not in seen:
            seen.add(first)
            yield case


@pytest.mark.parametrize("case", list(chosen()), ids=str)
def test_computes_what_keras_does(case: Case) -> None:
    model, batch = model_of(case), 2 if case.fixed else 3
    data = written(model, batch_size=batch)
    rng = np.random.default_rng(11)
    feeds = [each.draw(rng, batch) for each in case.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model(feeds if len(feeds) > 1 else feeds[0], training=False)
    wanted = [np.asarray(keras.ops.convert_to_numpy(each)) for each in keras.tree.flatten(found)]
    compare(case, "TFLite", wanted, run(data, *feeds))
