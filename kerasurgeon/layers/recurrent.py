"""Recurrent layers and their cells: what a step costs, times the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.layers.activations import must_keep_apart
from kerasurgeon.layers.attention import freeze_masks
from kerasurgeon.layers.elementwise import joined
from kerasurgeon.layers.joining import concatenated
from kerasurgeon.layers.onnx_cells import cells_of
from kerasurgeon.layers.onnx_recurrent import write_both_ways, write_cells, write_recurrence
from kerasurgeon.layers.onnx_wrapped import write_convolutional
from kerasurgeon.rules.answers import Recurrent
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.layout import channel_axis
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.registry import register_rule, rule_for
from kerasurgeon.rules.rule import NeverLinear


class _Recurrent(NeverLinear):
    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True

    why_not_linear = "its kernels are inside a recurrent cell"


class Cell(_Recurrent):
    """SimpleRNNCell, GRUCell, LSTMCell: one step of (batch, features).

    Args:
        gates: How many gates and candidates the cell computes, each from the features and the state.
    """

    def __init__(self, gates: int) -> None:
        self.gates = gates

    def onnx(self, call: OnnxCall) -> None:
        """One step."""
        write_cells(call, cells_of(call.layer))

    def macs(self, call: Call) -> int:
        """Batch x gates x units x (features + units)."""
        units: int = call.config["units"]
        features = elements(call.input.shape[-1:])
        return elements(call.input.shape[:-1]) * self.gates * units * (features + units)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """New units: the output and the states."""
        return cell(call, self.gates)


class Recurrence(Cell):
    """SimpleRNN, GRU, LSTM: a cell over (batch, steps, features). Initial states cost nothing.

    Batch and steps both stand before the features, so that the cell's product is that of the layer.
    """

    def recurrences(self, layer: Layer) -> tuple[Recurrent, ...]:
        """One. A GRU multiplies the state's product, or the state, by a gate before its candidate is made."""
        apart, backwards = int(self.gates == _GATES["GRU"]), bool(layer.config["go_backwards"])
        return (Recurrent(layer, cell_prefix(layer.weights), "", self.gates, apart, backwards),)

    def onnx(self, call: OnnxCall) -> None:
        """LSTM, GRU or RNN; other activations step by step."""
        write_recurrence(call)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """New units: the output and the states."""
        return recurrence(call, self.gates)


class StackedCells(_Recurrent):
    """StackedRNNCells: each cell reads what the one before it gives."""

    def onnx(self, call: OnnxCall) -> None:
        """One step of each."""
        write_cells(call, cells_of(call.layer))

    def macs(self, call: Call) -> int:
        """The sum over the cells."""
        total, reads = 0, call.input
        for entry in call.config["cells"]:
            cell = inner_layer(call.layer, entry)
            total += rule_for(cell.kind).macs(Call(cell.name, cell, (reads,)))
            reads = replace(reads, shape=(*reads.shape[:-1], _output_size(cell)))
        return total

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """Each cell reads what the one before it made; the states are those of all cells."""
        entries = call.config["cells"]
        states = given_states(call, 1, "states")
        reads, made = call.input, []
        for place, entry in enumerate(entries):
            cell = inner_layer(call.layer, entry)
            last = place == len(entries) - 1
            inner = call.inner(
                cell, ("cells", place, "config"), (reads,), call.outputs[:1] * last, part="" if last else cell.name
            )
            reads, *own = _several(rule_for(cell.kind).channels(inner))
            if states:
                if len(states) < len(own):
                    raise CannotTell("it is given too few states")
                tie_states(call, states[: len(own)], [call.along_or_fixed(labels, -1) for labels in own])
                states = states[len(own) :]
            made += own
        return (reads, *made)


class CellRecurrence(_Recurrent):
    """RNN: any cell, or several, over (batch, steps, ...)."""

    def onnx(self, call: OnnxCall) -> None:
        """As the layers that have these cells, one after the other."""
        write_recurrence(call)

    def macs(self, call: Call) -> int:
        """Steps x what the cell costs."""
        cell = inner_layer(call.layer, call.config["cell"])
        batch, steps, *features = call.input.shape
        reads = TensorSpec((batch, *features), call.input.dtype)
        return elements([steps]) * rule_for(cell.kind).macs(Call(cell.name, cell, (reads,)))

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """What the cell makes of a step, for all steps or the last one."""
        cell = inner_layer(call.layer, call.config["cell"])
        specs = tuple(replace(spec, shape=(spec.shape[0], *spec.shape[-1:])) for spec in call.outputs)
        inner = call.inner(cell, ("cell", "config"), (without_steps(call, call.input),), specs)
        output, *states = _several(rule_for(cell.kind).channels(inner))
        if any(labels.rank != 2 for labels in (output, *states)):
            raise CannotTell("a state of its cell is no vector")
        makes, *own = (call.along_or_fixed(labels, -1) for labels in (output, *states))
        tie_states(call, given_states(call, 1, "initial_state"), own)
        return sequence(call, makes, own)


class ConvolutionalRecurrence(_Recurrent):
    """ConvLSTM1D, ConvLSTM2D, ConvLSTM3D over (batch, steps, ...)."""

    convolves = True

    def onnx(self, call: OnnxCall) -> None:
        """Convolutions, step by step."""
        write_convolutional(call)

    def macs(self, call: Call) -> int:
        """Per step and position, four gates of a convolution over the input and one over the state."""
        config = call.config
        axis = channel_axis(config)
        image = call.output.shape[2:] if config["return_sequences"] else call.output.shape[1:]
        positions = image[1:] if axis == 1 else image[:-1]
        features = call.input.shape[2] if axis == 1 else call.input.shape[-1]
        filters: int = config["filters"]
        per_position = elements(config["kernel_size"]) * (elements([features]) + filters) * 4 * filters
        return elements(call.input.shape[:2]) * elements(positions) * per_position

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """New filters: the output and the states."""
        return convolutional(call, channel_axis(call.config))


class Bidirectional(_Recurrent):
    """Bidirectional: one layer forwards, one backwards."""

    def onnx(self, call: OnnxCall) -> None:
        """Each direction, and what is made of both."""
        write_both_ways(call)

    def macs(self, call: Call) -> int:
        """The sum of both."""
        config = call.config
        # Without a backward layer of its own, the config of the forward layer stands for both.
        entries = (config["layer"], config.get("backward_layer") or config["layer"])
        total = 0
        for entry in entries:
            layer = inner_layer(call.layer, entry)
            total += rule_for(layer.kind).macs(replace(call, name=layer.name, layer=layer, node=None))
        return total

    def recurrences(self, layer: Layer) -> tuple[Recurrent, ...]:
        """Those of both directions.

        Raises:
            CannotTell: The backward layer is not described.
        """
        found: list[Recurrent] = []
        for entry in (layer.config["layer"], layer.config.get("backward_layer")):
            inner = inner_layer(layer, entry)
            several = rule_for(inner.kind).recurrences(inner)
            found += [replace(one, around=f"{inner.name}/{one.around}") for one in several]
        return tuple(found)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """Both directions keep equally many units, as Keras takes them to have one shape.

        Raises:
            CannotTell: They differ already, or the backward layer is not described.
        """
        merge, entries = call.config["merge_mode"], (call.config["layer"], call.config.get("backward_layer"))
        if entries[1] is None:
            raise CannotTell("its config does not describe its backward layer")
        states = given_states(call, 1, "initial_state")
        half, outputs = len(states) // 2, _of_one_direction(call, merge)
        found, blocks = [], []
        for place, (entry, path) in enumerate(zip(entries, ("layer", "backward_layer"), strict=True)):
            layer = inner_layer(call.layer, entry)
            first = len(call.blocks)
            own = {"initial_state": states[half * place : half * (place + 1)] or None}
            part = ("forward", "backward")[place]
            inner = call.inner(layer, (path, "config"), (call.input,), outputs, kwargs=own, part=part)
            found.append(_several(rule_for(layer.kind).channels(inner)))
            blocks.append(call.blocks[first:])
        if [block.ids.shape for block in blocks[0]] != [block.ids.shape for block in blocks[1]]:
            raise CannotTell("its directions have different units, which Keras takes to be equally many")
        for one, other in zip(*blocks, strict=True):
            call.tie(one.ids, other.ids)
        (forward, *own_forward), (backward, *own_backward) = found
        if merge is None:
            return (forward, backward, *own_forward, *own_backward)
        merged = concatenated(call, [forward, backward], -1) if merge == "concat" else joined(call, [forward, backward])
        return (merged, *own_forward, *own_backward)


def _of_one_direction(call: ChannelCall, merge: str | None) -> tuple[TensorSpec, ...]:
    """The outputs of one layer of the two."""
    first, *states = call.outputs[1:] if merge is None else call.outputs
    if merge == "concat":
        width = first.shape[-1]
        first = replace(first, shape=(*first.shape[:-1], None if width is None else width // 2))
    return (first, *states[: len(states) // 2])


def _several(labels: Labels | tuple[Labels, ...]) -> tuple[Labels, ...]:
    return labels if isinstance(labels, tuple) else (labels,)


def _output_size(cell: Layer) -> Any:
    if "units" not in cell.config:
        raise CannotTell(f"the output size of the cell {cell.name!r} ({cell.kind}) is unknown")
    return cell.config["units"]


_GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


STATES = {4: 2}
"""How many states a cell has, by its number of gates, where it is not one."""


def given_states(call: ChannelCall, position: int, name: str) -> list[Labels]:
    """The states among the operands, flattened; what other operands, such as masks, carry is frozen."""
    states = [leaf for leaf in leaves(call.operand(position, name)) if isinstance(leaf, Labels)]
    freeze_masks(call, (call.input, *states))
    return states


def hold_cell(call: ChannelCall, gates: int, key: str, makes: Ids, read: Ids | None, prefix: str = "") -> None:
    """Say what a cell's weights hold: kernels end in one block of units per gate.

    Args:
        call: The call.
        gates: How many gates and candidates it computes.
        key: The entry of the config that counts the units.
        makes: Their labels.
        read: Labels of the features read.
        prefix: Where the cell's weights are.
    """
    must_keep_apart(call, "activation", "recurrent_activation")
    blocks = np.tile(makes, gates)
    call.weight(f"{prefix}kernel", {-2: read, -1: blocks}, contracts=-2)
    call.weight(f"{prefix}recurrent_kernel", {-2: makes, -1: blocks}, contracts=-2)
    call.weight(f"{prefix}bias", {-1: blocks})
    call.count(**{key: makes})


def cell_prefix(weights: Mapping[str, Any]) -> str:
    """Where the weights of the one cell inside a layer are."""
    found = [key.removesuffix("recurrent_kernel") for key in weights if key.endswith("recurrent_kernel")]
    if len(found) != 1:
        raise CannotTell("its cell is not to be found among its weights")
    return found[0]


def tie_states(call: ChannelCall, states: Sequence[Labels], makes: Sequence[Ids], axis: int = -1) -> None:
    """Initial states have the units of the cells."""
    if states and len(states) != len(makes):
        raise CannotTell(f"it is given {len(states)} states, and has {len(makes)}")
    for labels, ids in zip(states, makes, strict=bool(states)):
        call.tie(ids, call.along_or_fixed(call.only(labels, axis), axis))


def cell(call: ChannelCall, gates: int) -> tuple[Labels, ...]:
    """SimpleRNNCell, GRUCell, LSTMCell: output and states."""
    read = call.along(call.only(call.input, -1), -1)
    makes = call.fresh(call.config["units"])
    hold_cell(call, gates, "units", makes, read)
    count = STATES.get(gates, 1)
    tie_states(call, given_states(call, 1, "states"), [makes] * count)
    batch = call.input.shape[0]
    return (_features((batch, len(makes)), makes),) * (1 + count)


def recurrence(call: ChannelCall, gates: int) -> tuple[Labels, ...]:
    """SimpleRNN, GRU, LSTM: a sequence or its last step, and the states where they are asked for."""
    read = call.along(call.only(call.input, -1), -1)
    makes = call.fresh(call.config["units"])
    hold_cell(call, gates, "units", makes, read, cell_prefix(call.weights))
    count = STATES.get(gates, 1)
    tie_states(call, given_states(call, 1, "initial_state"), [makes] * count)
    return sequence(call, makes, [makes] * count)


def sequence(call: ChannelCall, makes: Ids, states: Sequence[Ids]) -> tuple[Labels, ...]:
    """The outputs of a recurrence over (batch, steps, features)."""
    batch, steps = call.input.shape[:2]
    shape = (batch, steps, len(makes)) if call.config["return_sequences"] else (batch, len(makes))
    outputs = [_features(shape, makes)]
    if call.config["return_state"]:
        outputs += [_features((batch, len(ids)), ids) for ids in states]
    return tuple(outputs)


def _features(shape: tuple[int | None, ...], ids: Ids) -> Labels:
    return Labels(shape, (Factor((len(shape) - 1,), ids),))


def convolutional(call: ChannelCall, axis: int) -> tuple[Labels, ...]:
    """ConvLSTM1D, ConvLSTM2D, ConvLSTM3D.

    Args:
        call: The call.
        axis: Where the channels of an image are: 1 or -1.
    """
    over_time = 2 if axis == 1 else -1
    read = call.along(call.only(call.input, over_time), over_time)
    makes = call.fresh(call.config["filters"])
    hold_cell(call, 4, "filters", makes, read, cell_prefix(call.weights))
    tie_states(call, given_states(call, 1, "initial_state"), [makes, makes], axis)
    first = over_time if call.config["return_sequences"] else axis
    return tuple(call.output(makes, axis if index else first, index) for index in range(len(call.outputs)))


def without_steps(call: ChannelCall, labels: Labels) -> Labels:
    """A sequence as a layer that works on every step sees it: what varies along the steps is frozen."""
    kept = call.only(labels, 0, *range(2, labels.rank))
    shape = (labels.shape[0], *labels.shape[2:])
    factors = tuple(Factor(tuple(axis - (axis > 1) for axis in factor.axes), factor.ids) for factor in kept.factors)
    return Labels(shape, factors, labels.why)


def with_steps(labels: Labels, steps: int | None) -> Labels:
    """The opposite: the result of a layer that works on every step, as a sequence."""
    factors = tuple(Factor(tuple(axis + (axis > 0) for axis in factor.axes), factor.ids) for factor in labels.factors)
    return Labels((labels.shape[0], steps, *labels.shape[1:]), factors, labels.why)


for _name, _gates in _GATES.items():
    register_rule(_name, Recurrence(_gates))
    register_rule(f"{_name}Cell", Cell(_gates))
register_rule("StackedRNNCells", StackedCells())
register_rule("RNN", CellRecurrence())
register_rule(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), ConvolutionalRecurrence())
register_rule("Bidirectional", Bidirectional())
