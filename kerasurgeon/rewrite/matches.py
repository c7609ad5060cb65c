"""What comes of trying a pattern at a node: a match, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.ir import Node, Value

Bound = Node | Value | np.ndarray[Any, Any] | None
"""What a name can be bound to: a call, a tensor, a constant, or nothing where an optional part is absent."""


@dataclass(frozen=True, eq=False)
class Match:
    """One place where a pattern holds. True in conditions.

    Attributes:
        root: The node that matched the pattern's root.
        nodes: All nodes matched, producers first, the root last.
        bindings: What was found, by name.
        revision: ``graph.revision`` when it was found: a later one may have made the match stale.
    """

    root: Node
    nodes: tuple[Node, ...]
    bindings: Mapping[str, Bound]
    revision: int

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Bound:
        try:
            return self.bindings[name]
        except KeyError:
            raise GraphError(f"The pattern binds no {name!r}.", hint=did_you_mean(name, self.bindings)) from None

    def __contains__(self, name: str) -> bool:
        return name in self.bindings

    def node(self, name: str) -> Node:
        """The node bound to a name.

        Raises:
            GraphError: The name is not bound, or to something else.
        """
        bound = self[name]
        if not isinstance(bound, Node):
            raise _not_a("node", name, bound)
        return bound

    def value(self, name: str) -> Value:
        """The tensor bound to a name; of a node, its first output."""
        bound = self[name]
        if isinstance(bound, Node):
            return bound.value
        if not isinstance(bound, Value):
            raise _not_a("tensor", name, bound)
        return bound

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The constant bound to a name."""
        bound = self[name]
        if not isinstance(bound, np.ndarray):
            raise _not_a("constant", name, bound)
        return bound

    def __str__(self) -> str:
        found = (f"{name}={shown(bound)}" for name, bound in self.bindings.items())
        return f"match at {self.root.name!r} ({', '.join(found)})"


@dataclass(frozen=True)
class NearMiss:
    """Why a pattern does not match at a node. False in conditions.

    Attributes:
        reason: What was in the way, as one sentence.
        node: The node where it failed.
        matched: How many nodes had matched by then, the failing one included if it was of the right kind.
        root: The node where the pattern was tried.
        pattern_origin: ``file:line`` of the part of the pattern that did not match.
    """

    reason: str
    node: str
    matched: int
    root: str
    pattern_origin: str

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"no match at {self.root!r}: {self.reason}"


def same(one: Any, other: Any) -> bool:
    """Whether two operands or bindings are the same thing: one node, one tensor, equal constants."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)
    if isinstance(one, Node) and isinstance(other, Node):
        return one.name == other.name
    return type(one) is type(other) and bool(one == other)


def shown(bound: Any) -> str:
    """A binding or operand in a few words."""
    if bound is None:
        return "nothing"
    if isinstance(bound, Node):
        return repr(bound.name)
    if isinstance(bound, np.ndarray):
        return f"array {bound.tolist()}" if bound.size <= 1 else f"an array of shape {bound.shape}"
    return f"tensor {bound}" if isinstance(bound, Value) else repr(bound)


def _not_a(what: str, name: str, bound: Bound) -> GraphError:
    return GraphError(f"What the pattern calls {name!r} is no {what}.", got=shown(bound))
