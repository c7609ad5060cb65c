"""Names of nodes and scopes, and what changes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import networkx as nx

from kerasurgeon.errors import GraphError, did_you_mean
from kerasurgeon.ir.node import Node, Scope, in_scope
from kerasurgeon.ir.structure import map_leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.ir.wiring import GraphWiring, swap_kwargs


class GraphNames(GraphWiring):
    """The mutators of ``Graph`` that change names."""

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
            moved = replace(payload, args=map_leaves(swap, payload.args), kwargs=swap_kwargs(swap, payload))
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

    def flatten(self) -> None:
        """Forget all nested models, outermost first; see ``drop_scope``."""
        while self._scopes:
            self.drop_scope(min(self._scopes, key=lambda path: (path.count("/"), path)))

    def _free_scope(self, wanted: str) -> str:
        path, count = wanted, 0
        while path in self._scopes:
            count += 1
            path = f"{wanted}_{count}"
        return path


def _with_training(kwargs: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
    """Keyword operands of a call inside ``scope``, with what the scope's own call says of ``training=``."""
    training = scope.kwargs.get("training")
    return kwargs if training is None else MappingProxyType({**kwargs, "training": training})
