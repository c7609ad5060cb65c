"""Recurrent layers and their cells: what a step costs, times the steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.convolution import channel_axis
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.rule import Rule, RuleFor


class _Recurrent(Rule):
    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True


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


class Recurrence(Cell):
    """SimpleRNN, GRU, LSTM: a cell over (batch, steps, features). Initial states cost nothing.

    Batch and steps both stand before the features, so that the cell's product is that of the layer.
    """


class StackedCells(_Recurrent):
    """StackedRNNCells: each cell reads what the one before it gives."""

    def __init__(self, rule_for: RuleFor) -> None:
        self.rule_for = rule_for

    def macs(self, call: Call) -> int:
        """The sum over the cells."""
        total, reads = 0, call.input
        for entry in call.config["cells"]:
            cell = inner_layer(call.layer, entry)
            total += self.rule_for(cell.kind).macs(Call(cell.name, cell, (reads,)))
            reads = replace(reads, shape=(*reads.shape[:-1], _output_size(cell)))
        return total


class CellRecurrence(_Recurrent):
    """RNN: any cell, or several, over (batch, steps, ...)."""

    def __init__(self, rule_for: RuleFor) -> None:
        self.rule_for = rule_for

    def macs(self, call: Call) -> int:
        """Steps x what the cell costs."""
        cell = inner_layer(call.layer, call.config["cell"])
        batch, steps, *features = call.input.shape
        reads = TensorSpec((batch, *features), call.input.dtype)
        return elements([steps]) * self.rule_for(cell.kind).macs(Call(cell.name, cell, (reads,)))


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


class Bidirectional(_Recurrent):
    """Bidirectional: one layer forwards, one backwards."""

    def __init__(self, rule_for: RuleFor) -> None:
        self.rule_for = rule_for

    def macs(self, call: Call) -> int:
        """The sum of both."""
        config = call.config
        # Without a backward layer of its own, the config of the forward layer stands for both.
        entries = (config["layer"], config.get("backward_layer") or config["layer"])
        total = 0
        for entry in entries:
            layer = inner_layer(call.layer, entry)
            total += self.rule_for(layer.kind).macs(replace(call, name=layer.name, layer=layer, node=None))
        return total


def _output_size(cell: Layer) -> Any:
    if "units" not in cell.config:
        raise CannotTell(f"the output size of the cell {cell.name!r} ({cell.kind}) is unknown")
    return cell.config["units"]
