"""Find patterns in a graph, and say why one does not match where it nearly does.

The walk goes from a root node through producers, trying alternatives in order and taking the first that
holds as a whole. Roots are picked by kind, so that a search costs the number of nodes plus, per candidate,
the size of the pattern; each ``one_of`` multiplies that by its choices and each commutative call of k
operands by at most k!, cut off at ``MAX_STEPS`` comparisons a root. Nothing here changes the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir import Graph, Node, Value
from kerasurgeon.rewrite.matches import Bound, Match, NearMiss, same, shown
from kerasurgeon.rewrite.operands import Slot, constant_array, has_value, slots_of
from kerasurgeon.rewrite.pattern_nodes import Anything, Call, Constant, OneOf, Optional, Pattern
from kerasurgeon.rules.asking import commutes

MAX_STEPS = 10_000
"""Comparisons of an operand with a part of a pattern that one root may take."""


def find(graph: Graph, pattern: Pattern) -> list[Match]:
    """Every match of a pattern, at most one per root, in topological order of the roots. Matches may overlap.

    Raises:
        OptionError: The root of the pattern is no call.
    """
    return [result for result in _at_candidates(graph, pattern) if isinstance(result, Match)]


def near_misses(graph: Graph, pattern: Pattern) -> list[NearMiss]:
    """For every node of the root's kind where the pattern does not match, how far it got and why no further.

    Raises:
        OptionError: The root of the pattern is no call.
    """
    return [result for result in _at_candidates(graph, pattern) if isinstance(result, NearMiss) and result.matched]


def match_at(graph: Graph, pattern: Pattern, node: Node | str) -> Match | NearMiss:
    """Try a pattern with its root at one node.

    Args:
        graph: The graph; it is only read.
        pattern: The pattern.
        node: The node, or its name.

    Raises:
        GraphError: There is no such node.
        OptionError: The root of the pattern is no call.
    """
    _check_root(pattern)
    root = graph[node if isinstance(node, str) else node.name]
    return _Attempt(graph, pattern, root, graph.tied_layers()).run()


def _at_candidates(graph: Graph, pattern: Pattern) -> Iterator[Match | NearMiss]:
    _check_root(pattern)
    kinds, tied = pattern.root_kinds, graph.tied_layers()
    for node in graph.nodes():
        if kinds is None or graph.kind(node) in kinds:
            yield _Attempt(graph, pattern, node, tied).run()


def _check_root(pattern: Pattern) -> None:
    roots = [pattern]
    while roots:
        root = roots.pop()
        if isinstance(root, OneOf):
            roots.extend(root.choices)
        elif not isinstance(root, Call):
            raise OptionError(
                f"A pattern cannot have {root} for its root.",
                where=root.origin,
                expected="a call, or one_of several",
            )


@dataclass(frozen=True, slots=True)
class _State:
    """What has been matched so far. Never changed, so that another alternative can start from it."""

    bindings: Mapping[str, Bound]
    found: Mapping[int, _Found]  # by id of a pattern object: what it stands for
    calls: Mapping[str, Call]  # by name of a node: the part that it matched
    edges: frozenset[tuple[str, int]]  # (user, position) of every operand that the match explains

    def with_binding(self, name: str, bound: Bound) -> _State:
        return _State({**self.bindings, name: bound}, self.found, self.calls, self.edges)

    def with_call(self, node: Node, part: Call) -> _State:
        return _State(self.bindings, self.found, {**self.calls, node.name: part}, self.edges)

    def with_operand(self, part: Pattern, found: _Found, node: Node, slot: Slot) -> _State:
        edges = self.edges | {(node.name, slot.position)}
        return _State(self.bindings, {**self.found, id(part): found}, self.calls, edges)


_Found = tuple[Any, Bound]  # an operand, and what was bound for it
_Step = tuple[_State, Bound]


class _Attempt:
    """One try of a pattern at one root. Keeps the failure that got furthest; of equals, the first."""

    def __init__(self, graph: Graph, pattern: Pattern, root: Node, tied: frozenset[str]) -> None:
        self.graph = graph
        self.pattern = pattern
        self.root = root
        self.tied = tied
        self.steps = 0
        self.best = NearMiss("the pattern has no root", root.name, 0, root.name, pattern.origin)
        self.furthest = (-1, False)

    def run(self) -> Match | NearMiss:
        for state, _ in self._root(self.pattern, _State({}, {}, {}, frozenset())):
            if self._is_closed(state):
                return self._match(state)
        if self.steps > MAX_STEPS:
            return replace(self.best, reason=f"gave up after {MAX_STEPS} comparisons; furthest: {self.best.reason}")
        return self.best

    def _root(self, pattern: Pattern, state: _State) -> Iterator[_Step]:
        if isinstance(pattern, OneOf):
            for choice in pattern.choices:
                for after, bound in self._root(choice, state):
                    yield from self._bind(pattern, after, bound, self.root)
        elif isinstance(pattern, Call):
            yield from self._call(pattern, self.root, state)

    def _match(self, state: _State) -> Match:
        bindings: dict[str, Bound] = dict.fromkeys(self.pattern.names)
        bindings.update(state.bindings)
        nodes = _producers_first(self.graph, self.root, state.calls)
        return Match(self.root, nodes, MappingProxyType(bindings), self.graph.revision)

    def _fail(
        self, state: _State, part: Pattern, node: Node, reason: str, *, entered: int = 0, whole: bool = False
    ) -> None:
        matched = len(state.calls) + entered
        if (matched, whole) > self.furthest:
            self.furthest = (matched, whole)
            self.best = NearMiss(reason, node.name, matched, self.root.name, part.origin)

    # ---- operands ------------------------------------------------------------------------------------------

    def _operand(self, part: Pattern, node: Node, slot: Slot, state: _State) -> Iterator[_Step]:
        """Match one operand of ``node``."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            return
        if id(part) in state.found:
            leaf, bound = state.found[id(part)]
            if same(leaf, slot.leaf):
                yield state.with_operand(part, (leaf, bound), node, slot), bound
            else:
                self._fail(state, part, node, f"{slot} of {node.name!r} is {shown(slot.leaf)}, not {shown(leaf)}")
            return
        for after, bound in self._new_operand(part, node, slot, state):
            yield after.with_operand(part, (slot.leaf, bound), node, slot), bound

    def _new_operand(self, part: Pattern, node: Node, slot: Slot, state: _State) -> Iterator[_Step]:
        match part:
            case Anything():
                yield from self._anything(part, node, slot, state)
            case Constant():
                yield from self._constant(part, node, slot, state)
            case Call():
                yield from self._producer(part, node, slot, state)
            case OneOf():
                for choice in part.choices:
                    for after, bound in self._operand(choice, node, slot, state):
                        yield from self._bind(part, after, bound, node)
            case Optional():
                for after, bound in self._operand(part.inner, node, slot, state):
                    yield from self._bind(part, after, bound, node)
                for after, _ in self._operand(part.otherwise, node, slot, state):
                    yield from self._bind(part, after, None, node)

    def _anything(self, part: Anything, node: Node, slot: Slot, state: _State) -> Iterator[_Step]:
        if not isinstance(slot.leaf, Value):
            self._fail(state, part, node, f"{slot} of {node.name!r} is {shown(slot.leaf)}, not a tensor")
            return
        refused = None
        if part.where is not None:
            refused = _refusal(part.where(self.graph.spec(slot.leaf)), f"tensor {slot.leaf}", part)
        if refused is None:
            yield from self._bind(part, state, slot.leaf, node)
        else:
            self._fail(state, part, node, refused)

    def _constant(self, part: Constant, node: Node, slot: Slot, state: _State) -> Iterator[_Step]:
        array = constant_array(self.graph, slot.leaf, weights=part.weights)
        if array is None:
            self._fail(state, part, node, f"{slot} of {node.name!r} is {shown(slot.leaf)}, not a constant")
        elif not has_value(array, part.value, part.tolerance):
            self._fail(
                state,
                part,
                node,
                f"{slot} of {node.name!r} is {shown(array)}, not {shown(np.asarray(part.value))}",
            )
        else:
            yield from self._bind(part, state, array, node)

    def _producer(self, part: Call, node: Node, slot: Slot, state: _State) -> Iterator[_Step]:
        leaf = slot.leaf
        if not isinstance(leaf, Value):
            self._fail(state, part, node, f"{slot} of {node.name!r} is {shown(leaf)}, not the result of {part.title}")
        elif part.output is not None and leaf.index != part.output and self._is_kind(part, self.graph[leaf.node]):
            self._fail(
                state,
                part,
                node,
                f"{slot} of {node.name!r} is output {leaf.index} of {leaf.node!r}, not {part.output}",
            )
        else:
            yield from self._call(part, self.graph[leaf.node], state)

    # ---- calls ---------------------------------------------------------------------------------------------

    def _is_kind(self, part: Call, node: Node) -> bool:
        layer = self.graph.layer_of(node)
        fits = part.kinds is None or layer.kind in part.kinds
        return fits and (part.cls is None or issubclass(layer.cls, part.cls))

    def _call(self, part: Call, node: Node, state: _State) -> Iterator[_Step]:
        if not self._is_kind(part, node):
            self._fail(state, part, node, f"{node.name!r} is {self.graph.kind(node)}, not {part.title}")
            return
        refused = self._refused(part, node, state)
        if refused is not None:
            self._fail(state, part, node, refused, entered=1)
            return
        entered = state.with_call(node, part)
        for bound, _ in self._bind(part, entered, node, node):
            for after in self._operands(part, node, bound):
                yield after, node

    def _refused(self, part: Call, node: Node, state: _State) -> str | None:
        """Why a node of the right kind will not do, whatever its operands."""
        earlier = state.calls.get(node.name)
        if earlier is not None and (earlier.name is None or earlier.name != part.name):
            return f"{node.name!r} is matched by another part of the pattern already"
        if not part.shared:
            calls = len(self.graph.calls(node.layer))
            if calls > 1:
                return f"layer {node.layer!r} is shared: it is called {calls} times"
            if node.layer in self.tied:
                return f"the weights of layer {node.layer!r} are used elsewhere, too"
        if part.where is None:
            return None
        return _refusal(part.where(node, self.graph.layer_of(node)), repr(node.name), part)

    def _operands(self, part: Call, node: Node, state: _State) -> Iterator[_State]:
        if part.operands is None:
            yield state
            return
        slots = slots_of(self.graph, node)
        named: list[tuple[Pattern, Slot]] = []
        for name, group in part.keywords.items():
            given = [slot for slot in slots if slot.parameter == name]
            if len(given) != len(group):
                self._fail(state, part, node, f"{node.name!r} has {len(given)} operands {name!r}, not {len(group)}")
                return
            named += zip(group, given, strict=True)
        free = [slot for slot in slots if slot.parameter not in part.keywords]
        wanted, many = len(part.operands), len(free)
        if many < wanted or (many > wanted and not part.rest):
            counted = f"{many} operand{'s' * (many != 1)}{' more' if named else ''}"
            self._fail(state, part, node, f"{node.name!r} has {counted}, not {'at least ' * part.rest}{wanted}")
        elif commutes(self.graph.layer_of(node)):
            for after in self._in_turn(node, named, state):
                yield from self._permuted(node, part.operands, free, after)
        else:
            yield from self._in_turn(node, [*named, *zip(part.operands, free)], state)  # noqa: B905 - rest is open

    def _in_turn(self, node: Node, pairs: list[tuple[Pattern, Slot]], state: _State) -> Iterator[_State]:
        if not pairs:
            yield state
            return
        part, slot = pairs[0]
        for after, _ in self._operand(part, node, slot, state):
            yield from self._in_turn(node, pairs[1:], after)

    def _permuted(self, node: Node, parts: tuple[Pattern, ...], free: list[Slot], state: _State) -> Iterator[_State]:
        """All ways of giving each part an operand of its own, abandoned where one does not fit."""
        if not parts:
            yield state
            return
        for slot in free:
            for after, _ in self._operand(parts[0], node, slot, state):
                yield from self._permuted(node, parts[1:], [other for other in free if other is not slot], after)

    # ---- the match as a whole ------------------------------------------------------------------------------

    def _bind(self, part: Pattern, state: _State, bound: Bound, node: Node) -> Iterator[_Step]:
        name = part.name
        if name is None:
            yield state, bound
        elif name not in state.bindings:
            yield state.with_binding(name, bound), bound
        elif same(state.bindings[name], bound):
            yield state, bound
        else:
            self._fail(state, part, node, f"{name!r} would be both {shown(state.bindings[name])} and {shown(bound)}")

    def _is_closed(self, state: _State) -> bool:
        """Whether nothing outside the match reads what is computed inside it."""
        for name, part in state.calls.items():
            node = self.graph[name]
            if name == self.root.name or part.many_uses:
                continue
            for index in range(len(node.outputs)):
                value = Value(name, index)
                outside = [use.node for use in self.graph.uses(value) if (use.node, use.position) not in state.edges]
                if outside or self.graph.is_output(value):
                    reason = f"used by {outside[0]!r}" if outside else "an output of the model"
                    self._fail(state, part, node, f"{value} is also {reason}", whole=True)
                    return False
        return True


def _refusal(verdict: Any, what: str, part: Pattern) -> str | None:
    """The reason that a test gave for refusing, one made up if it gave none, ``None`` if it accepted."""
    if isinstance(verdict, str):
        return f"{what}: {verdict}" if verdict else f"{what} is refused by the pattern at {part.origin}"
    return None if verdict else f"{what} is refused by the test of {part} at {part.origin}"


def _producers_first(graph: Graph, root: Node, names: Mapping[str, Any]) -> tuple[Node, ...]:
    """The named nodes that lead to ``root``, each behind those it reads."""
    ordered: dict[str, Node] = {}
    _put_behind_producers(ordered, graph, root, names)
    return tuple(ordered.values())


def _put_behind_producers(ordered: dict[str, Node], graph: Graph, node: Node, names: Mapping[str, Any]) -> None:
    for value in node.inputs:
        if value.node in names and value.node not in ordered:
            _put_behind_producers(ordered, graph, graph[value.node], names)
    ordered[node.name] = node


__all__ = ["MAX_STEPS", "Match", "NearMiss", "find", "match_at", "near_misses"]
