"""Remove channels everywhere they live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.avoided import check_numbers
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight, sealed
from kerasurgeon.ir.node import Node, Scope
from kerasurgeon.ir.structure import leaves, unflatten
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.keras_io.nesting import call_operand
from kerasurgeon.keras_io.tensors import new_array
from kerasurgeon.rules.channel_call import ChannelCall, Held
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Labels

Array = np.ndarray[Any, Any]
# Bytes that are cut at a time.
_BLOCK = 2**22
Remade = Callable[[Array, list[Held], Keep], Array]


def cut_units(graph: Graph, channels: Channels, gone: Array) -> None:
    """Take units of channels out of a graph, in place.

    Args:
        graph: The graph that was analysed, unchanged since.
        channels: Its analysis.
        gone: For every unit whether it goes. Frozen units must stay, and something of every axis.
    """
    resize(graph, channels, channels.keep(gone), _cut_array)


def resize(graph: Graph, channels: Channels, keep: Keep, remade: Remade) -> None:
    """Give every layer, tensor and constant of a graph the sizes that a ``Keep`` says, in place.

    Args:
        graph: The graph that was analysed, unchanged since.
        channels: Its analysis.
        keep: What stays; or how often, where channels are duplicated (see ``channels.copies``).
        remade: Makes the new array of a weight or constant from the old one, given what holds labels in it.

    Raises:
        PlanError: A layer would have a number of channels that it may not have.
    """
    check_numbers(channels, keep)
    touched = _Touched(keep)
    done: set[str] = set()
    for node in graph.nodes():
        call = channels.calls.get(node.name)
        if call is None:
            continue
        if node.layer not in done:
            done.add(node.layer)
            layer = graph.layers[node.layer]
            changed = _cut_layer(layer, node.layer, call, channels, keep, touched, remade)
            if changed is not layer:
                graph.update_layer(node.layer, changed)
    for node in graph.nodes():
        call = channels.calls.get(node.name)
        if call is not None:
            _cut_operands(graph, node, call, keep, touched, remade)
        labels = channels.labels[node.name]
        shapes = [
            _as_open(_shape(keep, channels, own), spec.shape) for own, spec in zip(labels, node.outputs, strict=True)
        ]
        if any(shape != spec.shape for shape, spec in zip(shapes, node.outputs, strict=True)):
            graph.set_outputs(
                node, [replace(spec, shape=shape) for spec, shape in zip(node.outputs, shapes, strict=True)]
            )
    for scope in tuple(graph.scopes.values()):
        fit_scope(graph, scope)


def _shape(keep: Keep, channels: Channels, labels: Labels) -> tuple[int | None, ...]:
    """The shape after the cut, also of what is left empty: an axis over which its units are the same keeps its size."""
    sizes = list(keep.shape(labels))
    for factor in labels.factors:
        if len(factor.axes) > 1 and not any(sizes[axis] for axis in factor.axes):
            units = channels.unit[factor.ids]
            for place, axis in enumerate(factor.axes):
                size = units.shape[place]
                if size > 1 and (units == units.take([0], axis=place)).all():
                    sizes[axis] = size
    return tuple(sizes)


def _as_open(shape: tuple[int | None, ...], before: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """A shape without sizes that rules know and Keras leaves open."""
    return tuple(None if had is None else size for size, had in zip(shape, before, strict=True))


class _Touched:
    """Which arrays of labels lose positions, looked up once per array.

    Attributes:
        tied: New arrays of variables that several layers hold, by the number of the tie.
    """

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.tied: dict[int, Array] = {}
        self.seen: dict[int, tuple[Any, bool]] = {}

    def __call__(self, ids: Array) -> bool:
        found = self.seen.get(id(ids))
        if found is None:
            found = self.seen[id(ids)] = (ids, self.keep.changes(ids))
        return found[1]


def _cut_layer(
    layer: Layer, key: str, call: ChannelCall, channels: Channels, keep: Keep, touched: _Touched, remade: Remade
) -> Layer:
    arrays: dict[str, Weight] = {}
    for name, weight in layer.weights.items():
        held = [item for item in channels.weights.get((key, name), ()) if touched(item.ids)]
        if held:
            array = None if weight.tie is None else touched.tied.get(weight.tie)
            array = remade(weight.array, held, keep) if array is None else array
            if weight.tie is not None:
                touched.tied[weight.tie] = array
            arrays[name] = replace(weight, array=array)
    if arrays:
        for name, scale in call.scales:
            weight = layer.weights[name]
            array = arrays.get(name, weight).array
            arrays[name] = replace(weight, array=_owned((array * scale(keep)).astype(array.dtype)))
        layer = layer.with_weights(**arrays)
    changes: dict[str, Any] = {}
    for path, ids in call.counts:
        if touched(ids):
            _set(changes, layer.config, path, keep.count(ids))
    for change in call.changes:
        for entry, value in change(keep).items():
            path = entry if isinstance(entry, tuple) else (*call.config_path, entry)
            _set(changes, layer.config, path, value)
    changes = {name: value for name, value in changes.items() if not _same(value, layer.config.get(name))}
    if changes or arrays:
        config = {**layer.config, **changes}
        nested = {name: entry for name, entry in config.items() if isinstance(entry, (dict, list, tuple))}
        changes |= {name: new for name, old in nested.items() if (new := _without_builds(old)) is not old}
    return layer.with_config(**changes) if changes else layer


def _without_builds(entry: Any) -> Any:
    """A config entry without the shapes that layers inside were built with; itself if it holds none."""
    if isinstance(entry, dict):  # no other mapping: a DTypePolicyMap claims to have every key
        new = {key: _without_builds(value) for key, value in entry.items()}
        built = "build_config" in entry and "class_name" in entry
        if built:
            del new["build_config"]
        return new if built or any(new[key] is not entry[key] for key in new) else entry
    if isinstance(entry, (list, tuple)):
        items = [_without_builds(item) for item in entry]
        return type(entry)(items) if any(new is not old for new, old in zip(items, entry, strict=True)) else entry
    return entry


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(np.all(one == other)) and np.shape(one) == np.shape(other)


def _set(changes: dict[Any, Any], config: Mapping[Any, Any], path: tuple[Any, ...], value: Any) -> None:
    """Set an entry of a nested config in a copy of what is around it."""
    changes[path[0]] = _replaced(changes.get(path[0], config.get(path[0])), path[1:], value)


def _replaced(entry: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(entry, (list, tuple)):
        items = list(entry)
        items[path[0]] = _replaced(items[path[0]], path[1:], value)
        return items
    return {**entry, path[0]: _replaced(entry.get(path[0]), path[1:], value)}


def take(array: Array, held: list[Held], keep: Keep) -> Array:
    """An array without the positions whose labels are gone."""
    picks: dict[int, Array] = {}
    for item in held:
        for place, axis in enumerate(item.axes):
            positions, before = keep.positions(item.ids, place), picks.get(axis)
            if len(positions) < (array.shape[axis] if before is None else len(before)):
                picks[axis] = positions if before is None else before[positions]
    if not picks:
        return array
    sizes = {axis: len(positions) for axis, positions in picks.items()}
    result = new_array(tuple(sizes.get(axis, size) for axis, size in enumerate(array.shape)), array.dtype)
    # A block of rows at a time, so that nothing large is made on the way. Along the first axes whole rows are copied,
    # along the last one single entries: the fewer by then, the better.
    (first, rows), *others = sorted(picks.items(), key=lambda entry: entry[0])
    block = max(1, _BLOCK // max(1, array.nbytes // array.shape[first]))
    for start in range(0, len(rows), block):
        part = np.take(array, rows[start : start + block], axis=first)
        for axis, positions in others:
            part = np.take(part, positions, axis=axis)
        result[(slice(None),) * first + (slice(start, start + block),)] = part
    return result


def _cut_array(array: Array, held: list[Held], keep: Keep) -> Array:
    return _owned(take(array, held, keep))


def _owned(array: Array) -> Array:
    return sealed(np.ascontiguousarray(array))


def _cut_operands(graph: Graph, node: Node, call: ChannelCall, keep: Keep, touched: _Touched, remade: Remade) -> None:
    constants: dict[int, list[Held]] = {}
    for held in call.held:
        if isinstance(held.owner, int) and touched(held.ids):
            constants.setdefault(held.owner, []).append(held)
    args, kwargs = node.args, dict(node.kwargs)
    if constants:
        flat, position = [], -1
        for leaf in leaves((args, kwargs)):
            tensor = isinstance(leaf, (Value, WeightRef)) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))
            position += tensor
            own = constants.get(position) if tensor else None
            flat.append(leaf if own is None or isinstance(leaf, WeightRef) else remade(np.asarray(leaf), own, keep))
        args, kwargs = unflatten((args, kwargs), flat)
    for change in call.operand_changes:
        args, kwargs = change(keep, (args, kwargs))
    if constants or call.operand_changes:
        graph.set_operands(node.name, args, kwargs)


def fit_scope(graph: Graph, scope: Scope, *, fix: bool = False) -> None:
    """Let the inputs of a nested model record the shapes that they take now.

    Args:
        graph: The graph.
        scope: The nested model, as it is called.
        fix: Whether sizes become known that it leaves open and the call does not.
    """
    bound = [leaf for leaf in leaves(call_operand(scope)) if isinstance(leaf, Value)]
    if len(bound) != len(scope.inputs):
        return
    inputs = []
    for layer, value in zip(scope.inputs, bound, strict=True):
        old, new = tuple(layer.config["batch_shape"]), graph.spec(value).shape
        sizes = tuple(
            had if had == has or has is None or (had is None and not (fix and axis)) else has
            for axis, (had, has) in enumerate(zip(old, new, strict=True))
        )
        inputs.append(layer if sizes == old else layer.with_config(batch_shape=sizes))
    if any(one is not other for one, other in zip(inputs, scope.inputs, strict=True)):
        graph.set_scope(replace(scope, inputs=tuple(inputs)))
