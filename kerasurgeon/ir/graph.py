"""The graph: nodes are calls, edges are uses of tensors. Held by networkx, changed by a few mutators only.

``Node.args`` and ``Node.kwargs`` are the truth; edges are derived from them, and only this module derives them. Every
mutator checks first and changes second, so that a refused change leaves the graph as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, final

import networkx as nx

from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.names import GraphNames
from kerasurgeon.ir.node import Node, in_scope
from kerasurgeon.ir.reading import ModelInfo, Use
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.ir.wiring import swap_kwargs


@final
class Graph(GraphNames):
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

    def copy(self) -> Graph:
        """An independent graph that shares the immutable layers, nodes and weights."""
        twin = Graph(self.model)
        twin.inputs, twin.outputs, twin.revision = self.inputs, self.outputs, self.revision
        twin._ordered, twin._ties = self._ordered, self._ties
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
        # What the node of ``old`` reads itself is computed from none of that node's users.
        read = self._digraph.has_edge(new.node, old.node)
        upstream = {new.node} if read else nx.ancestors(self._digraph, new.node) | {new.node}
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
            self._replace_node(replace(node, args=map_leaves(swap, node.args), kwargs=swap_kwargs(swap, node)))
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
                raise GraphError(f"Node {old.name!r} cannot be removed: its weights are used by {', '.join(tied)}.")
        self._digraph.remove_node(old.name)
        del self._order[old.name]
        self._unchecked.discard(old.name)
        self._tied_nodes.discard(old.name)
        self._calls[old.layer].remove(old.name)
        if not self._calls[old.layer]:
            del self._calls[old.layer], self._layers[old.layer]
        self._forget_in_scopes(old.name)
        self.revision += 1

    def unused(self) -> tuple[str, ...]:
        """Names of the nodes that no model output depends on, inputs excepted; users before what they read."""
        needed = self._needed_by(value.node for value in values_in((self.outputs, self.inputs)))
        return tuple(node.name for node in reversed(self.nodes()) if node.name not in needed)

    def remove_unused(self, *, keep: Iterable[str] = ()) -> tuple[str, ...]:
        """Remove every node that no model output depends on, inputs excepted.

        Args:
            keep: Nodes to leave all the same, with what they read.

        Returns:
            The names of the removed nodes.
        """
        kept = self._needed_by(name for name in keep if name in self)
        unused = tuple(name for name in self.unused() if name not in kept)
        for name in unused:
            self.remove(name)
        return unused

    def _needed_by(self, names: Iterable[str]) -> set[str]:
        needed = set(names)
        for name in tuple(needed):
            needed |= nx.ancestors(self._digraph, name)
        for layer in self.held_layers():
            for name in self._calls[layer][:1]:
                needed |= nx.ancestors(self._digraph, name) | {name}
        # The call of a nested model reads tensors of its own: a mask, an input that nothing inside uses.
        waiting = dict(self._scopes)
        while called := [path for path in waiting if any(in_scope(self[name].scope, path) for name in needed)]:
            for path in called:
                scope = waiting.pop(path)
                for value in values_in((scope.args, dict(scope.kwargs))):
                    needed |= nx.ancestors(self._digraph, value.node) | {value.node}
        return needed

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
        """Give one call of a shared layer its own copy of the layer, tied to none. Returns the key of the copy."""
        old = self._node(node)
        if len(self._calls[old.layer]) == 1:
            return old.layer
        layer = self._layers[old.layer]
        name = self.unique_name(layer.name)
        weights = {path: replace(weight, tie=None) for path, weight in layer.weights.items()}
        key = self.add_layer(replace(layer.with_name(name), weights=weights), name)
        self._calls[old.layer].remove(old.name)
        self._calls[key].append(old.name)
        self._digraph.nodes[old.name]["node"] = replace(old, layer=key)
        self._touch(old.name)
        return key


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays inside: of several elements
        return False


def _shapes(layer: Layer) -> dict[str, tuple[tuple[int, ...], Any]]:
    return {key: (weight.shape, weight.array.dtype) for key, weight in layer.weights.items()}


__all__ = ["Graph", "ModelInfo", "Use"]
