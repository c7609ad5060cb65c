"""Remove channels without effect: fold what they gave into biases, then cut them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.api import cut_channels
from kerasurgeon.channels.avoided import kept_for_numbers
from kerasurgeon.channels.biases import add_to_bias
from kerasurgeon.channels.deadness import DeadChannels, find_dead
from kerasurgeon.channels.masked import mask_weights
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.channels.vanish import keep_one_of_each
from kerasurgeon.errors import PlanError
from kerasurgeon.ir.graph import Graph

_MIXED = "some of what is added or tied to it is not constant"


@dataclass
class DeadReport:
    """What was removed.

    Attributes:
        widths: Channels before and after, by the layers that make them.
        removed: Branches that were removed, by the node where they met the rest.
        left: Layers with channels that look dead and stay: how many, and why.
        nodes: The node that stands for each layer named in ``widths`` and ``left``.
    """

    widths: dict[str, tuple[int, int]] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    left: dict[str, tuple[int, str]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)


def remove_dead(graph: Graph, *, atol: float = 0.0) -> DeadReport:
    """Remove channels without effect from a graph, in place, until there are none.

    Args:
        graph: The graph.
        atol: Weights up to this magnitude count as zero where channels are looked for.

    Returns:
        What was removed and what was left.
    """
    report = DeadReport()
    first: dict[str, int] = {}
    while True:
        found = find_dead(_snapped(graph, atol))
        for name, source in found.channels.sources.items():
            first.setdefault(name, source.ids.size)
            report.nodes.setdefault(name, source.node)
        trial, changed = graph.copy(), False
        kept: dict[str, str] = {}
        if found.gone.any():
            changed, kept = _remove(trial, found, report)
        if not changed:
            break
        graph.adopt(trial)
    sources = found.channels.sources
    after = {name: sources[name].ids.size if name in sources else 0 for name in first}
    report.widths = {name: (size, after[name]) for name, size in first.items() if after[name] != size}
    _explain(found, kept, report)
    return report


def _remove(trial: Graph, found: DeadChannels, report: DeadReport) -> tuple[bool, dict[str, str]]:
    for name, shift in found.folds.items():
        add_to_bias(trial, trial[name], shift)
    mask_weights(trial, found.channels, found.gone)
    plan = ChannelPlan.of(found.channels, found.gone)
    channels = analyse(trial)
    gone = plan.gone(channels)
    kept_for_numbers(channels, gone)
    attempt = trial.copy()
    try:
        done = cut_channels(attempt, gone, channels)
    except PlanError:  # nothing would be left on the way to an output
        kept = keep_one_of_each(channels, gone)
        kept_for_numbers(channels, gone)
        attempt = trial.copy()
        done = cut_channels(attempt, gone, channels)
        done.kept.update(kept)
    trial.adopt(attempt)
    report.removed.update(done.removed)
    return bool(done.widths or done.removed), done.kept


def _snapped(graph: Graph, atol: float) -> Graph:
    if not atol:
        return graph
    copy = graph.copy()
    for key, layer in graph.layers.items():
        for name, weight in layer.weights.items():
            if _is_no_sign(name):
                continue
            small = np.abs(weight.array.astype(np.float64)) <= atol
            if small.any():
                copy.set_weight(key, name, np.where(small, 0, weight.array).astype(weight.array.dtype))
    return copy


def _is_no_sign(name: str) -> bool:
    """Whether a small weight is no sign of anything: statistics and shifts."""
    return name.rpartition("/")[2] in {"moving_mean", "moving_variance", "beta", "bias", "mean", "variance", "count"}


def _explain(found: DeadChannels, kept: dict[str, str], report: DeadReport) -> None:
    """Say why what looks dead was left, layer by layer."""
    channels = found.channels
    for name, source in channels.sources.items():
        units = np.unique(channels.unit[source.ids.ravel()])
        looks = [unit for unit in units.tolist() if found.looks[unit] or unit in found.blocked or found.gone[unit]]
        if not looks:
            continue
        reason = kept.get(name) or next((found.blocked[unit] for unit in looks if unit in found.blocked), "")
        why = next((why for unit in looks if (why := channels.frozen.get(unit) or channels.inexact.get(unit))), None)
        if why is not None:
            reason = f"{why[0]} ({why[1]})" if why[1] else str(why[0])
        if not reason:
            reason = "nothing would be left of the layer" if found.gone[looks].any() else _MIXED
        report.left[name] = len(looks), reason
