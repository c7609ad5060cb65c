"""Places in a network, as people name them: by region, by pattern, by first and last layer, by two tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from kerasurgeon.blocks.pieces import regions_and_pieces
from kerasurgeon.errors import GraphError, OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.option_checks import naming
from kerasurgeon.rewrite.regions import Region, region_between, region_of, regions
from kerasurgeon.rewrite.surgery import as_value

Where: TypeAlias = Region | str | Sequence[Any]
"""How a region is named: see ``find_region``; several: see ``find_regions``."""

_ARROW = re.compile(r"\s*->\s*")
_WILD = re.compile(r"[*?\[]")
FORMS = "a region of the graph, its name, 'first..last', (first, last) or 'entry->exit'"


@naming()
def find_region(graph: Graph, where: Where) -> Region:
    """The one region that is meant.

    Args:
        graph: The graph.
        where: One of

            * a ``Region``;
            * the name of one, as ``regions(graph)`` gives it; inside nested models the last part of it is enough
              where only one ends so; or the name of a nested model, for all that is in it;
            * ``"first..last"`` or ``(first, last)``: names of the first and the last node inside it, or of regions;
            * ``"entry->exit"``: names of the tensor that enters and of the one that leaves.

    Raises:
        PlaceError: There is none of that name, the order is wrong, or other tensors enter or leave; the message names
            them.
        OptionError: ``where`` is none of these.
    """
    if isinstance(where, Region):
        return _again(graph, where)
    if isinstance(where, str):
        return _by_text(graph, where, regions(graph))
    if _is_pair(where):
        return _by_pair(graph, where[0], where[1], regions(graph))
    raise OptionError("This does not say which region is meant.", expected=FORMS, got=repr(where)[:80])


@naming()
def find_regions(graph: Graph, where: Where) -> tuple[Region, ...]:
    """All regions that are meant, in the order in which they were named; no two are the same.

    Args:
        graph: The graph.
        where: What ``find_region`` takes; or a pattern of region names, with ``*``, ``?`` and ``[...]`` as in
            ``fnmatch``: of regions inside one another it means the outermost, and in a network without branches its
            pieces have names, too (see ``knowledge_quotients``); or several of these. Two names are taken
            for two regions if both are names of regions, else for the first and the last node of one.

    Raises:
        PlaceError: As for ``find_region``, or a pattern matches no region.
        OptionError: ``where`` is none of these.
    """
    known = regions_and_pieces(graph)
    found: dict[tuple[Value, Value], Region] = {}
    for region in _several(graph, where, known):
        found.setdefault((region.entry, region.exit), region)
    return tuple(found.values())


@naming()
def without_overlap(found: Sequence[Region]) -> None:
    """Check that no node is in two of some regions.

    Raises:
        PlaceError: One is; the message names both regions.
    """
    owner: dict[str, Region] = {}
    for region in found:
        for node in region.nodes:
            if node in owner:
                raise GraphError(
                    f"The regions {owner[node].name!r} and {region.name!r} overlap.",
                    got=f"both hold {node!r}",
                    expected="regions apart from one another",
                    hint="name one region around both, or make one of them end before the other begins",
                )
            owner[node] = region


def outermost(graph: Graph, found: Sequence[Region]) -> tuple[list[Region], dict[str, str]]:
    """Regions without those inside others of them, in the order of the network.

    Returns:
        The regions, and for the others, by the node at the exit, why they are left out.

    Raises:
        PlaceError: Two of them overlap, and neither is inside the other.
    """
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    result: list[Region] = []
    inside: dict[str, str] = {}
    for region in sorted(found, key=lambda one: (-len(one), order[one.exit.node])):
        around = next((other for other in result if set(region.nodes) <= set(other.nodes)), None)
        if around is None:
            result.append(region)
        else:
            inside[region.exit.node] = f"{region.name} goes with {around.name}, which is around it"
    without_overlap(result)
    return sorted(result, key=lambda one: order[one.exit.node]), inside


def _several(graph: Graph, where: Any, known: tuple[Region, ...]) -> list[Region]:
    if isinstance(where, Region):
        return [_again(graph, where)]
    if isinstance(where, str):
        exact = any(region.name == where for region in known)
        if _WILD.search(where) and not exact:
            return _by_pattern(where, known)
        return [_by_text(graph, where, known)]
    if not isinstance(where, Sequence) or isinstance(where, bytes):
        raise OptionError("This does not say which regions are meant.", expected=FORMS, got=repr(where)[:80])
    if not where:
        raise OptionError("No region was named.", expected=f"{FORMS}, or several of these")
    plain = _is_pair(where) and not any(_WILD.search(name) or ".." in name or _ARROW.search(name) for name in where)
    if plain and not all(_region_named(name, known) for name in where):
        return [_by_pair(graph, where[0], where[1], known)]
    return [region for item in where for region in _several(graph, item, known)]


def _is_pair(where: Any) -> bool:
    return isinstance(where, (tuple, list)) and len(where) == 2 and all(isinstance(item, str) for item in where)


def _again(graph: Graph, region: Region) -> Region:
    """The region in this graph, as it is now."""
    for name in (region.entry.node, *region.nodes):
        if name not in graph:
            raise GraphError(
                f"The region {region.name!r} is not one of this graph: there is no node {name!r}.",
                hint="find the region in the graph that it is used with",
            )
    return replace(region_between(graph, region.entry, region.exit), name=region.name)


def _by_text(graph: Graph, text: str, known: tuple[Region, ...]) -> Region:
    named = _region_named(text, known)
    if named is not None:
        return named
    if text in graph.scopes:
        return _nested_model(graph, text)
    ends = _ARROW.split(text)
    if len(ends) == 2:
        return region_between(graph, as_value(graph, ends[0]), as_value(graph, ends[1]))
    first, last = _ends_of_pair(graph, text, known)
    if first and last:
        return _by_pair(graph, first, last, known)
    raise _no_region(graph, text, known)


def _ends_of_pair(graph: Graph, text: str, known: tuple[Region, ...]) -> tuple[str, str]:
    """What stands before and behind the dots of a run; regions' own names may have dots, as ``a..b..c``."""
    parts = text.split("..")
    pairs = [("..".join(parts[:end]), "..".join(parts[end:])) for end in range(1, len(parts))]
    for pair in pairs:
        if all(name in graph or _region_named(name, known) is not None for name in pair):
            return pair
    return pairs[0] if pairs else (text, "")


def _region_named(name: Any, known: tuple[Region, ...]) -> Region | None:
    """The region of a name, or the only one inside nested models whose name ends so."""
    if not isinstance(name, str):
        return None
    exact = next((region for region in known if region.name == name), None)
    if exact is not None:
        return exact
    ending = [region for region in known if ".." not in region.name and region.name.endswith(f"/{name}")]
    return ending[0] if len(ending) == 1 else None


def _by_pattern(pattern: str, known: tuple[Region, ...]) -> list[Region]:
    matched = [region for region in known if names_match([region.name], pattern)]
    if not matched:
        names = [region.name for region in known]
        raise GraphError(f"No region's name matches {pattern!r}.", hint=did_you_mean(pattern, names))
    outer: list[Region] = []
    covered: set[str] = set()
    for region in matched:  # each before those inside it
        if region.name not in covered:
            outer.append(region)
            covered.update(child.name for child in region.walk())
    return outer


def _by_pair(graph: Graph, first: str, last: str, known: tuple[Region, ...]) -> Region:
    """The region that begins and ends with two nodes, or with two regions."""
    begin = None if first in graph else _region_named(first, known)
    end = None if last in graph else _region_named(last, known)
    start = node_named(graph, first) if begin is None else begin.nodes[0]
    stop = node_named(graph, last) if end is None else end.nodes[-1]
    entry = _entry_of(graph, start) if begin is None else begin.entry
    exit = Value(stop) if end is None else end.exit
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    if order[start] > order[stop]:
        raise GraphError(
            f"{first!r} comes after {last!r}.",
            expected="the first node of the region, then the last",
            hint=f"did you mean {last}..{first}?",
        )
    found = region_between(graph, entry, exit)
    same = next((region for region in known if (region.entry, region.exit) == (entry, exit)), None)
    return same or replace(found, name=f"{start}..{stop}")


def _entry_of(graph: Graph, first: str) -> Value:
    """The one tensor that the first node of a region reads."""
    read = tuple(dict.fromkeys(graph[first].inputs))
    if len(read) == 1:
        return read[0]
    if not read:
        raise GraphError(
            f"A region cannot begin with {first!r}: nothing enters it.",
            got=f"an {graph.kind(first)}" if graph.kind(first) == "InputLayer" else f"a {graph.kind(first)}",
            hint=f"begin with what reads it: {', '.join(user.name for user in graph.users(first)[:3]) or 'nothing'}",
        )
    around = region_of(graph, first)
    raise GraphError(
        f"A region cannot begin with {first!r}: it reads {len(read)} tensors.",
        got=", ".join(map(str, read)),
        expected="a node that reads one tensor",
        hint=f"name the tensors instead, as 'entry->exit'{f', or the region {around.name!r}' if around else ''}",
    )


def _nested_model(graph: Graph, path: str) -> Region:
    inside = {node.name for node in graph.nodes_in(path)}
    entering = dict.fromkeys(v for name in inside for v in graph[name].inputs if v.node not in inside)
    leaving = [
        Value(name, index)
        for name in inside
        for index in range(len(graph[name].outputs))
        if graph.is_output(Value(name, index)) or any(u.node not in inside for u in graph.uses(Value(name, index)))
    ]
    if len(entering) != 1 or len(leaving) != 1:
        raise GraphError(
            f"The nested model {path!r} is no region.",
            expected="one tensor that enters and one that leaves",
            got=f"entering: {', '.join(sorted(map(str, entering)))}; leaving: {', '.join(sorted(map(str, leaving)))}",
        )
    return replace(region_between(graph, next(iter(entering)), leaving[0]), name=path)


def node_named(graph: Graph, name: str) -> str:
    """A node by name; inside nested models the last part of the name is enough where only one ends so.

    Raises:
        GraphError: There is none.
    """
    if name in graph:
        return name
    ending = [node.name for node in graph.nodes() if node.name.endswith(f"/{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise GraphError(f"Several nodes are called {name!r}.", got=", ".join(ending), hint="give the whole name")
    graph[name]  # raises, with the nearest names
    raise AssertionError(name)


def _no_region(graph: Graph, text: str, known: tuple[Region, ...]) -> GraphError:
    names = [region.name for region in known]
    nodes = [node.name for node in graph.nodes() if node.name == text or node.name.endswith(f"/{text}")]
    if not nodes:
        return GraphError(f"There is no region {text!r}.", hint=did_you_mean(text, names))
    around = [repr(region.name) for region in known if nodes[0] in region]
    inside = f" It is in the region{'s' * (len(around) > 1)} {', '.join(around)}." if around else ""
    return GraphError(
        f"{text!r} is a layer, not a region.{inside}",
        expected=FORMS,
        hint=f"'{nodes[0]}..{nodes[0]}' means the layer alone",
    )


__all__ = ["FORMS", "Where", "find_region", "find_regions", "node_named", "outermost", "without_overlap"]
