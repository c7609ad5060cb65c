"""Measure knowledge quotients: each region of a network taken out in turn, and the rest evaluated."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.blocks.calibration import SAMPLES, measure
from kerasurgeon.blocks.candidates import (
    Candidate,
    Stopwatch,
    candidates,
    check_methods,
    chosen_regions,
    places_in_runs,
)
from kerasurgeon.blocks.drop import drop_step
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.blocks.what_if import scores_of
from kerasurgeon.costs import Cost, cost
from kerasurgeon.errors import OptionError, PlanError
from kerasurgeon.hidden import alone
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.context import Progress, no_progress
from kerasurgeon.rewrite.evaluation_of import evaluation_by, keeping
from kerasurgeon.rewrite.labelled import check_labelled, data_digest
from kerasurgeon.rewrite.learned import Guessed
from kerasurgeon.rewrite.option_checks import check_count, check_function
from kerasurgeon.rewrite.scores import metric_name, score_maker
from kerasurgeon.rules import Sizes

_TOGETHER = 8
"""Candidates that share a run of the network as it is; the log is written after each such round."""


def knowledge_quotients(
    model: Any,
    *,
    data: Any = None,
    evaluate: Callable[[Any], float] | None = None,
    metric: Any = "accuracy",
    which: Any = None,
    min_nodes: int = 2,
    method: Any = "auto",
    calibration: Any = None,
    samples: int = SAMPLES,
    latency_of: Callable[[Any], float] | str | None = None,
    log: str | Path | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Quotients:
    """How much each region of a network matters: 1 - x / y, for the evaluation x without it and y with it.

    With labelled data the network runs once over each batch, and then, for every region, only what lies behind it. With
    ``evaluate=`` every changed network is made and given to that function.

    Args:
        model: A Keras model, or a graph; it is only read.
        data: ``(inputs, labels)``, or batches of these that can be gone through again. With ``evaluate=`` inputs alone
            will do: bridges are fitted to them.
        evaluate: Model to number, higher is better, above 0 for the whole model. What is better lower, such as a loss,
            becomes ``1 / loss``.
        metric: Instead: ``"accuracy"``, a Keras metric (each evaluation has a copy), or a function of all labels and
            all predictions; for models with one output. Higher is better here, too.
        which: Patterns of region names, at any depth, or what ``find_regions`` takes; by default every region.
        min_nodes: The fewest nodes of a region.
        method: What stands in a region's place. ``"auto"``: nothing where exit and entry are alike, else a projection,
            fitted to the data. Or one or several of ``"drop"``, ``"scale"``, ``"affine"``, ``"projection"``; the best
            one counts.
        calibration: Inputs to fit bridges to; by default those of ``data``.
        samples: How many of them are used, at most.
        latency_of: Model to latency. Regions and bridges are measured by themselves.
        log: JSON file that is written as the work goes on, and gone on from when the same call is made again.
        sizes: Sizes of the inputs that multiply-accumulates are counted for, as for ``kerasurgeon.cost``.
        seed: Draws the positions that bridges are fitted to, where there are very many.
        progress: Called with the fraction done and a message.

    Returns:
        The quotients, in the order of the network.

    Raises:
        OptionError: An option, the data or the labels cannot be used, or another process is writing the log.
        GraphError: ``which`` names no region.
        RoundError: The evaluation or ``latency_of`` raises or gives no finite number; the message names the region, and
            ``found`` is a table of the regions that were measured before it.
        PlanError: The log cannot be read, or is of another model, data or options.
        FileError: It cannot be written.

    Reference:
        Haas et al., "Neural Network Compression Through Shunt Connections and Knowledge Distillation for Semantic
        Segmentation Problems", AIAI 2021.

    Example:
        >>> found = knowledge_quotients(model, data=(images, labels))
        >>> print(found)
        >>> smaller = apply_passes(model, [DropBlock(found.choose(macs=0.7))], data=images)
    """
    check_count("knowledge_quotients", "min_nodes", min_nodes)
    check_count("knowledge_quotients", "samples", samples)
    check_methods(method)
    evaluate = check_function("knowledge_quotients", "evaluate", evaluate)
    latency_of = check_function("knowledge_quotients", "latency_of", latency_of)
    score = score_maker(metric)
    if evaluate is None:
        check_labelled(data)
    graph = model if isinstance(model, Graph) else lift(model)
    inputs = data if calibration is None else calibration
    found = chosen_regions(graph, which, min_nodes)
    several, left = candidates(graph, found, method, data=inputs is not None)
    judge = metric_name(metric) if evaluate is None else getattr(evaluate, "__qualname__", "evaluate")
    total = cost(graph, sizes=sizes)
    work = _Work(graph, several, evaluate, data, score, total, progress)
    digests = (data_digest(data), data_digest(calibration))
    parts = (judge, repr(method), samples, seed, latency_of is not None, *digests, sorted(total.sizes.items()))
    found_by = _fingerprint(graph, parts)
    with nullcontext() if log is None else alone(log):
        known = _opened(log, graph, found_by)
        if known is None:
            base, warning = work.base()
            latency = None if latency_of is None else Stopwatch(graph, latency_of).model()
            known = Quotients(
                *(graph.name, base, total.macs, total.parameters, latency, (), left, found_by),
                left_out=total.left_out,
                sizes=total.sizes,
                warning=warning,
            )
            _save(known, log)
        result = work.run(replace(known, left=left), inputs, samples, seed, latency_of, log)
    progress(1.0, "knowledge quotients: done")
    return result


class _Work:
    def __init__(
        self,
        graph: Graph,
        several: Sequence[Candidate],
        evaluate: Callable[[Any], float] | None,
        data: Any,
        score: Any,
        total: Cost,
        progress: Progress,
    ) -> None:
        self.graph, self.several, self.evaluate = graph, several, evaluate
        self.data, self.score, self.total, self.progress = data, score, total, progress
        self.refused: dict[str, str] = {}  # by region why a bridge cannot be fitted with this data

    def base(self) -> tuple[float, str]:
        """The evaluation of the whole network, and a warning where it has not learned what it is judged by."""
        warning = ""
        self.progress(0.0, "knowledge quotients: the whole network")
        if self.evaluate is None:
            score = Guessed(self.score)
            (value,) = scores_of(self.graph, [None], self.data, lambda: score, lambda _: None)
            warning = score.warning()
        else:
            value = evaluation_by(self.evaluate, emit(self.graph), "the whole model")
        if value <= 0:
            raise OptionError(
                "The quotients are relative to the evaluation of the whole model, which must be above 0.",
                got=f"{value:.6g}",
                hint="higher must be better: pass evaluate=function that gives an accuracy, or 1 / loss",
            )
        return value, warning

    def run(
        self,
        known: Quotients,
        inputs: Any,
        samples: int,
        seed: int,
        latency_of: Callable[[Any], float] | None,
        log: str | Path | None,
    ) -> Quotients:
        """All candidates that are not in the log yet."""
        wanted = {(item.region.name, item.method) for item in self.several}
        measured = {(row.region, row.method): row for row in known.rows}
        waiting = [item for item in self.several if (item.region.name, item.method) not in measured]
        places = places_in_runs(self.graph, [item.region for item in _one_each(self.several)])
        watch = None if latency_of is None else Stopwatch(self.graph, latency_of)
        ready = self._fitted(waiting, inputs, samples, seed) if waiting else []

        def kept() -> tuple[Quotients, str]:
            done = replace(known, rows=tuple(measured.values()))
            _save(done, log)
            where = "log=FILE keeps them" if log is None else f"{log} keeps them too"
            return done, f"{len(done)} were measured, and are .found of this error; {where}, and the same call goes on"

        with keeping(kept):
            for start in range(0, len(ready), _TOGETHER):
                group = ready[start : start + _TOGETHER]
                share = (0.2 + 0.8 * start / len(ready), 0.8 * len(group) / len(ready))
                for item, value in zip(group, self._values(group, share), strict=True):
                    row = _row(item, value, known.value, places[item.region.name], watch)
                    measured[row.region, row.method] = row
                    if self.evaluate is not None:
                        _save(replace(known, rows=tuple(measured.values())), log)
                _save(replace(known, rows=tuple(measured.values())), log)
        there = [item for item in self.several if (item.region.name, item.method) in measured]
        ordered = [measured[item.region.name, item.method] for item in there]
        rows = {item.region.name for item in there}
        left = {**known.left, **{name: reason for name, reason in self.refused.items() if name not in rows}}
        known = replace(known, left=left)
        others = [row for key, row in measured.items() if key not in wanted]
        if log is not None:  # of a call with other regions: kept in the file
            _save(replace(known, rows=(*ordered, *others)), log)
        return replace(known, rows=tuple(ordered))

    def _fitted(self, waiting: Sequence[Candidate], inputs: Any, samples: int, seed: int) -> list[Candidate]:
        """The candidates with their bridges, all fitted in one run of the data."""
        shaped = {
            f"{item.region.name} {item.method}": (item.region, item.resize)
            for item in waiting
            if item.resize is not None
        }

        def progress(done: float) -> None:
            self.progress(0.05 + 0.15 * done, "knowledge quotients: fitting bridges")

        refused: dict[str, str] = {}
        moments = measure(
            self.graph,
            shaped,
            inputs,
            full=lambda name: name.endswith(" projection"),
            samples=samples,
            seed=seed,
            progress=progress,
            refused=refused,
        )
        self.refused |= {shaped[name][0].name: reason for name, reason in refused.items()}
        return [
            item.costed(self.graph, self.total)
            if item.resize is None
            else item.fitted(moments[f"{item.region.name} {item.method}"], self.graph, self.total)
            for item in waiting
            if f"{item.region.name} {item.method}" not in refused
        ]

    def _values(self, group: Sequence[Candidate], share: tuple[float, float]) -> Any:
        start, width = share
        first, last = group[0].region.name, group[-1].region.name

        def tell(done: float, message: str) -> None:
            self.progress(min(start + width * done, 1.0), f"knowledge quotients: {message}")

        if self.evaluate is None:
            message = first if first == last else f"{first} to {last}"
            yield from scores_of(self.graph, group, self.data, self.score, lambda done: tell(done, message))
            return
        for place, item in enumerate(group):
            tell(place / len(group), item.region.name)
            changed = self.graph.copy()
            carry_out(changed, [drop_step(changed, item.region, item.bridge, "bridge")])
            yield evaluation_by(self.evaluate, emit(changed), f"the model without region {item.region.name!r}")


def _row(item: Candidate, value: float, base: float, place: tuple[int, int], watch: Stopwatch | None) -> Quotient:
    region = item.region
    return Quotient(
        region.name,
        str(region.kind),
        item.method,
        str(region.entry),
        str(region.exit),
        region.nodes,
        region.parent,
        region.depth,
        value,
        1 - value / base,
        item.macs_saved,
        item.parameters_saved,
        None if watch is None else watch.saved(item),
        item.fit_error,
        place,
    )


def _one_each(several: Sequence[Candidate]) -> list[Candidate]:
    return list({item.region.name: item for item in several}.values())


def _opened(log: str | Path | None, graph: Graph, fingerprint: str) -> Quotients | None:
    """What an earlier call left in the log, if anything."""
    if log is None or not os.path.lexists(log):
        return None
    known = Quotients.load(log)
    if known.fingerprint != fingerprint:
        raise PlanError(
            "The log is of other quotients: the model, its weights, the data or the options are not the same.",
            where=str(log),
            got=f"those of {known.model!r}",
            hint="name another file, or delete this one to start anew",
        )
    return known


def _save(found: Quotients, log: str | Path | None) -> None:
    if log is not None:
        found.save(log)


def _fingerprint(graph: Graph, parts: tuple[Any, ...]) -> str:
    digest = hashlib.sha256(repr(parts).encode())
    for node in graph.nodes():
        digest.update(f"{node.name} {node.layer} {node.inputs}".encode())
    for key, layer in graph.layers.items():
        digest.update(f"{key} {layer.kind} {sorted(layer.config)}".encode())
        for name, weight in layer.weights.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weight.array).tobytes())
    return digest.hexdigest()[:16]


__all__ = ["knowledge_quotients"]
