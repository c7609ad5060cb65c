"""Fit the kernels of recurrent layers that lost features or units to the states that they had before.

What a step computes before its activations is linear in what it reads and in the state before it,

    A = X W + H U + b,

so that both kernels of a cell follow from one least-squares problem, by the rows that stay, towards what the whole
layer gave. A GRU's candidate multiplies the second product by a gate before it adds the first: there each of the two
is fitted by itself. At first the states ``H`` are those of the whole layer, then those that the fitted kernels lead to,
as errors add up from step to step. Kept are the kernels whose states, on held-out samples, are closest to what they
were, and those that were there if none are closer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.patches import numpy_of
from kerasurgeon.channels.ridge import fitted
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.derive import built_layer
from kerasurgeon.keras_io.injection import brief_variables
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.rules.answers import Recurrent
from kerasurgeon.rules.asking import recurrences_of
from kerasurgeon.rules.labels import Ids

Array = np.ndarray[Any, Any]

MOST_ROWS = 8192
# How often kernels are fitted: with the states of the whole layer, then with their own.
_ROUNDS = 3
# The share of the samples that are held out.
_HELD_OUT = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Losing:
    """A recurrent layer that loses features or units.

    Attributes:
        node: Its call.
        value: What it reads.
        mask: Which of its steps count, if that is told.
        read: For every feature whether it stays.
        units: For every unit whether it stays, of each of its recurrences.
    """

    node: Node
    value: Value
    mask: Value | None
    read: Array
    units: tuple[Array, ...]

    @property
    def count(self) -> int:
        """How many features and units go."""
        return int((~self.read).sum() + sum((~each).sum() for each in self.units))


def find_losing(graph: Graph, channels: Channels, gone: Array) -> dict[str, Losing]:
    """The recurrent layers that lose something, by node: those that are called once, without initial states.

    Args:
        graph: The analysed graph.
        channels: Its analysis.
        gone: For every unit whether it goes.
    """
    stays = ~gone
    tied = graph.tied_layers()
    found = {}
    for node in graph.nodes():
        parts = recurrences_of(graph.layer_of(node))
        mask = node.operands[1].get("mask")
        mask = mask if isinstance(mask, Value) else None
        alone = len(node.inputs) == (1 if mask is None else 2) and len(graph.calls(node.layer)) == 1
        if not parts or not alone or node.layer in tied or node.name not in channels.calls:
            continue
        rows = [rows_of(channels, node.layer, part) for part in parts]
        features = [_stay(stays, ids) for ids, _ in rows]
        units = [_stay(stays, ids) for _, ids in rows]
        if not all(stay.all() for stay in (*features, *units)):
            found[node.name] = Losing(node, node.inputs[0], mask, features[0], tuple(units))
    return found


def rows_of(channels: Channels, key: str, part: Recurrent) -> tuple[Ids, Ids]:
    """The unit of every row of a recurrence's kernels, of features and of states; -1 where none is."""
    found = []
    for name in ("kernel", "recurrent_kernel"):
        path = f"{part.around}{part.prefix}{name}"
        units = np.full(channels.graph.layers[key].weights[path].shape[0], -1)
        for held in channels.weights.get((key, path), ()):
            if held.contracted:
                units = channels.unit[held.ids.ravel()]
        found.append(units)
    return found[0], found[1]


def _stay(stays: Array, units: Ids) -> Array:
    return np.where(units < 0, True, stays[units])


def steps_read(layer: Layer, before: Any, mask: Any) -> list[tuple[Array, Array]]:
    """What every step of each recurrence multiplies by kernels, features before states, and these kernels.

    Args:
        layer: The layer.
        before: What it reads, (samples, steps, features).
        mask: Which steps count, (samples, steps), or ``None``.

    Returns:
        ``(steps, features + units)``, those that count alone, and ``(features + units, results)``.
    """
    found = []
    for part in recurrences_of(layer):
        reads, counted = _forwards(part, before), _counted(part, mask)
        rows = np.concatenate([reads, _earlier(_states(part.layer, reads, counted))], axis=-1)
        kernels = [part.layer.weights[f"{part.prefix}{name}"].array for name in ("kernel", "recurrent_kernel")]
        rows = rows.reshape(-1, rows.shape[-1]) if counted is None else rows[counted]
        found.append((rows, np.concatenate(kernels)))
    return found


def fitted_kernels(
    whole: Layer,
    twin: Layer,
    losing: Losing,
    before: Any,
    after: Any,
    mask: Any,
    ridge: float | None,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """What to add to the weights of a recurrent layer, by their names; nothing where no fit helps.

    Args:
        whole: The layer as it was.
        twin: The layer with zeros in the rows of what goes.
        losing: What goes.
        before: What it read, (samples, steps, features).
        after: What it reads now, of the same shape.
        mask: Which steps count, (samples, steps), or ``None``.
        ridge: How strongly kernels are held, or ``None`` to choose by held-out samples.
        rng: Draws the steps that are looked at.
    """
    changes: dict[str, Array] = {}
    for one, other, units in zip(recurrences_of(whole), recurrences_of(twin), losing.units, strict=True):
        had, has = _forwards(one, before), _forwards(one, after)
        fit = _Fit(one, other, had, has, _counted(one, mask), losing.read, units, ridge, rng)
        changes.update({f"{one.around}{key}": change for key, change in fit.best().items()})
    return changes


class _Fit:
    """One recurrence, forwards."""

    def __init__(
        self,
        whole: Recurrent,
        twin: Recurrent,
        before: Array,
        after: Array,
        mask: Array | None,
        read: Array,
        units: Array,
        ridge: float | None,
        rng: np.random.Generator,
    ) -> None:
        self.whole, self.twin, self.after, self.mask = whole, twin, after, mask
        self.read, self.units, self.ridge = np.flatnonzero(read), np.flatnonzero(units), ridge
        self.target = _states(whole.layer, before, mask)
        samples, steps = before.shape[:2]
        counted = np.flatnonzero(np.ones(samples * steps, bool) if mask is None else mask.ravel())
        self.rows = np.sort(rng.permutation(counted)[:MOST_ROWS])
        self.last = np.arange(samples) >= int((1 - _HELD_OUT) * samples)
        self.held_out = np.repeat(self.last, steps)[self.rows]
        earlier = self._drawn(_earlier(self.target))
        self.given = [self._drawn(before) @ self._kernel(whole), earlier @ self._state(whole)]

    def best(self) -> dict[str, Array]:
        """The change of the weights whose states are closest on held-out samples."""
        best: dict[str, Array] = {}
        if not len(self.rows):
            return best
        least = self._error(_states(self.twin.layer, self.after, self.mask))
        states = self.target
        for _ in range(_ROUNDS):
            changes = self._solved(_earlier(states))
            states = _states(_moved(self.twin.layer, changes), self.after, self.mask)
            error = self._error(states)
            if not error < least:
                break
            best, least = changes, error
        return best

    def _error(self, states: Array) -> float:
        own = self.last if self.last.any() else slice(None)
        counts = 1.0 if self.mask is None else self.mask[own][..., None]
        return float(np.square((states - self.target)[own][..., self.units] * counts).sum())

    def _solved(self, states: Array) -> dict[str, Array]:
        """The change of kernels and bias, by the states before each step."""
        reads, state = self._drawn(self.after), self._drawn(states)
        kernel, recurrent = self._kernel(self.twin), self._state(self.twin)
        wanted = [self.given[0] - reads @ kernel, self.given[1] - state @ recurrent]
        sources = [reads[:, self.read], state[:, self.units]]
        changes = [np.zeros(kernel.shape), np.zeros(recurrent.shape)]
        shifts = [np.zeros(kernel.shape[1]), np.zeros(kernel.shape[1])]
        size = kernel.shape[1] // self.whole.gates
        joined = size * (self.whole.gates - self.whole.apart)
        columns = np.arange(kernel.shape[1]).reshape(-1, size)[:, self.units].ravel()
        rows = [self.read, self.units]
        together, apart = columns[columns < joined], columns[columns >= joined]
        solution, shift = self._ridge(np.concatenate(sources, axis=1), (wanted[0] + wanted[1])[:, together])
        changes[0][np.ix_(rows[0], together)] = solution[: len(rows[0])]
        changes[1][np.ix_(rows[1], together)] = solution[len(rows[0]) :]
        shifts[0][together] = shift
        for place in range(2) if len(apart) else ():
            solution, shift = self._ridge(sources[place], wanted[place][:, apart])
            changes[place][np.ix_(rows[place], apart)] = solution
            shifts[place][apart] = shift
        return self._named(changes, shifts)

    def _ridge(self, rows: Array, wanted: Array) -> tuple[Array, Array]:
        """A solution, and what is to be added to it: nothing where there is no bias that could take it."""
        held_out = self.held_out if self.ridge is None else None
        if self._key("bias") not in self.twin.layer.weights:  # rows and their negatives have the mean zero
            rows, wanted = np.concatenate([rows, -rows]), np.concatenate([wanted, -wanted])
            held_out = None if held_out is None else np.tile(held_out, 2)
        mean = wanted.mean(axis=0)
        middle, solution = fitted(rows, wanted, held_out, self.ridge)
        return solution, mean - middle @ solution

    def _named(self, changes: list[Array], shifts: list[Array]) -> dict[str, Array]:
        found = {self._key("kernel"): changes[0], self._key("recurrent_kernel"): changes[1]}
        bias = self.twin.layer.array(self._key("bias"))
        if bias is not None:  # one for both products, or one for each
            found[self._key("bias")] = np.stack(shifts) if bias.ndim == len(shifts) else shifts[0] + shifts[1]
        return found

    def _key(self, name: str) -> str:
        return f"{self.whole.prefix}{name}"

    def _kernel(self, one: Recurrent) -> Array:
        return one.layer.weights[self._key("kernel")].array

    def _state(self, one: Recurrent) -> Array:
        return one.layer.weights[self._key("recurrent_kernel")].array

    def _drawn(self, sequence: Array) -> Array:
        found: Array = sequence.reshape(-1, sequence.shape[-1])[self.rows]
        return found


def _forwards(part: Recurrent, sequence: Any) -> Array:
    """A sequence as a recurrence goes through it."""
    return numpy_of(sequence)[:, :: -1 if part.backwards else 1]


def _counted(part: Recurrent, mask: Any) -> Array | None:
    """Which steps count, in the order of the recurrence; ``None`` where all do."""
    return None if mask is None else _forwards(part, mask).astype(bool)


def _states(layer: Layer, reads: Array, mask: Array | None) -> Array:
    """The state after every step, (samples, steps, units)."""
    weights = {key: Weight(weight.array, trainable=None) for key, weight in layer.weights.items()}
    options = {"return_sequences": True, "return_state": False, "go_backwards": False, "stateful": False}
    plain = replace(layer.with_config(**options, dtype=str(reads.dtype), zero_output_for_mask=False), weights=weights)
    with brief_variables(), on_this_machine(f"{layer.kind} {layer.name!r}"):
        made = built_layer(plain, (keras.KerasTensor(reads.shape, dtype=str(reads.dtype)),), {})
        states: Array = numpy_of(made(reads, mask=mask, training=False))
    return states


def _moved(layer: Layer, changes: Mapping[str, Array]) -> Layer:
    """A layer with something added to its weights."""
    return layer.with_weights(**{key: layer.weights[key].array + change for key, change in changes.items()})


def _earlier(states: Array) -> Array:
    """The state before every step: zeros before the first one."""
    return np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
