"""What a pattern is made of. Data only: ``patterns`` has the names to write it, ``matching`` walks it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir import Layer, Node, TensorSpec

NodeTest = Callable[[Node, Layer], bool | str]
"""A predicate on a call: a true value accepts, false refuses, a string refuses and says why."""

TensorTest = Callable[[TensorSpec], bool | str]
"""The same on what is known of a tensor."""

_OWN_MODULES = frozenset({__name__, "kerasurgeon.rewrite.patterns", "dataclasses"})


def written_at() -> str:
    """``file:line`` of the innermost caller outside the pattern modules."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _OWN_MODULES:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass(frozen=True, eq=False)
class Pattern:
    """One part of a pattern: what may stand at one place of a graph.

    One pattern object used at two places of an expression stands for one tensor, as a Python variable would.

    Attributes:
        name: What a match calls what was found here; ``None`` if nothing is bound.
        origin: ``file:line`` that built it.
    """

    name: str | None = field(default=None, kw_only=True)
    origin: str = field(default_factory=written_at, kw_only=True)

    def bind(self, name: str) -> Self:
        """The same pattern, with what it finds bound to ``name``; equal names must find the same thing."""
        return replace(self, name=name)

    def parts(self) -> tuple[Pattern, ...]:
        """The patterns directly inside this one."""
        return ()

    def walk(self) -> Iterator[Pattern]:
        """This pattern and everything inside it."""
        yield self
        for part in self.parts():
            yield from part.walk()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name that a match binds, in the order of writing."""
        return tuple(dict.fromkeys(part.name for part in self.walk() if part.name is not None))

    @property
    def root_kinds(self) -> frozenset[str] | None:
        """The kinds of node it can match at its root; ``None`` where any kind may do."""
        return None


@dataclass(frozen=True, eq=False)
class Anything(Pattern):
    """Any tensor. Constants are not tensors: see ``Constant``."""

    where: TensorTest | None = None

    def __str__(self) -> str:
        return self.name or "anything"


@dataclass(frozen=True, eq=False)
class Constant(Pattern):
    """A number or array given as an operand; binds it as a numpy array.

    Attributes:
        value: The value required, shape included; ``None`` accepts any.
        tolerance: Largest difference from ``value``, absolute and relative.
        weights: Whether a layer's weight used as operand counts as constant, too.
    """

    value: Any = None
    tolerance: float = 1e-6
    weights: bool = False

    def __str__(self) -> str:
        if self.value is None:
            return self.name or "constant"
        array = np.asarray(self.value)
        return str(self.value) if array.size == 1 else f"constant of shape {array.shape}"


@dataclass(frozen=True, eq=False)
class Call(Pattern):
    """A call of a layer or op, with patterns for its operands.

    Attributes:
        kinds: The kinds accepted; ``None`` accepts any.
        operands: Patterns of the positional operands, lists flattened; ``None`` leaves all operands open.
        keywords: Patterns of operands by parameter name.
        rest: Whether there may be more operands than the pattern names.
        where: A test of the node and its layer.
        cls: A class that the layer must be an instance of.
        output: Which output of the node the operand must be; ``None`` accepts any.
        shared: Whether the layer may have other calls.
        many_uses: Whether results may be used outside the match, when this is not its root.
    """

    kinds: frozenset[str] | None = None
    operands: tuple[Pattern, ...] | None = None
    keywords: Mapping[str, tuple[Pattern, ...]] = field(default_factory=lambda: MappingProxyType({}))
    rest: bool = False
    where: NodeTest | None = None
    cls: type[Any] | None = None
    output: int | None = 0
    shared: bool = False
    many_uses: bool = False

    def shared_ok(self) -> Self:
        """Match also where the layer is called more than once or its weights are used elsewhere."""
        return replace(self, shared=True)

    def many_uses_ok(self) -> Self:
        """Match also where results are used outside the match or returned by the model."""
        return replace(self, many_uses=True)

    def at_output(self, index: int | None) -> Self:
        """Match output ``index`` of the node instead of its first; ``None`` for any of them."""
        return replace(self, output=index)

    def parts(self) -> tuple[Pattern, ...]:
        """The patterns of its operands."""
        return (*(self.operands or ()), *(part for group in self.keywords.values() for part in group))

    @property
    def root_kinds(self) -> frozenset[str] | None:
        """The kinds accepted."""
        return self.kinds

    @property
    def title(self) -> str:
        """What it accepts, without operands: ``Conv2D or DepthwiseConv2D``."""
        if self.kinds is not None:
            return " or ".join(sorted(self.kinds))
        return "any op" if self.cls is None else self.cls.__name__

    def __str__(self) -> str:
        given = [str(part) for part in self.operands or ()]
        given += [f"{key}={', '.join(map(str, group))}" for key, group in self.keywords.items()]
        given += ["..."] * self.rest
        return f"{self.title}({', '.join(given)})"


@dataclass(frozen=True, eq=False)
class OneOf(Pattern):
    """The first of several patterns that matches; names bound only in the others are bound to ``None``."""

    choices: tuple[Pattern, ...] = ()

    def __post_init__(self) -> None:
        if not self.choices:
            raise OptionError("one_of() has nothing to choose from.", hint="give it patterns")

    def parts(self) -> tuple[Pattern, ...]:
        """The choices."""
        return self.choices

    @property
    def root_kinds(self) -> frozenset[str] | None:
        """The kinds that any choice accepts."""
        kinds = [choice.root_kinds for choice in self.choices]
        known = [kind for kind in kinds if kind is not None]
        return frozenset().union(*known) if len(known) == len(kinds) else None

    def __str__(self) -> str:
        return " or ".join(map(str, self.choices))


@dataclass(frozen=True, eq=False)
class Optional(Pattern):
    """A call that may be left out: ``otherwise`` stands in its place then, and its names are ``None``."""

    inner: Pattern = field(default_factory=Anything)
    otherwise: Pattern = field(default_factory=Anything)

    def parts(self) -> tuple[Pattern, ...]:
        """What may be there, and what stands there if it is not."""
        return self.inner, self.otherwise

    def __str__(self) -> str:
        return f"optional {self.inner}"
