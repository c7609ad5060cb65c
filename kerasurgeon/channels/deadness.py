"""Channels without effect: constant wherever they are read, or read nowhere. They go, and what they gave stays.

A channel contributes only where a layer sums over it. It can go if, at every such place, its part of the kernel is
zero (or makes only results that do not count), or it is a constant there: the constant times the kernel is then a part
of the layer's bias. With zero padding only a constant of zero gives the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.biases import takes_no_bias
from kerasurgeon.channels.constants import Constants
from kerasurgeon.channels.needed import Needed
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value, WeightRef
from kerasurgeon.rules.asking import affine_of

Array = np.ndarray[Any, Any]

_BORDER = "it pads with zeros, so that a constant is not the same everywhere"


@dataclass
class DeadChannels:
    """What an analysis found.

    Attributes:
        channels: The analysis.
        gone: For every unit whether it can go.
        folds: What goes to the bias of which node.
        blocked: For units that are constant somewhere where they are read, why they stay.
        looks: For every unit whether some layer makes it a constant.
    """

    channels: Channels
    gone: Array
    folds: dict[str, Array]
    blocked: dict[int, str]
    looks: Array


def find_dead(model: Graph | Channels, *, spare: Array | None = None) -> DeadChannels:
    """Find the channels of a graph that have no effect but a constant one.

    Args:
        model: The graph, or its analysis; it is only read.
        spare: For every unit of the analysis whether it stays whatever it does.
    """
    channels = analyse(model) if isinstance(model, Graph) else model
    return _Search(channels, spare).run()


class _Search:
    def __init__(self, channels: Channels, spare: Array | None) -> None:
        self.channels = channels
        self.graph: Graph = channels.graph
        self.spare = spare
        self.constants = Constants(channels)
        self.needed = Needed(self.constants)
        self.read = np.zeros(channels.units, bool)
        self.stays = np.zeros(channels.units, bool)
        self.blocked: dict[int, str] = {}
        self.tied = self.graph.tied_layers()
        self.folds: list[tuple[Node, Array, Array]] = []

    def run(self) -> DeadChannels:
        for node in self.graph.nodes():
            if node.name in self.channels.calls:
                matrices = self.constants.linear_of(node)
                if matrices is None:
                    self._other(node)
                elif matrices.contracts:
                    self._sum(node)
                else:
                    self._depthwise(node)
        gone = self.read & ~self.stays
        gone[list(self.channels.frozen)] = False
        gone[list(self.channels.inexact)] = False
        if self.spare is not None:
            gone &= ~self.spare
        folds = {}
        for node, units, parts in self.folds:
            matrices = self.constants.linear_of(node)
            assert matrices is not None
            constants = np.where(gone[units], parts, 0.0)
            if constants.any():
                folds[node.name] = matrices.response(constants)
        return DeadChannels(self.channels, gone, folds, self.blocked, self._looks())

    def _sum(self, node: Node) -> None:
        """A layer with a kernel: constants may go to its bias."""
        matrices = self.constants.linear_of(node)
        value = node.inputs[0]
        assert matrices is not None
        factor = self.channels.labels[value.node][value.index].factor(matrices.axis)
        if factor is None:
            return
        ids = np.moveaxis(factor.ids, factor.axes.index(matrices.axis % len(self.graph.spec(value).shape)), -1)
        units = self.channels.unit[ids.reshape(-1, ids.shape[-1])]
        constants = self.constants.channel(value, matrices.axis, matrices.reads)
        counts = self.needed.reads[node.name]
        self.read[units] = True
        varies = np.isnan(constants)
        self.stays[units[:, counts & varies]] = True
        folded = counts & ~varies & (constants != 0)
        if not folded.any():
            return
        reason = "" if matrices.even else _BORDER
        if node.layer in self.tied or len(self.graph.calls(node.layer)) > 1:
            reason = reason or "its weights are used several times"
        reason = reason or takes_no_bias(self.graph, node)
        if reason:
            self._block(units[:, folded], f"they are constant, but not zero, where {node.name!r} reads them: {reason}")
        elif units.shape[0] == 1:
            self.folds.append((node, units[0], np.where(folded, constants, 0.0)))
        else:
            self._block(units[:, folded], f"they stand along several axes where {node.name!r} reads them")

    def _depthwise(self, node: Node) -> None:
        """Zero padding makes a border: what was constant is not any more."""
        matrices = self.constants.linear_of(node)
        value = node.inputs[0]
        assert matrices is not None
        factor = self.channels.labels[value.node][value.index].factor(matrices.axis)
        if factor is None or matrices.even or len(factor.axes) > 1:
            return
        constants = self.constants.channel(value, matrices.axis, matrices.reads)
        lost = ~np.isnan(constants) & (constants != 0)
        for unit in self.channels.unit[factor.ids[lost]].tolist():
            self.blocked.setdefault(unit, f"they are constant, but not zero, where {node.name!r} reads them: {_BORDER}")

    def _other(self, node: Node) -> None:
        """Any other layer that sums over channels: only zeros may go."""
        call = self.channels.calls[node.name]
        zero = self._zero_at(node)
        counts = self.needed.any_of(node)
        for held in call.held:
            if held.contracted:
                units = self.channels.unit[held.ids]
                self.read[units] = True
                if counts:
                    rows = self._nonzero(node, held.owner, held.axes)
                    self._keep(node, units[rows & ~zero[units]])
        for _, factor in call.masks:
            units = self.channels.unit[factor.ids]
            self.read[units] = True
            if counts:
                self._keep(node, units[~zero[units]])

    def _keep(self, node: Node, units: Array) -> None:
        constant = self._constant_at(node)
        self.stays[units] = True
        if constant[units].any():
            kind = self.graph.kind(node)
            self._block(
                units[constant[units]], f"they are constant, but not zero, where {node.name!r} ({kind}) reads them"
            )

    def _nonzero(self, node: Node, owner: str | int, axes: tuple[int, ...]) -> Array:
        if isinstance(owner, str):
            array = self.graph.layers[node.layer].weights[owner].array
        else:
            tensors = [
                leaf for leaf in leaves(node.operands) if isinstance(leaf, (Value, WeightRef)) or _is_array(leaf)
            ]
            operand = tensors[owner]
            if isinstance(operand, Value):
                return np.array(True)
            if isinstance(operand, WeightRef):
                operand = self.graph.layers[operand.layer].weights[operand.key].array
            array = np.asarray(operand)
        others = tuple(axis for axis in range(array.ndim) if axis not in axes)
        return np.asarray((array != 0).any(axis=others))

    def _zero_at(self, node: Node) -> Array:
        """Units that are zero in every operand of a node that has them."""
        return self._everywhere(node, lambda array: array == 0)

    def _constant_at(self, node: Node) -> Array:
        return self._everywhere(node, lambda array: ~np.isnan(array))

    def _everywhere(self, node: Node, test: Any) -> Array:
        seen, failed = np.zeros(self.channels.units, bool), np.zeros(self.channels.units, bool)
        for value in node.inputs:
            self._mark(value, test, seen, failed)
        return seen & ~failed

    def _mark(self, value: Value, test: Any, seen: Array, failed: Array) -> None:
        labels = self.channels.labels[value.node][value.index]
        passes = test(self.constants.known[value])
        for factor in labels.factors:
            others = tuple(axis for axis in range(passes.ndim) if axis not in factor.axes)
            here = np.broadcast_to(passes.all(axis=others), factor.ids.shape)
            units = self.channels.unit[factor.ids]
            seen[units] = True
            failed[units[~here]] = True

    def _looks(self) -> Array:
        looks = np.zeros(self.channels.units, bool)
        for source in self.channels.sources.values():
            seen, failed = np.zeros_like(looks), np.zeros_like(looks)
            for value in {Value(source.node, 0), *self._following(source.node)}:
                self._mark(value, lambda array: ~np.isnan(array), seen, failed)
                looks |= seen & ~failed
                seen[...] = failed[...] = False
        return looks

    def _following(self, name: str) -> list[Value]:
        """What a batch norm behind a layer gives."""
        users = self.graph.users(name)
        return [user.value for user in users if affine_of(self.graph.layer_of(user)) is not None]

    def _block(self, units: Array, reason: str) -> None:
        self.stays[units] = True
        for unit in np.unique(units).tolist():
            self.blocked.setdefault(unit, reason)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")
