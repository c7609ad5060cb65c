"""Which nodes ``ReplaceLayers`` looks at: patterns, kinds, classes, names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.replacing.site import resolve
from kerasurgeon.rewrite.matching import Match, find, match_at, near_misses
from kerasurgeon.rewrite.patterns import Pattern, any_op
from kerasurgeon.trust import import_object

Where = Callable[[Node, Layer], bool | str]
"""A test of a node and its layer: a false value or a string, the reason, refuses."""

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Selection:
    """What the options ``pattern`` and ``where`` select.

    Args:
        pattern: As for ``ReplaceLayers``.
        where: Likewise.

    Raises:
        OptionError: An option selects nothing in any model.
    """

    def __init__(self, pattern: Any, where: Any) -> None:
        self.given = pattern
        self.choices = _choices(pattern)
        self.where = _test(where)

    def sites(self, graph: Graph) -> tuple[list[Match], dict[str, str]]:
        """Every match, and the reasons for nodes that were looked at and are no match."""
        roots: dict[str, Match] = {}
        left: dict[str, str] = {}
        for choice in self.choices:
            if isinstance(choice, Pattern):
                found = find(graph, choice)
                left |= {miss.root: miss.reason for miss in near_misses(graph, choice)}
            else:
                found = [match for node in graph.nodes() if (match := _match(graph, choice, node.name)) is not None]
            for match in found:
                verdict = self.where(match.root, graph.layer_of(match.root))
                if verdict is True:
                    roots.setdefault(match.root.name, match)
                else:
                    left[match.root.name] = verdict if isinstance(verdict, str) else "where refuses it"
        order = {node.name: index for index, node in enumerate(graph.nodes())}
        for name in roots:
            left.pop(name, None)
        return sorted(roots.values(), key=lambda match: order[match.root.name]), left

    def again(self, graph: Graph, root: str) -> Match | None:
        """The match at a root as it is now: what was replaced before may have changed its surroundings."""
        if root not in graph:
            return None
        found = (_match(graph, choice, root) for choice in self.choices)
        return next((match for match in found if match is not None), None)

    def why_nothing(self, graph: Graph) -> str:
        """The reason why a whole graph was left alone."""
        reason = f"nothing in it matches {repr(self.given) if isinstance(self.given, str) else 'the pattern'}"
        if not isinstance(self.given, str):
            return reason
        known = {graph.kind(node) for node in graph.nodes()} | {node.name for node in graph.nodes()}
        return f"{reason}: {did_you_mean(self.given, known)}"


def _match(graph: Graph, choice: Any, root: str) -> Match | None:
    node = graph[root]
    if isinstance(choice, Pattern):
        match = match_at(graph, choice, root)
    elif values_in(node.operands) and choice(graph, node):
        match = match_at(graph, any_op().shared_ok(), root)
    else:
        return None
    return match if isinstance(match, Match) else None


def _choices(pattern: Any) -> list[Any]:
    if isinstance(pattern, (list, tuple)):
        if not pattern:
            raise OptionError("ReplaceLayers: option 'pattern' is empty.")
        return [choice for part in pattern for choice in _choices(part)]
    if isinstance(pattern, str) and _PATH.fullmatch(pattern) and not pattern.startswith(("custom:", "re:")):
        found = import_object(pattern, "ReplaceLayers.pattern")
        if inspect.isfunction(found):
            found = found()
        if isinstance(found, str):
            raise OptionError(f"ReplaceLayers: {pattern!r} is no pattern.", got=repr(found))
        return _choices(found)
    if isinstance(pattern, Pattern):
        return [pattern]
    if isinstance(pattern, type):
        return [lambda graph, node: issubclass(graph.layer_of(node).cls, pattern)]
    if isinstance(pattern, re.Pattern):
        return [lambda _graph, node: pattern.search(node.name) is not None]
    if isinstance(pattern, str) and pattern:
        return [_by_text(pattern)]
    raise OptionError(
        "ReplaceLayers: option 'pattern' must say which layers.",
        expected="a pattern, a kind, a class, the name of a node, 're:' and an expression, or 'module:name'",
        got=repr(pattern),
    )


def _by_text(text: str) -> Callable[[Graph, Node], bool]:
    if text.startswith("re:"):
        try:
            expression = re.compile(text[3:])
        except re.error as error:
            raise OptionError(
                f"ReplaceLayers: {text!r} is no regular expression.", got=str(error), hint="see Python's re module"
            ) from error
        return lambda _graph, node: expression.search(node.name) is not None
    if isinstance(getattr(keras.layers, text, None), type):
        # The class of that name: several names may stand for one class (MaxPool2D, MaxPooling2D).
        cls = getattr(keras.layers, text)
        return lambda graph, node: graph.layer_of(node).cls is cls
    if text.startswith(("ops.", "custom:")):
        return lambda graph, node: graph.kind(node) == text
    return lambda _graph, node: names_match([node.name], text)


def _test(where: Any) -> Where:
    if where is None:
        return lambda _node, _layer: True
    if isinstance(where, Mapping):
        wanted = dict(where)
        return lambda _node, layer: _compare(layer, wanted)
    function = resolve(where, "ReplaceLayers.where")

    def test(node: Node, layer: Layer) -> bool | str:
        verdict = function(node, layer)
        return verdict if isinstance(verdict, str) else bool(verdict)

    return test


def _compare(layer: Layer, wanted: Mapping[str, Any]) -> bool | str:
    for entry, value in wanted.items():
        if entry not in layer.config:
            return f"its config has no {entry!r}"
        present, sought = _plain(layer.config[entry]), _plain(value)
        alike = isinstance(present, tuple) and not isinstance(sought, tuple) and set(present) == {sought}
        if present != sought and not alike:
            return f"its {entry} is {present!r}, not {sought!r}"
    return True


def _plain(value: Any) -> Any:
    """A config entry as a recipe can say it: sequences as tuples, functions by name."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(part) for part in value)
    if isinstance(value, Mapping) and isinstance(value.get("config"), str):
        return value["config"]
    return value


__all__ = ["Selection", "Where"]
