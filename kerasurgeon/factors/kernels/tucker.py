"""Tucker-2 decomposition of convolution kernels: the two channel modes only, by Gram matrices.

A kernel ``W[..., c, n]`` is approximated by ``G[..., r, q] U[c, r] V[n, q]`` with orthonormal columns in ``U`` and
``V``, and ``G`` the projection of ``W`` onto them. One sweep of higher-order orthogonal iteration (HOOI) after the
truncated higher-order singular value decomposition (HOSVD) takes most of what is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kerasurgeon.factors.kernels.linear_algebra import check_ranks
from kerasurgeon.factors.kernels.method import Factors, Inputs, Prepared
from kerasurgeon.factors.kernels.modes import ChannelModes
from kerasurgeon.factors.kernels.shape import Shape, Stage
from kerasurgeon.factors.kernels.tucker_weighted import WeightedTucker

Array = np.ndarray[Any, Any]


@final
@dataclass(frozen=True, slots=True)
class Tucker:
    """A 1x1 convolution, one with the positions of the kernel between few channels, and a 1x1 convolution.

    A mode whose rank is ``None`` is left whole, without a 1x1 convolution of its own.

    Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile applications", ICLR
    2016, section 3. De Lathauwer, De Moor and Vandewalle, "On the best rank-1 and rank-(R1, R2, ..., RN) approximation
    of higher-order tensors", SIAM Journal on Matrix Analysis and Applications 21, 2000, section 4.2.
    """

    @property
    def name(self) -> str:
        """``"tucker"``."""
        return "tucker"

    @property
    def rank_names(self) -> tuple[str, ...]:
        """A rank for the input and one for the output channels."""
        return ("rank_in", "rank_out")

    def refusal(self, shape: Shape) -> str:
        """Why not; empty if it can."""
        return "its kernel has one position: use svd, which takes two layers, not three" if shape.taps == 1 else ""

    def limits(self, shape: Shape) -> tuple[int, ...]:
        """The channels of a group."""
        return shape.inputs, shape.outputs

    def stages(self, shape: Shape, ranks: Any) -> tuple[Stage, ...]:
        """The chain ``in``, ``core``, ``out``, without the stage of a mode that is left whole.

        Raises:
            OptionError: A rank is out of range.
        """
        check_ranks(self.name, self.rank_names, ranks, self.limits(shape), optional=True)
        inner, outer = (full if rank is None else rank for rank, full in zip(ranks, self.limits(shape), strict=True))
        first = [] if ranks[0] is None else [Stage("in", (), shape.inputs, inner)]
        last = [] if ranks[1] is None else [Stage("out", (), outer, shape.outputs)]
        return (*first, Stage("core", shape.axes, inner, outer), *last)

    def prepare(self, kernel: Array, shape: Shape, inputs: Inputs | None = None) -> Prepared:
        """Look at the channel modes of every group; all groups have the same ranks.

        With inputs the input basis is that of the kernel times the root of the channels' covariance; core and output
        basis follow by reduced-rank regression under the covariance of the patches. ``squared_errors`` are then
        estimates from above. Where the result would be worse than that without inputs, the input basis is the latter's.
        """
        modes = ChannelModes(self, kernel, shape)
        return modes if inputs is None else WeightedTucker(self, shape, modes, inputs)

    def improve(self, kernel: Array, factors: Factors, inputs: Inputs | None = None) -> Factors:
        """One sweep from the factors of a similar kernel, see ``residual.Improves``; with inputs, factors anew."""
        if inputs is not None:
            return self.prepare(kernel, factors.shape, inputs).factors(factors.ranks)
        return ChannelModes(self, kernel, factors.shape).improved(factors)


__all__ = ["Tucker"]
