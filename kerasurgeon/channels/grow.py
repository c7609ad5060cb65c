"""Duplicate channels everywhere they live, without changing what the network computes: the inverse of a cut.

A unit that is there several times gives several equal channels; what sums over them takes a share of the old weight for
each, so that the shares add up to it. Which position of the grown network is a copy of which is not worked out by rules
of its own: the grown graph is analysed as the old one was, and its labels say where every channel has come to stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.copies import Copies, one_axis_only
from kerasurgeon.channels.cut import resize
from kerasurgeon.channels.positions import Mismatch, Origins
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Weight
from kerasurgeon.ir.structure import leaves, unflatten
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.rules.channel_call import Held
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Ids

Array = np.ndarray[Any, Any]


@dataclass
class Growth:
    """What a growth did.

    Attributes:
        copies: For every unit of the analysis before how often it is there now.
        left: Units that were asked for and stay as they are, with the reason.
        widths: Channels before and after, by the layers that make them; those that did not grow are left out.
    """

    copies: Ids
    left: dict[int, str] = field(default_factory=dict)
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)


def cannot_grow(channels: Channels) -> dict[int, str]:
    """Units that may not be there more than once, with the reason: the others can be duplicated exactly or fresh."""
    found = {unit: f"{reason} ({about})" if about else str(reason) for unit, (reason, about) in channels.frozen.items()}
    for name, call in channels.calls.items():
        arrays = [factor.ids for labels in channels.labels[name] for factor in labels.factors]
        for ids in (*arrays, *(held.ids for held in call.held), *(block.ids for block in call.blocks)):
            units = channels.unit[ids]
            if ids.ndim > 1 and not one_axis_only(units):
                for unit in set(units.ravel().tolist()):
                    found.setdefault(unit, f"it fills several axes at once ({name})")
    return found


def cannot_duplicate(channels: Channels) -> dict[int, str]:
    """Units that cannot be duplicated without changing the result, with the reason."""
    found = cannot_grow(channels)
    for unit, (reason, about) in channels.inexact.items():
        found.setdefault(unit, f"{reason} ({about}): more of them would not give the same")
    for key, path in channels.two_ways:
        for held in channels.weights[key, path]:
            if held.contracted:
                for unit in set(channels.unit[held.ids.ravel()].tolist()):
                    found.setdefault(unit, f"one weight both makes it and sums over it ({key})")
    for name, call in channels.calls.items():
        for _, factor in call.masks:
            for unit in set(channels.unit[factor.ids.ravel()].tolist()):
                found.setdefault(unit, f"summed over without a weight that could be shared out ({name})")
    return found


def grow_units(
    graph: Graph,
    channels: Channels,
    copies: Array,
    *,
    rng: np.random.Generator | None = None,
    uneven: float = 0.0,
    exact: bool = True,
) -> Growth:
    """Duplicate units of channels in a graph, in place, so that its outputs stay.

    Args:
        graph: The graph that was analysed, unchanged since.
        channels: Its analysis.
        copies: For every unit how often it is to be there, from 1. Units that cannot be duplicated stay single.
        rng: Draws the uneven shares.
        uneven: How much the shares of copies differ, in [0, 1): 0 shares a weight out evenly. Equal copies with equal
            shares get equal gradients and never part; uneven ones do, and the sum stays what it was.
        exact: Leave alone what cannot be duplicated exactly; without it such units grow too, and the outputs change.

    Returns:
        What was done.

    Reference:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016, arXiv:1511.05641, section 2.2;
        the uneven shares are in place of the noise there, and exact.
    """
    wanted = np.array(copies, np.int64)
    if wanted.shape != (channels.units,) or (wanted < 1).any():
        raise ValueError("copies is a number from 1 for every unit")
    refused = cannot_duplicate(channels) if exact else cannot_grow(channels)
    growth = Growth(wanted, {unit: why for unit, why in refused.items() if wanted[unit] > 1})
    wanted[list(refused)] = 1
    generator = np.random.default_rng(0) if rng is None else rng
    while True:
        keep = Copies(channels, wanted)
        trial = graph.copy()
        try:
            origins = grown_form(trial, channels, keep)
            _fill(trial, channels, keep, origins, _Shares(generator, uneven))
        except Mismatch as mismatch:
            several = {unit for unit in mismatch.units if wanted[unit] > 1} or set(np.flatnonzero(wanted > 1).tolist())
            growth.left.update(dict.fromkeys(several, str(mismatch)))
            wanted[list(several)] = 1
            continue
        break
    if (wanted > 1).any():
        graph.adopt(trial)
    for name, source in channels.sources.items():
        before, after = source.ids.size, len(keep.layout(source.ids)[1])
        if before != after:
            growth.widths[name] = before, after
    return growth


def grown_form(graph: Graph, channels: Channels, keep: Copies) -> Origins:
    """Give a graph its grown sizes, in place, with weights that only have shapes.

    Returns:
        Where the channels of the grown graph come from.

    Raises:
        Mismatch: What the grown graph does with its channels is not what the old one did.
    """
    resize(graph, channels, keep, shape_only)
    return Origins(channels, analyse(graph), keep)


def shape_only(array: Array, several: list[Held], keep: Keep) -> Array:
    """An array of the new shape that takes no memory: what ``resize`` gives weights where only sizes count."""
    shape = list(array.shape)
    for held in several:
        for place, axis in enumerate(held.axes):
            shape[axis] = keep.count(held.ids, place)
    return np.broadcast_to(np.zeros((), array.dtype), shape)


class _Shares:
    """Shares weights out among copies."""

    def __init__(self, rng: np.random.Generator, uneven: float) -> None:
        self.rng, self.uneven = rng, uneven

    def __call__(self, rows: Array, source: Ids, number: int) -> Array:
        """Rows that were gathered by ``source`` from ``number`` rows, so that those of one row add up to it."""
        times = np.bincount(source, minlength=number)[source]
        several = np.flatnonzero(times > 1)
        if not len(several):
            return rows
        shape = (len(several), *rows.shape[1:]) if self.uneven else (len(several), *(1,) * (rows.ndim - 1))
        shares = 1 + self.uneven * self.rng.uniform(-1, 1, shape) if self.uneven else np.ones(shape)
        total = np.zeros((number, *shape[1:]))
        np.add.at(total, source[several], shares)
        result = rows.copy()
        result[several] = (rows[several] * (shares / total[source[several]])).astype(rows.dtype)
        return result


def _fill(graph: Graph, channels: Channels, keep: Copies, origins: Origins, shares: _Shares) -> None:
    """Put values into the weights and constants of a graph that has its grown sizes."""
    old = channels.graph
    scales = {node.layer: channels.calls[node.name].scales for node in reversed(old.nodes()) if node.name in origins}
    arrays: dict[str, dict[str, Weight]] = {}
    tied: dict[int, Array] = {}
    for (key, path), several in channels.weights.items():
        if any(keep.changes(held.ids) for held in several):
            weight = old.layers[key].weights[path]
            if weight.tie is not None and weight.tie in tied:
                arrays.setdefault(key, {})[path] = replace(weight, array=tied[weight.tie])
                continue
            array = _gathered(weight.array, several, origins.new.weights[key, path], keep, origins, shares)
            for name, scale in scales.get(key, ()):
                if name == path:
                    array = (array * scale(keep)).astype(array.dtype)
            array.flags.writeable = False
            arrays.setdefault(key, {})[path] = replace(weight, array=array)
            if weight.tie is not None:
                tied[weight.tie] = array
    for key, own in arrays.items():
        graph.update_layer(key, graph.layers[key].with_weights(**own))
    for node in old.nodes():
        if node.name in origins:
            _fill_constants(graph, node.name, channels, keep, origins, shares)


def _fill_constants(
    graph: Graph, name: str, channels: Channels, keep: Copies, origins: Origins, shares: _Shares
) -> None:
    held: dict[int, list[tuple[Held, Held]]] = {}
    before, after = channels.calls[name], origins.new.calls[name]
    for one, other in zip(before.held, after.held, strict=True):
        if isinstance(one.owner, int) and keep.changes(one.ids):
            held.setdefault(one.owner, []).append((one, other))
    if not held:
        return
    tensors = [leaf for leaf in leaves(channels.graph[name].operands) if _is_tensor(leaf)]
    flat, position = [], -1
    node = graph[name]
    for leaf in leaves((node.args, dict(node.kwargs))):
        position += _is_tensor(leaf)
        own = held.get(position) if _is_tensor(leaf) else None
        if own is None or isinstance(leaf, WeightRef):
            flat.append(leaf)
        else:
            pairs = [one for one, _ in own], [other for _, other in own]
            flat.append(_gathered(np.asarray(tensors[position]), *pairs, keep, origins, shares))
    args, kwargs = unflatten((node.args, dict(node.kwargs)), flat)
    graph.set_operands(name, args, kwargs)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, (Value, WeightRef)) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


def _gathered(
    array: Array, before: list[Held], after: list[Held], keep: Copies, origins: Origins, shares: _Shares
) -> Array:
    """An array with the copies of its positions; where it is summed over, what they have is shared out."""
    for one, other in zip(before, after, strict=True):
        if not keep.changes(one.ids):
            continue
        source = origins.positions(one.ids, other.ids)
        count = len(one.axes)
        front = np.moveaxis(array, one.axes, range(count))
        rows = front.reshape(one.ids.size, *front.shape[count:])[source]
        if one.contracted:
            rows = shares(rows, source, one.ids.size)
        array = np.moveaxis(rows.reshape(*other.ids.shape, *front.shape[count:]), range(count), one.axes)
    return np.ascontiguousarray(array)
