"""Train, shrink, fine-tune, finish, export, measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.costs import cost
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.benchmark import latency
from kerasurgeon.exporting.opening import open_runner
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.pipeline import Pipeline, Result
from kerasurgeon.workflows.data import Digits, Split, load_digits
from kerasurgeon.workflows.demo.network import build_network, train
from kerasurgeon.workflows.demo.result import DemoResult, Row
from kerasurgeon.workflows.demo.shrinking import FINISH, SHRINK

_CALIBRATION = 256

Tell = Callable[[float, str], None]
Phase = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much work the demo makes of it.

    Attributes:
        epochs: Epochs of training.
        tuning_epochs: Epochs of fine-tuning.
        rounds: Rounds in which latencies are measured.
    """

    epochs: int = 10
    tuning_epochs: int = 5
    rounds: int = 15


@dataclass(frozen=True)
class _Entry:
    """A model, and the file that it is written to with options of ``export``."""

    name: str
    file: str
    model: keras.Model
    options: dict[str, Any] = field(default_factory=dict)


QUICK = Effort(epochs=3, tuning_epochs=2, rounds=3)


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    effort: Effort | None = None,
    phase: Phase = lambda _: None,
    tell: Tell = lambda *_: None,
) -> DemoResult:
    """Run the whole demo. Same seed, same weights.

    Args:
        folder: Where the files go; it exists.
        seed: All random choices follow from it. Keras' global seed is set to it.
        effort: How much work to make of it.
        phase: Told what begins.
        tell: Told how far that is.

    Raises:
        MissingExtraError: scikit-learn or a runtime is not installed.
    """
    started = time.perf_counter()
    effort = effort or Effort()
    digits = load_digits(seed)
    keras.utils.set_random_seed(seed)
    phase("training the network")
    original = build_network()
    train(original, digits, epochs=effort.epochs, rate=3e-3, tell=tell)
    phase("compressing it")
    shrunk = Pipeline.from_recipe(SHRINK).run(original, data=digits.train.images, seed=seed, progress=tell)
    compressed = _finished(shrunk.model, seed, tell)
    tuned = shrunk.model
    phase("fine-tuning what is left")
    train(tuned, digits, epochs=effort.tuning_epochs, rate=1e-3, tell=tell)
    finished = _finished(tuned, seed, tell)
    entries = _entries(original, compressed.model, finished.model, digits)
    for entry in entries:
        phase(f"writing {entry.file}")
        export(entry.model, folder / entry.file, inputs=digits.validation.images, progress=tell, **entry.options)
    phase("measuring accuracy and latency")
    rows = _measure(folder, entries, digits.test, effort)
    shrunk.recipe.save(folder / "shrink.toml")
    finished.recipe.save(folder / "finish.toml")
    reports = (shrunk.report.to_dict(), finished.report.to_dict())
    return DemoResult(folder, rows, seed, len(digits.test), time.perf_counter() - started, reports)


def _finished(model: keras.Model, seed: int, tell: Tell) -> Result:
    """What is shipped: without what only training needs, batch norms folded. The outputs are checked to be the same."""
    return Pipeline.from_recipe(FINISH).run(model, seed=seed, progress=tell)


def _entries(original: keras.Model, compressed: keras.Model, tuned: keras.Model, digits: Digits) -> tuple[_Entry, ...]:
    """What is written and measured, in the order of the table."""
    # As the others are: without the state of an optimizer, which triples a file.
    bare = emit(lift(original), compile=False)
    int8 = {"quantize": "int8", "calibration": digits.train.images[:_CALIBRATION]}
    return (
        _Entry("original", "original.keras", bare),
        _Entry("compressed", "compressed.keras", compressed),
        _Entry("compressed, fine-tuned", "tuned.keras", tuned),
        _Entry("original, TFLite", "original.tflite", bare),
        _Entry("fine-tuned, TFLite", "tuned.tflite", tuned),
        _Entry("fine-tuned, TFLite int8", "tuned_int8.tflite", tuned, int8),
        _Entry("fine-tuned, ONNX", "tuned.onnx", tuned),
    )


def _measure(folder: Path, entries: tuple[_Entry, ...], test: Split, effort: Effort) -> tuple[Row, ...]:
    """Run every file on the test images, and time them side by side."""
    runners = {entry.name: open_runner(folder / entry.file, threads=1) for entry in entries}
    times = latency(runners, rounds=effort.rounds, inputs=test.images[:1])
    rows = []
    for entry, time_row in zip(entries, times.rows, strict=True):
        size = cost(entry.model)
        (outputs,) = runners[entry.name].run(test.images).values()
        rows.append(
            Row(
                entry.name,
                entry.file,
                float(np.mean(outputs.argmax(axis=-1) == test.labels)),
                size.parameters,
                size.macs,
                (folder / entry.file).stat().st_size,
                time_row.median_ms,
            )
        )
    return tuple(rows)
