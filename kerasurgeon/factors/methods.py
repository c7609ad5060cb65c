"""The ways to factorise kernels, by name."""

from __future__ import annotations

from typing import Final

from kerasurgeon.factors.matrix import Svd
from kerasurgeon.factors.method import Method
from kerasurgeon.factors.tucker import Tucker

METHODS: Final[dict[str, Method]] = {method.name: method for method in (Tucker(), Svd())}
"""What options call a method, and the method."""

__all__ = ["METHODS"]
