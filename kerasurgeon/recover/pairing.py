"""Teacher and student side by side: which nodes are the same in both, which are new, what comes behind them."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import networkx as nx
import numpy as np

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.recover.logits import logits_of, outputs_of
from kerasurgeon.rules.answers import Sum
from kerasurgeon.rules.asking import combination_of


class Pair:
    """The graphs of a teacher and of a student, both of them copies that may be changed.

    Args:
        teacher: The teacher's graph.
        student: The student's graph.
        changes: Names of the student's new nodes; by default what ``changed_nodes`` finds.

    Attributes:
        teacher: The teacher's graph.
        student: The student's graph.
        changes: Names of the student's new nodes.
    """

    def __init__(self, teacher: Graph, student: Graph, changes: Iterable[str] | None = None) -> None:
        self.teacher, self.student = teacher, student
        self.changes = frozenset(changed_nodes(teacher, student) if changes is None else changes)
        ours, theirs = outputs_of(student), outputs_of(teacher)
        if len(ours) != len(theirs) or any(
            not _alike(teacher.spec(one), student.spec(other)) for one, other in zip(theirs, ours, strict=False)
        ):
            raise OptionError(
                "Teacher and student do not give the same outputs.",
                expected="; ".join(f"{value} {teacher.spec(value)}" for value in theirs),
                got="; ".join(f"{value} {student.spec(value)}" for value in ours),
                hint="the teacher should be the model that the student was made from",
            )
        self._outputs = theirs, ours
        self._logits: list[tuple[Value, Value]] | None = None

    def logits(self) -> list[tuple[Value, Value]]:
        """The logits of every output, of the teacher and of the student.

        Raises:
            OptionError: An output does not choose among classes.
        """
        if self._logits is None:
            teacher = [logits_of(self.teacher, value) for value in self._outputs[0]]
            student = [logits_of(self.student, value) for value in self._outputs[1]]
            self._logits = list(zip(teacher, student, strict=True))
        return self._logits

    def outputs(self) -> list[tuple[Value, Value]]:
        """Every output, of the teacher and of the student."""
        return list(zip(outputs_of(self.teacher), outputs_of(self.student), strict=True))

    def named(self, teacher: str, student: str | None = None) -> tuple[Value, Value]:
        """The tensors that nodes of some names compute.

        Raises:
            OptionError: One of the models has no such node.
        """
        for name, graph, whose in ((teacher, self.teacher, "teacher"), (student or teacher, self.student, "student")):
            if name not in graph:
                known = [node.name for node in graph.nodes()]
                raise OptionError(f"The {whose} has no layer {name!r} to compare.", hint=did_you_mean(name, known))
        return Value(teacher), Value(student or teacher)

    def channel_axis(self) -> int:
        """The axis of channels in images: 1 where a layer says ``channels_first``, else the last."""
        formats = {layer.config.get("data_format") for layer in self.teacher.layers.values()}
        return 1 if "channels_first" in formats else -1

    def additions(self) -> tuple[str, ...]:
        """The additions behind the first change that both models have, the last three nodes of the teacher left out.

        ``max(2, ceil(n / 3))`` of ``n`` of them, spread evenly; all if there are fewer.
        """
        behind = behind_changes(self.student, self.changes)
        last = {node.name for node in self.teacher.nodes()[-3:]}
        found = [
            node.name
            for node in self.teacher.nodes()
            if _adds(self.teacher, node)
            and len(node.spec.shape) > 2
            and node.name in behind
            and node.name not in last
            and _same_positions(node.spec, self.student[node.name].spec, self.channel_axis())
        ]
        count = min(len(found), max(2, ceil(len(found) / 3)))
        places = np.unique(np.linspace(0, max(len(found) - 1, 0), count).round().astype(int)).tolist()
        return tuple(found[place] for place in places)


def _adds(graph: Graph, node: Node) -> bool:
    found = combination_of(graph, node)
    return isinstance(found, Sum) and set(found.factors) == {1.0}


def changed_nodes(teacher: Graph, student: Graph) -> tuple[str, ...]:
    """The nodes of a student that its teacher has not, or has with another kind, other weights' shapes or operands."""
    return tuple(
        node.name for node in student.nodes() if _signature(student, node.name) != _signature(teacher, node.name)
    )


def behind_changes(graph: Graph, changes: Iterable[str]) -> frozenset[str]:
    """The nodes that some nodes have an influence on, those nodes left out."""
    changed = {name for name in changes if name in graph}
    return frozenset().union(*(nx.descendants(graph.digraph, name) for name in changed)) - changed


def before_changes(graph: Graph, changes: Iterable[str]) -> frozenset[str]:
    """The nodes that some nodes depend on and that depend on none of them."""
    changed = {name for name in changes if name in graph}
    above: frozenset[str] = frozenset().union(*(nx.ancestors(graph.digraph, name) for name in changed))
    return above - behind_changes(graph, changed) - changed


def _signature(graph: Graph, name: str) -> object:
    if name not in graph:
        return None
    node, layer = graph[name], graph.layer_of(name)
    shapes = sorted((key, weight.shape) for key, weight in layer.weights.items())
    return graph.kind(name), shapes, len(node.inputs)


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    return len(one.shape) == len(other.shape) and all(
        mine in (None, theirs) or theirs is None for mine, theirs in zip(one.shape[1:], other.shape[1:], strict=True)
    )


def _same_positions(one: TensorSpec, other: TensorSpec, axis: int) -> bool:
    if len(one.shape) != len(other.shape):
        return False
    skip = axis % len(one.shape)
    return all(
        mine == theirs
        for place, (mine, theirs) in enumerate(zip(one.shape, other.shape, strict=True))
        if place not in (0, skip)
    )


__all__ = ["Pair", "before_changes", "behind_changes", "changed_nodes"]
