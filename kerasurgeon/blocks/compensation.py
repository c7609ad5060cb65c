"""Steps that leave regions out, each with what makes up for it, fitted to the network as it is changed so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kerasurgeon.blocks.calibration import SAMPLES, measure_after
from kerasurgeon.blocks.candidates import fit_by
from kerasurgeon.blocks.drop import drop_step
from kerasurgeon.blocks.linear import resizing
from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.regions import Region
from kerasurgeon.rewrite.surgery import as_value

CORRECTIONS = ("none", "scale", "affine", "projection")


def drop_steps(
    graph: Graph,
    found: Sequence[Region],
    names: Sequence[str],
    correction: str,
    data: Any,
    *,
    samples: int = SAMPLES,
    ridge: float = 1e-4,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> list[BlockStep]:
    """Steps that leave out regions.

    What makes up for a region makes, of what enters it in the network without the regions before, what left it in the
    original network: a later one makes up for what an earlier one could not.

    Args:
        graph: The graph; it is only read.
        found: The regions, in the order of the network, apart from one another.
        names: A name for each step.
        correction: One of ``CORRECTIONS``, for regions whose exit is like their entry; others need a projection.
        data: Calibration data, see ``input_batches``; ``None`` where nothing is to be fitted.
        samples: How many samples are used, at most.
        ridge: How strongly projections are held to the identity, or to zero where the shape changes.
        seed: Draws positions, where there are very many.
        progress: Called with the fraction done and the region.

    Raises:
        GraphError: A region that changes shape or dtype is to be left out without data, or no linear bridge fits.
        OptionError: The data cannot be used.
    """
    steps: list[BlockStep] = []
    for place, (region, name) in enumerate(zip(found, names, strict=True)):
        if progress is not None:
            progress(place / len(found), region.name)
        method = correction if region.keeps_spec else "projection"
        if method == "none" or data is None:
            steps.append(drop_step(graph, region, None, name, {"region": region.name, "correction": "none"}))
            continue
        resize = resizing(graph, region)
        changed, entry = so_far(graph, steps, region)
        moments = measure_after(
            graph,
            changed,
            region,
            resize,
            data,
            entry=entry,
            full=method == "projection",
            samples=samples,
            seed=seed,
        )
        fit = fit_by(method, moments, region, ridge)
        options = {"region": region.name, "correction": method, "error": round(fit.error, 6)}
        steps.append(drop_step(graph, region, resize.model(fit, name), name, options))
    return steps


def so_far(graph: Graph, steps: Sequence[BlockStep], region: Region) -> tuple[Graph, Value]:
    """The network after some steps, and the tensor in it that enters a region."""
    if not steps:
        return graph, region.entry
    changed = graph.copy()
    done = carry_out(changed, steps)
    by_exit = {step.exit: (step, now) for step, now in zip(steps, done, strict=True)}
    entry = str(region.entry)
    while entry in by_exit:
        step, now = by_exit[entry]
        if step.network is not None:
            assert now.bridge is not None
            return changed, as_value(changed, now.bridge.new_exit)
        entry = step.entry
    return changed, as_value(changed, entry)


__all__ = ["CORRECTIONS", "drop_steps"]
