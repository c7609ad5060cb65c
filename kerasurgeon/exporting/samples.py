"""Seeded inputs to compare and to time models on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from kerasurgeon.errors import ExportError, KerasurgeonError, OptionError
from kerasurgeon.exporting.keras_runner import KerasRunner
from kerasurgeon.exporting.runners import Runner
from kerasurgeon.exporting.tensors import Feeds, TensorInfo
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.samples import Shape, draw_array, has_open_sizes, likely_shapes, problem_of

_TRIES = 4


def working_inputs(
    runner: Runner, *, seed: int, samples: int, inputs: Sequence[TensorInfo] | None = None
) -> tuple[Feeds, Feeds]:
    """Random inputs that a model runs on, and what it gives.

    Sizes that are open are taken as by ``keras_io.samples``: the first choice, or where the model does not run on that,
    the first others that it accepts.

    Args:
        runner: The model.
        seed: Same seed, same arrays.
        samples: Size of the batch axis.
        inputs: What to draw for, by default the model's inputs.

    Raises:
        CannotRunError: This machine cannot run the model.
        ExportError: It runs on none of the inputs that were tried.
    """
    known = runner.inputs if inputs is None else tuple(inputs)
    problem: ExportError | OptionError | None = None
    for feeds in _candidates(runner, known, seed, samples):
        try:
            return feeds, runner.run(feeds)
        except (ExportError, OptionError) as error:
            problem = error
    assert problem is not None
    raise problem


def _candidates(runner: Runner, known: Sequence[TensorInfo], seed: int, samples: int) -> Iterator[Feeds]:
    shapes: list[Shape] = [info.shape for info in known]
    open_sizes = has_open_sizes(shapes)
    yield random_inputs(known, seed=seed, samples=samples)
    if not open_sizes:
        return

    def drawn(sizes: list[Shape], count: int) -> Feeds:
        sized = [replace(info, shape=tuple(shape)) for info, shape in zip(known, sizes, strict=True)]
        return random_inputs(sized, seed=seed, samples=count)

    def problem(sizes: list[Shape]) -> str:
        try:
            runner.run(drawn(sizes, 1))
        except KerasurgeonError as error:
            return str(error)
        return ""

    asked = problem_of(runner.model) if isinstance(runner, KerasRunner) else problem
    for sizes in islice(likely_shapes(shapes, asked), _TRIES):
        yield drawn(sizes, samples)


def random_inputs(inputs: Sequence[TensorInfo], *, seed: int, samples: int) -> Feeds:
    """Draw inputs that any model of this signature can take.

    Reals are uniform in [0, 1), integers uniform below the vocabulary that reads them (below 2 if none is
    known), booleans fair.

    Args:
        inputs: The model's inputs; a fixed batch size overrules ``samples``' remainder only inside the runner.
        seed: Same seed, same arrays.
        samples: Size of the batch axis.
    """
    generator = np.random.default_rng(seed)
    return {
        info.name: draw_array(_real_spec(info, samples), generator, below=info.limit or 2, low=0.0) for info in inputs
    }


def _real_spec(info: TensorInfo, samples: int) -> TensorSpec:
    """What to draw: reals where the file's integers stand for reals."""
    return TensorSpec((samples, *info.shape[1:]), "float32" if info.quantization is not None else info.dtype)
