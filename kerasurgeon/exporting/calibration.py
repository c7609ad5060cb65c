"""Bring calibration data, in any of its forms, into batches of named arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.exporting.tensors import Feeds, TensorInfo, bind

# Ranges hardly move after a few hundred samples, and every one is run through the float model.
MOST_SAMPLES = 512


def calibration_batches(calibration: Any, inputs: Sequence[TensorInfo]) -> list[Feeds]:
    """Bind calibration data to a model's inputs.

    Args:
        calibration: One array, a tuple or mapping of arrays, or an iterable of batches of these. Batches may
            be ``(inputs, targets)`` pairs, as ``fit`` takes them; the targets are left out. At most 512
            samples are used.
        inputs: The model's inputs.

    Raises:
        OptionError: There is none, it is empty, or an array does not fit its input or holds NaN.
    """
    if calibration is None:
        raise OptionError(
            "quantize='int8' needs calibration data to find the range of every activation.",
            expected=", ".join(f"{info.name} {info.text}" for info in inputs),
            hint="pass calibration=some_inputs: 100 to 500 samples of real data, prepared as for predict",
        )
    batches: list[Feeds] = []
    count = 0
    for batch in _batches(calibration, inputs):
        feeds = bind(batch, inputs, what="calibration")
        _check_values(feeds)
        feeds = {name: array[: MOST_SAMPLES - count] for name, array in feeds.items()}
        batches.append(feeds)
        count += next(iter(feeds.values())).shape[0]
        if count >= MOST_SAMPLES:
            break
    if not batches:
        raise OptionError("The calibration data is empty.", expected="at least one sample", got="0 batches")
    return batches


def _batches(calibration: Any, inputs: Sequence[TensorInfo]) -> Iterable[Any]:
    whole = isinstance(calibration, (np.ndarray, Mapping)) or hasattr(calibration, "__array__")
    if whole:
        return [calibration]
    if isinstance(calibration, (tuple, list)) and len(calibration) == len(inputs) and _are_arrays(calibration):
        return [tuple(calibration)]
    if not isinstance(calibration, Iterable):
        raise OptionError(
            "calibration is no data.",
            expected="an array, a tuple or mapping of arrays, or an iterable of batches",
            got=type(calibration).__name__,
        )
    return (_without_targets(batch, len(inputs)) for batch in calibration)


def _are_arrays(items: Sequence[Any]) -> bool:
    return all(hasattr(item, "shape") for item in items)


def _without_targets(batch: Any, inputs: int) -> Any:
    """The inputs of a batch as ``fit`` takes it, with targets and perhaps sample weights."""
    if isinstance(batch, (tuple, list)) and len(batch) in (2, 3):
        nested = isinstance(batch[0], (tuple, list, Mapping))
        if nested or len(batch) != inputs:
            return batch[0]
    return batch


def _check_values(feeds: Feeds) -> None:
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise OptionError("The calibration data holds NaN or infinite values.", where=f"input {name!r}")
