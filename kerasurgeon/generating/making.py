"""Make inputs for a network within a time: how many, in how many steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError
from kerasurgeon.generating.anchors import Anchor, find_anchors, no_statistics
from kerasurgeon.generating.fields import smooth_noise
from kerasurgeon.generating.limits import Limits, checked_range, limits_of
from kerasurgeon.generating.matching import Matcher, need_tensorflow
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves, values_in
from kerasurgeon.keras_io.samples import sample_inputs

Array = np.ndarray[Any, Any]
Progress = Callable[[float, str], None]

COUNT = 256
SECONDS = 120.0
"""What inputs may cost where nobody says so."""

_MEMORY = 2**30
# How many of the inputs, in how many steps: the best first.
_LADDER = ((1.0, 100), (1.0, 75), (1.0, 50), (0.75, 50), (0.5, 50), (0.25, 50), (0.25, 30))
_FEWEST = 32
_ALIKE = 0.8
# Before anything is decided, the time of a few steps is taken, on as many inputs as make so many multiply-accumulates.
_FIRST_MACS, _TRIALS, _TRIAL = 4e9, 4, 0.1
# Multiply-accumulates per second of a machine that is quicker than any: what it cannot do in the time is not begun.
_FAST = 1e12


class TooLittleTime(Exception):  # noqa: N818 - an outcome
    """The time does not do; the message says what would."""


@dataclass(frozen=True, eq=False)
class Made:
    """Inputs that were made.

    Attributes:
        arrays: One array per model input, in flattened order.
        said: How they were made, as sentences for reports.
        known: Whether the range of every input is known.
    """

    arrays: list[Array]
    said: tuple[str, ...]
    known: bool = True


def made_inputs(
    graph: Graph,
    count: int = COUNT,
    *,
    range: Any = None,
    seconds: float = SECONDS,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = lambda fraction, message: None,
) -> Made:
    """See ``generate_inputs``.

    Raises:
        OptionError: There is nothing to match, the backend has no gradients here, or the range cannot be used.
        TooLittleTime: The time does not do.
    """
    began = time.perf_counter()
    anchors = find_anchors(graph)
    values = values_in(graph.inputs)
    ranges = checked_range(range, [value.node for value in values])
    if not anchors:
        raise no_statistics()
    need_tensorflow()
    if steps is None:
        _refuse_hopeless(graph, seconds, count)
    generator = np.random.default_rng(seed)
    start = [np.asarray(leaf) for leaf in leaves(sample_inputs(graph, seed=seed, batch_size=count))]
    if len({len(array) for array in start} - {count}):
        raise OptionError("No inputs can be generated: the model's batches have a size of their own.")
    anchors = [anchor for anchor in anchors if graph.spec(anchor.value).dtype.startswith(("float", "bfloat"))]
    limits = [
        _limits(graph, place, start, anchors, ranges.get(value.node), generator) if _is_real(start[place]) else None
        for place, value in enumerate(values)
    ]
    for place, known in enumerate(limits):
        if known is not None:
            start[place] = _drawn(start[place].shape, known, generator).astype(start[place].dtype)
    said = [
        f"input {value.node!r}: ids are drawn at random" if known is None else _said(value.node, known)
        for value, known in zip(values, limits, strict=True)
    ]
    if not any(limits):
        return Made(start, tuple(said))
    making = _Making(Matcher(graph, anchors, limits), start, began, seconds, progress)
    arrays, how = making.run(steps)
    return Made(arrays, (how, *said), all(known is None or np.isfinite(known.low) for known in limits))


class _Making:
    """The steps, chunk by chunk, as far as the time goes."""

    def __init__(self, matcher: Matcher, start: list[Array], began: float, seconds: float, progress: Progress) -> None:
        self.matcher, self.start, self.began, self.seconds, self.progress = matcher, start, began, seconds, progress
        self.count = len(start[0])
        graph = matcher.graph
        each = 3 * sum(spec.bytes(1) for node in graph.nodes() for spec in node.outputs)
        self.chunk = min(self.count, max(1, _MEMORY // max(each, 1)))
        self.macs = max(cost(graph).macs, 1)
        self.interrupted = ""

    def run(self, steps: int | None) -> tuple[list[Array], str]:
        """The inputs, and how they were made."""
        count = self.count
        if steps is None:
            count, steps = self._affordable()
        chunks = max(1, ceil(count / self.chunk))
        size = ceil(count / chunks)
        made, losses = [], []
        for number, begin in enumerate(range(0, count, size)):
            if self.interrupted:
                break

            def told(step: int, took: float, number: int = number) -> bool:
                share = (number + step / steps) / chunks
                self.progress(share, f"generating inputs: step {step} of {steps}, {number + 1} of {chunks} parts")
                return not self._late()

            part = [array[begin : begin + size] for array in self.start]
            result = self._chunk(part, steps, told)
            made.append(result[0])
            losses.append(result[1:])
        arrays = [np.concatenate(several) for several in zip(*made, strict=True)]
        first, last = (float(np.mean([pair[place] for pair in losses])) for place in (0, 1))
        text = (
            f"{len(arrays[0])} inputs were generated in {time.perf_counter() - self.began:.0f} s, matched to the "
            f"statistics of {len(self.matcher.anchors)} layers in {steps} steps (difference {first:.3g} to {last:.3g})"
        )
        return arrays, text + self.interrupted

    def _chunk(
        self, part: list[Array], steps: int, told: Callable[[int, float], bool]
    ) -> tuple[list[Array], float, float]:
        latest: list[Any] = []

        def kept(step: int, took: float) -> bool:
            try:
                return told(step, took)
            except KeyboardInterrupt:
                self.interrupted = "; interrupted: with what was there"
                return False

        try:
            return self.matcher.matched(part, steps, kept)
        except KeyboardInterrupt:
            self.interrupted = "; interrupted: with what was there"
            latest.extend(part)
            return latest, float("nan"), float("nan")

    def _late(self) -> bool:
        late = time.perf_counter() - self.began > 2 * self.seconds
        if late and not self.interrupted:
            self.interrupted = "; ended early: the time was over"
        return late

    def _affordable(self) -> tuple[int, int]:
        """How many inputs in how many steps, from the time of one step.

        Raises:
            TooLittleTime: Even the fewest take longer.
        """
        few = max(1, min(self.chunk, int(_FIRST_MACS / (3 * self.macs))))
        times: list[float] = []

        def told(step: int, took: float) -> bool:
            times.append(took)
            spent = time.perf_counter() - self.began
            # The first one says little: it is traced, which may take longer than all others together.
            return spent < _TRIAL * self.seconds or (len(times) < 2 and spent < self.seconds)

        self.matcher.matched([array[:few] for array in self.start], _TRIALS, told)
        each = min(times) / few
        left = self.seconds - (time.perf_counter() - self.began)
        for share, steps in _LADDER:
            count = max(min(self.count, _FEWEST), round(share * self.count))
            if count * steps * each <= left:
                return count, steps
        share, steps = _LADDER[-1]
        count = max(min(self.count, _FEWEST), round(share * self.count))
        needed = count * steps * each + (time.perf_counter() - self.began)
        raise TooLittleTime(
            f"it would take about {_rounded(needed)} s on this machine, and {self.seconds:g} s were given"
        )


def _refuse_hopeless(graph: Graph, seconds: float, count: int) -> None:
    share, steps = _LADDER[-1]
    least = 3.0 * cost(graph).macs * steps * max(min(count, _FEWEST), round(share * count)) / _FAST
    if least > seconds or seconds <= 0:
        raise TooLittleTime(f"it would take more than {_rounded(max(least, 1.0))} s, and {seconds:g} s were given")


def _rounded(seconds: float) -> str:
    return f"{float(f'{seconds:.1g}'):,.0f}"


def _is_real(array: Array) -> bool:
    return bool(array.dtype.kind == "f")


def _said(name: str, limits: Limits) -> str:
    if not np.isfinite(limits.low):
        return f"input {name!r}: its range is not known and was not kept to; range= would help much"
    return f"input {name!r}: in [{limits.low:.4g}, {limits.high:.4g}], {limits.source}"


def _drawn(shape: Sequence[int], limits: Limits, generator: np.random.Generator) -> Array:
    noise = smooth_noise(shape, generator, None, alike=False)
    if shape[-1] > 1:  # the channels of an image are much alike
        noise = np.sqrt(_ALIKE) * smooth_noise(shape, generator, None, alike=True) + np.sqrt(1 - _ALIKE) * noise
    return np.clip(limits.mean + limits.deviation * noise, limits.low, limits.high)


def _limits(
    graph: Graph,
    place: int,
    start: list[Array],
    anchors: list[Anchor],
    given: tuple[float, float] | None,
    generator: np.random.Generator,
) -> Limits:
    """What is known of one input, by the first anchor that it leads to."""
    value = values_in(graph.inputs)[place]
    first = next((anchor for anchor in anchors if _reads_only(graph, anchor, value.node)), None)
    run = None
    if first is not None:
        matcher = Matcher(graph, [first], [None] * len(start))

        def run(batch: Array) -> Array:
            others = [np.resize(array, (len(batch), *array.shape[1:])) for array in start]
            others[place] = batch.astype(start[place].dtype)
            return matcher.run(others)[0].astype(np.float64)

    return limits_of(start[place].shape, given, run, first, generator)


def _reads_only(graph: Graph, anchor: Anchor, name: str) -> bool:
    """Whether of all inputs, a tensor is computed from one alone."""
    seen: set[str] = set()
    waiting = [anchor.value.node]
    while waiting:
        node = graph[waiting.pop()]
        if node.name not in seen:
            seen.add(node.name)
            waiting += [value.node for value in node.inputs]
    inputs = {value.node for value in values_in(graph.inputs)}
    return seen & inputs == {name}


__all__ = ["COUNT", "SECONDS", "Made", "TooLittleTime", "made_inputs"]
