"""Split convolutions into chains of smaller ones by Tucker-2 decomposition of their kernels.

``W[i, j, c, n] ~ U[c, r] G[i, j, r, q] V[n, q]`` makes a ``k x k`` convolution a chain of three: ``1x1`` from C_in to
R_in channels, ``k x k`` from R_in to R_out, ``1x1`` from R_out to C_out. What the chain misses may be kept in part: a
fourth, sparse convolution beside it holds the entries, or groups of entries, that are missed most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from kerasurgeon.authoring import wrong_option
from kerasurgeon.passes.factorise import Factorise


@final
@dataclass(frozen=True)
class TuckerSplit(Factorise):
    """Split each convolution into 1x1, k x k, 1x1 of lower rank, with or without a sparse convolution beside them.

    ``Factorise`` by Tucker-2 decomposition alone. A mode that keeps full rank needs no 1x1: two convolutions then take
    the place of one.

    Matches:
        ``Conv1D/2D/3D`` and their transposed forms with kernels of more than one position.
    Leaves alone:
        As ``Factorise``; layers with kernels of one position too.
    Preserves:
        Shapes and dtypes. Outputs approximately: the relative error of each kernel is in the report.

    Args:
        method: ``"tucker"``.

    Shapes:
        kernel ``(kh, kw, c, n)`` -> ``(1, 1, c, r)``, ``(kh, kw, r, q)``, ``(1, 1, q, n)``; the residual's as the
        original's.

    Raises:
        OptionError: An option has a value that it may not have, or the ranks are not chosen in exactly one way.

    Reference:
        Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
        ICLR 2016, arXiv:1511.06530, section 3. De Lathauwer, De Moor and Vandewalle, "On the best rank-1 and
        rank-(R1, R2, ..., RN) approximation of higher-order tensors", SIAM J. Matrix Anal. Appl. 21 (4), 2000.

    Example:
        >>> small = apply_passes(model, [TuckerSplit(energy=0.9, round_to=8, where="!stem_*")])
    """

    method: Any = "tucker"

    def __post_init__(self) -> None:
        if self.method != "tucker":
            raise wrong_option(self.name, "method", self.method, "'tucker'; Factorise takes the other methods")
        super().__post_init__()


__all__ = ["TuckerSplit"]
