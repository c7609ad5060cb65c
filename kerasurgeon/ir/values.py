"""The leaves of the graph: tensors, what is known about them, and references to weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

_ITEM_BITS = {
    "bool": 8,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "int16": 16,
    "uint16": 16,
    "float16": 16,
    "bfloat16": 16,
    "int32": 32,
    "uint32": 32,
    "float32": 32,
    "int64": 64,
    "uint64": 64,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
}


def dtype_bytes(dtype: str) -> float:
    """Bytes that one element of a Keras dtype takes; strings count as 0, int4 as 0.5."""
    return _ITEM_BITS.get(dtype, 0) / 8


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor: the ``index``-th flattened output of the node named ``node``."""

    node: str
    index: int = 0

    def __str__(self) -> str:
        return self.node if self.index == 0 else f"{self.node}#{self.index}"


@dataclass(frozen=True, slots=True)
class WeightRef:
    """A layer's weight used directly as an operand (a tied weight)."""

    layer: str
    key: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.key}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of a tensor.

    Attributes:
        shape: Sizes per axis; ``None`` where unknown until run time (the batch, usually).
        dtype: A Keras dtype name, such as ``"float32"``.
        sparse: Whether the tensor is sparse.
    """

    shape: tuple[int | None, ...]
    dtype: str
    sparse: bool = False

    def elements(self, batch_size: int = 1, unknown: int = 1) -> int:
        """Number of elements, with axis 0 taken as ``batch_size`` and other unknown sizes as ``unknown``."""
        if not self.shape:
            return 1
        first = batch_size if self.shape[0] is None else self.shape[0]
        return first * prod(unknown if size is None else size for size in self.shape[1:])

    def bytes(self, batch_size: int = 1) -> int:
        """Bytes the tensor takes for one batch of ``batch_size``."""
        return round(self.elements(batch_size) * dtype_bytes(self.dtype))

    def accepts(self, other: TensorSpec) -> bool:
        """Whether ``other`` can stand where this spec is expected: unknown sizes here accept anything."""
        return (
            self.dtype == other.dtype
            and self.sparse == other.sparse
            and len(self.shape) == len(other.shape)
            and all(mine is None or mine == theirs for mine, theirs in zip(self.shape, other.shape, strict=True))
        )

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"({sizes}{',' if len(self.shape) == 1 else ''}) {self.dtype}"
