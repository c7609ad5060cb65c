"""Measure how far two models' outputs are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kerasurgeon.errors import ExportError, OptionError
from kerasurgeon.exporting.opening import open_runner
from kerasurgeon.exporting.runners import Runner
from kerasurgeon.exporting.samples import working_inputs
from kerasurgeon.exporting.tensors import Array, Feeds, TensorInfo, bind
from kerasurgeon.report.exports import parity_text

# Outputs smaller than this everywhere are compared as if the largest were this: their rounding errors are
# not errors.
_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True, slots=True)
class OutputParity:
    """How far one output of a model is from the reference's.

    Args:
        name: The output's name in the reference.
        max_abs_error: The largest absolute difference over all samples and positions.
        relative_error: ``max_abs_error`` divided by the largest absolute value of the reference over all
            samples and positions (by 1e-6 if that is smaller).
        argmax_agreement: The fraction of positions (all axes but the last) where both have their largest
            value at the same index of the last axis; None where that axis has one element.
        rms_error: The root mean square of the differences, divided by the standard deviation of the reference; 0 of
            integers, which have no nearness.
        steps: The root mean square of the differences, in 256ths of the reference's largest absolute value (of 1 where
            all of it is within 0 and 1, as probabilities are); 0 of integers.
    """

    name: str
    max_abs_error: float
    relative_error: float
    argmax_agreement: float | None
    rms_error: float
    steps: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """How far two models are apart.

    Args:
        reference: The first model: its file or name.
        candidate: The second.
        samples: How many samples were run.
        outputs: One entry per output.
    """

    reference: str
    candidate: str
    samples: int
    outputs: tuple[OutputParity, ...]

    @property
    def relative_error(self) -> float:
        """The largest relative error of all outputs."""
        return max(output.relative_error for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """The report as data that JSON can hold."""
        return asdict(self) | {"outputs": [asdict(output) for output in self.outputs]}

    def __str__(self) -> str:
        head = f"{self.candidate} against {self.reference}, {self.samples} samples"
        return f"{head}\n{parity_text([asdict(output) for output in self.outputs])}"


def compare(
    reference: Any,
    candidate: Any,
    *,
    inputs: Any = None,
    seed: int = 0,
    samples: int = 4,
) -> ParityReport:
    """Run two models on the same inputs and measure how far their outputs are apart.

    Inputs and outputs are matched by name if both have the same names, else by position.

    Args:
        reference: A Keras model, a path (.keras, .tflite, .onnx) or a runner.
        candidate: Another, of any kind.
        inputs: The arrays to run on, as the reference takes them; by default seeded random ones.
        seed: The seed of the random inputs.
        samples: How many random samples.

    Raises:
        OptionError: The two do not have the same inputs and outputs.
        ModelFileError: A file cannot be read.
        ExportError: An output is NaN where the other's is not.
    """
    first, second = open_runner(reference), open_runner(candidate)
    input_pairs = _pair(first.inputs, second.inputs, "inputs", first, second)
    output_pairs = _pair(first.outputs, second.outputs, "outputs", first, second)
    if inputs is None:
        known = [_narrow(a, b) for a, b in input_pairs]
        feeds, expected = working_inputs(first, seed=seed, samples=samples, inputs=known)
    else:
        feeds = bind(inputs, first.inputs)
        expected = first.run(feeds)
    got = second.run({b.name: feeds[a.name] for a, b in input_pairs})
    return ParityReport(
        first.source,
        second.source,
        next(iter(feeds.values())).shape[0],
        measure(expected, {a.name: got[b.name] for a, b in output_pairs}),
    )


def measure(expected: Feeds, got: Feeds) -> tuple[OutputParity, ...]:
    """Measure the differences between named outputs.

    Args:
        expected: The reference's outputs.
        got: The candidate's, under the same names.

    Raises:
        ExportError: Shapes differ, or a value is NaN in one of the two only.
    """
    return tuple(_measure_one(name, array, got[name]) for name, array in expected.items())


def _measure_one(name: str, expected: Array, got: Array) -> OutputParity:
    if expected.shape != got.shape:
        raise ExportError(
            "An output has another shape than in the reference.",
            where=f"output {name!r}",
            expected=str(expected.shape),
            got=str(got.shape),
        )
    reference, values = expected.astype(np.float64), got.astype(np.float64)
    same = (reference == values) | (np.isnan(reference) & np.isnan(values))
    bad = ~same & ~(np.isfinite(reference) & np.isfinite(values))
    if bad.any():
        raise ExportError(
            "An output is NaN or infinite where the reference is not.",
            where=f"output {name!r}",
            got=f"{int(bad.sum())} of {bad.size} values",
        )
    difference = np.abs(np.subtract(reference, values, out=np.zeros_like(reference), where=~same))
    error = float(difference.max(initial=0.0))
    scale = float(np.abs(reference[np.isfinite(reference)]).max(initial=0.0))
    agreement = None
    if reference.ndim > 1 and reference.shape[-1] > 1:
        agreement = float(np.mean(reference.argmax(axis=-1) == values.argmax(axis=-1)))
    real = expected.dtype.kind == "f" and difference.size
    rms = float(np.sqrt(np.mean(np.square(difference)))) if real else 0.0
    finite = reference[np.isfinite(reference)]
    deviation = float(finite.std()) if finite.size else 0.0
    step = (1.0 if finite.size and finite.min() >= 0 and scale <= 1 else max(scale, _SMALLEST_SCALE)) / 256
    return OutputParity(
        name,
        error,
        error / max(scale, _SMALLEST_SCALE),
        agreement,
        rms / max(deviation, _SMALLEST_SCALE),
        rms / step,
    )


def _pair(
    first: Sequence[TensorInfo], second: Sequence[TensorInfo], what: str, a: Runner, b: Runner
) -> list[tuple[TensorInfo, TensorInfo]]:
    by_name = {info.name: info for info in second} | {i.alias: i for i in second if i.alias is not None}
    if len(first) == len(second) and all(info.name in by_name or info.alias in by_name for info in first):
        pairs = [(info, by_name.get(info.name) or by_name[str(info.alias)]) for info in first]
        if len({id(other) for _, other in pairs}) == len(second):
            return pairs
    if len(first) != len(second) or not all(map(_fits, first, second)):
        raise OptionError(
            f"The two models have different {what} and cannot be compared.",
            expected=f"{a.source}: " + ", ".join(f"{i.name} {i.text}" for i in first),
            got=f"{b.source}: " + ", ".join(f"{i.name} {i.text}" for i in second),
        )
    return list(zip(first, second, strict=True))


def _fits(first: TensorInfo, second: TensorInfo) -> bool:
    if len(first.shape) != len(second.shape):
        return False
    sizes = list(zip(first.shape, second.shape, strict=True))[1:]
    return all(one is None or other is None or one == other for one, other in sizes)


def _narrow(first: TensorInfo, second: TensorInfo) -> TensorInfo:
    """What both take: each axis as fixed as either has it, and the lower limit for integers."""
    shape = tuple(one if one is not None else other for one, other in zip(first.shape, second.shape, strict=True))
    limits = [limit for limit in (first.limit, second.limit) if limit is not None]
    base = first if first.quantization is None else second
    return replace(base, name=first.name, shape=shape, limit=min(limits, default=None))
