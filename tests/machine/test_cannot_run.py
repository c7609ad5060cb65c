"""Networks that this machine cannot run by any call: surgery goes on, and says in one line what was not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasurgeon as ks
from kerasurgeon import passes as library
from kerasurgeon.cli.errors import show_error
from kerasurgeon.keras_io.machine import lacking, on_this_machine
from tests.machine.networks import UNRUNNABLE

pytestmark = pytest.mark.bare

every_model = pytest.mark.parametrize("name", UNRUNNABLE)

SOUND: dict[str, Any] = {
    "fold": library.FoldBatchNorm(),
    "simplify": library.Simplify(),
    "prune": library.PruneChannels(ratio=0.4),
    "dead": library.RemoveDeadChannels(),
    "merge": library.MergeBlocks(),
    "factorise": library.Factorise(macs=0.8),
    "tucker": library.TuckerSplit(ratio=0.5),
    "sparsify": library.Sparsify(sparsity=0.5),
    "widths": library.ReconstructWidths({"first": 4}),
    "expand": library.Expand(width=1.5),
    "insert": library.InsertBlock(at="first", block="residual"),
}
"""Passes that need no outputs to do what they do."""


def volume_or_image(model: keras.Model) -> np.ndarray:
    shape = model.inputs[0].shape[1:]
    return np.random.default_rng(0).normal(size=(8, *shape)).astype(model.inputs[0].dtype)


@pytest.mark.spread(6)
@every_model
@pytest.mark.parametrize("which", SOUND)
def test_no_pass_is_refused_for_the_machine(which: str, name: str) -> None:
    model = UNRUNNABLE[name]()
    result = ks.Pipeline([SOUND[which]]).run(model, verify="outputs")
    item = result.report.passes[0]
    lines = [note for note in result.report.notes if "not compared" in note]
    if item.changed:
        assert item.difference is None
        assert len(lines) == 1
        assert lines[0].startswith(f"{item.name}: outputs were not compared: This machine cannot run")
        assert "\n" not in lines[0]
        assert lines[0] in " ".join(str(result.report).split())
    else:
        assert not lines
    assert [tuple(output.shape) for output in result.model.outputs] == [tuple(o.shape) for o in model.outputs]


def test_folding_is_right_although_it_was_not_compared() -> None:
    """The 3-D network computes in float64 what no kernel pools; without its pooling it can be run."""
    model = UNRUNNABLE["pooled"]()
    folded = ks.apply_passes(model, [library.FoldBatchNorm()])
    ends = [keras.Model(one.input, one.get_layer("odd").input) for one in (model, folded)]
    inputs = volume_or_image(model)
    np.testing.assert_allclose(ends[1](inputs), ends[0](inputs), rtol=1e-9, atol=1e-12)


def test_one_line_for_all_passes() -> None:
    model = UNRUNNABLE["pooled"]()
    report = ks.Pipeline([library.FoldBatchNorm(), library.PruneChannels(ratio=0.4)]).run(model).report
    lines = [note for note in report.notes if "not compared" in note]
    assert len(lines) == 1
    assert lines[0].startswith("FoldBatchNorm, PruneChannels: ")


@every_model
def test_a_keras_file_is_written_and_loads(name: str, tmp_path: Path) -> None:
    model = UNRUNNABLE[name]()
    report = ks.export(model, tmp_path / "model.keras")
    assert report.outputs == ()
    assert np.isnan(report.relative_error)
    assert [note for note in report.notes if note.startswith("outputs were not compared: This machine cannot run")]
    assert "not compared" in str(report)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_in_float32_is_compared_with_a_copy_that_can_be_run(tmp_path: Path) -> None:
    """Only in float64 is there no kernel; the file is written from the graph, without running the model."""
    model = UNRUNNABLE["pooled"]()
    report = ks.export(model, tmp_path / "model.tflite")
    assert report.relative_error < 1e-5
    assert any("compared with a copy" in note for note in report.notes)


@pytest.mark.parametrize(("suffix", "name"), [("onnx", "pooled"), ("onnx", "elsewhere"), ("tflite", "elsewhere")])
def test_other_files_are_refused_in_words(suffix: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ks.ExportError):
        ks.export(UNRUNNABLE[name](), tmp_path / f"model.{suffix}")
    assert not list(tmp_path.iterdir())


@every_model
def test_what_needs_outputs_says_that_there_are_none(name: str) -> None:
    model = UNRUNNABLE[name]()
    inputs = volume_or_image(model)
    for call in (
        lambda: ks.compare(model, model),
        lambda: ks.fine_tune(model, (inputs, np.zeros(8)), loss="sparse_categorical_crossentropy", epochs=1),
    ):
        with pytest.raises(ks.CannotRunError, match="what to do"):
            call()
    with pytest.raises(ks.PassError, match=r"This machine cannot run[^$]*(MaxPooling3D|Elsewhere): [^$]*what to do"):
        ks.apply_passes(model, [library.PruneChannels(ratio=0.4, importance="mean_activation")], data=inputs)


def test_the_command_line_reports_it_as_no_fault_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(tf.errors.UnimplementedError(None, None, "The Conv2D op currently only supports the NHWC tensor format"))
    said = capsys.readouterr().err
    assert "This machine cannot run the model" in said
    assert "what to do" in said
    assert "should not happen" not in said


@pytest.mark.parametrize(
    ("error", "is_lacking"),
    [
        (tf.errors.UnimplementedError(None, None, "Fused conv"), True),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), True),
        (tf.errors.InvalidArgumentError(None, None, "Conv2DCustomBackpropInputOp only supports NHWC."), True),
        (tf.errors.InvalidArgumentError(None, None, "does not yet support dilation rates larger than 1"), True),
        (tf.errors.InvalidArgumentError(None, None, "CPU implementations do not yet support dilation"), True),
        (tf.errors.NotFoundError(None, None, "Could not find device for node: MaxPool3D"), True),
        (RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'"), True),
        (NotImplementedError("no kernel"), True),
        (TypeError("Value passed to parameter 'input' has DataType float64 not in list of allowed values: half"), True),
        (TypeError("'<' not supported between instances of 'str' and 'int'"), False),
        (RuntimeError("nesting is not supported"), False),
        (tf.errors.InvalidArgumentError(None, None, "indices[0,1] = 17 is not in [0, 10)"), False),
        (tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [2,3] vs. [2,4]"), False),
        (ValueError("this layer only supports images"), False),
        (KeyError("not supported"), False),
        (ks.OptionError("This option does not support that."), False),
    ],
)
def test_what_a_machine_lacks_is_told_from_what_is_wrong(error: Exception, is_lacking: bool) -> None:
    assert (lacking(error) is not None) == is_lacking
    with pytest.raises(ks.CannotRunError if is_lacking else type(error)), on_this_machine("it"):
        raise error
