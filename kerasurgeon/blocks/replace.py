"""Carry out the steps of a plan: put networks, or nothing, in place of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.errors import GraphError, PlanError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.keras_io.nesting import nest
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.rewrite.surgery import as_value, check_border, insert_after, replace_region


def carry_out(graph: Graph, steps: Sequence[BlockStep]) -> tuple[BlockStep, ...]:
    """Carry out steps, in order.

    Args:
        graph: The graph; it is changed.
        steps: What to do. Each region must be as it was when its step was made: the same nodes, shapes and dtypes.
            Nodes may be called as they are when it is the step's turn, or as they were before the first step.

    Returns:
        The steps, each with its bridge, which says where its layers are now, and with the names that its nodes had when
        it was its turn.

    Raises:
        PlanError: The graph has no such region.
        GraphError: A weight inside a region is used outside it. In each case the graph is as it was.
    """
    trial = graph.copy()
    names: dict[str, str] = {}  # what nodes are called now that could not keep their names
    done: list[BlockStep] = []
    for step in steps:
        now = _renamed(step, names)
        bridge, moved = _one(trial, now)
        names = {old: moved.get(new, new) for old, new in names.items()} | {
            old: new for old, new in moved.items() if old not in names.values()
        }
        done = [_moved(earlier, moved) for earlier in done]
        done.append(replace(now, bridge=_as_in_original(bridge, names)))
    graph.adopt(trial)
    return tuple(done)


def _one(graph: Graph, step: BlockStep) -> tuple[Bridge, dict[str, str]]:
    """Carry out one step; also what nodes are called now that could not keep their names."""
    entry, exit = _check(graph, step)
    before, unchecked = {node.name for node in graph.nodes()}, graph.unchecked
    if step.network is None:
        if step.nodes:
            replace_region(graph, entry, exit, lambda tensor: tensor)
        result = entry
    elif step.nodes:
        (result,) = replace_region(graph, entry, exit, _named(step))
    else:
        result = insert_after(graph, entry, _named(step))
    made = [node.name for node in graph.nodes() if node.name not in before or node.name == result.node != entry.node]
    if step.network is not None and _is_traced(step.network, graph.spec(entry)):
        # Keras has derived all of it for this very entry, and its result is like the exit.
        graph.mark_checked(*(graph.unchecked - unchecked))
    moved = _open_models(graph)
    if result.node != exit.node and exit.node not in graph:
        moved[exit.node] = moved.get(result.node, result.node)
    bridge = Bridge(
        step.name,
        entry.node,
        exit.node,
        tuple(moved.get(name, name) for name in made),
        new_entry=moved.get(entry.node, entry.node),
        new_exit=moved.get(result.node, result.node),
    )
    return bridge, moved


def _named(step: BlockStep) -> Graph:
    """The network with the step's name in front of the names of its layers."""
    assert step.network is not None
    network = step.network.copy()
    network.flatten()
    for node in network.nodes():
        name = node.name.rpartition("/")[2]
        if node.inputs and not name.startswith(f"{step.name}_") and ":" not in name:
            network.rename(node, network.unique_name(f"{step.name}_{name}"))
    return network


def _is_traced(network: Graph, spec: TensorSpec) -> bool:
    """Whether Keras derived the shapes in a network for an input of just this shape."""
    (value,) = values_in(network.inputs)
    return network.spec(value) == spec and not network.unchecked


def _check(graph: Graph, step: BlockStep) -> tuple[Value, Value]:
    """The region's ends, if the graph has the region that the step was made for."""
    title = f"Step {step.name!r} ({step.action}) of the plan does not fit this model"
    try:
        entry, exit = as_value(graph, step.entry), as_value(graph, step.exit)
        found = _nodes_between(graph, entry, exit) if step.nodes else set()
        if step.nodes:
            check_border(graph, found, [entry], [exit])
    except GraphError as error:
        raise PlanError(f"{title}: {error.what}", got=error.got, hint=error.hint) from error
    if found != set(step.nodes):
        lost, new = sorted(set(step.nodes) - found), sorted(found - set(step.nodes))
        raise PlanError(
            f"{title}: other layers lie between {step.entry} and {step.exit}.",
            expected=f"{', '.join(lost[:5])}" if lost else f"{len(step.nodes)} nodes",
            got=f"{', '.join(new[:5])}" if new else f"{len(found)} nodes",
        )
    for value, spec in ((entry, step.entry_spec), (exit, step.exit_spec)):
        if graph.spec(value) != spec:
            got = str(graph.spec(value))
            raise PlanError(f"{title}: a tensor differs.", where=str(value), expected=str(spec), got=got)
    return entry, exit


def _nodes_between(graph: Graph, entry: Value, exit: Value) -> set[str]:
    """The nodes that a tensor is computed by, going back no further than another."""
    found: set[str] = set()
    waiting = [exit]
    while waiting:
        value = waiting.pop()
        if value != entry and value.node not in found:
            found.add(value.node)
            waiting.extend(graph[value.node].inputs)
    return found


def _open_models(graph: Graph) -> dict[str, str]:
    """Forget nested models that what was put there has opened, as emission would.

    Returns:
        What the nodes of these models are called now, by what they were called.
    """
    if not graph.scopes:
        return {}
    _, broken = nest(graph.copy())
    names: dict[str, str] = {}
    for path in broken:
        inside = [node.name for node in graph.nodes_in(path) if node.scope == path]
        graph.drop_scope(path)
        for name in inside:
            last = name.rpartition("/")[2]
            free = last not in graph and last not in graph.layers and ":" not in last
            if free and len(graph.calls(graph[name].layer)) == 1:
                names[name] = graph.rename(name, last).name
    return names


def _renamed(step: BlockStep, names: Mapping[str, str]) -> BlockStep:
    """The step with what its nodes are called now."""
    if not names:
        return step
    entry, exit = _renamed_tensor(step.entry, names), _renamed_tensor(step.exit, names)
    return replace(step, entry=entry, exit=exit, nodes=tuple(names.get(name, name) for name in step.nodes))


def _renamed_tensor(tensor: str, names: Mapping[str, str]) -> str:
    name, mark, index = tensor.partition("#")
    return names.get(tensor) or names.get(name, name) + mark + index


def _moved(step: BlockStep, moved: Mapping[str, str]) -> BlockStep:
    """An earlier step, with what its layers are called now."""
    bridge = step.bridge
    if bridge is None or not moved:
        return step
    now = replace(
        bridge,
        layers=tuple(moved.get(name, name) for name in bridge.layers),
        new_entry=moved.get(bridge.new_entry, bridge.new_entry),
        new_exit=moved.get(bridge.new_exit, bridge.new_exit),
    )
    return replace(step, bridge=now)


def _as_in_original(bridge: Bridge, names: Mapping[str, str]) -> Bridge:
    """The bridge with the names that its ends have in the model before the first step."""
    first = {new: old for old, new in names.items()}
    entry, exit = first.get(bridge.entry, bridge.entry), first.get(bridge.exit, bridge.exit)
    return replace(bridge, entry=entry, exit=exit, new_entry=bridge.new_entry, new_exit=bridge.new_exit)


__all__ = ["carry_out"]
