"""What the report says of a factorised layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.factors.direct import shown
from kerasurgeon.factors.kernels.method import Factors, Inputs
from kerasurgeon.factors.picks import Pick
from kerasurgeon.factors.workbench import Workbench

Array = np.ndarray[Any, Any]


def described(bench: Workbench, pick: Pick, factors: Factors) -> str:
    """One line: method and ranks, costs before and after, errors, notes."""
    before, after = bench.whole(), bench.cost(pick)
    unit = " an output position" if bench.site.open else ""
    said = [
        f"{pick.method}: {shown(bench, pick)}",
        f"MACs{unit} {before['macs']:,.0f} -> {after['macs']:,.0f} ({after['macs'] / before['macs']:.0%})",
        f"parameters {before['params']:,.0f} -> {after['params']:,.0f}",
        f"relative kernel error {relative_error(bench.kernel, factors):.3g}",
    ]
    if factors.residual is not None:
        said[-1] += f" with {factors.kept:,} of {factors.residual.size:,} entries in the residual, stored dense"
    if bench.inputs is not None:
        said.append(f"relative output error {output_error(bench.kernel, factors, bench.inputs):.3g}")
    if bench.options.rescale == "auto" and bench.rescales(pick):
        said.append("scaled to the kernel's norm, as it is like a random one")
    return "; ".join([*said, *_notes(bench)])


def relative_error(kernel: Array, factors: Factors) -> float:
    """``||W - W_hat|| / ||W||`` in the Frobenius norm, residual included."""
    norm = float(np.linalg.norm(kernel.ravel()))
    return float(np.linalg.norm((kernel - factors.reconstruct()).ravel())) / norm if norm else 0.0


def output_error(kernel: Array, factors: Factors, inputs: Inputs) -> float:
    """The relative error of the layer's output on the data, in the root of the mean square about the mean."""

    def spread(weights: Array) -> float:
        flat = weights.reshape(len(weights), -1, weights.shape[-1])
        return float(sum(np.sum(one * (cov @ one)) for one, cov in zip(flat, inputs.covariance, strict=True)))

    whole = spread(kernel)
    return (max(0.0, spread(kernel - factors.reconstruct())) / whole) ** 0.5 if whole > 0 else 0.0


def _notes(bench: Workbench) -> list[str]:
    site = bench.site
    notes = [f"{len(site.calls)} calls"] if len(site.calls) > 1 else []
    if site.layer.config.get("kernel_constraint") is not None:
        notes.append("the kernel constraint is dropped: it cannot hold for factors")
    return notes


__all__ = ["described", "output_error", "relative_error"]
