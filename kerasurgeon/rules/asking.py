"""How the library asks what is known of a layer: one function per question. What cannot be told is ``None`` or no.

A rule says why it cannot tell; whoever must pass that on asks the rule itself and catches ``CannotTell``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.answers import (
    Affine,
    Combination,
    Join,
    Mixing,
    Movement,
    Normalisation,
    Product,
    Recurrent,
    Sum,
)
from kerasurgeon.rules.call import Call, CannotTell, call_of
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.rules.positions import Each, Positions
from kerasurgeon.rules.registry import known_kinds, rule_for
from kerasurgeon.rules.rule import Free, NeverLinear, Rule

Answer = TypeVar("Answer")


def linear_form(layer: Layer) -> LinearForm | None:
    """The layer as kernels and a bias, if it is that."""
    return _told(lambda: rule_for(layer.kind).linear(layer))


def channel_form(layer: Layer) -> LinearForm | None:
    """The same, of layers that read and make the channels along one axis; not of any other product with a kernel."""
    form = linear_form(layer)
    return form if form is not None and form.by_channel else None


def may_be_linear(kind: str) -> bool:
    """Whether layers of a kind have a linear form, unless something about one of them keeps it from having one."""
    return type(rule_for(kind)).linear not in (Rule.linear, Free.linear, NeverLinear.linear)


def linear_kinds() -> tuple[str, ...]:
    """All kinds whose layers may have a linear form, sorted."""
    return tuple(filter(may_be_linear, known_kinds()))


def recurrences_of(layer: Layer) -> tuple[Recurrent, ...]:
    """The recurrences that a layer runs over what it reads; none where that cannot be told."""
    return _told(lambda: rule_for(layer.kind).recurrences(layer)) or ()


def positions_of(graph: Graph, node: Node) -> Positions | None:
    """What a node does along spatial axes, if that is known."""
    if not node.inputs:
        return None
    rank = len(graph.spec(node.inputs[0]).shape)
    layer = graph.layer_of(node)
    return _told(lambda: rule_for(layer.kind).positions(layer, rank))


def is_channelwise(layer: Layer) -> bool:
    """Whether every channel of the result is certainly computed from the same channel of the operands alone."""
    return bool(_told(lambda: rule_for(layer.kind).channelwise(layer)))


def is_elementwise(graph: Graph, node: Node) -> bool:
    """Whether every element of the result is certainly computed from the elements at its place alone."""
    return isinstance(positions_of(graph, node), Each) and is_channelwise(graph.layer_of(node))


def combination_of(graph: Graph, node: Node) -> Combination | None:
    """The sum, product or concatenation that a node gives of its tensor operands, if it gives one."""
    layer = graph.layer_of(node)
    return _told(lambda: rule_for(layer.kind).combination(layer, len(node.inputs)))


def is_sum(graph: Graph, node: Node) -> bool:
    """Whether a node gives a weighted sum of its operands."""
    return isinstance(combination_of(graph, node), Sum)


def is_product(graph: Graph, node: Node) -> bool:
    """Whether a node gives the product of its operands."""
    return isinstance(combination_of(graph, node), Product)


def is_join(graph: Graph, node: Node) -> bool:
    """Whether a node puts its operands one after the other."""
    return isinstance(combination_of(graph, node), Join)


def movement_of(graph: Graph, node: Node) -> Movement | None:
    """How a node moves elements about, if it does nothing else to one operand."""
    if len(set(node.inputs)) != 1:
        return None
    layer, rank = graph.layer_of(node), len(graph.spec(node.inputs[0]).shape)
    return _told(lambda: rule_for(layer.kind).movement(layer, rank))


def activation_of(layer: Layer) -> str | None:
    """The name of the activation that a layer ends in, if it has a known one."""
    return rule_for(layer.kind).activation(layer)


def commutes(layer: Layer) -> bool:
    """Whether the operands of a layer may be exchanged."""
    return rule_for(layer.kind).commutes(layer)


def affine_of(layer: Layer) -> Affine | None:
    """What a layer multiplies channels by and adds to them in inference, if it does that and no more."""
    return _told(lambda: rule_for(layer.kind).affine(layer))


def normalisation_of(graph: Graph, node: Node) -> Normalisation | None:
    """The statistics over one axis that a node divides by, if it does that and no more than scale and shift."""
    if not node.inputs:
        return None
    layer, rank = graph.layer_of(node), len(graph.spec(node.inputs[0]).shape)
    return _told(lambda: rule_for(layer.kind).normalisation(layer, rank))


def mixing_of(layer: Layer) -> Mixing | None:
    """The kernels of a layer between which its channels are, if channels meet nothing else."""
    return _told(lambda: rule_for(layer.kind).mixing(layer))


def carries_channels(graph: Graph, node: Node) -> bool:
    """Whether a node certainly does the same to all channels, by sums with weights."""
    if len(set(node.inputs)) != 1:
        return False
    layer, rank = graph.layer_of(node), len(graph.spec(node.inputs[0]).shape)
    return bool(_told(lambda: rule_for(layer.kind).carries(layer, rank)))


def is_multilinear(graph: Graph, node: Node) -> bool:
    """Whether a node gives a sum of products of its operands."""
    layer = graph.layer_of(node)
    return bool(_told(lambda: rule_for(layer.kind).multiplies(layer)))


def identity_of(graph: Graph, node: Node) -> str | None:
    """Why a node returns what it reads; ``None`` if no setting of its kind could make it so.

    Raises:
        CannotTell: Its settings do not make it so; the message says why.
    """
    rule = rule_for(graph.kind(node))
    return None if type(rule).identity is Rule.identity else rule.identity(recorded_call(graph, node))


def recorded_call(graph: Graph, node: Node) -> Call:
    """The call that a node makes, with sizes as the graph has them."""
    specs: dict[str, tuple[TensorSpec, ...]] = {value.node: graph[value.node].outputs for value in node.inputs}
    return call_of(graph, node, {**specs, node.name: node.outputs})


def _told(ask: Callable[[], Answer]) -> Answer | None:
    try:
        return ask()
    except CannotTell:
        return None
