"""Attention that reads and writes channels by projections of its own."""

from __future__ import annotations

from kerasurgeon.ir.layer import Layer
from kerasurgeon.rules.answers import Mixing
from kerasurgeon.rules.rule import Rule

_READ = ("query", "key", "value", "gate")


class Projecting(Rule):
    """What is read goes through three projections, or four; what comes out through one more."""

    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    def mixing(self, layer: Layer) -> Mixing | None:
        """The projections, where there are no adapters and no scales of quantised kernels."""
        known = {f"{name}/{weight}" for name in (*_READ, "attention_output") for weight in ("kernel", "bias")}
        if not known >= set(layer.weights):
            return None
        return Mixing({f"{name}/kernel": f"{name}/bias" for name in _READ}, makes=True)
