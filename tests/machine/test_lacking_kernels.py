"""Models with calls that this machine has no kernel for: the library runs them all the same, or says in a line why not.

In float64 no processor has the kernels of these networks; in float32 those without oneDNN lack them. So the tests mean
something everywhere, and more where ``TF_ENABLE_ONEDNN_OPTS=0`` is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasurgeon as ks
from kerasurgeon import passes as library
from kerasurgeon.exporting.benchmark import latency
from kerasurgeon.keras_io.equal_calls import equal_calls
from tests.machine.networks import network

pytestmark = pytest.mark.bare

KINDS = ("channels_first", "dilated_transposed", "unequal_depthwise")
DTYPES = ("float32", "float64")

every_network = pytest.mark.parametrize("dtype", DTYPES)
every_kind = pytest.mark.parametrize("kind", KINDS)

EXACT: dict[str, Any] = {
    "fold": library.FoldBatchNorm(),
    "simplify": library.Simplify(),
    "dead": library.RemoveDeadChannels(),
    "merge": library.MergeBlocks(),
    "insert": library.InsertBlock(at="one", block="residual"),
    "prune": library.PruneChannels(ratio=0.4),
    "prune_plain": library.PruneChannels(ratio=0.4, compensate="none"),
    "widths": library.ReconstructWidths({"one": 5}),
    "expand": library.Expand(width=1.5),
}
"""Passes whose outputs are compared after they have run."""

WITH_DATA: dict[str, Any] = {
    "taylor": library.PruneChannels(ratio=0.4, importance="taylor"),
    "least_squares": library.PruneChannels(ratio=0.4, compensate="least_squares"),
    "recalibrate": library.RecalibrateBatchNorm(),
    "factorise": library.Factorise(macs=0.8, minimise="output"),
    "drop": library.DropBlock(region="one..two", correction="affine"),
}


def samples(model: keras.Model, count: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, *model.inputs[0].shape[1:])).astype(model.inputs[0].dtype), rng.integers(0, 4, count)


WORDS = {
    "channels_first": "no kernel for channels-first convolutions",
    "dilated_transposed": "no kernel for dilated transposed convolutions",
    "unequal_depthwise": "no kernel for depthwise convolutions with unequal strides",
}


def runs_by_itself(model: keras.Model) -> bool:
    try:
        model(samples(model, 1)[0])
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
        return False
    return True


def outputs(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    with equal_calls():
        return np.asarray(model(inputs, training=False))


@pytest.mark.spread(12)
@every_network
@every_kind
@pytest.mark.parametrize("name", EXACT)
def test_outputs_are_compared_after_exact_passes(name: str, kind: str, dtype: str) -> None:
    model = network(kind, dtype)
    report = ks.Pipeline([EXACT[name]]).run(model).report
    assert report.passes[0].difference is not None
    assert report.passes[0].difference < 1e-5
    assert not [note for note in report.notes if "not compared" in note]
    # What the user should know before he runs the model himself; nothing where the machine lacks nothing.
    lines = [note for note in report.notes if "by equal calls" in note]
    assert len(lines) == (bool(report.passes[0].changed) and not runs_by_itself(model))
    assert all(WORDS[kind] in line for line in lines)


@pytest.mark.spread(6)
@every_network
@every_kind
@pytest.mark.parametrize("name", WITH_DATA)
def test_passes_that_run_the_network_on_data(name: str, kind: str, dtype: str) -> None:
    model = network(kind, dtype)
    result = ks.Pipeline([WITH_DATA[name]]).run(model, data=samples(model), loss="sparse_categorical_crossentropy")
    assert result.report.passes[0].changed
    assert np.isfinite(outputs(result.model, samples(model)[0])).all()


@pytest.mark.spread(6)
@every_network
@every_kind
def test_training_after_surgery(kind: str, dtype: str) -> None:
    model = network(kind, dtype)
    data = samples(model)
    small = ks.apply_passes(model, [library.PruneChannels(ratio=0.3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained = ks.fine_tune(small, data, loss=loss, epochs=2, batch_size=8)
    assert len(trained.history["loss"]) == 2
    assert np.isfinite(trained.history["loss"]).all()


@pytest.mark.spread(9)
@every_network
@every_kind
@pytest.mark.parametrize("suffix", ["keras", "onnx", "tflite"])
def test_files_are_run_and_compared(suffix: str, kind: str, dtype: str, tmp_path: Path) -> None:
    model = network(kind, dtype)
    path = tmp_path / f"model.{suffix}"
    if (suffix, dtype) == ("onnx", "float64"):
        with pytest.raises(ks.ExportError, match="float32"):  # ONNX Runtime has no convolutions of those
            ks.export(model, path)
        return
    report = ks.export(model, path)
    assert report.outputs
    assert report.relative_error < 1e-4
    # A .tflite file is written from, and compared with, a float32 copy.
    compared = network(kind, "float32") if suffix == "tflite" else model
    assert len([note for note in report.notes if WORDS[kind] in note]) == (not runs_by_itself(compared))
    assert not [note for note in report.notes if "not compared" in note]
    assert ks.compare(model, path, inputs=samples(model)[0]).relative_error < 1e-4


@pytest.mark.spread(3)
@every_kind
def test_what_runs_networks_without_a_pipeline(kind: str) -> None:
    model = network(kind, "float64")
    data = samples(model)
    assert np.isfinite(outputs(ks.recalibrate_batch_norm(model, data[0]), data[0])).all()
    assert len(ks.knowledge_quotients(model, data=data)) > 0
    plan = ks.ChannelPlan({"one": [0, 3]})
    np.testing.assert_allclose(
        outputs(ks.cut(model, plan), data[0]), outputs(ks.masked(model, plan), data[0]), rtol=1e-9
    )


def test_time_is_taken_of_the_model_as_it_is_or_not_at_all() -> None:
    with pytest.raises(ks.CannotRunError, match="to time it"):
        latency({"model": network("channels_first", "float64")}, rounds=1)
