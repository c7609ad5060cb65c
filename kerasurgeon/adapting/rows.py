"""The channels of one axis made anew, in every weight and config entry that holds them.

A matrix says what every new channel is made of. Where a layer sums over channels, its kernel is multiplied by the
matrix; where it works on each by itself, a new channel has the mean of what the old ones had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.copies import along_axis
from kerasurgeon.channels.cut import resize
from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rules.channel_call import Held
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Ids
from kerasurgeon.rules.reasons import Reason

Array = np.ndarray[Any, Any]
Fill = Callable[[Array, Array, int], None]


class Rows(Keep):
    """What becomes of positions where some units, in order, are made anew.

    Args:
        channels: The analysis of the graph.
        units: The units, all different.
        mix: What each new channel is made of, ``(new, old)``: zeros where it is new altogether.
    """

    def __init__(self, channels: Channels, units: Ids, mix: Array) -> None:
        super().__init__(np.ones(len(channels.unit), bool))
        self.unit, self.units, self.mix = channels.unit, units, mix
        total = mix.sum(axis=1, keepdims=True)
        self.means = np.divide(mix, total, out=np.zeros_like(mix), where=total != 0)

    def changes(self, ids: Ids) -> bool:
        """Whether any of these positions is made anew."""
        return bool(np.isin(self.unit[ids], self.units).any())

    def count(self, ids: Ids, axis: int = 0) -> int:
        """How many positions along an axis there are afterwards."""
        units = along_axis(self.unit[ids], axis)
        if units is None:
            return int(ids.shape[axis])
        return sum(times * len(self.mix) if times else stop - start for start, stop, times in self.runs(units))

    def positions(self, ids: Ids, axis: int = 0) -> Array:
        """For every new position along an axis the old one that it is from.

        Raises:
            GraphError: It is from several.
        """
        units = along_axis(self.unit[ids], axis)
        if units is None:
            return np.arange(ids.shape[axis])
        if not np.isin(self.means, (0.0, 1.0)).all():
            raise GraphError("A layer has a number for each channel in its config: repeat or cut channels.")
        parts = [
            start + self.means.argmax(axis=1).repeat(times) * times + np.tile(np.arange(times), len(self.mix))
            if times
            else np.arange(start, stop)
            for start, stop, times in self.runs(units)
        ]
        return np.concatenate(parts)

    def runs(self, units: Ids) -> Iterator[tuple[int, int, int]]:
        """Stretches of an axis that are made anew, with how often each channel stands in a row there, and the others.

        Raises:
            GraphError: The channels do not stand together, in order.
        """
        inside = np.isin(units, self.units)
        position = 0
        while position < len(units):
            if not inside[position]:
                others = np.flatnonzero(inside[position:])
                stop = position + int(others[0]) if len(others) else len(units)
                yield position, stop, 0
            else:
                same = units[position:] == units[position]
                times = len(same) if same.all() else int(np.argmin(same))
                if len(self.units) == 1:
                    times = 1
                stop = position + times * len(self.units)
                if not np.array_equal(units[position:stop], self.units.repeat(times)):
                    raise GraphError("The channels are mixed with others, or stand in another order, further on.")
                yield position, stop, times
            position = stop

    def made(self, array: Array, held: list[Held], fill: Fill | None = None) -> Array:
        """A weight or constant with the new channels."""
        result = np.asarray(array)
        for item in held:
            for place, axis in enumerate(item.axes):
                units = along_axis(self.unit[item.ids], place)
                if units is None or not np.isin(units, self.units).any():
                    continue
                mix = self.mix if item.contracted else self.means
                parts = []
                for start, stop, times in self.runs(units):
                    part = np.take(result, np.arange(start, stop), axis=axis)
                    if times:
                        part = _mixed(part, np.kron(mix, np.eye(times)), axis)
                        if fill is not None and not item.contracted:
                            fill(part, result, axis)
                    parts.append(part)
                result = np.concatenate(parts, axis=axis)
        return np.ascontiguousarray(result.astype(array.dtype))


def _mixed(part: Array, mix: Array, axis: int) -> Array:
    return np.moveaxis(np.tensordot(mix, part.astype(np.float64), (1, axis)), 0, axis)


def remake(graph: Graph, channels: Channels, ids: Ids, mix: Array, what: str, fill: Fill | None = None) -> list[str]:
    """Make the channels of an axis anew everywhere, in place.

    Args:
        graph: The graph that was analysed, unchanged since.
        channels: Its analysis.
        ids: The labels of the axis.
        mix: What each new channel is made of, ``(new, old)``.
        what: What they are, for errors: ``"the channels of input 'image'"``.
        fill: Puts values into what is new in a weight: the part with the new channels, the old weight, the axis.

    Returns:
        The layers whose weights have changed.

    Raises:
        GraphError: They cannot be made anew; the graph is as it was.
    """
    units = channels.unit[ids]
    if ids.ndim != 1 or len(set(units.tolist())) != len(units):
        raise GraphError(f"{what[0].upper()}{what[1:]} cannot be told apart: some of them go together.")
    for unit in units.tolist():
        reason, about = channels.frozen.get(unit, (Reason.MODEL_OUTPUT, ""))
        if reason is not Reason.MODEL_OUTPUT:
            raise GraphError(
                f"{what[0].upper()}{what[1:]} cannot be changed: {reason}.",
                where=about or None,
                got=channels.barriers.get(about),
                hint="replace that layer first (replace_layer), or put a layer of your own in front of it "
                "(insert_after)",
            )
    keep = Rows(channels, units, mix)
    trial = graph.copy()
    try:
        resize(trial, channels, keep, lambda array, held, _: keep.made(array, held, fill))
    except GraphError as error:
        raise GraphError(f"{what[0].upper()}{what[1:]} cannot be changed.", got=error.what) from error
    for node in trial.nodes():
        if trial.kind(node) == "InputLayer" and node.outputs != graph[node.name].outputs:
            layer = trial.layer_of(node).with_config(batch_shape=node.outputs[0].shape)
            trial.update_layer(node.layer, replace(layer, build_config=None))
    touched = [key for key, layer in trial.layers.items() if graph.layers.get(key) is not layer and layer.weights]
    graph.adopt(trial)
    return touched


__all__ = ["Fill", "Rows", "remake"]
