"""Factorisations of a layer that are not made yet, with their errors and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.factors.sites import Site

Array = np.ndarray[Any, Any]
Ranks = tuple[int | None, ...]


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


__all__ = ["Offers", "Pick", "Ranks"]
