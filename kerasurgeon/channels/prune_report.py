"""What passes on channels do with a choice, and say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.api import CutReport, cut_channels
from kerasurgeon.channels.candidates import Candidate
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.scatter import close_shortcuts
from kerasurgeon.channels.selection import Chosen
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.context import Context, RankedGroup

Array = np.ndarray[Any, Any]

_SCORES = 32  # of a group in the report

FORM = "gather"
"""How passes put channels back: without weights and MACs, so that what a budget says is what the result has."""


def close_and_log(graph: Graph, loose: Sequence[str], context: Context) -> None:
    """Replace what loosened shortcuts by plain layers, in place, and log where channels are put back."""
    if loose:
        for node in dict.fromkeys(close_shortcuts(graph, FORM)):
            context.changed(node, "the sum keeps its width: channels of its branch are put back among constants")


def closed(graph: Graph) -> Graph:
    """A graph of plain layers, in place: what loosened shortcuts is replaced."""
    close_shortcuts(graph, FORM)
    return graph


def cut_and_log(
    graph: Graph,
    channels: Channels,
    gone: Array,
    context: Context,
    *,
    constants: bool = True,
    plain: Callable[[Graph], Graph] = lambda graph: graph,
) -> None:
    """Cut units out of a graph, in place, and log what became of each layer.

    The pipeline is told that the result must agree with the masked twin, where it does.

    Args:
        graph: The graph.
        channels: Its analysis.
        gone: For every unit whether it goes.
        context: Where to log.
        constants: As for ``cut_channels``; without them nothing is told to the pipeline.
        plain: What is done to the masked twin before it is compared.
    """
    reference = graph.copy()

    def twin() -> Graph:
        mask_units(reference, channels, gone)
        return plain(reference)

    report = cut_channels(graph, gone, channels, constants=constants)
    if constants and report.exact:
        context.expect(twin)
    for name, (before, after) in report.widths.items():
        context.changed(channels.sources[name].node, f"{before} -> {after} channels")
    for node, what in report.removed.items():
        context.changed(node, what)
    for name, why in report.kept.items():
        context.left(channels.sources[name].node if name in channels.sources else name, f"one channel stays: {why}")
    if constants:
        log_inexact(context, report, graph)


def log_choice(context: Context, candidates: Sequence[Candidate], chosen: Chosen, prefix: str = "") -> None:
    """Log for every group how many channels stay, or why all of them do."""
    for candidate, count in zip(candidates, chosen.counts.tolist(), strict=True):
        group = candidate.group
        node = group.sources[0].node
        each = group.granularity
        context.groups.append(_ranked(candidate, count, prefix))
        if candidate.why:
            context.left(node, candidate.why)
        elif not count:
            context.left(node, f"{prefix}all {group.size * each} channels are kept: others matter less")
        else:
            text = f"{prefix}{group.size * each} -> {(group.size - count) * each} channels"
            if each > 1:
                text += f", {each} at a time"
            others = [source.layer for source in group.sources[1:]]
            if others:
                text += f"; with {', '.join(others[:3])}" + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            if count == candidate.levels[-1] and candidate.limit:
                text += f"; no more because of {candidate.limit}"
            context.changed(node, text)


def _ranked(candidate: Candidate, gone: int, prefix: str) -> RankedGroup:
    """What the report shows of a group."""
    group, scores = candidate.group, np.sort(candidate.scores)
    shown = scores[np.unique(np.linspace(0, len(scores) - 1, _SCORES).round().astype(int))] if len(scores) else scores
    return RankedGroup(
        prefix + group.name,
        tuple(source.node for source in group.sources),
        group.size * group.granularity,
        (group.size - gone) * group.granularity,
        tuple(float(f"{score:.4g}") for score in shown.tolist()),
        gone / len(scores) if len(scores) else 0.0,
        candidate.why,
    )


def log_inexact(context: Context, report: CutReport, graph: Graph) -> None:
    """Log where the result is not that of the masked model."""
    for node, reason in report.inexact.items():
        context.changed(node if node in graph else graph.name, f"not exact, over fewer channels than before: {reason}")


def log_compensation(context: Context, graph: Graph, notes: Sequence[str], loose: Sequence[str] = ()) -> None:
    """Log how many layers take up what removed channels gave, and for each that does not, why."""
    failed = [note for note in notes if " is not compensated: " in note]
    if len(notes) > len(failed):
        context.changed(
            graph.name, f"compensation: {len(notes) - len(failed)} layers take up what removed channels gave"
        )
    for note in failed:
        name, _, reason = note.partition(" is not compensated: ")
        node = name.strip("'")
        if node in loose:
            continue
        context.left(
            node if node in graph else graph.name, f"{note if node not in graph else 'not compensated: ' + reason}"
        )
