"""Criteria that look at weights only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kerasurgeon.channels.groups import Group, Member
from kerasurgeon.channels.importance import Array, Evidence, check_choice, register_criterion
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.rules.labels import Ids

MEMBERS = ("producers", "kernels", "all")


@dataclass(frozen=True)
class Magnitude:
    """The norm of what a unit has in each kernel.

    Args:
        power: 1 for the sum of magnitudes, 2 for the Euclidean norm.
        members: ``"producers"``: kernels of the layers that make the channels. ``"kernels"``: those of the layers that
            read them, too. ``"all"``: every weight that holds them, biases and scales of norms included.

    Reference:
        Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, arXiv:1608.08710, section 3.1.
    """

    power: int = 2
    members: str = "producers"
    normalise: ClassVar[str] = "mean"

    def __post_init__(self) -> None:
        check_choice("members", self.members, MEMBERS)
        check_choice("power", str(self.power), ("1", "2"))

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """Norms per unit, reduced over the members."""
        return evidence.reduce(group, self._scores(group, evidence))

    def _scores(self, group: Group, evidence: Evidence) -> Iterator[tuple[Ids, Array]]:
        for member, array in _members(group, evidence, self.members):
            units, sums = _summed(member, _powers(array, member.axis, self.power))
            yield units, sums ** (1 / self.power)


@dataclass(frozen=True)
class GeometricMedian:
    """The sum of distances to all other filters of the layer: what is near the median can be replaced by the rest.

    Reference:
        He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration", CVPR
        2019, arXiv:1811.00250, equation 4.
    """

    normalise: ClassVar[str] = "mean"

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """Sums of distances, per kernel that makes the channels, then reduced."""
        return evidence.reduce(group, self._scores(group, evidence))

    def _scores(self, group: Group, evidence: Evidence) -> Iterator[tuple[Ids, Array]]:
        for member, array in _members(group, evidence, "producers"):
            order = np.argsort(member.units, kind="stable")
            units, counts = np.unique(member.units, return_counts=True)
            if len(set(counts.tolist())) > 1:
                continue
            rows = np.take(array, member.indices[order], axis=member.axis)
            vectors = np.moveaxis(rows, member.axis, 0).reshape(len(units), -1).astype("float64")
            yield units, _distances(vectors).sum(axis=1)


@dataclass(frozen=True)
class Lamp:
    """The share of a unit's squared norm in the squared norms of all units of its group that are at least as large.

    Scores are comparable between layers: the largest unit of each has 1.

    Reference:
        Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021, arXiv:2010.07611, equation 1;
        here for whole channels.
    """

    normalise: ClassVar[str] = "none"

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """Shares in (0, 1]."""
        squares = Magnitude(2)(group, evidence) ** 2
        order = np.argsort(squares, kind="stable")
        remaining = np.cumsum(squares[order][::-1])[::-1]
        shares = np.empty(group.size)
        shares[order] = np.divide(squares[order], remaining, out=np.zeros(group.size), where=remaining > 0)
        return shares


@dataclass(frozen=True)
class BatchNormScale:
    """The magnitude of the scales of batch normalisations. Groups without any are left alone.

    Reference:
        Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017, arXiv:1708.06519.
    """

    normalise: ClassVar[str] = "none"

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """Magnitudes of gamma, reduced over the norms."""
        layers = evidence.graph.layers
        norms = [
            member
            for member in group.members
            if layers[member.layer].kind == "BatchNormalization" and member.weight == "gamma"
        ]
        if not norms:
            raise Skip("no batch normalisation scales its channels")
        found = []
        for member in norms:
            units, sums = _summed(member, np.abs(layers[member.layer].weights["gamma"].array.astype("float64")))
            found.append((units, sums / np.bincount(np.searchsorted(units, member.units))))
        return evidence.reduce(group, found)


@dataclass(frozen=True)
class Random:
    """A number drawn for each unit from the run's seeded generator: what other criteria must beat."""

    normalise: ClassVar[str] = "none"

    def __call__(self, group: Group, evidence: Evidence) -> Array:
        """Uniform in [0, 1)."""
        return evidence.rng.random(group.size)


def _members(group: Group, evidence: Evidence, which: str) -> Iterator[tuple[Member, Array]]:
    layers = evidence.graph.layers
    makers = {source.layer for source in group.sources}
    for member in group.members:
        array = layers[member.layer].weights[member.weight].array
        kernel = array.ndim > 1
        if which == "producers" and (not kernel or member.contracted or member.layer not in makers):
            continue
        if which == "kernels" and not kernel:
            continue
        yield member, array


def _powers(array: Array, axis: int, power: int) -> Array:
    """Sums of powers of magnitudes over all axes but one."""
    others = "".join(chr(ord("a") + place) for place in range(array.ndim))
    values = array.astype("float32") if array.dtype.itemsize < 4 else array
    if power == 2:
        return np.asarray(np.einsum(f"{others},{others}->{others[axis]}", values, values), "float64")
    return np.asarray(np.abs(values).sum(axis=tuple(place for place in range(array.ndim) if place != axis)), "float64")


def _summed(member: Member, by_position: Array) -> tuple[Ids, Array]:
    """Sums over the positions of each unit, of numbers per position along the member's axis."""
    if np.all(member.units[1:] > member.units[:-1]):  # a position each, in order, as is usual
        return member.units, by_position[member.indices]
    units, place = np.unique(member.units, return_inverse=True)
    return units, np.bincount(place, by_position[member.indices], len(units))


def _distances(vectors: Array) -> Array:
    squares = np.einsum("ij,ij->i", vectors, vectors)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * vectors @ vectors.T, 0.0))
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances)


register_criterion("l1", Magnitude(1))
register_criterion("l2", Magnitude(2))
register_criterion("fpgm", GeometricMedian())
register_criterion("lamp", Lamp())
register_criterion("batch_norm", BatchNormScale())
register_criterion("random", Random())
