"""What is known of the range of an input: from what is said, or from the statistics that its first layers hold.

As long as what stands between an input and a batch norm is affine, the mean of what comes out is linear in the means of
the input's channels, and the variance linear in the input's covariance. Both are found by running a few fields through
that part of the network, and by (non-negative) least squares towards the statistics. Mean and deviation then tell which
of the usual ranges the input can have: numbers in [0, 1] with mean m have a variance of m (1 - m) at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize

from kerasurgeon.errors import OptionError
from kerasurgeon.generating.anchors import Anchor
from kerasurgeon.generating.fields import smooth_noise
from kerasurgeon.rewrite.option_checks import is_number, wrong_option

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]

USUAL = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
_SAMPLES = 16
_SPREAD = 2.5
_WIDTHS = (0.0, 0.7, 1.5, 3.0, 6.0)


@dataclass(frozen=True, eq=False)
class Limits:
    """What is taken for true of an input.

    Attributes:
        low: The least value, ``-inf`` where nothing is known.
        high: The largest.
        mean: The mean of each channel.
        deviation: The standard deviation.
        source: Where it is known from, for reports.
    """

    low: float
    high: float
    mean: Array
    deviation: float
    source: str

    @property
    def width(self) -> float:
        """What steps are measured in."""
        return self.high - self.low if np.isfinite(self.high - self.low) else 4 * self.deviation


def checked_range(
    given: Any, names: Sequence[str], *, owner: str = "", option: str = "range"
) -> dict[str, tuple[float, float]]:
    """The ranges that an option gives, by input.

    Args:
        given: What was given.
        names: The inputs' names.
        owner: What has the option and starts messages; empty for none.
        option: Name of the option.

    Raises:
        OptionError: It is no range, upside down, or names no input.
    """
    if given is None:
        return {}
    said = f"{owner}: {option}=" if owner else f"{option}="
    by_name = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, pair in by_name.items():
        if name not in names:
            raise OptionError(f"{said} names the input {name!r}, which is not there.", expected=", ".join(names))
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(is_number(one) for one in pair):
            raise OptionError(f"{said} cannot be used.", expected="(least, largest), or such by input", got=repr(pair))
        if not (np.isfinite(pair).all() and pair[0] < pair[1]):
            raise OptionError(
                f"{said} is upside down, empty or not finite.", expected="least < largest", got=repr(pair)
            )
    return {name: (float(pair[0]), float(pair[1])) for name, pair in by_name.items()}


def checked_generating(name: str, input_range: Any, seconds: float) -> Any:
    """The option ``input_range`` of a pass, of which only the model can tell more; ``generate_seconds`` beside it.

    Raises:
        OptionError: One of them has a value that it may not have.
    """
    if isinstance(input_range, list):
        input_range = tuple(input_range)
    names = tuple(input_range) if isinstance(input_range, Mapping) else ("",)
    checked_range(input_range, names, owner=name, option="input_range")
    if not is_number(seconds) or seconds < 0:
        raise wrong_option(name, "generate_seconds", seconds, "a number from 0")
    return input_range


def limits_of(
    shape: tuple[int, ...],
    given: tuple[float, float] | None,
    run: Run | None,
    anchor: Anchor | None,
    generator: np.random.Generator,
) -> Limits:
    """What is known of an input.

    Args:
        shape: Its shape, batch included.
        given: The range that the user gave.
        run: From a batch of inputs to the tensor of the anchor; ``None`` where there is none.
        anchor: The first tensor behind the input of which the statistics are known.
        generator: Draws the fields.
    """
    found = None if run is None or anchor is None else _fitted(shape, run, anchor, generator)
    channels = shape[-1] if len(shape) > 1 else 1
    if given is not None:
        low, high = given
        mean, deviation = found or (np.full(channels, (low + high) / 2), (high - low) / 4)
        return Limits(low, high, mean, min(deviation, (high - low) / 2), "as given")
    if found is None:
        return Limits(-np.inf, np.inf, np.zeros(channels), 1.0, "unknown")
    mean, deviation = found
    for low, high in USUAL:
        if _can_be(mean, deviation, low, high):
            return Limits(low, high, mean, deviation, "as the first statistics of the network suggest")
    low, high = float(mean.min()) - _SPREAD * deviation, float(mean.max()) + _SPREAD * deviation
    return Limits(low, high, mean, deviation, "as the first statistics of the network suggest")


def _can_be(mean: Array, deviation: float, low: float, high: float) -> bool:
    """Whether numbers in a range can have a mean and a deviation, and use the range."""
    middle = float(mean.mean())
    if not low < middle < high:
        return False
    most = np.sqrt((middle - low) * (high - middle))
    return bool(0.05 * (high - low) < deviation < 1.1 * most)


def _fitted(
    shape: tuple[int, ...], run: Run, anchor: Anchor, generator: np.random.Generator
) -> tuple[Array, float] | None:
    """Mean of each channel and the common deviation, where what lies between is affine."""
    shape = (_SAMPLES, *shape[1:])
    channels = shape[-1]
    usable = np.broadcast_to(anchor.scale > 0, np.broadcast_shapes(anchor.scale.shape, anchor.mean.shape)).ravel()
    if not usable.any():
        return None
    scale = np.broadcast_to(anchor.scale, anchor.mean.shape).ravel()[usable]

    def means(result: Array) -> Array:
        return np.asarray(result.mean(axis=anchor.axes).ravel()[usable])

    nothing = run(np.zeros((1, *shape[1:])))
    basis = np.stack([means(run(_constant(shape, place)) - nothing) for place in range(channels)], axis=1)
    noise = smooth_noise(shape, generator, 1.0, alike=False)
    one, two, both = run(noise), run(noise[::-1] * 2), run(noise + noise[::-1] * 2)
    if not np.allclose(one + two - nothing, both, rtol=1e-2, atol=1e-2 * float(np.abs(both - nothing).max() + 1e-12)):
        return None  # not affine
    wanted = anchor.mean.ravel()[usable] - means(nothing)
    mean = np.linalg.lstsq(basis / scale[:, None], wanted / scale, rcond=1e-3)[0]
    columns = []
    for width in _WIDTHS if len(shape) > 2 else _WIDTHS[:1]:
        for alike in (False, True) if channels > 1 else (False,):
            result = run(smooth_noise(shape, generator, width, alike=alike)) - nothing
            columns.append(np.square(result).mean(axis=anchor.axes).ravel()[usable])
    if len(shape) > 2:  # what does not change over a sample
        columns.append(np.square(basis.sum(axis=1)))
    variance = np.square(np.broadcast_to(anchor.deviation, anchor.mean.shape).ravel()[usable])
    weights = 1.0 / np.maximum(variance, 1e-3 * np.square(scale))
    coefficients = scipy.optimize.nnls(np.stack(columns, axis=1) * weights[:, None], variance * weights)[0]
    deviation = float(np.sqrt(coefficients.sum()))
    return (mean, deviation) if np.isfinite(deviation) and deviation > 0 and np.isfinite(mean).all() else None


def _constant(shape: tuple[int, ...], place: int) -> Array:
    array = np.zeros((1, *shape[1:]))
    array[..., place] = 1.0
    return array
