"""The ways to factorise kernels, by name."""

from __future__ import annotations

from typing import Final

from kerasurgeon.factors.cp import Cp
from kerasurgeon.factors.matrix import Svd
from kerasurgeon.factors.method import Method
from kerasurgeon.factors.separable import Separable
from kerasurgeon.factors.spatial import Spatial
from kerasurgeon.factors.tucker import Tucker

METHODS: Final[dict[str, Method]] = {method.name: method for method in (Tucker(), Svd(), Spatial(), Separable(), Cp())}
"""What options call a method, and the method."""

__all__ = ["METHODS"]
