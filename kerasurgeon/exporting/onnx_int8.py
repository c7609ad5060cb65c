"""Quantise an ONNX file to int8, in the form that ONNX Runtime computes best on this machine.

On x86 processors without VNNI, ONNX Runtime's kernels add pairs of products of unsigned activations and signed weights
in 16 bits, and what does not fit is cut off: one convolution of random weights was off by 9 % instead of 1.6 %. Weights
of 7 bits cannot overflow, and unsigned weights take another kernel, which adds in 32 bits. Which of them loses least
depends on the network, so that the runtime is asked: its kernels against the same file computed without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.exporting.converter_errors import converter_error
from kerasurgeon.exporting.onnx_mask_nodes import mask_nodes
from kerasurgeon.exporting.tensors import Array, Feeds
from kerasurgeon.hidden import scratch
from kerasurgeon.quiet import quiet, require

# How much further from the float model the runtime's kernels may be than exact arithmetic on the same file.
_MUCH_FURTHER = 1.25
# Below this an error is rounding, whatever it is relative to.
_NO_ERROR = 1e-3
# Samples that the runtime is tried on; they are some of those that ranges are found from.
_TRIED = 32


@dataclass(frozen=True)
class Form:
    """How weights are stored.

    Attributes:
        name: What the option calls it.
        text: What it is, for the report.
        signed: Whether weights are signed integers.
        reduced: Whether they have 7 bits.
    """

    name: str
    text: str
    signed: bool
    reduced: bool


FULL = Form("full", "signed 8-bit weights", signed=True, reduced=False)
REDUCED = Form("reduced", "7-bit weights", signed=True, reduced=True)
UNSIGNED = Form("unsigned", "unsigned 8-bit weights", signed=False, reduced=False)
FORMS = {form.name: form for form in (FULL, REDUCED, UNSIGNED)}
"""Forms by name, the quickest to run first."""


def quantize_int8(
    proto: Any, calibration: Sequence[Feeds], batch_size: int | None, weights: str
) -> tuple[Any, tuple[str, ...]]:
    """Quantise a float32 model to int8, activations unsigned, weights with one scale per channel.

    Args:
        proto: An ``onnx.ModelProto``.
        calibration: Samples to find ranges from, in batches.
        batch_size: The batch size that is built into the model, or None.
        weights: A name of ``FORMS``, or ``"auto"``: the first, unless the runtime's kernels lose by it on this machine;
            then the one of the others that loses least.

    Returns:
        An ``onnx.ModelProto``, and what the report should say of the choice.

    Raises:
        ExportError: ONNX Runtime's tools fail on it.
        MissingExtraError: ONNX Runtime is not installed.
    """
    require("onnxruntime", package="onnxruntime", extra="onnx", needed_for="Quantising ONNX files")
    require("onnxruntime.quantization", package="onnxruntime", extra="onnx", needed_for="Quantising ONNX files")
    import onnx

    with quiet() as captured, scratch() as folder:
        source = Path(folder, "float.onnx")
        try:
            onnx.save(proto, source)
            masks = mask_nodes(proto)

            def write(form: Form) -> Path:
                target = Path(folder, f"{form.name}.onnx")
                _static(source, target, _reader(calibration, batch_size), form, masks)
                return target

            if weights != "auto":
                return onnx.load(write(FORMS[weights])), ()
            feeds = list(_first(iter_batches(calibration, batch_size or 1), _TRIED))
            path, note = _choose(source, write, feeds)
            return onnx.load(path), (note,)
        except Exception as error:
            raise converter_error("ONNX int8", error, captured.tail()) from error


def _choose(source: Path, write: Callable[[Form], Path], feeds: Sequence[Feeds]) -> tuple[Path, str]:
    """The file to keep, and why."""
    expected = _run(source, feeds, optimised=True)
    path = write(FULL)
    exact = _error(expected, _run(path, feeds, optimised=False))
    used = _error(expected, _run(path, feeds, optimised=True))
    if used <= max(_MUCH_FURTHER * exact, _NO_ERROR):
        return path, (
            f"int8 with {FULL.text}, with which ONNX Runtime's kernels lose nothing here; on x86 processors without "
            "VNNI they may: for those, export there or with int8_weights='reduced' or 'unsigned'"
        )
    tried = {form: write(form) for form in (REDUCED, UNSIGNED)}
    errors = {form: _error(expected, _run(file, feeds, optimised=True)) for form, file in tried.items()}
    best = min(errors.values())
    # The quickest of those that are about as good.
    chosen = next(form for form, error in errors.items() if error <= max(_MUCH_FURTHER * best, _NO_ERROR))
    return tried[chosen], (
        f"int8 with {chosen.text}: with {FULL.text} this processor's kernels overflow (RMS error {used:.1%} of the "
        f"outputs' deviation where exact arithmetic gives {exact:.1%}); "
        + ", ".join(f"{form.text} {error:.1%}" for form, error in errors.items())
    )


def _run(path: Path, feeds: Sequence[Feeds], *, optimised: bool) -> list[list[Array]]:
    """The outputs for each feed, computed with the runtime's own kernels or operator by operator as the file says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    return [session.run(None, feed) for feed in feeds]


def _error(expected: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]]) -> float:
    """The root mean square of the difference, by the deviation of what is expected; the largest of all outputs."""
    worst = 0.0
    for wanted, found in zip(zip(*expected, strict=True), zip(*got, strict=True), strict=True):
        if wanted[0].dtype.kind != "f":
            continue
        one, other = (np.concatenate([np.ravel(each) for each in arrays]) for arrays in (wanted, found))
        known = np.isfinite(one)
        if not np.isfinite(other[known]).all():
            return math.inf
        one, other = one[known].astype(np.float64), other[known].astype(np.float64)
        if one.size:
            deviation = float(one.std()) or 1.0
            worst = max(worst, float(np.sqrt(np.mean(np.square(one - other)))) / deviation)
    return worst


def _static(source: Path, target: Path, samples: Any, form: Form, excluded: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        source,
        target,
        samples,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        nodes_to_exclude=list(excluded),
        reduce_range=form.reduced,
        # Unsigned activations are one and a half to three times as quick as signed ones on x86.
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8 if form.signed else QuantType.QUInt8,
    )


def _reader(calibration: Sequence[Feeds], batch_size: int | None) -> Any:
    """The calibration samples one batch at a time, in the class that ONNX Runtime asks for."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter_batches(calibration, batch_size or 1)

        def get_next(self) -> Feeds | None:
            return next(self._batches, None)

    return Reader()


def iter_batches(batches: Sequence[Feeds], size: int) -> Iterator[Feeds]:
    """Cut batches of any size into batches of one size, the last sample repeated where one is short.

    Args:
        batches: Named arrays.
        size: Samples per batch.
    """
    for feeds in batches:
        samples = next(iter(feeds.values())).shape[0]
        for start in range(0, samples, size):
            indices = np.minimum(np.arange(start, start + size), samples - 1)
            yield {name: _take(array, indices) for name, array in feeds.items()}


def _first(batches: Iterator[Feeds], samples: int) -> Iterator[Feeds]:
    for feeds in batches:
        yield feeds
        samples -= next(iter(feeds.values())).shape[0]
        if samples <= 0:
            return


def _take(array: Array, indices: Array) -> Array:
    return np.ascontiguousarray(array[indices])
