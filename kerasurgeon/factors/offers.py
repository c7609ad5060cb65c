"""What a layer may become: the factorisations that are the best for what they cost."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np

from kerasurgeon.factors.kernels.budget import pareto
from kerasurgeon.factors.kernels.method import Method
from kerasurgeon.factors.kernels.residual import residual_errors
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Offers, Pick
from kerasurgeon.factors.workbench import Workbench

Array = np.ndarray[Any, Any]

# Ranks that are tried along a mode: so many that the steps between them are small against a budget of 2 %.
_STEPS = {1: 128, 2: 64}
_FEW_STEPS = {"cp": 6}
"""Methods that have no closed form: every rank takes a factorisation of its own."""

# Shares of entries in a residual that are tried, after the earlier hybrid method: up to 11 %, each 1.3 times the last.
SPARSITIES = tuple(0.001 * 1.3**step for step in range(19))
_WITH_RESIDUAL = 12
"""Ranks that residuals are tried with in large kernels: each has to be factorised for it."""

_SMALL = 200_000
"""Entries of a kernel up to which residuals are tried with four times as many."""


def offers(bench: Workbench, measure: str, *, paying: bool = True) -> Offers:
    """What the layer may become, the best for what they cost.

    Args:
        bench: The layer.
        measure: ``"macs"``, ``"params"`` or ``"bytes"``: offers that another beats in error and in this are left
            out.
        paying: Leave out what does not cost less than the layer does.
    """
    whole = bench.whole()
    picks: list[Pick | None] = [None]
    rows: list[tuple[float, ...]] = [(0.0, *whole.values())]
    for method in bench.methods:
        ranks, costs = _grid(bench, method, measure, paying)
        if not len(ranks):
            continue
        limits = np.array(method.limits(bench.site.shape))
        squared = bench.prepared(method.name).squared_errors(np.minimum(ranks, limits))
        errors = np.asarray(squared) / (bench.prepared(method.name).squared_norm or 1.0)
        best = pareto(errors, costs[measure])
        for row in best:
            ranks_of = tuple(
                int(rank) if rank < limit else None for rank, limit in zip(ranks[row], limits, strict=True)
            )
            picks.append(Pick(method.name, ranks_of))
            rows.append((float(errors[row]), *(float(values[row]) for values in costs.values())))
    table = np.array(rows)
    found = Offers(bench.site, tuple(picks), *table.T)
    if bench.options.sparsity and not bench.no_residual:
        found = _with_residuals(bench, found, measure, paying)
    return found.take(_with_first(pareto(found.errors, found.costs(measure))))


def extremes(bench: Workbench, measure: str, *, paying: bool = True) -> Offers:
    """The layer as it is and the least that it may cost, for which no kernel is decomposed: errors are not told.

    The arguments are those of ``offers``.
    """
    whole, sparsity = bench.whole(), bench.options.sparsity
    extra = 0.0 if sparsity == "auto" or bench.no_residual else bench.options.sparsity_weight * float(sparsity)
    rows = [(0.0, *whole.values())]
    for method in bench.methods:
        ranks, costs = _grid(bench, method, measure, paying)
        if len(ranks):
            least = int(costs[measure].argmin())
            rows.append((1.0, *(float(values[least]) + extra * whole[name] for name, values in costs.items())))
    few = np.array([rows[0], min(rows, key=lambda row: row[1 + list(whole).index(measure)])])
    return Offers(bench.site, (None, None), *few.T)


def _grid(bench: Workbench, method: Method, measure: str, paying: bool) -> tuple[Array, dict[str, Array]]:
    """Ranks that may be tried ``(candidates, ranks)``, full ones for modes left whole, and their costs."""
    limits = method.limits(bench.site.shape)
    axes = [_steps(bench.options, limit, len(limits)) for limit in limits]
    whole = bench.whole()[measure]
    blocks: list[Array] = []
    costs: dict[str, list[Array]] = {"macs": [], "params": [], "bytes": []}
    for left_whole in product((False, True), repeat=len(limits)):
        if all(left_whole):
            continue
        sides = [
            np.array([limit]) if full else axis for full, axis, limit in zip(left_whole, axes, limits, strict=True)
        ]
        grid = np.stack([column.ravel() for column in np.meshgrid(*sides, indexing="ij")], axis=-1)
        columns = [None if full else grid[:, place] for place, full in enumerate(left_whole)]
        found = bench.costs(method, columns, np.zeros(len(grid)))
        fit = found[measure] < whole if paying else np.ones(len(grid), bool)
        blocks.append(grid[fit])
        for name, values in found.items():
            costs[name].append(values[fit])
    ranks = np.concatenate(blocks)
    joined = {name: np.concatenate(values) for name, values in costs.items()}
    few = _FEW_STEPS.get(method.name)
    if few is not None and len(ranks) > few:
        rows = np.unique(np.linspace(0, len(ranks) - 1, few).round().astype(int))
        ranks, joined = ranks[rows], {name: values[rows] for name, values in joined.items()}
    return ranks, joined


def _steps(options: FactoriseOptions, limit: int, count: int) -> Array:
    """Ranks along a mode: multiples of what is asked for, below the full rank."""
    unit = options.unit
    step = unit * max(1, ceil(limit / (unit * _STEPS.get(count, 16))))
    # Multiples of the step, which is mostly a power of two: ranks one above a tile of the runtime would be the worst.
    return np.arange(-(-options.min_rank // step) * step, limit, step)


def _with_residuals(bench: Workbench, plain: Offers, measure: str, paying: bool) -> Offers:
    """Offers with residuals, in the place of those without where one share is asked for."""
    options, whole = bench.options, bench.whole()
    shares = np.array((0.0, *SPARSITIES) if options.sparsity == "auto" else (float(options.sparsity),))
    tried = _WITH_RESIDUAL if bench.kernel.size > _SMALL else 4 * _WITH_RESIDUAL
    chains = [row for row in pareto(plain.errors, plain.costs(measure)) if plain.picks[row] is not None]
    few = np.unique(np.linspace(0, len(chains) - 1, tried).round().astype(int)) if chains else ()
    picks: list[Pick | None] = [None]
    rows: list[tuple[float, ...]] = [(0.0, *whole.values())]
    for row in (chains[place] for place in few):
        pick = plain.picks[row]
        assert pick is not None
        missed = bench.kernel - bench.prepared(pick.method).factors(pick.ranks, sweeps=0).reconstruct()
        left = residual_errors(missed, options.residual, shares)
        # Of the chain's error, which may be that of the output, the share that is left of the kernel's.
        left = float(plain.errors[row]) * left / (float(np.sum(np.square(missed, dtype=np.float64))) or 1.0)
        for share, squared in zip(shares.tolist(), left.tolist(), strict=True):
            found = Pick(pick.method, pick.ranks, share)
            costs = bench.cost(found)
            if not paying or costs[measure] < whole[measure]:
                picks.append(found)
                rows.append((squared, *costs.values()))
    return Offers(bench.site, tuple(picks), *np.array(rows).T)


def _with_first(rows: Any) -> list[int]:
    """The layer as it is always stays on offer."""
    return [0, *(int(row) for row in rows if row)]


__all__ = ["SPARSITIES", "extremes", "offers"]
