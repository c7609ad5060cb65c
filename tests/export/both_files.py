"""A case written to both formats from its graph, run with and without the runtimes' optimisation, compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.exporting.graph_writing import CannotWrite
from kerasurgeon.exporting.keras_runner import KerasRunner
from tests.export.single_layers import Case, model_of
from tests.export.single_layers import written as onnx_written
from tests.export.test_onnx_writer import run as run_onnx
from tests.export.test_tflite_writer import run as run_tflite
from tests.export.test_tflite_writer import written as tflite_written


def errors(case: Case) -> dict[str, float | str]:
    """By format, the largest difference from Keras, by the largest value of an output; or why it is not written.

    Raises:
        AssertionError: An output has another shape or dtype than Keras gives, or whole numbers that are others.
    """
    model, batch = model_of(case), 2 if case.fixed else 3
    rng = np.random.default_rng(11)
    feeds = [each.draw(rng, batch) for each in case.inputs]
    runner = KerasRunner(model)
    named = dict(zip([info.name for info in runner.inputs], feeds, strict=True))
    outputs = runner.run(named)
    expected = [outputs[info.name].astype(info.dtype) for info in runner.outputs]  # Keras may give another than it says
    found: dict[str, float | str] = {}
    try:
        proto = onnx_written(model, case.opset, 2 if case.fixed else None)
        found["onnx"] = max(
            difference(expected, run_onnx(proto, *feeds, optimised=each), "ONNX") for each in (True, False)
        )
    except CannotWrite as cannot:
        found["onnx"] = str(cannot)
    try:
        sizes = (batch,) if case.fixed else (batch, None)
        files = [tflite_written(model, batch_size=size) for size in sizes]
        runs = [run_tflite(data, *feeds, plain=plain) for data in files for plain in (False, True)]
        found["tflite"] = max(difference(expected, run, "TFLite") for run in runs)
    except CannotWrite as cannot:
        found["tflite"] = str(cannot)
    return found


def difference(expected: list[np.ndarray], got: list[Any], where: str) -> float:
    """The largest difference of several outputs, each by its largest value."""
    worst = 0.0
    for place, (one, other) in enumerate(zip(expected, got, strict=True)):
        said = f"{where}, output {place}: "
        assert one.shape == other.shape, f"{said}{other.shape} instead of {one.shape}"
        assert one.dtype == other.dtype, f"{said}{other.dtype} instead of {one.dtype}"
        if one.dtype.kind in "biu":
            assert np.array_equal(one, other), f"{said}whole numbers differ"
            continue
        finite = np.isfinite(one)
        assert np.array_equal(one[~finite], other[~finite], equal_nan=True), f"{said}it is not finite alike"
        largest = max(np.abs(one[finite]).max(initial=0), 1e-30)
        worst = max(worst, float(np.abs(one[finite] - other[finite]).max(initial=0) / largest))
    return worst
