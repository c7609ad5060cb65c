"""Count multiply-accumulates while Keras runs, by what its backend is asked to contract: no rule has a part in it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from kerasurgeon.errors import KerasurgeonError
from kerasurgeon.keras_io.internals import contractions, convolutions
from kerasurgeon.keras_io.replaced import Replaced

Sizes = tuple[int, ...]


class _Counting(threading.local):
    """The counter of this thread, and whether it is inside a call that has been counted already."""

    counter: list[int] | None = None
    inside = False


_NOW = _Counting()


@contextlib.contextmanager
def counted_macs() -> Iterator[list[int]]:
    """While open, what this thread runs eagerly through Keras is counted, as ``kerasurgeon.costs`` counts.

    Products of tensors by a backend's own functions (``tf.matmul``, ``@``) are not seen; those of ``keras.ops`` and of
    Keras' layers are.

    Yields:
        The multiply-accumulates of each call, in order.
    """
    outer, _NOW.counter = _NOW.counter, []
    try:
        with contextlib.ExitStack() as stack:
            for replaced in _COUNTED:
                stack.enter_context(replaced)
            yield _NOW.counter
    finally:
        _NOW.counter = outer


def _conv(result: Sizes, inputs: Any, kernel: Any, *_: Any, **__: Any) -> int:
    return prod(result) * prod(_shape(kernel)[:-1])


def _depthwise(result: Sizes, inputs: Any, kernel: Any, *_: Any, **__: Any) -> int:
    return prod(result) * prod(_shape(kernel)[:-2])


def _separable(result: Sizes, inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, *_: Any, **__: Any) -> int:
    *window, channels, multiplier = _shape(depthwise_kernel)
    positions = prod(result) // _shape(pointwise_kernel)[-1]
    return positions * channels * multiplier * (prod(window) + _shape(pointwise_kernel)[-1])


def _transposed(result: Sizes, inputs: Any, kernel: Any, *_: Any, **__: Any) -> int:
    return prod(_shape(inputs)) * prod(_shape(kernel)[:-1])


def _attention(result: Sizes, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    batch, steps, heads, size = _shape(query)
    return batch * heads * steps * _shape(key)[1] * (size + _shape(value)[-1])


def _last(result: Sizes, x1: Any, x2: Any, *_: Any, **__: Any) -> int:
    return prod(result) * _shape(x1)[-1] if _shape(x1) and _shape(x2) else 0


def _all(result: Sizes, x1: Any, x2: Any, *_: Any, **__: Any) -> int:
    return prod(_shape(x1))


def _tensordot(result: Sizes, x1: Any, x2: Any, axes: Any = 2) -> int:
    shape = _shape(x1)
    if isinstance(axes, int):
        summed = shape[len(shape) - axes :] if axes else ()
    else:
        first = axes[0] if isinstance(axes[0], (list, tuple)) else [axes[0]]
        summed = tuple(shape[axis] for axis in first)
    return prod(result) * prod(summed) if summed else 0


def _einsum(result: Sizes, subscripts: str, *operands: Any, **__: Any) -> int:
    if len(operands) < 2:
        return 0
    if len(operands) > 2:
        raise KerasurgeonError(f"An einsum of {len(operands)} operands cannot be counted.", where=repr(subscripts))
    left, _arrow, right = subscripts.replace(" ", "").partition("->")
    if not right and "->" not in subscripts:
        raise KerasurgeonError("An einsum that does not say what it gives cannot be counted.", where=repr(subscripts))
    sizes: dict[str, int] = {}
    letters = []
    for term, operand in zip(left.split(","), operands, strict=True):
        before, _, after = term.partition("...")
        shape = _shape(operand)
        named = [*zip(before, shape, strict=False), *zip(after, shape[len(shape) - len(after) :], strict=True)]
        for letter, size in named:
            sizes[letter] = max(size, sizes.get(letter, 1))
        letters.append({letter for letter, _ in named})
    summed = (letters[0] & letters[1]) - set(right)
    return prod(result) * prod(sizes[letter] for letter in summed) if summed else 0


def _counting(function: Callable[..., Any], count: Callable[..., int]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        replaced = _BY_NAME[function.__name__]
        if _NOW.counter is None or _NOW.inside:
            return replaced.original(*args, **kwargs)
        _NOW.inside = True
        try:
            result = replaced.original(*args, **kwargs)
        finally:
            _NOW.inside = False
        _NOW.counter.append(count(_shape(result), *args, **kwargs))
        return result

    return call


def _shape(tensor: Any) -> Sizes:
    return tuple(int(size) for size in getattr(tensor, "shape", ()))


_WAYS: dict[str, tuple[Any, Callable[..., int]]] = {
    "conv": (convolutions, _conv),
    "depthwise_conv": (convolutions, _depthwise),
    "separable_conv": (convolutions, _separable),
    "conv_transpose": (convolutions, _transposed),
    "dot_product_attention": (convolutions, _attention),
    "matmul": (contractions, _last),
    "dot": (contractions, _last),
    "inner": (contractions, _last),
    "vdot": (contractions, _all),
    "tensordot": (contractions, _tensordot),
    "einsum": (contractions, _einsum),
}
_BY_NAME = {
    name: Replaced(owner, name, _counting(getattr(owner, name), count))
    for name, (owner, count) in _WAYS.items()
    if hasattr(owner, name)
}
_COUNTED = tuple(_BY_NAME.values())

__all__ = ["counted_macs"]
