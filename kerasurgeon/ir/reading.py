"""What can be asked of a graph."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import networkx as nx

from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node, Scope, in_scope
from kerasurgeon.ir.structure import leaves, values_in
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a tensor: by which node, at which position of its flattened operands."""

    node: str
    position: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of the whole model beside its graph.

    Attributes:
        name: The Keras name of the model.
        cls: Its class; emitted again where its constructor allows that.
        trainable: The model's own flag.
        compile_config: What ``get_compile_config`` gave, or ``None`` if it was not compiled.
        custom_objects: Unregistered objects that the compile configuration names.
        dtype: The model's own dtype policy, serialised.
        notes: What could not be carried over, one sentence each.
        closed: Why layers from outside Keras were not opened, by path.
    """

    name: str
    cls: type[Any]
    trainable: bool = True
    compile_config: Mapping[str, Any] | None = None
    custom_objects: Mapping[str, Any] = field(default_factory=dict)
    dtype: Any = None
    notes: tuple[str, ...] = ()
    closed: Mapping[str, str] = field(default_factory=dict)


class GraphReader:
    """The reading half of ``Graph``; see there.

    Args:
        model: What is known of the model as a whole.
    """

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.inputs: Any = []
        self.outputs: Any = []
        self._revision = 0
        self._ordered: tuple[Node, ...] | None = None  # of this revision
        self._ties: Mapping[int, tuple[WeightRef, ...]] | None = None  # of this revision
        self._layers: dict[str, Layer] = {}
        self._scopes: dict[str, Scope] = {}
        self._digraph = nx.MultiDiGraph()
        self._order: dict[str, tuple[float, int]] = {}
        self._calls: dict[str, list[str]] = {}
        self._counter = 0
        self._unchecked: set[str] = set()
        self._tied_nodes: set[str] = set()  # nodes that read a weight of a layer as an operand

    @property
    def name(self) -> str:
        """The Keras name of the model."""
        return self.model.name

    @property
    def digraph(self) -> nx.MultiDiGraph:
        """A read-only view of the networkx graph, for its algorithms. Node data: ``node``; edge data: ``output``."""
        return nx.graphviews.generic_graph_view(self._digraph)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """Every layer by key."""
        return MappingProxyType(self._layers)

    @property
    def scopes(self) -> Mapping[str, Scope]:
        """Every inlined call of a nested model by path."""
        return MappingProxyType(self._scopes)

    @property
    def revision(self) -> int:
        """Counts changes: equal revisions mean an unchanged graph."""
        return self._revision

    @revision.setter
    def revision(self, number: int) -> None:
        self._revision = number
        self._ordered = self._ties = None

    def __getitem__(self, name: str) -> Node:
        try:
            node: Node = self._digraph.nodes[name]["node"]
        except KeyError:
            raise self._no_node(name) from None
        return node

    def __contains__(self, name: object) -> bool:
        return name in self._digraph

    def __len__(self) -> int:
        return len(self._digraph)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes())

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self)} nodes, {len(self._layers)} layers>"

    def nodes(self) -> tuple[Node, ...]:
        """All nodes in a stable topological order."""
        if self._ordered is None:
            self._ordered = self.sorted_anew()
        return self._ordered

    def sorted_anew(self) -> tuple[Node, ...]:
        """What ``nodes`` gives, computed again: for checks, which trust nothing that is kept.

        Raises:
            GraphError: There is a cycle.
        """
        waiting = dict(self._digraph.in_degree())
        ready = [(self._order[name], name) for name, degree in waiting.items() if not degree]
        heapq.heapify(ready)
        ordered = []
        payload = self._digraph.nodes
        while ready:
            _, name = heapq.heappop(ready)
            ordered.append(payload[name]["node"])
            for _, user in self._digraph.out_edges(name):
                waiting[user] -= 1
                if not waiting[user]:
                    heapq.heappush(ready, (self._order[user], user))
        if len(ordered) != len(waiting):
            cyclic = [name for name, degree in waiting.items() if degree]
            raise GraphError("The graph has a cycle.", where=", ".join(sorted(cyclic)[:8]))
        return tuple(ordered)

    def layer_of(self, node: Node | str) -> Layer:
        """The layer that a node calls."""
        return self._layers[self._node(node).layer]

    def kind(self, node: Node | str) -> str:
        """The kind of the layer that a node calls."""
        return self.layer_of(node).kind

    def calls(self, layer: str) -> tuple[Node, ...]:
        """The nodes that call a layer, oldest first."""
        if layer not in self._layers:
            raise GraphError(f"There is no layer {layer!r}.", hint=did_you_mean(layer, self._layers))
        return tuple(self[name] for name in self._calls.get(layer, ()))

    def spec(self, value: Value) -> TensorSpec:
        """What is known of a tensor."""
        node = self[value.node]
        if not 0 <= value.index < len(node.outputs):
            raise GraphError(
                f"Node {value.node!r} has no output {value.index}.",
                expected=f"an index below {len(node.outputs)}",
            )
        return node.outputs[value.index]

    def producer(self, value: Value) -> Node:
        """The node that computes a tensor."""
        return self[value.node]

    def uses(self, value: Value) -> tuple[Use, ...]:
        """Every use of a tensor as an operand; a use as model output is not in it (see ``is_output``)."""
        edges = self._digraph.out_edges(value.node, keys=True, data="output")
        return tuple(Use(user, key) for _, user, key, output in edges if output == value.index)

    def users(self, node: Node | str) -> tuple[Node, ...]:
        """The nodes that read any output of a node, each once, in order."""
        name = self._node(node).name
        return tuple(self[user] for user in sorted(self._digraph.successors(name), key=self._order.__getitem__))

    def is_output(self, value: Value) -> bool:
        """Whether the model returns this tensor."""
        return value in values_in(self.outputs)

    def is_used(self, value: Value) -> bool:
        """Whether a node reads this tensor or the model returns it."""
        return bool(self.uses(value)) or self.is_output(value)

    def input_nodes(self) -> tuple[Node, ...]:
        """The ``InputLayer`` nodes, in the order of the flattened inputs."""
        return tuple(self[value.node] for value in values_in(self.inputs))

    def nodes_in(self, scope: str) -> tuple[Node, ...]:
        """The nodes of a scope and of those nested in it, in topological order."""
        return tuple(node for node in self.nodes() if in_scope(node.scope, scope))

    def weight_users(self, layer: str) -> tuple[str, ...]:
        """Names of the nodes that read a weight of this layer as an operand."""
        return tuple(
            name
            for name in sorted(self._tied_nodes)
            if any(isinstance(leaf, WeightRef) and leaf.layer == layer for leaf in leaves(self[name].operands))
        )

    def ties(self) -> Mapping[int, tuple[WeightRef, ...]]:
        """The variables that several layers hold, by the number of the tie: every weight that is one of them."""
        if self._ties is None:
            found: dict[int, list[WeightRef]] = {}
            for key, layer in self._layers.items():
                for path, weight in layer.weights.items():
                    if weight.tie is not None:
                        found.setdefault(weight.tie, []).append(WeightRef(key, path))
            self._ties = MappingProxyType({tie: tuple(refs) for tie, refs in found.items() if len(refs) > 1})
        return self._ties

    def counted_elsewhere(self) -> frozenset[tuple[str, str]]:
        """Weights, by layer and path, that are variables of another layer too, and counted there.

        A variable counts at a layer that is called by itself, rather than at one that holds that layer.
        """
        found = set()
        for refs in self.ties().values():
            home = min(refs, key=lambda ref: bool(self._layers[ref.layer].parts))
            found |= {(ref.layer, ref.key) for ref in refs if ref is not home}
        return frozenset(found)

    def tied_layers(self) -> frozenset[str]:
        """Keys of the layers that others depend on: weights that are operands, parts, variables held twice."""
        shared = {ref.layer for refs in self.ties().values() for ref in refs}
        return self.held_layers() | shared

    def is_tied(self, key: str) -> bool:
        """Whether a layer is one of ``tied_layers``."""
        own = any(weight.tie is not None for weight in self._layers[key].weights.values())
        return key in (self.tied_layers() if own else self.held_layers())

    def held_layers(self) -> frozenset[str]:
        """Keys of the layers whose weights are operands somewhere, or which another layer holds as a part."""
        references = {
            leaf.layer
            for name in self._tied_nodes
            for leaf in leaves(self[name].operands)
            if isinstance(leaf, WeightRef)
        }
        return frozenset(references.union(*(layer.parts.values() for layer in self._layers.values() if layer.parts)))

    def unique_name(self, wanted: str) -> str:
        """``wanted``, or ``wanted_1``, ... if a node or layer has that name already."""
        name, count = wanted, 0
        while name in self._digraph or name in self._layers:
            count += 1
            name = f"{wanted}_{count}"
        return name

    @property
    def unchecked(self) -> frozenset[str]:
        """Nodes whose recorded specs nobody has derived since they, their layer or their operands changed."""
        return frozenset(self._unchecked)

    def _node(self, node: Node | str) -> Node:
        return self[node] if isinstance(node, str) else self[node.name]

    def _no_node(self, name: str, where: str | None = None) -> GraphError:
        return GraphError(f"There is no node {name!r}.", where=where, hint=did_you_mean(name, self._digraph.nodes))
