"""Regions: parts of a network that one tensor enters and one tensor leaves.

Whatever the network looks like, its dominators give them, nested: residual blocks with the gates and branches
inside them, the cells of an inception network, the runs of plain layers between. Nothing depends on names or
indices.

A region's entry may be used elsewhere too (by the decoder of a U-net, say), and so may its exit; nothing
between may. Each region can thus be replaced by anything that makes a tensor like the exit from a tensor like
the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.ir import Graph, Node, TensorSpec, Value
from kerasurgeon.rewrite.flow import Flow
from kerasurgeon.rewrite.region_kinds import RegionKind, merge_kind
from kerasurgeon.rewrite.region_names import RegionNames


@dataclass(frozen=True)
class Region:
    """The nodes between two tensors. ``str()`` gives one line.

    Attributes:
        name: Unique among the regions of a graph.
        kind: What it is: see ``RegionKind``.
        entry: The tensor that enters; its producer is outside.
        exit: The tensor that leaves; its producer is the last of the nodes.
        nodes: Names of the nodes, in topological order.
        entry_spec: What is known of the entry.
        exit_spec: What is known of the exit.
        shared_layers: Keys of the layers that are called both inside and outside.
        parent: Name of the region directly around it; ``None`` at the top.
        depth: How many regions are around it.
        children: The regions directly inside it.
    """

    name: str
    kind: RegionKind
    entry: Value
    exit: Value
    nodes: tuple[str, ...]
    entry_spec: TensorSpec
    exit_spec: TensorSpec
    shared_layers: tuple[str, ...] = ()
    parent: str | None = None
    depth: int = 0
    children: tuple[Region, ...] = ()

    @property
    def keeps_spec(self) -> bool:
        """Whether the exit is like the entry, so that the region could be left out."""
        return self.entry_spec == self.exit_spec

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, node: Node | str) -> bool:
        return (node if isinstance(node, str) else node.name) in self.nodes

    def walk(self) -> Iterator[Region]:
        """This region and all inside it, each before those inside it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.kind} of {len(self)} node{'s' * (len(self) != 1)}, "
            f"{self.entry} {self.entry_spec} -> {self.exit} {self.exit_spec}"
        )


def regions(graph: Graph, *, min_nodes: int = 2) -> tuple[Region, ...]:
    """Every canonical region of a graph, each before those inside it, neighbours in topological order.

    Canonical are the smallest region around each merge of several ways, and the longest runs of nodes that
    follow one another. Regions that follow one another can be joined: see ``join`` and ``runs``.

    Args:
        graph: The graph.
        min_nodes: The fewest nodes of a region to be listed.
    """
    flow = Flow(graph)
    links = _links(flow)
    found = [_Draft(entry, exit, nodes) for exit, (entry, nodes) in links.items() if len(nodes) > 1]
    found += _chains(flow, links)
    drafts = [draft for draft in found if len(draft.nodes) >= min_nodes]
    return tuple(region for top in _nest(flow, drafts) for region in top.walk())


def cut_points(graph: Graph) -> tuple[Value, ...]:
    """The tensors that everything flows through, in topological order: where the model can be cut in two.

    The input of a model with one input, and the output of a model with one output, are among them.
    """
    return Flow(graph).spine()


def region_between(graph: Graph, entry: Value | Node | str, exit: Value | Node | str) -> Region:
    """The region between two tensors.

    Args:
        graph: The graph.
        entry: The tensor that enters, or the node whose first output it is.
        exit: The tensor that leaves, or the node whose first output it is.

    Raises:
        GraphError: Other tensors enter or leave; the message names them.
    """
    return _between(Flow(graph), _as_value(graph, entry), _as_value(graph, exit))


def region_of(graph: Graph, node: Node | str, *, min_nodes: int = 2) -> Region | None:
    """The smallest canonical region that a node is in, if it is in any.

    Raises:
        GraphError: There is no such node.
    """
    name = graph[node if isinstance(node, str) else node.name].name
    around = [region for region in regions(graph, min_nodes=min_nodes) if name in region]
    return min(around, key=len, default=None)


def by_name(found: Iterable[Region], name: str) -> Region:
    """The region of a name.

    Raises:
        GraphError: There is none.
    """
    known = {region.name: region for region in found}
    if name not in known:
        raise GraphError(f"There is no region {name!r}.", hint=did_you_mean(name, known))
    return known[name]


def join(graph: Graph, first: Region, last: Region) -> Region:
    """The region from the entry of one region to the exit of another.

    Raises:
        GraphError: They do not follow one another, or other tensors enter or leave between them.
    """
    if first == last:
        return first
    return _between(Flow(graph), first.entry, last.exit)


def runs(graph: Graph, found: Sequence[Region]) -> tuple[tuple[Region, ...], ...]:
    """The longest runs of regions that follow one another inside the same region, with what is between them.

    Any regions next to one another in a run can be joined.

    Args:
        graph: The graph they were found in.
        found: Regions, from ``regions(graph)`` or a selection of them.
    """
    flow = Flow(graph)
    ordered = sorted(found, key=lambda region: (flow.order[region.exit], len(region)))
    result: list[list[Region]] = []
    for region in ordered:
        for run in result:
            last = run[-1]
            if (
                last.parent == region.parent
                and flow.dominates(last.exit, region.entry)
                and flow.enclosed(last.entry, region.exit)
            ):
                run.append(region)
                break
        else:
            result.append([region])
    return tuple(tuple(run) for run in result)


@dataclass(frozen=True, slots=True)
class _Draft:
    entry: Value
    exit: Value
    nodes: tuple[str, ...]


_Links = dict[Value, tuple[Value, tuple[str, ...]]]


def _links(flow: Flow) -> _Links:
    """For each tensor the nodes between it and the nearest tensor that dominates it, where those are closed.

    Every region is a sequence of such links.
    """
    links: _Links = {}
    for exit in flow.order:
        entry = flow.dominator(exit)
        nodes = None if entry is None else flow.enclosed(entry, exit)
        if entry is not None and nodes is not None:
            links[exit] = (entry, nodes)
    return links


def _chains(flow: Flow, links: _Links) -> list[_Draft]:
    """The longest runs of links of a single node."""
    entries = {exit: entry for exit, (entry, nodes) in links.items() if len(nodes) == 1}
    # A link goes on with the next where its exit is used by that only.
    following = {entry: exit for exit, entry in entries.items() if flow.postdominates(exit, entry)}
    chains = []
    for exit, entry in entries.items():
        if entry in entries and following.get(entry) == exit:
            continue  # not the first of its chain
        nodes, last = [exit.node], exit
        while last in following:
            last = following[last]
            nodes.append(last.node)
        chains.append(_Draft(entry, last, tuple(nodes)))
    return chains


def _nest(flow: Flow, drafts: list[_Draft]) -> tuple[Region, ...]:
    """Regions of drafts that are nested or apart, as trees."""
    kinds = {draft: _kind(flow, draft) for draft in drafts}
    names, for_name = RegionNames(flow.graph), dict[_Draft, str]()
    for draft in sorted(drafts, key=lambda draft: -len(draft.nodes)):  # the outer ones get the first choice
        for_name[draft] = names.new(draft.nodes, draft.exit, kinds[draft])
    parents = _parents(drafts)
    inside: dict[_Draft | None, list[_Draft]] = {}
    for draft in drafts:
        inside.setdefault(parents[draft], []).append(draft)

    regions = {draft: _region(flow.graph, draft, kinds[draft], for_name[draft]) for draft in drafts}
    return _trees(flow, regions, inside, None, 0)


def _trees(
    flow: Flow,
    regions: dict[_Draft, Region],
    inside: dict[_Draft | None, list[_Draft]],
    around: _Draft | None,
    depth: int,
) -> tuple[Region, ...]:
    """The regions directly in a draft's, or in none, with those in them."""
    parent = None if around is None else regions[around].name
    return tuple(
        replace(regions[draft], parent=parent, depth=depth, children=_trees(flow, regions, inside, draft, depth + 1))
        for draft in sorted(inside.get(around, ()), key=lambda draft: flow.order[draft.exit])
    )


def _parents(drafts: list[_Draft]) -> dict[_Draft, _Draft | None]:
    """The smallest larger draft around each one's exit: drafts are nested or apart."""
    exits = {draft.exit.node: draft for draft in drafts}
    around: dict[str, list[_Draft]] = {name: [] for name in exits}
    for draft in sorted(drafts, key=lambda draft: len(draft.nodes)):
        for name in draft.nodes:
            if name in exits:
                around[name].append(draft)
    return {
        draft: next((other for other in around[draft.exit.node] if len(other.nodes) > len(draft.nodes)), None)
        for draft in drafts
    }


def _kind(flow: Flow, draft: _Draft) -> RegionKind:
    graph, entry, exit = flow.graph, draft.entry, draft.exit
    if flow.dominator(exit) == entry and len(draft.nodes) > 1:
        return merge_kind(graph, entry, exit, draft.nodes)
    previous = {entry}
    for name in draft.nodes:
        if not set(graph[name].inputs) <= previous:
            return "run"
        previous = {Value(name, index) for index in range(len(graph[name].outputs))}
    return "chain"


def _region(graph: Graph, draft: _Draft, kind: RegionKind, name: str) -> Region:
    inside = set(draft.nodes)
    keys = dict.fromkeys(graph[node].layer for node in draft.nodes)
    shared = tuple(key for key in keys if any(call.name not in inside for call in graph.calls(key)))
    return Region(
        name=name,
        kind=kind,
        entry=draft.entry,
        exit=draft.exit,
        nodes=draft.nodes,
        entry_spec=graph.spec(draft.entry),
        exit_spec=graph.spec(draft.exit),
        shared_layers=shared,
    )


def _between(flow: Flow, entry: Value, exit: Value) -> Region:
    nodes = flow.enclosed(entry, exit)
    if nodes is None:
        raise _not_closed(flow, entry, exit)
    draft = _Draft(entry, exit, nodes)
    kind = _kind(flow, draft)
    return _region(flow.graph, draft, kind, RegionNames(flow.graph).new(nodes, exit, kind))


def _not_closed(flow: Flow, entry: Value, exit: Value) -> GraphError:
    """Say what crosses the border of what lies between two tensors."""
    graph = flow.graph
    title = f"What lies between {entry} and {exit} is no region"
    inside: dict[str, None] = {}
    waiting = [exit] if exit != entry else []
    while waiting:
        name = waiting.pop().node
        if name not in inside:
            inside[name] = None
            waiting.extend(value for value in graph[name].inputs if value != entry)
    if not any(entry in graph[name].inputs for name in inside):
        return GraphError(f"{title}: {exit} is not computed from {entry}.")
    inside = _behind_entry(graph, entry, inside)
    entering = {v for name in inside for v in graph[name].inputs if v.node not in inside} - {entry}
    made = {Value(name, index) for name in inside for index in range(len(graph[name].outputs))} - {exit}
    leaving = {
        value for value in made if graph.is_output(value) or any(use.node not in inside for use in graph.uses(value))
    }
    parts = [
        f"{', '.join(sorted(map(str, values)))} also {what}{'s' * (len(values) == 1)}"
        for what, values in (("enter", entering), ("leave", leaving))
        if values
    ]
    return GraphError(
        f"{title}: other tensors cross its border.",
        got="; ".join(parts),
        hint="regions(graph) lists the regions there are, cut_points(graph) the tensors all flows through",
    )


def _behind_entry(graph: Graph, entry: Value, nodes: Iterable[str]) -> dict[str, None]:
    """Those of the nodes that are computed from the entry."""
    allowed, found, waiting = set(nodes), dict[str, None](), [entry]
    while waiting:
        for use in graph.uses(waiting.pop()):
            if use.node in allowed and use.node not in found:
                found[use.node] = None
                waiting.extend(Value(use.node, index) for index in range(len(graph[use.node].outputs)))
    return found


def _as_value(graph: Graph, tensor: Value | Node | str) -> Value:
    value = tensor if isinstance(tensor, Value) else Value(tensor if isinstance(tensor, str) else tensor.name)
    graph.spec(value)
    return value


__all__ = [
    "Region",
    "RegionKind",
    "by_name",
    "cut_points",
    "join",
    "region_between",
    "region_of",
    "regions",
    "runs",
]
