"""Cut a plan out of a model, and the model's masked twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.avoided import check_numbers, kept_for_numbers
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.channels.kept import KeptChannels
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.vanish import drop_empty_operands, settle_vanished
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit, lift


@dataclass(frozen=True)
class CutReport:
    """What a cut did.

    Attributes:
        widths: Channels before and after, by the layers that make them; those that lost none are left out.
        removed: Branches that were removed, by the node where they met the rest.
        kept: Layers of which one channel stays because the branch could not be removed, with the reason.
        inexact: Layers that normalise or reduce over channels that went, with the reason: the result is not that of
            the masked model.
    """

    widths: dict[str, tuple[int, int]] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    inexact: dict[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the result equals the masked model."""
        return not self.inexact


def cut(model: Any, plan: KeptChannels) -> Any:
    """Remove the channels that a plan takes, everywhere they are held.

    The result computes what the model computes with the contribution of these channels removed wherever they are
    summed over (see ``masked``), exactly; channels that are normalised over are the exception: ``groups`` names them.

    Args:
        model: A Keras model; it is not changed.
        plan: What is kept.

    Returns:
        A new Keras model.

    Raises:
        PlanError: The plan does not fit the model, or takes what may not go.

    Example:
        >>> small = cut(model, ChannelPlan({"block1_conv1": [0, 2, 3, 7]}))
    """
    graph = lift(model)
    cut_channels(graph, plan)
    return emit(graph)


def masked(model: Any, plan: KeptChannels) -> Any:
    """The masked twin: a copy of a model in which the channels that a plan takes contribute nothing.

    Shapes stay. Kernels that sum over the channels are zeroed there; where a layer sums over them without a kernel, a
    multiplication by zeros and ones is put before it. ``cut`` gives the same outputs with less work.

    Args:
        model: A Keras model; it is not changed.
        plan: What is kept.

    Returns:
        A new Keras model.

    Raises:
        PlanError: As for ``cut``.
    """
    graph = lift(model)
    channels = analyse(graph)
    mask_units(graph, channels, plan.gone(channels))
    return emit(graph)


def cut_channels(
    graph: Graph,
    plan: KeptChannels | np.ndarray[Any, Any],
    channels: Channels | None = None,
    *,
    constants: bool = True,
) -> CutReport:
    """Cut a graph in place.

    Args:
        graph: The graph.
        plan: What is kept, or for every unit of ``channels`` whether it goes.
        channels: The analysis of the graph, where there is one.
        constants: Whether what a branch still gives of which no channel is left, a constant, is kept. Without it the
            branch is dropped with all that it gave: for a network that gets new weights.

    Returns:
        What was done.

    Raises:
        PlanError: The plan does not fit, takes what may not go, or cuts the network in two.
    """
    channels = analyse(graph) if channels is None else channels
    gone = plan.gone(channels) if isinstance(plan, KeptChannels) else np.asarray(plan, bool)
    before = {name: source.ids.size for name, source in channels.sources.items()}
    inexact = {}
    for unit in np.flatnonzero(gone).tolist():
        if unit in channels.inexact:
            reason, about = channels.inexact[unit]
            inexact[about] = str(reason)
    check_numbers(channels, channels.keep(gone))
    settled = settle_vanished(graph, channels, gone, fold=constants)
    stay = kept_for_numbers(settled.channels, settled.gone)  # of what follows from the plan
    if stay.any() and constants:
        mask_units(graph, settled.channels, stay)
    cut_units(graph, settled.channels, settled.gone)
    settled.removed.update(drop_empty_operands(graph))
    keep = settled.channels.keep(settled.gone)
    after = {name: keep.count(source.ids.ravel()) for name, source in settled.channels.sources.items()}
    widths = {name: (size, after.get(name, 0)) for name, size in before.items() if after.get(name, 0) != size}
    return CutReport(widths, settled.removed, settled.kept, inexact)
