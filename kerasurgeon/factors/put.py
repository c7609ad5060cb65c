"""Put the layers of factorised kernels in the place of the layers that had them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasurgeon.errors import PlanError, did_you_mean
from kerasurgeon.factors.plan import FactorPlan
from kerasurgeon.factors.sites import NoSite, Place, Site, places
from kerasurgeon.factors.split_layers import Part, SplitLayers, build_layers
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.rewrite.calls import call, substitute


def put(graph: Graph, key: str, layers: SplitLayers) -> str:
    """Let the layers take the place of all calls of a layer.

    The new layers are named after it: its name and their role. Where the model returns its result, what computes that
    now takes over its name.

    Args:
        graph: The graph.
        key: Key of the layer.
        layers: What ``build_layers`` made for it.

    Returns:
        Key of the last layer of the chain.
    """
    made: dict[str, Node] = {}
    base, names = graph.layers[key].name, [node.name for node in graph.calls(key)]
    for name in names:
        node = graph[name]  # as it is now: a later call may read an earlier one

        def run(part: Part, *operands: Any, node: Node = node) -> Value:
            first = made.get(part.role)
            if first is None:
                role = f"{base}_{part.role}"
                value = call(graph, part.layer, *operands, weights=part.weights or None, name=role, like=node)
                made[part.role] = graph[value.node]
                return value
            return _call_again(graph, first, operands, node)

        value = source = node.inputs[0]
        for part in layers.chain:
            value = run(part, value)
        if layers.residual is not None:
            value = run(layers.behind[0], [value, run(layers.residual, source)])
        for part in layers.behind[1:]:
            value = run(part, value)
        substitute(graph, node, value)
    if len(names) > 1:
        infer(graph)
    last = made[layers.chain[-1].role]
    return last.layer if last.layer in graph.layers else key


def put_plan(graph: Graph, plan: FactorPlan, *, any_weights: bool = False) -> dict[str, str]:
    """Check a whole plan against a model, then let its factors take the place of the layers that it names.

    Args:
        graph: The graph; it is changed, or left as it was if the plan does not fit.
        plan: The plan.
        any_weights: Whether kernels may be others than those that the factors were made from.

    Returns:
        What the report says, by name of the layer.

    Raises:
        PlanError: The model has no such layers, or they have other shapes or weights.
    """
    known = {place.name: place for place in places(graph)}
    sites = {name: _planned_site(name, known, plan, any_weights) for name in plan.layers}
    said = {}
    for name, site in sites.items():
        planned = plan.layers[name]
        put(graph, site.key, build_layers(site, planned.factors))
        said[name] = f"{planned.factors.method}; relative kernel error {planned.error:.3g}"
    return said


def _planned_site(name: str, known: Mapping[str, Place], plan: FactorPlan, any_weights: bool) -> Site:
    place = known.get(name)
    if place is None:
        of = f" It was made for {plan.model!r}." if plan.model else ""
        raise PlanError(f"The model has no layer {name!r} to factorise.{of}", hint=did_you_mean(name, known))
    if isinstance(place, NoSite):
        raise PlanError("The plan names a layer that cannot be factorised.", where=name, got=place.reason)
    assert isinstance(place, Site)
    shape = plan.layers[name].factors.shape
    if shape != place.shape:
        raise PlanError(
            "The plan was made for another model: the layer has another shape.",
            where=f"layer {name!r}",
            expected=str(shape),
            got=str(place.shape),
        )
    why = "" if any_weights else plan.misfit(name, place.kernel())
    if why:
        raise PlanError(
            "The plan was made for other weights.",
            where=f"layer {name!r}",
            got=why,
            hint="any_weights=True puts the factors in all the same",
        )
    return place


def _call_again(graph: Graph, first: Node, operands: tuple[Any, ...], like: Node) -> Value:
    """Another call of a layer that was made for the first call of a shared one."""
    name = None
    if first.scope != like.scope:
        own = first.layer.rpartition("/")[2]
        name = graph.unique_name(f"{like.scope}/{own}" if like.scope else own)
    # The specs of the first call are a stand-in: its input may be of another size. put() derives them in the end.
    again = graph.add_node(
        first.layer,
        operands,
        outputs=first.outputs,
        name=name,
        scope=like.scope,
        origin=like.origin,
        near=like.name,
    )
    return again.value


__all__ = ["put", "put_plan"]
