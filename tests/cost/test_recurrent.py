"""MACs of recurrent layers: gates, steps, cells, directions."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from kerasurgeon.costs import cost
from tests.cost.counting import called, macs_of, positions

STEPS, FEATURES, UNITS = 6, 5, 4
GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


def step(kind: str, features: int = FEATURES, units: int = UNITS) -> int:
    """One step of one sample: each gate reads the features and the state."""
    return GATES[kind] * (features * units + units * units)


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}, {"return_state": True}, {"unroll": True}])
@pytest.mark.parametrize("kind", GATES)
def test_layer(kind: str, options: dict[str, Any]) -> None:
    layer = getattr(layers, kind)(UNITS, **options)
    assert macs_of(layer, (STEPS, FEATURES)) == STEPS * step(kind)


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_with_and_without_reset_after(reset_after: bool) -> None:
    layer = layers.GRU(UNITS, reset_after=reset_after, use_bias=False)
    assert macs_of(layer, (STEPS, FEATURES)) == STEPS * step("GRU")


def test_initial_states_are_no_input() -> None:
    layer = layers.LSTM(UNITS)
    model = called(lambda x, h, c: layer(x, initial_state=[h, c]), (STEPS, FEATURES), (UNITS,), (UNITS,))
    assert cost(model).macs == STEPS * step("LSTM")


def test_cells() -> None:
    cell = layers.RNN(layers.LSTMCell(UNITS))
    assert macs_of(cell, (STEPS, FEATURES)) == STEPS * step("LSTM")
    stack = layers.RNN([layers.LSTMCell(3), layers.GRUCell(7), layers.SimpleRNNCell(2)])
    expected = step("LSTM", FEATURES, 3) + step("GRU", 3, 7) + step("SimpleRNN", 7, 2)
    assert macs_of(stack, (STEPS, FEATURES)) == STEPS * expected
    one_step = layers.GRUCell(UNITS)
    assert macs_of(lambda x, state: one_step(x, [state]), (FEATURES,), (UNITS,)) == step("GRU")


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
def test_bidirectional(merge_mode: str | None) -> None:
    layer = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True), merge_mode=merge_mode)
    assert macs_of(layer, (STEPS, FEATURES)) == 2 * STEPS * step("LSTM")


def test_bidirectional_with_two_layers() -> None:
    forward = layers.GRU(3, return_sequences=True)
    backward = layers.LSTM(3, return_sequences=True, go_backwards=True)
    expected = STEPS * (step("GRU", units=3) + step("LSTM", units=3))
    assert macs_of(layers.Bidirectional(forward, backward_layer=backward), (STEPS, FEATURES)) == expected


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize(("stride", "padding"), [(1, "same"), (1, "valid"), (2, "same")])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutional(rank: int, stride: int, padding: str, return_sequences: bool, data_format: str) -> None:
    sizes, channels, filters = (7, 6, 5)[:rank], 3, 2
    cls = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D, 3: layers.ConvLSTM3D}[rank]
    layer = cls(
        filters,
        3,
        strides=stride,
        padding=padding,
        data_format=data_format,
        return_sequences=return_sequences,
    )
    where = 1
    for size in sizes:
        where *= positions(size, 3, stride, padding, 1)
    over_input = where * 3**rank * channels * filters * 4
    over_state = where * 3**rank * filters * filters * 4
    shape = (STEPS, channels, *sizes) if data_format == "channels_first" else (STEPS, *sizes, channels)
    assert macs_of(layer, shape) == STEPS * (over_input + over_state)


def test_bidirectional_convolutional() -> None:
    layer = layers.Bidirectional(layers.ConvLSTM1D(2, 3, padding="same", return_sequences=True))
    assert macs_of(layer, (STEPS, 7, 3)) == 2 * STEPS * 7 * 3 * (3 + 2) * 8


def test_unknown_number_of_steps() -> None:
    inputs = keras.Input((None, FEATURES), name="steps")
    model = keras.Model(inputs, layers.LSTM(UNITS)(inputs))
    found = cost(model)
    assert found.macs == 0
    assert {item.what for item in found.unknown} == {"macs", "activations"}
    assert "sizes=" in found.unknown[0].reason
    assert cost(model, sizes=(9, FEATURES)).macs == 9 * step("LSTM")
