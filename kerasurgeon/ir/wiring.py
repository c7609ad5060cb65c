"""How a graph keeps its edges, and what it knows to be checked, in step with its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from kerasurgeon.errors import GraphError
from kerasurgeon.ir.node import Node, Scope
from kerasurgeon.ir.reading import GraphReader
from kerasurgeon.ir.structure import leaf_paths, leaves, map_leaves, values_in
from kerasurgeon.ir.values import Value, WeightRef


class GraphWiring(GraphReader):
    """What the mutators of ``Graph`` are made of. Only this class adds or removes edges."""

    def mark_checked(self, *names: str) -> None:
        """Note that the recorded specs of these nodes have been derived and agree."""
        self._unchecked.difference_update(names)

    def expect_change(self, value: Value) -> None:
        """Mark the users of a tensor as unchecked: what is known of it is more than they were derived from."""
        self._touch(*(use.node for use in self.uses(value)))

    def set_scope(self, scope: Scope) -> None:
        """Record an inlined call of a nested model, in place of what was recorded under its path."""
        self._scopes[scope.path] = scope
        self.revision += 1

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


def swap_kwargs(swap: Any, node: Node) -> Mapping[str, Any]:
    """A node's keyword operands with ``swap`` applied to every leaf."""
    return MappingProxyType(map_leaves(swap, dict(node.kwargs)))
