"""The knowledge quotient of one region: how much it matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Quotient:
    """What a network is without one of its regions.

    Attributes:
        region: Name of the region.
        kind: What it is, see ``RegionKind``.
        method: What stood in its place: ``"drop"`` nothing, ``"scale"`` a factor a channel, ``"affine"`` a factor and a
            bias a channel, ``"projection"`` a 1x1 convolution, behind a pooling where the region makes images smaller.
        entry: The tensor that enters.
        exit: The tensor that leaves.
        nodes: What is in it.
        parent: Name of the region around it, if it is inside one.
        depth: How many are around it.
        value: What the evaluation gave without it.
        quotient: ``1 - value / value of the whole model``: 0 if nothing was lost, 1 if everything, negative if the
            network is better without the region.
        macs_saved: Multiply-accumulates of a sample that it takes, less those of what stood in its place.
        parameters_saved: Parameters likewise.
        latency_saved: Latency likewise, where it was measured.
        fit_error: Mean square error of what stood in its place over the variance of what the region gives, where it
            was fitted.
        run: Which run of regions that follow one another it belongs to, and at which place.
    """

    region: str
    kind: str
    method: str
    entry: str
    exit: str
    nodes: tuple[str, ...]
    parent: str | None
    depth: int
    value: float
    quotient: float
    macs_saved: int
    parameters_saved: int
    latency_saved: float | None = None
    fit_error: float | None = None
    run: tuple[int, int] = (0, 0)


__all__ = ["Quotient"]
