"""Criteria that look at what a model computes on data.

Each channel is looked at where the layers that read it find it: behind the layer that makes it, behind the norm and
the activation that follow, and on as long as one layer alone reads the tensor and keeps its shape and its channels.
Channels that no tensor shows (heads inside an attention layer) are left alone by criteria on activations. Those on
gradients take for each such unit the sum of weight times gradient over the slices of the weights that read it, or,
where no weight reads it, of those that make it: the derivative of a sample's loss by a factor on these weights, which
is the first-order change when they become zero. Of weights that read the unit, it is what the sum over positions of
activation times gradient would be. It takes a run for every sample.

Reference:
    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, arXiv:1906.10771, equation 8 and
    section 3.1 (sums over the weights of a structure).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.gradients import activations, gradients, weight_gradients
from kerasurgeon.channels.groups import Group, Member, groups
from kerasurgeon.channels.importance import Array, Evidence, register_criterion
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.labels import Factor


@dataclass(frozen=True)
class Probe:
    """Where the channels of a source can be seen.

    Attributes:
        source: Name of the source.
        value: The tensor.
        factor: Its axes that hold the channels, with their labels.
    """

    source: str
    value: Value
    factor: Factor


def probes(channels: Channels) -> tuple[Probe, ...]:
    """Where the channels of every source can be seen, once for every call of its layer."""
    found = []
    for source in channels.sources.values():
        wanted = set(channels.unit[source.ids.ravel()].tolist())
        for node in channels.graph.calls(source.layer):
            for index, labels in enumerate(channels.labels[node.name]):
                for factor in labels.factors:
                    if wanted == set(channels.unit[factor.ids.ravel()].tolist()):
                        value, seen = _followed(channels, Value(node.name, index), factor)
                        found.append(Probe(source.name, value, seen))
    return tuple(found)


def _followed(channels: Channels, value: Value, factor: Factor) -> tuple[Value, Factor]:
    """The last tensor that shows the same channels, behind layers that read nothing else."""
    graph = channels.graph
    while not graph.is_output(value):
        uses = graph.uses(value)
        node = graph[uses[0].node] if len(uses) == 1 else None
        if (
            node is None
            or len(node.inputs) != 1
            or len(node.outputs) != 1
            or node.spec.shape != graph.spec(value).shape
        ):
            break
        call = channels.calls.get(node.name)
        same = next((one for one in channels.labels[node.name][0].factors if _equal(one, factor)), None)
        if call is None or call.inexact or same is None:
            break
        value, factor = node.value, same
    return value, factor


def _equal(one: Factor, other: Factor) -> bool:
    return one.axes == other.axes and (one.ids is other.ids or np.array_equal(one.ids, other.ids))


def _by_channel(array: Array, factor: Factor) -> Array:
    """A tensor as (samples, positions, channels), the channels in the order of the factor's labels."""
    axes = [axis for axis in range(1, array.ndim) if axis not in factor.axes]
    if 0 in factor.axes:
        array, axes = array[None], [axis + 1 for axis in range(array.ndim) if axis not in factor.axes]
        factor = Factor(tuple(axis + 1 for axis in factor.axes), factor.ids)
    return array.transpose(0, *axes, *factor.axes).reshape(len(array), -1, factor.ids.size)


class _FromData:
    """A criterion that sums a statistic over batches, for all probes at once, when it is first asked."""

    batch_size: int

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """The statistic per unit, reduced over the tensors that show it."""
        key = (type(self), self)
        if key not in evidence.memory:
            evidence.memory[key] = self._measure(evidence)
        names = {source.name for source in group.sources}
        measured = [found for name, found in evidence.memory[key] if name in names]
        return evidence.reduce(group, measured) if measured else self._unseen(group, evidence)

    def _unseen(self, group: Group, evidence: Evidence) -> Array:
        """Scores of a group that no tensor shows."""
        raise Skip("its channels are inside a layer, where no tensor shows them: take a criterion on weights")

    def _measure(self, evidence: Evidence) -> list[tuple[str, tuple[Array, Array]]]:
        found = probes(evidence.channels)
        sums: list[Any] = [0.0] * len(found)
        samples = [0] * len(found)
        for statistics in self._batches(evidence, found):
            for place, (count, statistic) in enumerate(statistics):
                sums[place] = sums[place] + statistic
                samples[place] += count
        result = []
        for probe, total, count in zip(found, sums, samples, strict=True):
            units = evidence.channels.unit[probe.factor.ids.ravel()]
            names, inverse = np.unique(units, return_inverse=True)
            by_unit = np.bincount(inverse, np.asarray(total) / count, len(names)) / np.bincount(inverse)
            result.append((probe.source, (names, self._finish(by_unit))))
        return result

    def _batches(self, evidence: Evidence, found: tuple[Probe, ...]) -> Iterator[list[tuple[int, Array]]]:
        raise NotImplementedError

    def _finish(self, scores: Array) -> Array:
        return scores


class _FromActivations(_FromData):
    def _statistic(self, rows: Array) -> Array:
        """A number per sample, position and channel."""
        raise NotImplementedError

    def _batches(self, evidence: Evidence, found: tuple[Probe, ...]) -> Iterator[list[tuple[int, Array]]]:
        values = [probe.value for probe in found]
        for tensors in activations(evidence.graph, values, evidence.data, self.batch_size):
            yield [
                (len(rows), self._statistic(rows).mean(axis=1).sum(axis=0))
                for probe, tensor in zip(found, tensors, strict=True)
                for rows in [_by_channel(tensor, probe.factor)]
            ]


class _FromGradients(_FromData):
    most: int | None

    def _batches(self, evidence: Evidence, found: tuple[Probe, ...]) -> Iterator[list[tuple[int, Array]]]:
        values = [probe.value for probe in found]
        for tensors, slopes in gradients(evidence, values, self.batch_size, self.most):
            yield [
                (len(tensor), self._statistic(_by_channel(tensor * slope, probe.factor).astype("float64")))
                for probe, tensor, slope in zip(found, tensors, slopes, strict=True)
            ]

    def _unseen(self, group: Group, evidence: Evidence) -> Array:
        key = (type(self), self, "weights")
        if key not in evidence.memory:
            evidence.memory[key] = self._measure_weights(evidence)
        if group.name not in evidence.memory[key]:
            raise Skip("no weight that holds its channels can be told: take a criterion on weights")
        return np.asarray(evidence.memory[key][group.name])

    def _measure_weights(self, evidence: Evidence) -> dict[str, Array]:
        """Scores of all groups that no tensor shows, by name, from the gradients of weights."""
        seen = {probe.source for probe in probes(evidence.channels)}
        unseen = [
            (group, _judged(group))
            for group in groups(evidence.channels)
            if group.free.any() and not any(source.name in seen for source in group.sources)
        ]
        names = list(dict.fromkeys((one.layer, one.weight) for _, several in unseen for one in several))
        arrays = [evidence.graph.layers[layer].weights[path].array.astype("float64") for layer, path in names]
        sums = {group.name: np.zeros(group.size) for group, several in unseen if several}
        samples = 0
        for slopes in weight_gradients(evidence, names, self.most):
            samples += 1
            products = {name: array * slope for name, array, slope in zip(names, arrays, slopes, strict=True)}
            for group, several in unseen:
                if several:
                    total = sum(_by_unit(group, one, products[one.layer, one.weight]) for one in several)
                    sums[group.name] += self._statistic(np.asarray(total)[None, None])
        return {name: self._finish(total / samples) for name, total in sums.items()}

    def _statistic(self, products: Array) -> Array:
        """From activation times gradient as (samples, positions, channels), the sum over the samples."""
        raise NotImplementedError


def _judged(group: Group) -> list[Member]:
    """The weights by which units are judged that no tensor shows: what reads them, or else what makes them."""
    readers = [member for member in group.members if member.contracted]
    return readers or list(group.members)


def _by_unit(group: Group, member: Member, products: Array) -> Array:
    """Sums over the slices of a weight that belong to each unit."""
    by_position = products.sum(axis=tuple(axis for axis in range(products.ndim) if axis != member.axis))
    places = np.searchsorted(group.units, member.units)
    return np.bincount(places, by_position[member.indices], group.size)


@dataclass(frozen=True)
class Taylor(_FromGradients):
    """How much the loss of a sample changes, to first order, when a channel becomes zero.

    The mean over positions of activation times gradient, its magnitude per sample, averaged over the samples.

    Args:
        batch_size: Samples at once.
        most: Samples in all at most, ``None`` for all: spread evenly over labelled arrays, the first ones of batches.

    Reference:
        Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017,
        arXiv:1611.06440, equations 7 and 8; per-layer l2 normalisation: section 2.2.
    """

    batch_size: int = 16
    most: int | None = None
    normalise: ClassVar[str] = "l2"

    def _statistic(self, products: Array) -> Array:
        return np.asarray(np.abs(products.mean(axis=1)).sum(axis=0))


@dataclass(frozen=True)
class TaylorRectified(_FromGradients):
    """The rank as AdapNet++'s compression computes it: signed sums over samples, negative ones set to zero.

    The mean over samples and positions of activation times gradient; what is below zero counts as zero; divided by the
    group's largest score. Channels whose removal raises the loss least *or lowers it* cannot be told apart.

    Args:
        batch_size: Samples at once.
        most: Samples in all at most, ``None`` for all: spread evenly over labelled arrays, the first ones of batches.

    Reference:
        Valada, Mohan and Burgard, "Self-Supervised Model Adaptation for Multimodal Semantic Segmentation", IJCV 2019,
        arXiv:1808.03833, section 3.4, as its published code does it.
    """

    batch_size: int = 16
    most: int | None = None
    normalise: ClassVar[str] = "max"

    def _statistic(self, products: Array) -> Array:
        return np.asarray(products.mean(axis=1).sum(axis=0))

    def _finish(self, scores: Array) -> Array:
        return np.maximum(scores, 0.0)


@dataclass(frozen=True)
class Hessian(_FromGradients):
    """How much the loss changes to second order when a channel becomes zero, by the diagonal of the Fisher matrix.

    A gate of 1 is thought on every channel. The gradient by it is the sum over positions of activation times gradient;
    half the mean over samples of its square, times the gate's value squared, is the change.

    Args:
        batch_size: Samples at once.
        most: Samples in all at most, ``None`` for all: spread evenly over labelled arrays, the first ones of batches.

    Reference:
        Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018, arXiv:1801.05787,
        section 2.2. LeCun, Denker and Solla, "Optimal Brain Damage", NIPS 1989.
    """

    batch_size: int = 16
    most: int | None = None
    normalise: ClassVar[str] = "none"

    def _statistic(self, products: Array) -> Array:
        return np.asarray(0.5 * (products.sum(axis=1) ** 2).sum(axis=0))


@dataclass(frozen=True)
class ActivationRate(_FromActivations):
    """The share of positions at which a channel is above zero: one minus the average percentage of zeros (APoZ).

    Args:
        batch_size: Samples at once.

    Reference:
        Hu et al., "Network Trimming: A Data-Driven Neuron Pruning Approach towards Efficient Deep Architectures",
        2016, arXiv:1607.03250, equation 1.
    """

    batch_size: int = 16
    normalise: ClassVar[str] = "none"

    def _statistic(self, rows: Array) -> Array:
        return np.asarray(rows > 0)


@dataclass(frozen=True)
class MeanActivation(_FromActivations):
    """The mean magnitude of a channel over samples and positions.

    Args:
        batch_size: Samples at once.
    """

    batch_size: int = 16
    normalise: ClassVar[str] = "l2"

    def _statistic(self, rows: Array) -> Array:
        return np.abs(rows)


register_criterion("taylor", Taylor())
register_criterion("taylor_rectified", TaylorRectified())
register_criterion("hessian", Hessian())
register_criterion("apoz", ActivationRate())
register_criterion("mean_activation", MeanActivation())
