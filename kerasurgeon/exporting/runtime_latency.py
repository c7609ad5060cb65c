"""A model's latency on a runtime, as a function of the model: what ``PruneChannels(latency=...)`` asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.benchmark import latency
from kerasurgeon.hidden import scratch

RUNTIMES = ("keras", "onnx", "tflite")


def latency_on(
    runtime: str,
    *,
    rounds: int = 15,
    warmup: int = 3,
    threads: int | None = 1,
    batch_size: int = 1,
    inputs: Any = None,
    seed: int = 0,
    quantize: Literal["float16", "dynamic", "int8"] | None = None,
    calibration: Any = None,
) -> LatencyOn:
    """A function from a Keras model to its latency on a runtime of this machine, in milliseconds.

    A call exports the model to a temporary file, opens it on the runtime and times it; the file is removed again. What
    slows the machine for a while must not look like a slow model: from the second call on, the first model takes turns
    with the one that is timed, and the result is scaled by what the first model took at first.

    Args:
        runtime: ``"tflite"``, ``"onnx"`` or ``"keras"`` (compiled with ``tf.function``).
        rounds: How many timings the result is the median of; each lasts at least 20 ms.
        warmup: How many runs go before.
        threads: Threads of the TFLite and ONNX runtimes; None leaves it to them.
        batch_size: Samples per run.
        inputs: What to run on; by default random inputs.
        seed: The seed of the random inputs.
        quantize: As for ``export``, for files.
        calibration: As for ``export``.

    Returns:
        The function. It raises what ``export`` and ``kerasurgeon.exporting.latency`` raise.

    Raises:
        OptionError: There is no such runtime, or the options do not fit it.

    Example:
        >>> PruneChannels(latency=0.6, latency_of=latency_on("tflite"))
    """
    if runtime not in RUNTIMES:
        hint = did_you_mean(str(runtime), RUNTIMES)
        raise OptionError("There is no such runtime.", expected=" or ".join(RUNTIMES), got=repr(runtime), hint=hint)
    if runtime == "keras" and (quantize is not None or calibration is not None):
        raise OptionError(
            "Models in Keras are not quantised here.", got=f"quantize={quantize!r}", hint="take 'tflite' or 'onnx'"
        )
    timing = {"rounds": rounds, "warmup": warmup, "threads": threads}
    options = {"quantize": quantize, "calibration": calibration}
    return LatencyOn(runtime, {**timing, "batch_size": batch_size, "inputs": inputs, "seed": seed}, options)


@dataclass(eq=False)
class LatencyOn:
    """What ``latency_on`` returns: call it with a model.

    Attributes:
        runtime: The runtime.
        timing: How it is timed, as ``kerasurgeon.exporting.latency`` takes it.
        options: How models are exported.
    """

    runtime: str
    timing: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    _first: tuple[Any, float] | None = field(default=None, repr=False)

    def __call__(self, model: keras.Model) -> float:
        """The median latency of a model, in milliseconds."""
        with scratch() as folder:
            this = self._written(model, Path(folder, f"this.{self.runtime}"))
            if self._first is None:
                (row,) = latency({"this": this}, **self.timing).rows
                # A file is kept as its bytes: no temporary folder has to outlive the call.
                self._first = this.read_bytes() if isinstance(this, Path) else this, row.median_ms
                return row.median_ms
            first, took = self._first
            if isinstance(first, bytes):
                path = Path(folder, f"first.{self.runtime}")
                path.write_bytes(first)
                first = path
            before, now = latency({"first": first, "this": this}, **self.timing).rows
        return now.median_ms * took / before.median_ms

    def _written(self, model: keras.Model, path: Path) -> Any:
        """What is timed: a file, or the model itself in Keras."""
        if self.runtime == "keras":
            return model
        options = {key: value for key, value in self.options.items() if value is not None}
        if "quantize" in options:
            options["accept"] = math.inf  # what is timed need not be good
        export(model, path, batch_size=self.timing["batch_size"], **options)
        return path
