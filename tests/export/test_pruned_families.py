"""Networks with half of their MACs pruned are as good as any: they save, load, train and export, in every family."""

from __future__ import annotations

import gc
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.exporting.api import export
from kerasurgeon.passes import PruneChannels
from tests.applications import CLASSES, FAMILIES, application_inputs, shared_application
from tests.export.runtimes import relative_error, run_keras, run_onnx, run_tflite

# The one that is quick to convert and has most in it; the others in the sweep.
ALWAYS = ("MobileNetV3",)


@pytest.fixture(autouse=True)
def _free_models() -> object:
    yield
    gc.collect()


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.sweep) for name in FAMILIES]
)
def test_a_pruned_network_saves_trains_and_exports(family: str, tmp_path: Path) -> None:
    whole = shared_application(FAMILIES[family])
    small = ks.apply_passes(whole, [PruneChannels(macs=0.5)], verify="types")
    assert ks.cost(small).macs <= 0.5 * ks.cost(whole).macs
    images = application_inputs(whole, seed=5, batch=2)

    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(loaded(images, training=False), small(images, training=False))

    # What is exported has been trained on: its weights are no longer those of the surgery.
    before = [keras.ops.convert_to_numpy(variable) for variable in loaded.trainable_variables]
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loaded.compile(keras.optimizers.SGD(1e-4, clipnorm=1.0), loss_of, run_eagerly=True)
    loss = loaded.train_on_batch(images, np.arange(2) % CLASSES)
    assert np.isfinite(loss)
    after = [keras.ops.convert_to_numpy(variable) for variable in loaded.trainable_variables]
    assert all(np.isfinite(array).all() for array in after)
    moved = [not np.array_equal(one, other) for one, other in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.9, f"{family}: {np.mean(moved):.0%} of the weights have moved"

    (expected,) = run_keras(loaded, {"image": images})
    for suffix, run in (("tflite", run_tflite), ("onnx", run_onnx)):
        path = tmp_path / f"small.{suffix}"
        report = export(loaded, path)
        (got,) = run(path, {loaded.inputs[0]._keras_history.operation.name: images}).values()
        assert relative_error(expected, got) < 1e-4, f"{family}, {suffix}: {relative_error(expected, got):.2e}"
        assert report.relative_error < 1e-4
