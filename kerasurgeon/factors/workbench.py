"""One layer, its kernel prepared for the methods that take it: factorisations of it are costed and made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.method import Factors, Inputs, Method, Prepared
from kerasurgeon.factors.kernels.methods import METHODS
from kerasurgeon.factors.kernels.residual import with_residual
from kerasurgeon.factors.kernels.shape import chain_macs, chain_params
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.picks import Pick
from kerasurgeon.factors.rescale import RANDOM, beyond_random, rescaled
from kerasurgeon.factors.sites import Site
from kerasurgeon.factors.split_layers import refusal
from kerasurgeon.rewrite.passes import Skip

Array = np.ndarray[Any, Any]


@final
class Workbench:
    """One layer with its kernel prepared for each method that takes it.

    Args:
        site: The layer.
        options: What is asked for.
        methods: The names of methods that it may be factorised by.

    Attributes:
        inputs: What it reads, where the error of its output is minimised; ``None`` until that is measured.

    Raises:
        Skip: No method takes it.
    """

    def __init__(self, site: Site, options: FactoriseOptions, methods: Sequence[str]) -> None:
        self.site, self.options = site, options
        self.inputs: Inputs | None = None
        self.methods = self._accepted(methods)
        self.no_residual = options.residual.refusal((site.shape.inputs, site.shape.outputs))
        if self.no_residual and options.sparsity not in ("auto", 0):
            raise Skip(f"it cannot have such a residual: {self.no_residual}")
        self._prepared: dict[str, Prepared] = {}
        self._kernel: Array | None = None
        self._like_random: dict[Pick, bool] = {}

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
        return rescaled(made, self.kernel, self.inputs) if self.rescales(pick) else made

    def rescales(self, pick: Pick) -> bool:
        """Whether a factorisation is scaled to the norm of the kernel: as asked, or where that is like a random one.

        Where the error of outputs is minimised, chains are fitted to outputs; and scaling raises a kernel's error,
        which may have been bounded.
        """
        if self.options.rescale != "auto":
            return bool(self.options.rescale)
        if self.inputs is not None or self.options.way == "error":
            return False
        if pick not in self._like_random:
            sweeps = self.options.sweeps
            chain = self.prepared(pick.method).factors(pick.ranks, sweeps=sweeps)  # its residual left out
            self._like_random[pick] = beyond_random(self.kernel, chain, sweeps=sweeps) < RANDOM
        return self._like_random[pick]

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
            structure=self.options.residual,
            inputs=self.inputs,
            start=start,
        )

    def whole(self) -> dict[str, float]:
        """What the layer costs as it is, biases apart."""
        return {"macs": self.site.macs(), "params": self.site.params, "bytes": self.site.bytes}

    def cost(self, pick: Pick) -> dict[str, float]:
        """What a factorisation costs, biases apart; entries of a residual by their weight."""
        columns = [None if rank is None else np.array([rank]) for rank in pick.ranks]
        costs = self.costs(METHODS[pick.method], columns, np.array([pick.sparsity]))
        return {measure: float(values[0]) for measure, values in costs.items()}

    def costs(self, method: Method, ranks: Sequence[Array | None], sparsity: Array) -> dict[str, Array]:
        """What factorisations at many ranks cost, biases apart.

        Args:
            method: The method.
            ranks: Of each rank an array; ``None`` for a mode that is left whole.
            sparsity: Shares of entries in residuals.
        """
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


__all__ = ["Workbench"]
