"""Choose the factorisation of one layer by itself: by ratio, energy, error or given ranks."""

from __future__ import annotations

from collections.abc import Sequence

from kerasurgeon.errors import OptionError
from kerasurgeon.factors import options as check
from kerasurgeon.factors.kernels.methods import METHODS
from kerasurgeon.factors.offers import offers
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Pick
from kerasurgeon.factors.workbench import Workbench
from kerasurgeon.rewrite.passes import Skip


def direct_pick(bench: Workbench, options: FactoriseOptions) -> Pick:
    """What one layer becomes.

    Args:
        bench: The layer.
        options: What is asked for.

    Raises:
        Skip: It stays as it is.
        OptionError: The ranks given for it are not as many as its method has.
    """
    pick = _by_error(bench, options) if options.error is not None else _by_ranks(bench, options)
    if options.only_if_cheaper:
        before, after = bench.whole()[options.cost], bench.cost(pick)[options.cost]
        if after >= before:
            unit = _unit(bench, options.cost)
            raise Skip(f"its chain ({shown(bench, pick)}) would take {after:,.0f} {unit}; it takes {before:,.0f}")
    return pick


def shown(bench: Workbench, pick: Pick) -> str:
    """The ranks of a factorisation beside the full ones: ``ranks in 16 of 64, out whole``."""
    method = METHODS[pick.method]
    sides = zip(method.rank_names, pick.ranks, method.limits(bench.site.shape), strict=True)
    parts = [
        f"{name.removeprefix('rank_')} {'whole' if rank is None else f'{rank} of {limit}'}"
        for name, rank, limit in sides
    ]
    return f"ranks {', '.join(parts)}" if len(parts) > 1 else parts[0]


def _by_error(bench: Workbench, options: FactoriseOptions) -> Pick:
    assert options.error is not None
    found = offers(bench, options.cost, paying=options.only_if_cheaper)
    rows = [row for row, pick in enumerate(found.picks) if pick and found.errors[row] <= options.error**2]
    if not rows:
        raise Skip(f"nothing cheaper has a relative kernel error of at most {options.error}")
    best = found.picks[min(rows, key=lambda row: found.costs(options.cost)[row])]
    assert best is not None
    return best


def _by_ranks(bench: Workbench, options: FactoriseOptions) -> Pick:
    method = bench.methods[0]
    limits = method.limits(bench.site.shape)
    wanted = _wanted(bench, options, limits)
    if set(limits) == {1}:
        raise Skip("it has one channel in and out a group: there are no channel modes to truncate")
    full = [rank is None or rank >= limit for rank, limit in zip(wanted, limits, strict=True)]
    sparsity = float(options.sparsity)
    if all(full):
        if options.only_if_cheaper:
            sides = ", ".join(
                f"{limit} {name.removeprefix('rank_')}" for name, limit in zip(method.rank_names, limits, strict=True)
            )
            raise Skip(f"its ranks would be full: {sides}")
        return Pick(method.name, limits, sparsity)
    if len(limits) == 1:
        return Pick(method.name, tuple(wanted), sparsity)
    return Pick(method.name, tuple(None if whole else rank for whole, rank in zip(full, wanted, strict=True)), sparsity)


def _wanted(bench: Workbench, options: FactoriseOptions, limits: Sequence[int]) -> tuple[int | None, ...]:
    method = bench.methods[0]
    if options.ranks is not None:
        given = check.ranks(options.name, options.ranks)
        found = next((ranks for pattern, ranks in given.items() if bench.site.matches(pattern)), None)
        if found is None:
            raise Skip("no pattern of ranks= names it")
        if not isinstance(found, str):
            if len(found) not in (1, len(limits)):
                raise OptionError(
                    f"{options.name}: ranks= gives another number of ranks than {method.name!r} has.",
                    where=f"layer {bench.site.name!r}",
                    expected=f"{len(limits)}: {', '.join(method.rank_names)}",
                    got=repr(found),
                )
            return found * len(limits) if len(found) == 1 else found
        return _rounded(bench.prepared(method.name).for_noise(), options, limits)
    if options.energy is not None:
        return _rounded(bench.prepared(method.name).for_energy(options.energy), options, limits)
    assert options.ratio is not None
    unit = options.unit
    nearest = [int(options.ratio * limit / unit + 0.5) * unit for limit in limits]
    return tuple(max(rank, unit, options.min_rank) for rank in nearest)


def _rounded(ranks: Sequence[int | None], options: FactoriseOptions, limits: Sequence[int]) -> tuple[int, ...]:
    """The next multiples above: what energy or noise ask for is kept."""
    unit = options.unit
    whole = [limit if rank is None else rank for rank, limit in zip(ranks, limits, strict=True)]
    return tuple(max(-(-rank // unit) * unit, options.min_rank) for rank in whole)


def _unit(bench: Workbench, measure: str) -> str:
    if measure != "macs":
        return measure
    return "MACs an output position" if bench.site.open else "MACs"


__all__ = ["direct_pick", "shown"]
