"""Channels in the order in which the layers that read them can do best without, once their kernels are fitted anew.

A layer that gives ``Y = X W`` loses, when the columns ``S`` of ``X`` go and the kernel's other rows are fitted,

    trace(W_S' M_S W_S),    M_S = inverse of the block S of inverse(X' X / rows)

of its output. That follows from the Gram matrix of what it reads, of which one run over data is enough. Channels go one
after the other, each time the one that adds least to the error of all layers that read it, with kernel and inverse as
they are after the fit that makes up for those gone before: backward elimination, exact for each step.

References:
    Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NIPS 1993 (removal with
    all else adjusted). Luo et al., "ThiNet", ICCV 2017; He et al., "Channel Pruning for Accelerating Very Deep Neural
    Networks", ICCV 2017 (channels chosen by what the next layer loses).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.linalg

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.consumers import Consumer, find_consumers
from kerasurgeon.channels.groups import Group
from kerasurgeon.channels.importance import Array, Evidence, register_criterion
from kerasurgeon.channels.measured import samples_at_once
from kerasurgeon.channels.patches import channels_last, drawn, numpy_of, output_positions, patches
from kerasurgeon.channels.recurrent_fit import Losing, find_losing, rows_of, steps_read
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.asking import channel_form, recurrences_of
from kerasurgeon.rules.labels import Ids

MOST_SAMPLES = 512
_MEMORY = 2**29
_ROWS = 4096
# Columns of which all products are looked at; of more, the taps of a kernel, or the positions behind a Flatten, are
# taken as if each had its own inputs.
_COLUMNS = 1024
# Beyond it products would take more than half a gigabyte, and minutes to invert.
_MOST_COLUMNS = 8192
# How many steps a group takes at least; larger groups lose several channels in each.
_STEPS = 64
_RIDGE = 1e-3
# The share of columns that have gone at which the arrays are made smaller: copying them costs as much as a step.
_GONE = 0.125


@dataclass(eq=False)
class Reader:
    """What a layer reads, and what it makes of it.

    Attributes:
        products: ``(columns, columns)``: the mean products of the columns, around their means.
        kernel: ``(columns, outputs)``.
        units: The unit of every column.
    """

    products: Array
    kernel: Array
    units: Ids

    @cached_property
    def signal(self) -> float:
        """The variance of what it gives, summed over the outputs."""
        return float(np.sum(self.kernel * (self.products @ self.kernel)))


class _State:
    """A reader while channels go: its arrays get smaller from time to time, so that later steps take less."""

    def __init__(self, reader: Reader, units: Ids, ridge: float) -> None:
        size = len(reader.products)
        matrix = np.array(reader.products, order="F")
        matrix[np.diag_indices(size)] += max(ridge * float(np.trace(matrix)) / size, 1e-30)
        self.inverse = _inverse(matrix)
        kernel = reader.kernel / np.sqrt(reader.signal)
        if kernel.shape[1] > size:  # losses follow from the products of its rows, which a square matrix has too
            kernel = np.linalg.qr(kernel.T)[1].T
        self.kernel = np.asfortranarray(kernel)
        columns = [np.flatnonzero(reader.units == unit) for unit in units.tolist()]
        widths = np.array([len(several) for several in columns])
        alike = [np.flatnonzero(widths == width) for width in np.unique(widths[widths > 0])]
        self.alike = [(places, np.stack([columns[place] for place in places])) for places in alike]
        self.gone = np.zeros(size, bool)

    def losses(self, count: int) -> Array:
        """What goes of the output with each of so many units, after a fit; nothing with those that have gone."""
        found = np.zeros(count)
        for places, columns in self.alike:
            own = self.kernel[columns]
            blocks = self.inverse[columns[:, :, None], columns[:, None, :]]
            solved = own / blocks if columns.shape[1] == 1 else np.linalg.solve(blocks, own)
            found[places] = np.einsum("uio,uio->u", own, solved)
        return found

    def remove(self, going: Array) -> None:
        """Fit the kernel to what it gave, without some units."""
        taken = [columns[np.isin(places, going)].ravel() for places, columns in self.alike]
        columns = np.concatenate([np.zeros(0, int), *taken])
        if not len(columns):
            return
        across = self.inverse[:, columns]
        block = self.inverse[np.ix_(columns, columns)]
        for array in (self.kernel, self.inverse):
            solved = np.linalg.solve(block, array[columns])
            scipy.linalg.blas.dgemm(-1.0, across, solved, 1.0, array, overwrite_c=True)  # in its place
        stay = [~np.isin(places, going) for places, _ in self.alike]
        self.alike = [(places[own], rows[own]) for own, (places, rows) in zip(stay, self.alike, strict=True)]
        self.gone[columns] = True
        if np.count_nonzero(self.gone) > _GONE * len(self.gone):
            self._leave_out()

    def _leave_out(self) -> None:
        stays = ~self.gone
        number = np.cumsum(stays) - 1
        self.inverse = np.asfortranarray(self.inverse[np.ix_(stays, stays)])
        self.kernel = np.asfortranarray(self.kernel[stays])
        self.alike = [(places, number[columns]) for places, columns in self.alike]
        self.gone = self.gone[stays]


def _inverse(matrix: Array) -> Array:
    """The inverse of a symmetric matrix, in half of the time where it is positive as it should be."""
    factor, wrong = scipy.linalg.lapack.dpotrf(matrix, lower=True)
    if wrong:  # by rounding
        return np.asfortranarray(np.linalg.inv(matrix))
    lower = np.tril(scipy.linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)[0])
    return np.asfortranarray(lower + np.tril(lower, -1).T)


def eliminated(readers: Sequence[Reader], units: Ids, *, ridge: float = _RIDGE, steps: int = _STEPS) -> Array:
    """By how much the error of readers grows with each unit, in the order in which that is least.

    Args:
        readers: Who reads the units.
        units: Their numbers.
        ridge: What is added to the diagonal of the products, relative to its mean.
        steps: In how many steps units go at least, where there are so many.

    Returns:
        For every unit, in the order of ``units``, the growth of the error when it went, summed over the readers, as a
        share of the variance of what they give; never less than that of one which went before.
    """
    states = [_State(reader, units, ridge) for reader in readers if reader.signal > 0]
    left = np.ones(len(units), bool)
    growth = np.zeros(len(units))
    least = 0.0
    at_once = max(1, len(units) // steps)
    while left.any():
        losses = np.sum([np.zeros(len(units)), *(state.losses(len(units)) for state in states)], axis=0)
        places = np.flatnonzero(left)
        places = places[np.argsort(losses[places], kind="stable")][:at_once]
        for place in places.tolist():
            least = max(float(losses[place]), least * (1 + 1e-9) + 1e-12)
            growth[place] = least
        left[places] = False
        if left.any():
            for state in states:
                state.remove(places)
    return growth


def measured(channels: Channels, data: Any, seed: int = 0) -> list[Reader]:
    """What the layers of a graph read that sum over channels: convolutions, each group by itself, Dense, recurrences.

    At most 512 samples are used, fewer where they would take more than 512 MiB; of each layer 4,096 output positions.

    Args:
        channels: The analysis of the graph.
        data: Calibration data, see ``input_batches``.
        seed: Draws the positions.
    """
    graph = channels.graph
    everything, recurrent = _everyone(channels)
    by_node = {consumer.node.name: consumer for several in everything.values() for consumer in several}
    count = min(MOST_SAMPLES, samples_at_once(graph, _MEMORY))
    blocks = list(input_batches(graph, data, count, most=count))
    batch = [np.concatenate(arrays) for arrays in zip(*blocks, strict=True)]
    rng = np.random.default_rng(seed)
    found: list[Reader] = []
    for node, tensors in Runner(graph).walk(batch, {*by_node, *recurrent}):
        if node.name in recurrent:
            found += _recurrent_readers(channels, recurrent[node.name], tensors, rng)
        elif node.name in by_node:
            consumer = by_node[node.name]
            found += _readers(graph, channels, consumer, tensors[consumer.value], rng)
    return found


def _everyone(channels: Channels) -> tuple[dict[str, list[Consumer]], dict[str, Losing]]:
    """All that read channels and can be fitted: sums, by layer, and recurrences, by node."""
    gone = np.ones(channels.units, bool)
    recurrent = find_losing(channels.graph, channels, gone)
    return find_consumers(channels.graph, channels, gone, recurrent)[0], recurrent


def _recurrent_readers(
    channels: Channels, losing: Losing, tensors: Mapping[Value, Any], rng: np.random.Generator
) -> list[Reader]:
    """What the steps of a recurrent layer read: features and states, as if its gates added both products alike."""
    node, found = losing.node, []
    layer = channels.graph.layer_of(node)
    mask = None if losing.mask is None else tensors[losing.mask]
    reads = steps_read(layer, tensors[losing.value], mask)
    for part, (rows, kernel) in zip(recurrences_of(layer), reads, strict=True):
        if not len(rows):  # a mask that counts no step
            continue
        rows = np.asarray(rows[rng.permutation(len(rows))[:_ROWS]], np.float64)
        rows -= rows.mean(axis=0)
        units = np.concatenate(rows_of(channels, node.layer, part))
        found.append(Reader(rows.T @ rows / len(rows), kernel.astype(np.float64), units))
    return found


def _readers(
    graph: Graph, channels: Channels, consumer: Consumer, tensor: Any, rng: np.random.Generator
) -> list[Reader]:
    layer = graph.layer_of(consumer.node)
    units, form = _read(channels, consumer), channel_form(layer)
    if units is None or form is None or form.single is None:
        return []
    kernel = np.asarray(form.single.seen(layer.weights[form.single.key].array), np.float64)
    inputs = channels_last(layer.config, numpy_of(tensor))
    positions = drawn(output_positions(layer.config, inputs.shape), _ROWS, rng)
    groups = int(layer.config.get("groups", 1))
    size, filters = inputs.shape[-1] // groups, kernel.shape[-1] // groups
    matrix = kernel.reshape(-1, size, groups * filters)
    taps = len(matrix)
    found = []
    for group in range(groups):
        own = slice(group * size, (group + 1) * size)
        rows = np.asarray(patches(layer.config, inputs[..., own], positions), np.float64)
        part = matrix[..., group * filters : (group + 1) * filters]
        width, read = size, units[own]
        if taps * size > _COLUMNS:
            width = _period(read)
        if width < size:  # behind a Flatten every position has all channels: each is taken as a tap
            rows = rows.reshape(-1, width)
            part, read = part.reshape(-1, width, filters).transpose(1, 0, 2).reshape(width, -1), read[:width]
        elif taps * size <= _COLUMNS:
            rows, part = rows.reshape(len(rows), -1), part.reshape(taps * size, -1)
        else:
            rows, part = rows.reshape(-1, size), part.transpose(1, 0, 2).reshape(size, -1)
        rows -= rows.mean(axis=0)
        found.append(Reader(rows.T @ rows / len(rows), part, np.tile(read, len(part) // width)))
    return found


def _period(units: Ids) -> int:
    """After how many columns the same units come again; all of them where they do not."""
    period = len(np.unique(units))
    rest = len(units) % period
    return len(units) if rest or (units.reshape(-1, period) != units[:period]).any() else period


def _read(channels: Channels, consumer: Consumer) -> Ids | None:
    """The unit of every channel that a layer reads, if it multiplies patches of them by a matrix."""
    form = channel_form(channels.graph.layer_of(consumer.node))
    if form is None or not form.by_patches:
        return None
    labels = channels.labels[consumer.value.node][consumer.value.index]
    factor = labels.factor(form.axis(labels.rank))
    if factor is None or len(factor.axes) != 1:
        return None
    units = channels.unit[factor.ids.ravel()]
    return units if min(len(units), _period(units)) <= _MOST_COLUMNS else None


@dataclass(frozen=True)
class Reconstruction:
    """What the layers that read a channel lose of their output without it, after their kernels are fitted anew.

    See the module. Where there is a budget, the growth of the error is divided by what a channel of the group costs, so
    that a ranking over all groups is that of one multiplier: everywhere what goes last saves as much for its error.
    """

    normalise: ClassVar[str] = "none"

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """The growth of the error per unit."""
        if type(self) not in evidence.memory:
            evidence.memory[type(self)] = measured(evidence.channels, evidence.data, int(evidence.rng.integers(2**31)))
        readers = [one for one in evidence.memory[type(self)] if np.isin(one.units, group.units).any()]
        if not readers:
            raise Skip("nothing that could be fitted reads its channels: take another criterion")
        costs = {"params": group.parameters, "bytes": group.bytes, "macs": group.macs, "latency": group.macs}
        cost = costs.get(evidence.target) or group.size * (group.granularity if evidence.target == "ratio" else 1)
        return eliminated(readers, group.units) * group.size / cost


def unread(channels: Channels, groups: Iterable[Group]) -> str:
    """The first of some groups that may shrink of which no reader can be measured; empty if there is none."""
    consumers, recurrent = _everyone(channels)
    read = [_read(channels, consumer) for several in consumers.values() for consumer in several]
    for losing in recurrent.values():
        parts = recurrences_of(channels.graph.layer_of(losing.node))
        read += [np.concatenate(rows_of(channels, losing.node.layer, part)) for part in parts]
    units = np.concatenate([one for one in read if one is not None] or [np.zeros(0, int)])
    return next((group.name for group in groups if group.free.any() and not np.isin(group.units, units).all()), "")


register_criterion("reconstruction", Reconstruction())
