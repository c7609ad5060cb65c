"""The graph: nodes are calls, edges are uses of tensors. Held by networkx, changed by a few mutators only.

``Node.args`` and ``Node.kwargs`` are the truth; edges are derived from them, and only this module derives them. Every
mutator checks first and changes second, so that a refused change leaves the graph as it was.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import networkx as nx

from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node, Scope, in_scope
from kerasurgeon.ir.structure import leaf_paths, leaves, map_leaves, values_in
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
    """

    name: str
    cls: type[Any]
    trainable: bool = True
    compile_config: Mapping[str, Any] | None = None
    custom_objects: Mapping[str, Any] = field(default_factory=dict)
    dtype: Any = None
    notes: tuple[str, ...] = ()


class Graph:
    """A Keras model as a graph that carries its weights.

    Read it through the methods; the networkx graph itself is at ``digraph``, read-only. Layers, nodes and weights are
    immutable: to change one, give the graph another in its place.

    Args:
        model: What is known of the model as a whole.

    Attributes:
        inputs: The model's inputs as the user nested them, leaves are values of ``InputLayer`` nodes.
        outputs: The model's outputs likewise.
        revision: Counts changes: equal revisions mean an unchanged graph.
    """

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.inputs: Any = []
        self.outputs: Any = []
        self.revision = 0
        self._layers: dict[str, Layer] = {}
        self._scopes: dict[str, Scope] = {}
        self._digraph = nx.MultiDiGraph()
        self._order: dict[str, tuple[float, int]] = {}
        self._calls: dict[str, list[str]] = {}
        self._counter = 0
        self._unchecked: set[str] = set()
        self._tied_nodes: set[str] = set()  # nodes that read a weight of a layer as an operand

    # ---- reading ---------------------------------------------------------------------------------------------

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
        waiting = {name: degree for name, degree in self._digraph.in_degree()}
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

    def tied_layers(self) -> frozenset[str]:
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

    def copy(self) -> Graph:
        """An independent graph that shares the immutable layers, nodes and weights."""
        twin = Graph(self.model)
        twin.inputs, twin.outputs, twin.revision = self.inputs, self.outputs, self.revision
        twin._layers = dict(self._layers)
        twin._scopes = dict(self._scopes)
        twin._digraph = self._digraph.copy()
        twin._order = dict(self._order)
        twin._calls = {key: list(names) for key, names in self._calls.items()}
        twin._counter = self._counter
        twin._unchecked = set(self._unchecked)
        twin._tied_nodes = set(self._tied_nodes)
        return twin

    def adopt(self, other: Graph) -> None:
        """Become what ``other`` is: how a change that was tried on a copy takes effect as a whole."""
        revision = self.revision
        self.__dict__.update(other.copy().__dict__)
        self.revision = max(revision, other.revision) + 1

    # ---- changing --------------------------------------------------------------------------------------------

    def add_layer(self, layer: Layer, key: str | None = None) -> str:
        """Add a definition. Returns its key: ``key``, or the layer's name made unique."""
        if "/" in layer.name:
            raise GraphError(f"Layer name {layer.name!r} contains '/', which Keras does not allow.")
        key = self.unique_name(layer.name) if key is None else key
        if key in self._layers:
            raise GraphError(f"There is a layer {key!r} already.", hint="call unique_name() for a free name")
        self._layers[key] = layer
        self._calls[key] = []
        self.revision += 1
        return key

    def add_node(
        self,
        layer: str,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        outputs: Iterable[TensorSpec],
        name: str | None = None,
        scope: str = "",
        origin: tuple[str, ...] = (),
        near: str | None = None,
    ) -> Node:
        """Add a call of a layer.

        Args:
            layer: Key of the layer.
            args: Positional operands.
            kwargs: Keyword operands.
            outputs: Specs of the flattened outputs.
            name: Name of the node; by default the layer's key, or that with ``:1``, ``:2``, ... for later calls.
            scope: Path of the nested model it belongs to.
            origin: Nodes of the lifted model that it comes from.
            near: A node to stand behind in the order of ``nodes()``, where operands leave a choice.

        Raises:
            GraphError: The layer or an operand does not exist, or the name is taken.
        """
        if layer not in self._layers:
            raise GraphError(f"There is no layer {layer!r}.", hint=did_you_mean(layer, self._layers))
        if name is None:
            name, count = layer, max(len(self._calls[layer]) - 1, 0)
            while name in self._digraph or (name != layer and name in self._layers):
                count += 1
                name = f"{layer}:{count}"
        if name in self._digraph:
            raise GraphError(f"There is a node {name!r} already.", hint="call unique_name() for a free name")
        if scope and scope not in self._scopes:
            raise GraphError(f"There is no scope {scope!r}.", hint=did_you_mean(scope, self._scopes))
        node = Node(name, layer, tuple(args), MappingProxyType(dict(kwargs or {})), tuple(outputs), scope, origin)
        self._check_operands(node)
        self._counter += 1
        anchor = self._order[near][0] if near in self._order else float(self._counter)
        self._order[name] = (anchor, self._counter)
        self._digraph.add_node(name, node=node)
        self._calls[layer].append(name)
        self._connect(node)
        self._touch(name)
        return node

    def set_scope(self, scope: Scope) -> None:
        """Record an inlined call of a nested model, in place of what was recorded under its path."""
        self._scopes[scope.path] = scope
        self.revision += 1

    def set_operands(
        self, node: Node | str, args: tuple[Any, ...] | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> Node:
        """Give a node other operands; what is left out stays.

        Raises:
            GraphError: An operand does not exist, or the node would read its own result.
        """
        old = self._node(node)
        new = replace(
            old,
            args=old.args if args is None else tuple(args),
            kwargs=old.kwargs if kwargs is None else MappingProxyType(dict(kwargs)),
        )
        self._check_operands(new)
        downstream = nx.descendants(self._digraph, old.name) | {old.name}
        for value in new.inputs:
            if value.node in downstream:
                raise GraphError(
                    f"Node {old.name!r} would read {value}, which is computed from it.",
                    hint="an operand must come from before the node",
                )
        self._replace_node(new)
        return new

    def set_outputs(self, node: Node | str, outputs: Iterable[TensorSpec]) -> Node:
        """Record other specs for a node's outputs; its users are checked again at the next verification."""
        old = self._node(node)
        new = replace(old, outputs=tuple(outputs))
        if new != old:
            self._digraph.nodes[old.name]["node"] = new
            self._touch(old.name, *self._digraph.successors(old.name))
        return new

    def replace_uses(self, old: Value, new: Value, *, keep: Iterable[str] = ()) -> int:
        """Let every user of ``old`` read ``new`` instead, model outputs and scope borders included.

        Args:
            old: The tensor to be replaced.
            new: The tensor to be read instead.
            keep: Nodes that go on reading ``old``, as those that compute ``new`` from it must.

        Returns:
            How many uses changed.

        Raises:
            GraphError: ``new`` is computed from ``old`` by a node that is not in ``keep``.
        """
        self.spec(old), self.spec(new)
        kept = set(keep)
        users = [name for name in self._digraph.successors(old.node) if name not in kept]
        users = [name for name in users if old in self[name].inputs]
        upstream = nx.ancestors(self._digraph, new.node) | {new.node}
        for user in users:
            if user in upstream:
                raise GraphError(
                    f"{new} is computed from {old} through {user!r}, which would then read its own result.",
                    hint=f"name {user!r} in keep=",
                )

        def swap(leaf: Any) -> Any:
            # A constant array among the operands compares element by element, or refuses to be compared.
            return new if isinstance(leaf, Value) and leaf == old else leaf

        changed = 0
        for user in users:
            node = self[user]
            changed += sum(value == old for value in node.inputs)
            self._replace_node(replace(node, args=map_leaves(swap, node.args), kwargs=_swap_kwargs(swap, node)))
        if old in values_in(self.outputs):
            changed += sum(value == old for value in values_in(self.outputs))
            self.outputs = map_leaves(swap, self.outputs)
            self.revision += 1
        self._swap_in_scopes(swap)
        return changed

    def set_output(self, old: Value, new: Value) -> None:
        """Let the model return ``new`` where it returned ``old``; other users of ``old`` keep it."""
        self.spec(new)
        if not self.is_output(old):
            raise GraphError(f"{old} is not an output of the model.")
        self.outputs = map_leaves(lambda leaf: new if isinstance(leaf, Value) and leaf == old else leaf, self.outputs)
        self.revision += 1

    def set_signature(self, *, inputs: Any = None, outputs: Any = None) -> None:
        """Set the nested structures of inputs and outputs; what is left out stays.

        Raises:
            GraphError: A leaf is no tensor of the graph, or an input is not computed by an ``InputLayer``.
        """
        for value in values_in((inputs, outputs)):
            self.spec(value)
        for value in values_in(inputs):
            if self.kind(value.node) != "InputLayer":
                raise GraphError(f"{value} cannot be a model input.", expected="the output of an InputLayer")
        self.inputs = self.inputs if inputs is None else inputs
        self.outputs = self.outputs if outputs is None else outputs
        self.revision += 1

    def remove(self, node: Node | str) -> None:
        """Remove a node whose outputs nothing reads; its layer goes with its last call.

        Raises:
            GraphError: Another node or the model's outputs still use it, or it is an input of the model.
        """
        old = self._node(node)
        users = sorted(self._digraph.successors(old.name))
        if users:
            raise GraphError(
                f"Node {old.name!r} cannot be removed: its result is used.",
                got=f"used by {', '.join(users[:5])}",
                hint="call replace_uses() first, or remove the users first",
            )
        for what, structure in (("output", self.outputs), ("input", self.inputs)):
            if any(value.node == old.name for value in values_in(structure)):
                raise GraphError(
                    f"Node {old.name!r} cannot be removed: it is an {what} of the model.",
                    hint="call replace_uses() or set_signature() first",
                )
        if len(self._calls[old.layer]) == 1:
            tied = [name for name in self.weight_users(old.layer) if name != old.name]
            tied += [key for key, layer in self._layers.items() if old.layer in layer.parts.values()]
            if tied:
                raise GraphError(
                    f"Node {old.name!r} cannot be removed: its weights are used by {', '.join(tied)}."
                )
        self._digraph.remove_node(old.name)
        del self._order[old.name]
        self._unchecked.discard(old.name)
        self._tied_nodes.discard(old.name)
        self._calls[old.layer].remove(old.name)
        if not self._calls[old.layer]:
            del self._calls[old.layer], self._layers[old.layer]
        self._forget_in_scopes(old.name)
        self.revision += 1

    def remove_unused(self) -> tuple[str, ...]:
        """Remove every node that no model output depends on, inputs excepted. Returns their names."""
        needed = {value.node for value in values_in((self.outputs, self.inputs))}
        for name in tuple(needed):
            needed |= nx.ancestors(self._digraph, name)
        for layer in self.tied_layers():
            for name in self._calls[layer][:1]:
                needed |= nx.ancestors(self._digraph, name) | {name}
        # The call of a nested model reads tensors of its own: a mask, an input that nothing inside uses.
        waiting = dict(self._scopes)
        while called := [path for path in waiting if any(in_scope(self[name].scope, path) for name in needed)]:
            for path in called:
                scope = waiting.pop(path)
                for value in values_in((scope.args, dict(scope.kwargs))):
                    needed |= nx.ancestors(self._digraph, value.node) | {value.node}
        unused = [node.name for node in reversed(self.nodes()) if node.name not in needed]
        for name in unused:
            self.remove(name)
        return tuple(unused)

    def update_layer(self, key: str, layer: Layer) -> None:
        """Put another definition in place of a layer, for all its calls."""
        if key not in self._layers:
            raise GraphError(f"There is no layer {key!r}.", hint=did_you_mean(key, self._layers))
        old = self._layers[key]
        if layer is old:
            return
        self._layers[key] = layer
        same_form = layer.cls is old.cls and _equal(layer.config, old.config) and _shapes(layer) == _shapes(old)
        self._touch(*(() if same_form else self._calls[key]))

    def set_weight(self, key: str, weight: str, array: Any) -> None:
        """Set the values of one weight of a layer, for all its calls."""
        layer = self._layers.get(key)
        if layer is None or weight not in layer.weights:
            known = () if layer is None else tuple(layer.weights)
            raise GraphError(f"Layer {key!r} has no weight {weight!r}.", hint=did_you_mean(weight, known))
        self.update_layer(key, layer.with_weights(**{weight: array}))

    def fork_layer(self, node: Node | str) -> str:
        """Give one call of a shared layer its own copy of the layer. Returns the key of the copy."""
        old = self._node(node)
        if len(self._calls[old.layer]) == 1:
            return old.layer
        layer = self._layers[old.layer]
        name = self.unique_name(layer.name)
        key = self.add_layer(layer.with_name(name), name)
        self._calls[old.layer].remove(old.name)
        self._calls[key].append(old.name)
        self._digraph.nodes[old.name]["node"] = replace(old, layer=key)
        self._touch(old.name)
        return key

    def set_origin(self, node: Node | str, origin: tuple[str, ...]) -> None:
        """Record the nodes of the lifted model that a node comes from."""
        old = self._node(node)
        self._digraph.nodes[old.name]["node"] = replace(old, origin=origin)

    def rename(self, node: Node | str, name: str) -> Node:
        """Give a node another name, and its layer too if it is called only here.

        ``name`` is the name inside the node's scope: the scope stays in front of it.

        Raises:
            GraphError: The name is taken or not legal.
        """
        old = self._node(node)
        if not name or "/" in name or ":" in name:
            raise GraphError(f"{name!r} is not a legal name.", expected="a name without '/' and ':'")
        new_name = f"{old.scope}/{name}" if old.scope else name
        if new_name == old.name:
            return old
        if new_name in self._digraph or new_name in self._layers:
            raise GraphError(f"The name {new_name!r} is taken.", hint=f"{self.unique_name(new_name)!r} is free")
        alone = len(self._calls[old.layer]) == 1

        def swap(leaf: Any) -> Any:
            if isinstance(leaf, Value) and leaf.node == old.name:
                return Value(new_name, leaf.index)
            if alone and isinstance(leaf, WeightRef) and leaf.layer == old.layer:
                return WeightRef(new_name, leaf.key)
            return leaf

        key = new_name if alone else old.layer
        if alone:
            self._layers[key] = self._layers.pop(old.layer).with_name(name)
            self._calls[key] = self._calls.pop(old.layer)
        self._calls[key] = [new_name if call == old.name else call for call in self._calls[key]]
        nx.relabel_nodes(self._digraph, {old.name: new_name}, copy=False)
        for other, payload in list(self._digraph.nodes(data="node")):
            moved = replace(payload, args=map_leaves(swap, payload.args), kwargs=_swap_kwargs(swap, payload))
            if other == new_name:
                moved = replace(moved, name=new_name, layer=key)
            self._digraph.nodes[other]["node"] = moved
        if alone:
            for holder, layer in list(self._layers.items()):
                if old.layer in layer.parts.values():
                    parts = {name: key if part == old.layer else part for name, part in layer.parts.items()}
                    self._layers[holder] = replace(layer, parts=parts)
        self._order[new_name] = self._order.pop(old.name)
        for names in (self._unchecked, self._tied_nodes):
            if old.name in names:
                names.remove(old.name)
                names.add(new_name)
        self.inputs, self.outputs = map_leaves(swap, self.inputs), map_leaves(swap, self.outputs)
        self._swap_in_scopes(swap)
        self.revision += 1
        return self[new_name]

    def drop_scope(self, path: str) -> None:
        """Forget a nested model: its nodes and the models inside it move to the scope around it.

        What the call of the model said of ``training=`` goes on to the calls inside it, where it wins as in Keras.
        Trainable flags stay: layers and weights have their own.

        Raises:
            GraphError: There is no such scope.
        """
        if path not in self._scopes:
            raise GraphError(f"There is no scope {path!r}.", hint=did_you_mean(path, self._scopes))
        scope = self._scopes.pop(path)
        moved = {path: scope.parent}
        for inner in sorted((name for name in self._scopes if in_scope(name, path)), key=len):
            parent, _, name = inner.rpartition("/")
            wanted = f"{path.rpartition('/')[2]}_{name}" if parent == path else name
            moved[inner] = self._free_scope(f"{moved[parent]}/{wanted}".lstrip("/"))
            record = replace(self._scopes.pop(inner), path=moved[inner])
            if parent == path:
                record = replace(record, kwargs=_with_training(record.kwargs, scope))
            self._scopes[moved[inner]] = record
        for name, node in list(self._digraph.nodes(data="node")):
            if node.scope not in moved:
                continue
            kwargs = node.kwargs
            if node.scope == path and "training" in self._layers[node.layer].call_parameters:
                kwargs = _with_training(kwargs, scope)
            self._digraph.nodes[name]["node"] = replace(node, scope=moved[node.scope], kwargs=kwargs)
        self.revision += 1

    def _free_scope(self, wanted: str) -> str:
        path, count = wanted, 0
        while path in self._scopes:
            count += 1
            path = f"{wanted}_{count}"
        return path

    # ---- checking --------------------------------------------------------------------------------------------

    @property
    def unchecked(self) -> frozenset[str]:
        """Nodes whose recorded specs nobody has derived since they, their layer or their operands changed."""
        return frozenset(self._unchecked)

    def mark_checked(self, *names: str) -> None:
        """Note that the recorded specs of these nodes have been derived and agree."""
        self._unchecked.difference_update(names)

    def expect_change(self, value: Value) -> None:
        """Mark the users of a tensor as unchecked: what is known of it is more than they were derived from."""
        self._touch(*(use.node for use in self.uses(value)))

    def _check_operands(self, node: Node) -> None:
        for path, leaf in leaf_paths(node.operands):
            if isinstance(leaf, Value):
                if leaf.node not in self._digraph:
                    raise self._no_node(leaf.node, f"operand {list(path)} of {node.name!r}")
                self.spec(leaf)
            elif isinstance(leaf, WeightRef):
                layer = self._layers.get(leaf.layer)
                if layer is None or leaf.key not in layer.weights:
                    raise GraphError(f"Operand {list(path)} of {node.name!r} names a weight {leaf} that is not there.")

    def _connect(self, node: Node) -> None:
        self._tied_nodes.discard(node.name)
        for position, leaf in enumerate(leaves(node.operands)):
            if isinstance(leaf, Value):
                self._digraph.add_edge(leaf.node, node.name, key=position, output=leaf.index)
            elif isinstance(leaf, WeightRef):
                self._tied_nodes.add(node.name)

    def _replace_node(self, node: Node) -> None:
        self._digraph.remove_edges_from(list(self._digraph.in_edges(node.name, keys=True)))
        self._digraph.nodes[node.name]["node"] = node
        self._connect(node)
        self._touch(node.name)

    def _touch(self, *names: str) -> None:
        self._unchecked.update(names)
        self.revision += 1

    def _swap_in_scopes(self, swap: Any) -> None:
        for path, scope in self._scopes.items():
            self._scopes[path] = replace(
                scope,
                args=map_leaves(swap, scope.args),
                kwargs=MappingProxyType(map_leaves(swap, dict(scope.kwargs))),
                outputs=map_leaves(swap, scope.outputs),
            )

    def _forget_in_scopes(self, name: str) -> None:
        def forget(leaf: Any) -> Any:
            return None if isinstance(leaf, Value) and leaf.node == name else leaf

        for path, scope in self._scopes.items():
            if any(value.node == name for value in values_in(scope.outputs)):
                self._scopes[path] = replace(scope, outputs=map_leaves(forget, scope.outputs))

    def _node(self, node: Node | str) -> Node:
        return self[node] if isinstance(node, str) else self[node.name]

    def _no_node(self, name: str, where: str | None = None) -> GraphError:
        return GraphError(f"There is no node {name!r}.", where=where, hint=did_you_mean(name, self._digraph.nodes))


def _with_training(kwargs: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
    """Keyword operands of a call inside ``scope``, with what the scope's own call says of ``training=``."""
    training = scope.kwargs.get("training")
    return kwargs if training is None else MappingProxyType({**kwargs, "training": training})


def _swap_kwargs(swap: Any, node: Node) -> Mapping[str, Any]:
    return MappingProxyType(map_leaves(swap, dict(node.kwargs)))


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays inside: of several elements
        return False


def _shapes(layer: Layer) -> dict[str, tuple[tuple[int, ...], str]]:
    return {key: (weight.shape, str(weight.array.dtype)) for key, weight in layer.weights.items()}


__all__ = ["Graph", "ModelInfo", "Use", "Weight"]
