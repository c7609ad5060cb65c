"""Patterns as Python expressions over layers, ops and their operands, matched from a root through producers.

A batch norm behind a convolution, and a hard swish written out::

    conv = layers.Conv2D(anything("x")).bind("conv")
    folded = layers.BatchNormalization(conv).bind("bn")
    hard_swish = ops.multiply(anything("x"), layers.ReLU(ops.add(anything("x"), constant(3.0))))

    for match in find(graph, folded):
        match.node("conv"), match.value("x")

The rules, all on the safe side:

* A call without operands accepts any; with operands it accepts no others, unless the last is ``...``.
  Operands are tensors and constants; flags such as ``training=`` are not. Lists are flattened:
  ``layers.Add(a, b)`` is ``layers.Add([a, b])``. Keywords name parameters of ``call``.
* Operands of commutative kinds (``Rule.commutes``) match in any order.
* Results inside a match are read only inside it and are no model outputs, unless ``.many_uses_ok()``.
* Layers are called once and their weights are not used elsewhere, unless ``.shared_ok()``.
* A call that is an operand stands for its first output, unless ``.at_output(i)``.
* A name bound twice, or a pattern object used twice, must find the same thing both times.

``kerasurgeon.rewrite.matching`` finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from types import EllipsisType, MappingProxyType
from typing import Any, NoReturn

import keras
import numpy as np

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.rewrite.operands import call_parameters
from kerasurgeon.rewrite.pattern_nodes import (
    Anything,
    Call,
    Constant,
    NodeTest,
    OneOf,
    Optional,
    Pattern,
    TensorTest,
)

Operand = Pattern | float | np.ndarray[Any, Any] | EllipsisType | list[Any] | tuple[Any, ...]
"""What may be written as an operand: a pattern, a constant, a list of operands, ``...`` for any others."""

# Functions of keras.ops whose op has another name, or that two ops stand for.
_OPS_OF_FUNCTION = {
    "abs": ("absolute", "abs"),
    "conj": ("conjugate", "conj"),
    "divide": ("divide", "true_divide"),
    "hard_swish": ("hard_silu",),
    "swish": ("silu",),
    "batch_normalization": ("batch_norm",),
    "layer_normalization": ("layer_norm",),
    "rms_normalization": ("rms_norm",),
}


def anything(name: str | None = None, *, where: TensorTest | None = None) -> Anything:
    """Any tensor.

    Args:
        name: What to bind it to.
        where: A test of its spec, which may return a reason to refuse it.
    """
    return Anything(name=name, where=where)


def constant(value: Any = None, *, tolerance: float = 1e-6, weights: bool = False) -> Constant:
    """A number or array among the operands.

    Args:
        value: The value it must have, up to ``tolerance``, in the same shape unless it is a single number.
        tolerance: Largest absolute and relative difference.
        weights: Accept a layer's weight that is used as an operand, too.
    """
    return Constant(value=value, tolerance=tolerance, weights=weights)


def one_of(*choices: Pattern) -> OneOf:
    """The first of several patterns that matches."""
    return OneOf(choices=choices)


def optional(pattern: Pattern, *, otherwise: Operand | None = None) -> Optional:
    """A call that may be absent.

    Args:
        pattern: What may be there.
        otherwise: What stands in its place if it is not; by default the one tensor that the call reads.

    Raises:
        OptionError: The call has several tensors for operands, and ``otherwise`` is not given.
    """
    if otherwise is not None:
        return Optional(inner=pattern, otherwise=_as_pattern(otherwise))
    if isinstance(pattern, Call):
        through = [part for part in pattern.parts() if not isinstance(part, Constant)]
        if len(through) == 1:
            return Optional(inner=pattern, otherwise=through[0])
        if pattern.operands is None and not pattern.keywords:
            return Optional(inner=pattern, otherwise=Anything())
    raise OptionError(
        f"What stands in the place of {pattern} if it is absent?",
        expected="a call with one operand that is not a constant",
        hint="say it with optional(..., otherwise=pattern)",
    )


def any_op(
    *operands: Operand, where: NodeTest | None = None, cls: type[Any] | None = None, **keywords: Operand
) -> Call:
    """A call of any layer or op.

    Args:
        operands: Its operands; none given leaves them open.
        where: A test of the node and its layer, which may return a reason to refuse it.
        cls: A class that the layer must be an instance of, such as one of your own.
        keywords: Operands by parameter name.
    """
    return _call(None, operands, keywords, where, cls)


class CallName:
    """The name of a layer or op, or of several: call it with operands to get a pattern."""

    def __init__(self, classes: dict[str, type[Any]]) -> None:
        self._classes = classes

    def __call__(self, *operands: Operand, where: NodeTest | None = None, **keywords: Operand) -> Call:
        """A call with these operands; none given leaves them open.

        Args:
            operands: Patterns, numbers or arrays; lists are flattened; a last ``...`` allows any others.
            where: A test of the node and its layer, which may return a reason to refuse it.
            keywords: Operands by name of the parameter of ``call``.

        Raises:
            OptionError: There is no such parameter, or an operand is no pattern.
        """
        classes: list[Any] = list(self._classes.values())
        known = {name for cls in classes for name in call_parameters(cls)}
        for name in keywords:
            if name not in known:
                title = " or ".join(self._classes)
                raise OptionError(f"{title} has no operand {name!r}.", hint=did_you_mean(name, known))
        return _call(frozenset(self._classes), operands, keywords, where, None)


class _Layers:
    """Layers by their name in ``keras.layers``."""

    def __getattr__(self, name: str) -> CallName:
        return self.one_of(name)

    def __dir__(self) -> list[str]:
        return sorted(_layer_names())

    def one_of(self, *names: str) -> CallName:
        """A call of any of several layers.

        Raises:
            OptionError: ``keras.layers`` has no such layer.
        """
        for name in names:
            if name not in _layer_names():
                _unknown("keras.layers", name, _layer_names())
        classes = [getattr(keras.layers, name) for name in names]
        return CallName({kind_of(cls): cls for cls in classes})


class _Ops:
    """Ops by their name in ``keras.ops``."""

    def __getattr__(self, name: str) -> CallName:
        return self.one_of(name)

    def __dir__(self) -> list[str]:
        return sorted(_op_names())

    def one_of(self, *names: str) -> CallName:
        """A call of any of several ops.

        Raises:
            OptionError: ``keras.ops`` has no such op.
        """
        for name in names:
            if name not in _op_names():
                _unknown("keras.ops", name, _op_names())
        kinds = [f"ops.{own}" for name in names for own in _OPS_OF_FUNCTION.get(name, (name,))]
        return CallName({kind: _op_classes()[kind] for kind in kinds if kind in _op_classes()})


layers = _Layers()
"""``layers.Conv2D(...)`` is a pattern of a call of ``keras.layers.Conv2D``."""

ops = _Ops()
"""``ops.add(...)`` is a pattern of a call of ``keras.ops.add``, or of ``+`` between tensors."""


def _call(
    kinds: frozenset[str] | None,
    operands: tuple[Operand, ...],
    keywords: dict[str, Operand],
    where: NodeTest | None,
    cls: type[Any] | None,
) -> Call:
    flat = list(_flatten(operands))
    rest = bool(flat) and flat[-1] is ...
    parts = tuple(_as_pattern(part) for part in (flat[:-1] if rest else flat))
    named = {key: tuple(_as_pattern(part) for part in _flatten((value,))) for key, value in keywords.items()}
    return Call(
        kinds=kinds,
        operands=parts if flat or named else None,
        keywords=MappingProxyType(named),
        rest=rest,
        where=where,
        cls=cls,
    )


def _flatten(operands: Iterable[Operand]) -> Iterator[Any]:
    for operand in operands:
        if isinstance(operand, (list, tuple)):
            yield from _flatten(operand)
        else:
            yield operand


def _as_pattern(operand: Any) -> Pattern:
    if isinstance(operand, Pattern):
        return operand
    if isinstance(operand, (int, float, complex, np.ndarray, np.generic)):
        return Constant(value=operand)
    what = "the name of a layer or op" if isinstance(operand, CallName) else repr(operand)
    raise OptionError(
        f"An operand of a pattern cannot be {what}.",
        expected="a pattern, a number, an array or, as the last operand, ...",
        hint="call it: layers.Conv2D()" if isinstance(operand, CallName) else None,
    )


def _unknown(module: str, name: str, known: Iterable[str]) -> NoReturn:
    if name.startswith("__"):  # asked by copy, pickle or inspect, not by somebody who writes a pattern
        raise AttributeError(name)
    raise OptionError(
        f"{module} has no {name!r}.",
        hint=did_you_mean(name, known) + " A class of your own is any_op(cls=...).",
    )


@cache
def _layer_names() -> frozenset[str]:
    return frozenset(
        name
        for name in dir(keras.layers)
        if isinstance(cls := getattr(keras.layers, name), type) and issubclass(cls, keras.Layer)
    )


@cache
def _op_names() -> frozenset[str]:
    return frozenset({kind.removeprefix("ops.") for kind in _op_classes()} | set(_OPS_OF_FUNCTION))


@cache
def _op_classes() -> dict[str, type[Any]]:
    """Every op of Keras by kind, from its classes: some have no function of that name in ``keras.ops``."""
    found: dict[str, type[Any]] = {}
    waiting = [keras.Operation]
    while waiting:
        cls = waiting.pop()
        if issubclass(cls, keras.Layer):
            continue
        waiting.extend(cls.__subclasses__())
        if cls is not keras.Operation and cls.__module__.startswith("keras."):
            found[kind_of(cls)] = cls
    return found


__all__ = [
    "CallName",
    "Operand",
    "Pattern",
    "any_op",
    "anything",
    "constant",
    "layers",
    "one_of",
    "ops",
    "optional",
]
