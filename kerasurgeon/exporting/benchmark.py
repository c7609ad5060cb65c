"""Measure how long models take, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.exporting.opening import open_runner
from kerasurgeon.exporting.runners import Runner
from kerasurgeon.exporting.samples import random_inputs, working_inputs
from kerasurgeon.exporting.tensors import Feeds, bind
from kerasurgeon.keras_io.samples import has_open_sizes
from kerasurgeon.report.exports import latency_text

# One timing lasts at least this long: shorter ones measure the clock and the cache.
_SHORTEST_TIMING_S = 0.02


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one model takes for one batch.

    Args:
        name: What the caller called it.
        kind: ``keras``, ``tflite`` or ``onnx``.
        median_ms: The median of the rounds, in milliseconds.
        low_ms: The lower quartile.
        high_ms: The upper quartile.
        ratio: The median divided by that of the first model.
    """

    name: str
    kind: str
    median_ms: float
    low_ms: float
    high_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Latencies that were measured together.

    Args:
        rows: One entry per model, in the order given.
        rounds: How many rounds were measured.
        batch_size: Samples per run.
        threads: Threads of the TFLite and ONNX runtimes; None if it was left to them.
    """

    rows: tuple[Latency, ...]
    rounds: int
    batch_size: int
    threads: int | None

    def to_dict(self) -> dict[str, Any]:
        """The table as data that JSON can hold."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        return latency_text(self.to_dict())


def latency(
    models: Mapping[str, Any],
    *,
    rounds: int = 15,
    warmup: int = 3,
    threads: int | None = 1,
    batch_size: int = 1,
    inputs: Any = None,
    seed: int = 0,
) -> LatencyTable:
    """Time models against each other.

    The models take turns within each round, so that what slows the machine for a while slows all of them.
    Keras models are compiled with ``tf.function``, since ``predict`` would measure its own overhead.

    Args:
        models: Keras models, paths or runners, by the name to show; the first is what ratios refer to.
        rounds: How many rounds to measure.
        warmup: How many runs of each model go before.
        threads: Threads of the TFLite and ONNX runtimes, for those that are opened here; None leaves it to
            them. TensorFlow's cannot be set once it runs.
        batch_size: Samples per run; a model with a fixed batch size must have this one.
        inputs: What to run on, for all models; by default random inputs for each model.
        seed: The seed of the random inputs.

    Raises:
        OptionError: There is nothing to measure, or a model has another batch size.
        ModelFileError: A file cannot be read.
    """
    if not models or rounds < 1 or warmup < 0 or batch_size < 1:
        raise OptionError(
            "Nothing to measure.",
            expected="at least one model, rounds and batch_size from 1, warmup from 0",
            got=f"{len(models)} models, rounds={rounds}, warmup={warmup}, batch_size={batch_size}",
        )
    kinds: dict[str, str] = {}
    runs: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        runner = open_runner(model, threads=threads)
        if runner.batch_size not in (None, batch_size):
            raise OptionError(
                "A model has another batch size built in.",
                where=name,
                expected=str(batch_size),
                got=str(runner.batch_size),
            )
        data = _data_for(runner, seed, batch_size) if inputs is None else inputs
        kinds[name], runs[name] = runner.kind, runner.prepare(bind(data, runner.inputs))
    milliseconds = _measure(runs, rounds, warmup)
    first = float(np.median(milliseconds[next(iter(runs))]))
    rows = []
    for name, values in milliseconds.items():
        low, median, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
        rows.append(Latency(name, kinds[name], median, low, high, median / first))
    return LatencyTable(tuple(rows), rounds, batch_size, threads)


def _data_for(runner: Runner, seed: int, batch_size: int) -> Feeds:
    """Random inputs; where sizes are open, ones that the model runs on."""
    if has_open_sizes([info.shape for info in runner.inputs]):
        return working_inputs(runner, seed=seed, samples=batch_size)[0]
    return random_inputs(runner.inputs, seed=seed, samples=batch_size)


def _measure(runs: Mapping[str, Callable[[], object]], rounds: int, warmup: int) -> dict[str, list[float]]:
    """Milliseconds per run, one value per round."""
    repeats: dict[str, int] = {}
    for name, run in runs.items():
        for _ in range(warmup):
            run()
        repeats[name] = max(1, int(_SHORTEST_TIMING_S / max(_seconds(run, 1), 1e-6)))
    result: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            result[name].append(1000 * _seconds(run, repeats[name]) / repeats[name])
    return result


def _seconds(run: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - started
