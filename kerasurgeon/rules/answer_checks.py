"""What is asked of the answers of a user's rule: types and numbers. Each check returns the answer as it is used."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from kerasurgeon.ir.values import TensorSpec


class Wrong(Exception):  # noqa: N818 - turned into a RuleError by whoever asked
    """An answer that cannot be used.

    Args:
        what: What is wrong, in words.
        expected: What would have been accepted.
        got: What was given.
    """

    def __init__(self, what: str, expected: str, got: str) -> None:
        super().__init__(what)
        self.what, self.expected, self.got = what, expected, got


def shown(value: Any, most: int = 80) -> str:
    """A value in an error, cut off."""
    written = value if isinstance(value, str) else f"{type(value).__name__} {value!r}"
    return written if len(written) <= most else written[: most - 3] + "..."


def macs(found: Any, _: Any) -> int:
    """A whole number from 0."""
    if isinstance(found, bool) or not isinstance(found, numbers.Integral) or found < 0:
        raise Wrong("no number of multiply-accumulates.", "a whole number from 0", shown(found))
    return int(found)


def flag(found: Any, _: Any) -> bool:
    """Yes or no."""
    if not isinstance(found, (bool, np.bool_)):
        raise Wrong("neither yes nor no.", "True or False", shown(found))
    return bool(found)


def written(_: Any, call: Any) -> None:
    """All outputs given."""
    for index in range(len(call.outputs)):
        if index not in call.given:
            raise Wrong(f"output {index} is not given.", "call.give(name, order, index) for every output", "none")


def text(found: Any, _: Any) -> str | None:
    """Text, or nothing."""
    if found is not None and not isinstance(found, str):
        raise Wrong("no text.", "a string or None", shown(found))
    return found


def a(kind: Any, *, none: bool = False) -> Callable[[Any, Any], Any]:
    """The check that an answer is an instance of a class, or of one of a union; ``None`` only if that is an answer."""
    names = " or ".join(each.__name__ for each in get_args(kind) or (kind,)) + (" or None" if none else "")

    def check(found: Any, _: Any) -> Any:
        if not isinstance(found, kind) and not (none and found is None):
            raise Wrong(f"no {names}.", f"{names} of kerasurgeon.rules", shown(found))
        return found

    return check


def tuple_of(kind: type[Any]) -> Callable[[Any, Any], Any]:
    """The check that an answer is a tuple of instances of a class; it may be empty."""

    def check(found: Any, _: Any) -> Any:
        if not isinstance(found, tuple) or not all(isinstance(one, kind) for one in found):
            expected = f"a tuple of {kind.__name__} of kerasurgeon.rules, () where there is none"
            raise Wrong(f"no tuple of {kind.__name__}.", expected, shown(found))
        return found

    return check


def specs(found: Any, call: Any) -> tuple[TensorSpec, ...]:
    """A spec for each output that says no other rank, dtype or known size than Keras does."""
    several = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    if not all(isinstance(spec, TensorSpec) for spec in several):
        raise Wrong("no specs of tensors.", "a tuple of TensorSpec", shown(found))
    if len(several) != len(call.outputs):
        raise Wrong("not a spec for each output.", f"{len(call.outputs)} specs", f"{len(several)} specs")
    for spec, known in zip(several, call.outputs, strict=True):
        sizes = zip(spec.shape, known.shape, strict=False)
        agrees = len(spec.shape) == len(known.shape) and spec.dtype == known.dtype
        agrees = agrees and all(
            size is None or (is_whole(size) and size >= 0 and other in (None, size)) for size, other in sizes
        )
        if not agrees:
            raise Wrong("a spec that contradicts Keras.", f"what agrees with {known}", str(spec))
    return several


def is_whole(size: Any) -> bool:
    """Whether it is a whole number, and not a truth value."""
    return isinstance(size, numbers.Integral) and not isinstance(size, bool)


__all__ = ["Wrong", "a", "flag", "is_whole", "macs", "shown", "specs", "text", "tuple_of"]
