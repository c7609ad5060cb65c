"""Sizes that a model leaves open, as the code of a layer that is being opened computes with them.

While a layer's ``call`` runs on symbolic tensors, an unknown size is ``None``, with which no code can compute. Here it
is a ``FreeSize``, and the functions that take sizes are written, for such, with ops that find them at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasurgeon.errors import KerasurgeonError


class UntraceableError(KerasurgeonError):
    """The code of a layer does something that no graph of layers and ops can say."""


class FreeSize:
    """The size of one axis of a tensor, unknown until run time; or what has been computed from such.

    Args:
        tensor: The tensor; ``None`` for what has been computed otherwise than by ``scale * size + offset``.
        axis: The axis.
        scale: What the size is multiplied by.
        offset: What is added.
    """

    def __init__(self, tensor: Any = None, axis: int = 0, scale: int = 1, offset: int = 0) -> None:
        self.tensor, self.axis, self.scale, self.offset = tensor, axis, scale, offset

    @property
    def plain(self) -> bool:
        """Whether it is an axis of a tensor, nothing computed."""
        return self.tensor is not None and (self.scale, self.offset) == (1, 0)

    def same(self, other: Any) -> bool:
        """Whether it certainly is the same size."""
        return (
            isinstance(other, FreeSize)
            and self._of_one(other)
            and (self.scale, self.offset) == (other.scale, other.offset)
        )

    def _of_one(self, other: FreeSize) -> bool:
        return self.tensor is not None and self.tensor is other.tensor and self.axis == other.axis

    def _scaled(self, scale: int, offset: int) -> Any:
        return FreeSize(self.tensor, self.axis, scale, offset) if scale else offset

    def __add__(self, other: Any) -> Any:
        if isinstance(other, FreeSize) and self._of_one(other):
            return self._scaled(self.scale + other.scale, self.offset + other.offset)
        return self._scaled(self.scale, self.offset + other) if self._with(other) else FreeSize()

    def __mul__(self, other: Any) -> Any:
        return self._scaled(self.scale * other, self.offset * other) if self._with(other) else FreeSize()

    def _with(self, other: Any) -> bool:
        return self.tensor is not None and isinstance(other, int) and not isinstance(other, bool)

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def _computed(self, *_: Any) -> FreeSize:
        return FreeSize()

    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _computed

    def __eq__(self, other: object) -> bool:
        if self.same(other):
            return True
        raise self._unknown("compares")

    __hash__ = object.__hash__

    def __lt__(self, other: object) -> bool:
        raise self._unknown("compares")

    __le__ = __gt__ = __ge__ = __lt__

    def __bool__(self) -> bool:
        raise self._unknown("branches on")

    def __index__(self) -> int:
        raise self._unknown("takes for a number")

    __int__ = __index__

    def __float__(self) -> float:
        raise self._unknown("takes for a number")

    def __repr__(self) -> str:
        return f"the free size of axis {self.axis}" if self.plain else "a number computed from free sizes"

    def number(self) -> Any:
        """It as a tensor, a whole number."""
        found = ops.sum(ops.add(zeros(FreeSize(self.tensor, self.axis)), 1))
        return ops.add(ops.multiply(found, self.scale), self.offset)

    def _unknown(self, does: str) -> UntraceableError:
        return UntraceableError(f"it {does} {self!r}, which is not known before the model runs")


def sizes_of(tensor: Any, shape: Sequence[int | None]) -> tuple[Any, ...]:
    """A shape with free sizes in place of ``None``."""
    return tuple(FreeSize(tensor, axis) if size is None else size for axis, size in enumerate(shape))


def as_tensor(value: Any, dtype: Any = None) -> Any:
    """``ops.convert_to_tensor`` that leaves a symbolic tensor as it is."""
    if not isinstance(value, keras.KerasTensor):
        return ops.convert_to_tensor(value, dtype=dtype)
    if dtype is None or keras.backend.standardize_dtype(dtype) == value.dtype:
        return value
    return ops.cast(value, dtype)


def has_free(structure: Any) -> bool:
    """Whether a size in nested arguments is free."""
    if isinstance(structure, (tuple, list)):
        return any(map(has_free, structure))
    if isinstance(structure, slice):
        return has_free((structure.start, structure.stop, structure.step))
    return isinstance(structure, FreeSize)


def zeros(size: Any) -> Any:
    """Zeros of one axis that is as long as a free size, or as a multiple of one and a number, as integers."""
    if not isinstance(size, FreeSize) or size.tensor is None or size.scale < 1:
        raise UntraceableError(f"it makes a tensor as long as {size!r}")
    around = tuple(axis for axis in range(len(size.tensor.shape)) if axis != size.axis)
    found = ops.zeros_like(size.tensor, dtype="int32")
    found = ops.sum(found, axis=around) if around else found
    if size.scale > 1:
        found = ops.concatenate([found] * size.scale)
    if size.offset > 0:
        return ops.pad(found, [[0, size.offset]])
    return found[-size.offset :, ...] if size.offset else found  # Keras takes slices in tuples only


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    """``ops.arange`` from or to free sizes, by one or minus one."""
    if stop is None:
        start, stop = 0, start
    if has_free(step) or step not in (1, -1):
        raise UntraceableError(f"it counts from {start!r} by {step!r} to {stop!r}")
    length = (stop - start) * step
    counted = ops.subtract(ops.cumsum(ops.add(zeros(length), 1)), 1)
    if step == -1:
        counted = ops.negative(counted)
    if isinstance(start, FreeSize):
        counted = ops.add(counted, start.number())
    elif start:
        counted = ops.add(counted, start)
    return ops.cast(counted, dtype or "int32")


def spread(tensor: Any, shape: Sequence[Any]) -> Any:
    """``ops.broadcast_to`` a shape with free sizes."""
    tensor = as_tensor(tensor)
    rank = len(shape)
    while len(tensor.shape) < rank:
        tensor = ops.expand_dims(tensor, 0)
    known = [1 if isinstance(size, FreeSize) else size for size in shape]
    if any(size not in (1, own) for size, own in zip(known, tensor.shape, strict=True)):
        filler = keras.ops.zeros(known, dtype="int32")
        tensor = _added(tensor, filler)
    for axis, size in enumerate(shape):
        if isinstance(size, FreeSize) and tensor.shape[axis] == 1:
            tensor = _added(tensor, ops.reshape(zeros(size), [-1 if each == axis else 1 for each in range(rank)]))
    return tensor


def _added(tensor: Any, filler: Any) -> Any:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    filler = ops.cast(filler, dtype)
    return ops.logical_or(tensor, filler) if dtype == "bool" else ops.add(tensor, filler)


def filled(value: Any, shape: Sequence[Any], dtype: Any = None) -> Any:
    """``ops.full`` of a shape with free sizes."""
    return spread(as_tensor(value, dtype or keras.config.floatx()), shape)


def tile(tensor: Any, repeats: Sequence[Any]) -> Any:
    """``ops.tile`` along axes of length one by free sizes."""
    tensor = as_tensor(tensor)
    while len(tensor.shape) < len(repeats):
        tensor = ops.expand_dims(tensor, 0)
    repeats = [1] * (len(tensor.shape) - len(repeats)) + list(repeats)
    known = [1 if isinstance(size, FreeSize) else size for size in repeats]
    if known != [1] * len(known):
        tensor = ops.tile(tensor, known)
    if any(isinstance(size, FreeSize) and own != 1 for size, own in zip(repeats, tensor.shape, strict=True)):
        raise UntraceableError("it repeats more than one element by a free size")
    return spread(tensor, [size if isinstance(size, FreeSize) else 1 for size in repeats])


def repeat(tensor: Any, repeats: Any, axis: int | None = None) -> Any:
    """``ops.repeat`` of one element by a free size."""
    if axis is None:
        raise UntraceableError("it repeats by a free size without an axis")
    axis %= len(tensor.shape)
    return tile(tensor, [repeats if each == axis else 1 for each in range(len(tensor.shape))])


def triangle(tensor: Any, k: int, *, upper: bool) -> Any:
    """``ops.triu`` or ``ops.tril`` for any size and diagonal.

    Those of Keras fail on TensorFlow where the diagonal is outside the matrix, as that of a wide window may be.
    """
    places = [
        arange(FreeSize(tensor, axis)) if tensor.shape[axis] is None else ops.arange(tensor.shape[axis], dtype="int32")
        for axis in (len(tensor.shape) - 2, len(tensor.shape) - 1)
    ]
    distance = ops.subtract(ops.expand_dims(places[1], 0), ops.expand_dims(places[0], 1))
    stays = ops.greater_equal(distance, k) if upper else ops.less_equal(distance, k)
    if keras.backend.standardize_dtype(tensor.dtype) == "bool":
        return ops.logical_and(tensor, stays)
    return ops.where(stays, tensor, ops.zeros_like(tensor))


def reshape(tensor: Any, shape: Sequence[Any], keeping_batch: Any) -> Any:
    """``ops.reshape`` to a shape with free sizes.

    Args:
        tensor: The tensor.
        shape: The shape.
        keeping_batch: What makes a layer that reshapes all axes behind the first one.
    """
    tensor = as_tensor(tensor)
    unknown = [axis for axis, size in enumerate(shape) if isinstance(size, FreeSize) or size == -1]
    if len(unknown) == 1:
        return ops.reshape(tensor, [-1 if axis in unknown else size for axis, size in enumerate(shape)])
    first = shape[0]
    batch = isinstance(first, FreeSize) and first.plain and first.axis == 0 and tensor.shape[0] is None
    if batch and len(unknown) == 2:
        return keeping_batch([-1 if isinstance(size, FreeSize) else size for size in shape[1:]])(tensor)
    raise UntraceableError(f"it reshapes to {tuple(shape)}, of which more than one size is free")


def cut(tensor: Any, start: Sequence[Any], shape: Sequence[Any]) -> Any:
    """``ops.slice`` of free sizes."""
    key = []
    for begin, size in zip(start, shape, strict=True):
        if isinstance(size, FreeSize) and begin != 0:
            raise UntraceableError("it takes a slice of a free size that does not begin at the front")
        key.append(slice(None, size) if isinstance(size, FreeSize) else slice(begin, begin + size))
    return taken(tensor, tuple(key))


def taken(tensor: Any, key: Any) -> Any:
    """``tensor[key]`` with free sizes in slices."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is None for part in parts):
        raise UntraceableError("it slices by a free size and adds axes at once")
    dots = [place for place, part in enumerate(parts) if part is Ellipsis]
    for place in dots:
        parts[place : place + 1] = [slice(None)] * (len(tensor.shape) - len(parts) + 1)
    rest: list[Any] = []
    for axis, part in enumerate(parts):
        if not (isinstance(part, slice) and has_free(part)):
            rest.append(part)
            continue
        if part.step not in (None, 1) or isinstance(part.start, FreeSize):
            raise UntraceableError("it slices from or by a free size")
        own = FreeSize(tensor, axis)
        if not own.same(part.stop):
            tensor = ops.take(tensor, arange(part.stop), axis=axis)
        rest.append(slice(part.start, None))
    if all(part == slice(None) or part == slice(0, None) for part in rest):
        return tensor
    return tensor[tuple(rest)]
