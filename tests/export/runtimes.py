"""The runtimes called directly: what the tests measure files with, free of the package's own runners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

Arrays = dict[str, np.ndarray]


def run_tflite(path: Path, feeds: Mapping[str, np.ndarray]) -> Arrays:
    """Run a float-interface TFLite file sample by sample through its signature, floats as it takes them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner("serving_default")
    samples = len(next(iter(feeds.values())))
    takes = {name: detail["dtype"] for name, detail in runner.get_input_details().items()}
    feeds = {name: array.astype(takes[name]) if array.dtype.kind == "f" else array for name, array in feeds.items()}
    parts = [runner(**{name: array[i : i + 1] for name, array in feeds.items()}) for i in range(samples)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def run_onnx(path: Path, feeds: Mapping[str, np.ndarray]) -> Arrays:
    """Run an ONNX file on ONNX Runtime with its default options."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def run_keras(model: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a Keras model in inference on inputs in its flat order; the outputs in flat order."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    outputs = model(keras.tree.pack_sequence_as(structure, list(feeds.values())), training=False)
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]


def relative_error(expected: np.ndarray, got: np.ndarray) -> float:
    """Largest difference, by the largest value expected."""
    assert expected.shape == got.shape
    return float(np.abs(expected - got).max() / np.abs(expected).max())


def expected(model: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    """A model's outputs in inference, in flat order, of inputs in its own."""
    packed = inputs[0] if len(inputs) == 1 else list(inputs)
    return [np.asarray(each) for each in keras.tree.flatten(model(packed, training=False))]


def difference(wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Largest difference of several outputs, each by its largest value expected."""
    for one, other in zip(wanted, found, strict=True):
        assert one.dtype == other.dtype
    return max(relative_error(one, other) for one, other in zip(wanted, found, strict=True))
