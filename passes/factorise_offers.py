"""What a layer may become: factorisations with their errors and costs, before any of them is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Any, final

import numpy as np

from kerasurgeon.authoring import (
    METHODS,
    Factors,
    Inputs,
    Method,
    Prepared,
    Skip,
    chain_macs,
    chain_params,
    pareto,
    residual_errors,
    round_to_number,
    with_residual,
)
from kerasurgeon.passes.factorise_layers import refusal
from kerasurgeon.passes.factorise_rescale import rescaled
from kerasurgeon.passes.factorise_sites import Site

if TYPE_CHECKING:
    from kerasurgeon.passes.factorise import Factorise

Array = np.ndarray[Any, Any]
Ranks = tuple[int | None, ...]

# Ranks that are tried along a mode: so many that the steps between them are small against a budget of 2 %.
_STEPS = {1: 64, 2: 32}
_FEW_STEPS = {"cp": 6}
"""Methods that have no closed form: every rank takes a factorisation of its own."""

# Shares of entries in a residual that are tried, after the earlier hybrid method: up to 11 %, each 1.3 times the last.
SPARSITIES = tuple(0.001 * 1.3**step for step in range(19))
_WITH_RESIDUAL = 12
"""Ranks that residuals are tried with in large kernels: each has to be factorised for it."""

_SMALL = 200_000
"""Entries of a kernel up to which residuals are tried with four times as many."""


@final
@dataclass(frozen=True, slots=True)
class Pick:
    """A factorisation that is not made yet."""

    method: str
    ranks: Ranks
    sparsity: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Offers:
    """What a layer may become.

    Attributes:
        site: The layer.
        picks: The factorisations; the first is ``None``: the layer as it is.
        errors: Relative squared errors of each.
        macs: MACs of all calls.
        params: Parameters.
        bytes: Bytes of weights.
    """

    site: Site
    picks: tuple[Pick | None, ...]
    errors: Array
    macs: Array
    params: Array
    bytes: Array

    def costs(self, measure: str) -> Array:
        """Costs by ``"macs"``, ``"params"`` or ``"bytes"``."""
        return np.asarray(getattr(self, measure))

    def take(self, rows: Sequence[int] | Array) -> Offers:
        """Some of them."""
        rows = [int(row) for row in rows]
        picks = tuple(self.picks[row] for row in rows)
        return Offers(self.site, picks, self.errors[rows], self.macs[rows], self.params[rows], self.bytes[rows])


class Workbench:
    """One layer with its kernel prepared for each method that takes it.

    Args:
        site: The layer.
        options: The pass.
        inputs: What it reads, where the error of its output is minimised.

    Raises:
        Skip: No method takes it.
    """

    def __init__(self, site: Site, options: Factorise, methods: Sequence[str], inputs: Inputs | None) -> None:
        self.site, self.options, self.inputs = site, options, inputs
        self.methods = self._accepted(methods)
        self.no_residual = options.residual_structure().refusal((site.shape.inputs, site.shape.outputs))
        if self.no_residual and options.sparsity not in ("auto", 0):
            raise Skip(f"it cannot have such a residual: {self.no_residual}")
        self._prepared: dict[str, Prepared] = {}
        self._kernel: Array | None = None

    def _accepted(self, names: Sequence[str]) -> tuple[Method, ...]:
        refusals, taken = [], []
        for name in names:
            method = METHODS[name]
            why = method.refusal(self.site.shape)
            if not why:
                why = refusal(self.site, method.stages(self.site.shape, method.limits(self.site.shape)))
            if why:
                refusals.append(why)
            else:
                taken.append(method)
        if not taken:
            raise Skip("; ".join(dict.fromkeys(refusals)))
        return tuple(taken)

    @property
    def kernel(self) -> Array:
        """The kernel, ``(groups, *sizes, inputs, outputs)``."""
        if self._kernel is None:
            self._kernel = self.site.kernel()
        return self._kernel

    def prepared(self, method: str) -> Prepared:
        """The kernel prepared for a method, once."""
        if method not in self._prepared:
            self._prepared[method] = METHODS[method].prepare(self.kernel, self.site.shape, self.inputs)
        return self._prepared[method]

    def forget(self) -> None:
        """Let go of what can be computed again."""
        self._prepared.clear()
        self._kernel = None

    def make(self, pick: Pick) -> Factors:
        """A factorisation."""
        made = self._made(pick)
        return rescaled(made, self.kernel, self.inputs) if self.options.rescale else made

    def _made(self, pick: Pick) -> Factors:
        start = self.prepared(pick.method).factors(pick.ranks, sweeps=self.options.sweeps)
        if not pick.sparsity:
            return start
        return with_residual(
            METHODS[pick.method],
            self.kernel,
            self.site.shape,
            pick.ranks,
            sparsity=pick.sparsity,
            structure=self.options.residual_structure(),
            inputs=self.inputs,
            start=start,
        )

    # Costs.

    def whole(self) -> dict[str, float]:
        """What the layer costs as it is, biases apart."""
        return {"macs": self.site.macs(), "params": self.site.params, "bytes": self.site.bytes}

    def cost(self, pick: Pick) -> dict[str, float]:
        """What a factorisation costs, biases apart; entries of a residual by their weight."""
        columns = [None if rank is None else np.array([rank]) for rank in pick.ranks]
        costs = self._costs(METHODS[pick.method], columns, np.array([pick.sparsity]))
        return {measure: float(values[0]) for measure, values in costs.items()}

    def _costs(self, method: Method, ranks: Sequence[Array | None], sparsity: Array) -> dict[str, Array]:
        shape, whole = self.site.shape, self.whole()
        stages = method.stages(shape, tuple(ranks))
        params = np.asarray(chain_params(shape, stages), float)
        chain = {
            "macs": np.asarray(sum(chain_macs(shape, stages, spans) for spans in self.site.spans), float),
            "params": params,
            "bytes": params * self.site.bytes / self.site.params,
        }
        weight = self.options.sparsity_weight
        return {measure: values + weight * sparsity * whole[measure] for measure, values in chain.items()}

    # Offers.

    def offers(self, measure: str, *, paying: bool = True) -> Offers:
        """What the layer may become, the best for what they cost.

        Args:
            measure: ``"macs"``, ``"params"`` or ``"bytes"``: offers that another beats in error and in this are left
                out.
            paying: Leave out what does not cost less than the layer does.
        """
        whole = self.whole()
        picks: list[Pick | None] = [None]
        rows: list[tuple[float, ...]] = [(0.0, *whole.values())]
        for method in self.methods:
            ranks, costs = self._grid(method, measure, paying)
            if not len(ranks):
                continue
            limits = np.array(method.limits(self.site.shape))
            squared = self.prepared(method.name).squared_errors(np.minimum(ranks, limits))
            errors = np.asarray(squared) / (self.prepared(method.name).squared_norm or 1.0)
            best = pareto(errors, costs[measure])
            for row in best:
                ranks_of = tuple(
                    int(rank) if rank < limit else None for rank, limit in zip(ranks[row], limits, strict=True)
                )
                picks.append(Pick(method.name, ranks_of))
                rows.append((float(errors[row]), *(float(values[row]) for values in costs.values())))
        table = np.array(rows)
        offers = Offers(self.site, tuple(picks), *table.T)
        if self.options.sparsity and not self.no_residual:
            offers = self._with_residuals(offers, measure, paying)
        return offers.take(_with_first(pareto(offers.errors, offers.costs(measure))))

    def _grid(self, method: Method, measure: str, paying: bool) -> tuple[Array, dict[str, Array]]:
        """Ranks that may be tried ``(candidates, ranks)``, full ones for modes left whole, and their costs."""
        limits = method.limits(self.site.shape)
        axes = [self._steps(method.name, limit, len(limits)) for limit in limits]
        whole = self.whole()[measure]
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
            found = self._costs(method, columns, np.zeros(len(grid)))
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

    def _steps(self, name: str, limit: int, count: int) -> Array:
        """Ranks along a mode: multiples of what is asked for, below the full rank."""
        unit = round_to_number(self.options.round_to)
        step = unit * max(1, ceil(limit / (unit * _STEPS.get(count, 16))))
        first = max(unit, -(-self.options.min_rank // unit) * unit)
        return np.unique(np.concatenate([np.arange(first, limit, step), np.arange(first, min(limit, first + 1), unit)]))

    def _with_residuals(self, offers: Offers, measure: str, paying: bool) -> Offers:
        """Offers with residuals, in the place of those without where one share is asked for."""
        options, whole = self.options, self.whole()
        shares = np.array((0.0, *SPARSITIES) if options.sparsity == "auto" else (float(options.sparsity),))
        tried = _WITH_RESIDUAL if self.kernel.size > _SMALL else 4 * _WITH_RESIDUAL
        chains = [row for row in pareto(offers.errors, offers.costs(measure)) if offers.picks[row] is not None]
        few = np.unique(np.linspace(0, len(chains) - 1, tried).round().astype(int)) if chains else ()
        picks: list[Pick | None] = [None]
        rows: list[tuple[float, ...]] = [(0.0, *whole.values())]
        for row in (chains[place] for place in few):
            pick = offers.picks[row]
            assert pick is not None
            missed = self.kernel - self.prepared(pick.method).factors(pick.ranks, sweeps=0).reconstruct()
            left = residual_errors(missed, options.residual_structure(), shares)
            # Of the chain's error, which may be that of the output, the share that is left of the kernel's.
            left = float(offers.errors[row]) * left / (float(np.sum(np.square(missed, dtype=np.float64))) or 1.0)
            for share, squared in zip(shares.tolist(), left.tolist(), strict=True):
                found = Pick(pick.method, pick.ranks, share)
                costs = self.cost(found)
                if not paying or costs[measure] < whole[measure]:
                    picks.append(found)
                    rows.append((squared, *costs.values()))
        return Offers(self.site, tuple(picks), *np.array(rows).T)


def _with_first(rows: Any) -> list[int]:
    """The layer as it is always stays on offer."""
    return [0, *(int(row) for row in rows if row)]


__all__ = ["SPARSITIES", "Offers", "Pick", "Workbench"]
