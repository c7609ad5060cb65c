"""Rules of ``Simplify`` for layers and ops that return what they are given: what these are, the rules of layers say."""

from __future__ import annotations

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules import CannotTell, rule_for
from kerasurgeon.rules.asking import identity_of
from kerasurgeon.simplify.rules import Rule, bypass, require_inference, rule


def works_in_training_only(graph: Graph, node: Node) -> bool:
    """Whether a node does nothing in inference, and something in training."""
    return rule_for(graph.kind(node)).only_in_training(graph.layer_of(node))


def _may_be_an_identity(graph: Graph, node: Node) -> bool:
    try:
        return identity_of(graph, node) is not None
    except CannotTell:
        return True


@rule("training_layers", sites=works_in_training_only)
def training_layer(graph: Graph, node: Node) -> str:
    """Dropout, noise, regularisation of activities, augmentation, stopped gradients."""
    require_inference(graph, node)
    return bypass(graph, node, "it does nothing in inference")


@rule("identities", sites=_may_be_an_identity)
def identity(graph: Graph, node: Node) -> str:
    """Whatever returns what it reads with the settings and operands that it has."""
    try:
        why = identity_of(graph, node)
    except CannotTell as reason:
        raise Skip(str(reason)) from None
    assert why is not None
    return bypass(graph, node, why)


RULES: tuple[Rule, ...] = (training_layer, identity)

__all__ = ["RULES", "works_in_training_only"]
