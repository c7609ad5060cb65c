"""Recurrent layers and their cells: what a step costs, times the steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.layers import recurrent_channels
from kerasurgeon.layers.elementwise import joined
from kerasurgeon.layers.joining import concatenated
from kerasurgeon.layers.recurrent_channels import given_states, sequence, tie_states, without_steps
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.labels import Labels
from kerasurgeon.rules.layout import channel_axis
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

    def macs(self, call: Call) -> int:
        """Batch x gates x units x (features + units)."""
        units: int = call.config["units"]
        features = elements(call.input.shape[-1:])
        return elements(call.input.shape[:-1]) * self.gates * units * (features + units)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """New units: the output and the states."""
        return recurrent_channels.cell(call, self.gates)


class Recurrence(Cell):
    """SimpleRNN, GRU, LSTM: a cell over (batch, steps, features). Initial states cost nothing.

    Batch and steps both stand before the features, so that the cell's product is that of the layer.
    """

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """New units: the output and the states."""
        return recurrent_channels.recurrence(call, self.gates)


class StackedCells(_Recurrent):
    """StackedRNNCells: each cell reads what the one before it gives."""

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
        return recurrent_channels.convolutional(call, channel_axis(call.config))


class Bidirectional(_Recurrent):
    """Bidirectional: one layer forwards, one backwards."""

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

for _name, _gates in _GATES.items():
    register_rule(_name, Recurrence(_gates))
    register_rule(f"{_name}Cell", Cell(_gates))
register_rule("StackedRNNCells", StackedCells())
register_rule("RNN", CellRecurrence())
register_rule(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), ConvolutionalRecurrence())
register_rule("Bidirectional", Bidirectional())
