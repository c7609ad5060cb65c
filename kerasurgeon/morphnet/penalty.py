"""The regulariser as tensors: a few operations over all channels at once, differentiable, on any Keras backend.

Magnitudes of all channels stand in one vector, and widths and costs in a few small ones, so that a network of hundreds
of layers takes no more operations than one of ten, beside one reduction per kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.morphnet.alive import Term, terms
from kerasurgeon.morphnet.costs import Costs

Array = np.ndarray[Any, Any]
_TINY = 1e-20
"""Mean squares below this count as this: the root then has no gradient, where it would have an infinite one."""


class Magnitudes:
    """How large every unit of channels is, as a tensor of the model's variables.

    Args:
        channels: The analysis.
        variables: The model's variables by layer and path.
        algorithm: As for ``alive.terms``.
        counted: For every unit whether it is regularised; others are zero.
        l1_fraction: As for ``alive.norms``.
    """

    def __init__(
        self,
        channels: Channels,
        variables: Mapping[tuple[str, str], Any],
        algorithm: str,
        counted: Array,
        l1_fraction: float = 0.0,
    ) -> None:
        self.gamma, self.l1_fraction = algorithm == "gamma", l1_fraction
        self.size = channels.units
        found = [term for term in terms(channels, algorithm) if counted[term.units].any()]
        self.parts: list[tuple[Any, Term]] = [(variables[term.layer, term.weight], term) for term in found]
        units = np.concatenate([term.units.ravel() for term in found]) if found else np.zeros(0, int)
        # Positions that are not counted go to a unit of their own, which is left out at the end.
        self.units = np.where(counted[units], units, self.size).astype("int32")

    @property
    def variables(self) -> list[Any]:
        """The variables that it looks at, each once."""
        return list({id(variable): variable for variable, _ in self.parts}.values())

    def tensor(self) -> Any:
        """A float32 for every unit, zero for those that are not counted."""
        if not self.parts:
            return ops.zeros((self.size,), "float32")
        pieces = [self._piece(variable, term) for variable, term in self.parts]
        every = ops.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        if not self.gamma:
            every = self._joined(every, pieces)
        largest = ops.segment_max(every, self.units, num_segments=self.size + 1)
        # What has no position at all is minus infinity.
        return ops.maximum(largest[:-1], 0.0)

    def _piece(self, variable: Any, term: Term) -> Any:
        value = ops.cast(ops.convert_to_tensor(variable), "float32")
        others = tuple(axis for axis in range(len(variable.shape)) if axis not in term.axes)
        if self.gamma:
            value = ops.absolute(value)
            return ops.reshape(ops.max(value, axis=others) if others else value, (-1,))
        squares = ops.reshape(_mean_square(value, others), (-1,))
        if not self.l1_fraction:
            return squares
        return ops.stack([squares, ops.reshape(ops.mean(ops.absolute(value), axis=others), (-1,))], axis=-1)

    def _joined(self, every: Any, pieces: Sequence[Any]) -> Any:
        if not self.l1_fraction:
            return ops.sqrt(ops.maximum(every, _TINY))
        root = ops.sqrt(ops.maximum(every[:, 0], _TINY))
        return (1 - self.l1_fraction) * root + self.l1_fraction * every[:, 1]


def _mean_square(value: Any, axes: tuple[int, ...]) -> Any:
    """The mean of the squares over some axes, with a gradient that passes over a kernel once and not four times."""
    count = math.prod(value.shape[axis] for axis in axes)

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def mean(value: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            factor = ops.expand_dims((args[0] if upstream is None else upstream) * (2.0 / count), axes)
            return value * factor

        return ops.mean(ops.square(value), axis=axes), gradient

    return mean(value)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Units that every axis holds equally often are one block: what counts is how many of each are alive."""

    of: Array  # the block of every unit
    count: int
    per_axis: Array  # how many positions of an axis each unit of a block has: (axes, blocks)


def _blocks(units: int, axes: Sequence[Array]) -> _Blocks:
    signature = np.zeros(units, np.uint64)
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 2**63, len(axes), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    for held, weight in zip(axes, weights, strict=True):
        signature += np.bincount(held, minlength=units).astype(np.uint64) * weight
    _, first, of = np.unique(signature, return_index=True, return_inverse=True)
    place = np.full(units, -1)
    place[first] = np.arange(len(first))
    per_axis = np.zeros((len(axes), len(first)))
    for row, held in zip(per_axis, axes, strict=True):
        mine = place[held]
        row += np.bincount(mine[mine >= 0], minlength=len(first))
    return _Blocks(of.ravel(), len(first), per_axis)


class Regulariser:
    """The regulariser of a cost: a number that falls with the magnitudes of the channels that cost most.

    For a product ``C n_1 n_2`` of a cost it is ``C (n_1 R_2 + n_2 R_1)``, where ``n`` are numbers of alive channels,
    seen as constants, and ``R`` the sums of the channels' magnitudes. Of an operation with two sides that side counts
    that is dearer. All is relative to the cost of the whole network.

    Args:
        costs: The cost.
        counted: For every unit whether it is regularised; others are alive.
        threshold: Magnitudes up to this are dead.
        whole: The cost with everything alive.
    """

    def __init__(self, costs: Costs, counted: Array, threshold: float, whole: float) -> None:
        self.threshold, self.operations = threshold, len(costs.operations)
        blocks = _blocks(costs.channels.units, costs.axes)
        self.block, self.count = blocks.of.astype("int32"), blocks.count
        self.fixed = (~counted).astype("float32")
        # A last axis of one alive channel of no magnitude stands in for axes that a product does not have.
        blank = len(costs.axes)
        self.per_axis = blocks.per_axis.astype("float32")
        self.constant = costs.constant / whole
        products = costs.products
        self.two_sided = any(product.side for product in products)
        most = max((len(product.axes) for product in products), default=1)
        places = np.full((len(products), max(most, 1)), blank, "int32")
        for row, product in zip(places, products, strict=True):
            row[: len(product.axes)] = product.axes
        self.places = [np.ascontiguousarray(column) for column in places.T]
        self.coefficients = np.array([product.coefficient / whole for product in products], "float32")
        self.weights = np.array([product.weight for product in products], "float32")
        self.side = np.array([2 * product.operation + product.side for product in products], "int32")

    def both(self, magnitudes: Any) -> tuple[Any, Any]:
        """The regulariser, and the cost, as scalars relative to the whole network's cost.

        Args:
            magnitudes: As ``Magnitudes.tensor`` gives them.
        """
        alive = ops.cast(ops.stop_gradient(magnitudes) > self.threshold, "float32")
        alive = ops.maximum(alive, self.fixed)
        widths = self._along(alive, 1.0)
        sums = self._along(magnitudes, 0.0)
        factors = [ops.take(widths, place) for place in self.places]
        cost: Any = ops.convert_to_tensor(self.coefficients)
        for factor in factors:
            cost = cost * factor
        weights, total = self._chosen(cost)
        regulariser: Any = 0.0
        for index, place in enumerate(self.places):
            part = weights * ops.take(sums, place)
            for other, factor in enumerate(factors):
                part = part if other == index else part * factor
            regulariser = regulariser + ops.sum(part)
        return regulariser, total + self.constant

    def _along(self, values: Any, blank: float) -> Any:
        """Sums of values of units along every axis, and at the end what stands in for no axis."""
        blocks = ops.segment_sum(values, self.block, num_segments=self.count)
        axes = ops.reshape(ops.matmul(self.per_axis, ops.reshape(blocks, (-1, 1))), (-1,))
        return ops.concatenate([axes, ops.full((1,), blank, "float32")])

    def _chosen(self, cost: Any) -> tuple[Any, Any]:
        """What every product's regulariser is multiplied with, and the cost: of the dearer sides."""
        weights = ops.convert_to_tensor(self.coefficients * self.weights)
        if not self.two_sided:
            return weights, ops.sum(cost)
        sides = ops.segment_sum(cost, self.side, num_segments=2 * self.operations)
        sides = ops.reshape(sides, (-1, 2))
        memory = ops.cast(sides[:, 1] > sides[:, 0], "float32")
        chosen = ops.reshape(ops.stack([1.0 - memory, memory], axis=-1), (-1,))
        return weights * ops.take(chosen, self.side), ops.sum(ops.max(sides, axis=-1))


class Sizes(Protocol):
    """Magnitudes of all units, whatever they are of."""

    def tensor(self) -> Any:
        """A float32 for every unit, zero for those that are not regularised."""


class Penalty(keras.regularizers.Regularizer):
    """What hangs on one variable of a model, and adds the regulariser of all of it to the loss.

    ``Model.losses`` calls the regularisers of a model's trainable variables; those that are set on a variable are no
    part of what a model saves.

    Args:
        magnitudes: Of the model's variables.
        regulariser: Of the model's cost.
        strength: A variable: what the regulariser is multiplied with.
        before: The regulariser that the variable has already.
    """

    def __init__(self, magnitudes: Sizes, regulariser: Regulariser, strength: Any, before: Any = None) -> None:
        self.magnitudes, self.regulariser, self.strength, self.before = magnitudes, regulariser, strength, before

    def __call__(self, value: Any) -> Any:
        """The loss of the variable itself, and that of the network."""
        regulariser, _ = self.regulariser.both(self.magnitudes.tensor())
        own = ops.cast(ops.convert_to_tensor(self.strength), "float32") * regulariser
        return own if self.before is None else ops.cast(self.before(value), "float32") + own

    def get_config(self) -> dict[str, Any]:
        """Refused: it stands for a whole network, and is never saved."""
        raise NotImplementedError("the penalty of MorphNet cannot be saved; attach it again to a loaded model")
