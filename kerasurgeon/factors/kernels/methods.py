"""The ways to factorise kernels, by name."""

from __future__ import annotations

from typing import Final

from kerasurgeon.factors.kernels.cp import Cp
from kerasurgeon.factors.kernels.matrix import Svd
from kerasurgeon.factors.kernels.method import Method
from kerasurgeon.factors.kernels.separable import Separable
from kerasurgeon.factors.kernels.spatial import Spatial
from kerasurgeon.factors.kernels.tucker import Tucker

METHODS: Final[dict[str, Method]] = {method.name: method for method in (Tucker(), Svd(), Spatial(), Separable(), Cp())}
"""What options call a method, and the method."""

__all__ = ["METHODS"]
