"""How channels pass through recurrences: the units of a cell are its output, its state and what every gate computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.ir.structure import leaves
from kerasurgeon.layers.activations import must_keep_apart
from kerasurgeon.layers.attention_channels import freeze_masks
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import Factor, Ids, Labels

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
