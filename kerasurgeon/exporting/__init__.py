"""Write a Keras model as .keras, .tflite or .onnx, and prove that the file computes what the model does.

`export` converts, runs the file on its runtime, compares it with the model and only then puts it in place.
`open_runner` runs any of these, `compare` compares any two, `latency` times any number of them side by side,
`latency_on` is the latency on a runtime as a function of the model.

What cannot be exported yet, and why:

* Subclassed models without a graph of layers, unbuilt models: wrap them in ``keras.Model(x, model(x))``.
* Inputs of strings, sparse and ragged inputs.
* Layers without a rule that says how they are written, unless a converter can: operations beyond TFLite's or ONNX's own
  set (FFT, SVD, ``erfinv``, hashing and lookup layers). Flex and custom operations are never written.
* By the converters, which need TensorFlow as Keras' backend: layers whose names hold spaces, colons or letters beyond
  ASCII; int8 TFLite of recurrent layers that are not unrolled.
* TFLite: models quantised by ``model.quantize("int8")``; more than 2 GiB.
* ONNX: more than 2 GiB.

Models that compute in another precision than float32 are exported as float32 to .tflite and .onnx, to the latter in
their own with ``precision="own"``; stateful layers start every run from the state the model is in: notes in the report
say so.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasurgeon.exporting.api import TOLERANCE, export
    from kerasurgeon.exporting.benchmark import Latency, LatencyTable, latency
    from kerasurgeon.exporting.opening import open_runner
    from kerasurgeon.exporting.parity import OutputParity, ParityReport, compare
    from kerasurgeon.exporting.report import ExportReport
    from kerasurgeon.exporting.runners import Runner
    from kerasurgeon.exporting.runtime_latency import LatencyOn, latency_on
    from kerasurgeon.exporting.tensors import TensorInfo
    from kerasurgeon.quiet import import_quietly, silence_tensorflow_startup

__all__ = [
    "TOLERANCE",
    "ExportReport",
    "Latency",
    "LatencyOn",
    "LatencyTable",
    "OutputParity",
    "ParityReport",
    "Runner",
    "TensorInfo",
    "compare",
    "export",
    "import_quietly",
    "latency",
    "latency_on",
    "open_runner",
    "silence_tensorflow_startup",
]

# Importing Keras imports TensorFlow, which takes seconds and writes to the terminal. So that a command line
# can silence that first, with what `kerasurgeon.quiet` has, nothing here is imported before it is
# asked for.
_HOMES = {
    "TOLERANCE": "api",
    "ExportReport": "report",
    "Latency": "benchmark",
    "LatencyOn": "runtime_latency",
    "LatencyTable": "benchmark",
    "OutputParity": "parity",
    "ParityReport": "parity",
    "Runner": "runners",
    "TensorInfo": "tensors",
    "compare": "parity",
    "export": "api",
    "import_quietly": "quiet",
    "latency": "benchmark",
    "latency_on": "runtime_latency",
    "open_runner": "opening",
    "silence_tensorflow_startup": "quiet",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
