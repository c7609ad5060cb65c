"""Recurrences and wrappers: a cut equals the masked twin, and a smaller model built by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.keras_io import emit, lift
from tests.channels.building import Case, array, assert_units_go, dense, free
from tests.channels.oracle import outputs

pytestmark = pytest.mark.usefixtures("fresh_names")

BOTH = {"before": 8, "both#forward": 6, "both#backward": 6}
RANDOM = {"bias_initializer": "random_normal"}


def over_steps(layer: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, dense(2, "head")(layer(dense(8, "before", activation="tanh")(inputs))))


def over_frames(layer: Any, shape: tuple[int, ...]) -> keras.Model:
    """An image per step: (steps, positions..., 3) or (steps, 3, positions...)."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, dense(2, "head")(layers.Flatten()(layer(inputs))))


def cells() -> list[Any]:
    return [layers.LSTMCell(4, name="first", **RANDOM), layers.GRUCell(6, name="second", **RANDOM)]


def joined(layer: Any) -> Callable[[Any], Any]:
    """All outputs of a layer, concatenated."""
    return lambda made: layers.Concatenate()(keras.tree.flatten(layer(made)))


def with_states(layer: Any, count: int, units: int = 6) -> Callable[[Any], Any]:
    def call(made: Any) -> Any:
        last = layers.GlobalAveragePooling1D()(made)
        states = [dense(units, f"state{index}", activation="tanh")(last) for index in range(count)]
        return layer(made, initial_state=states if count > 1 else states[0])

    return call


def one_step(cell: Any, count: int) -> Callable[[Any], Any]:
    def call(made: Any) -> Any:
        last = layers.GlobalAveragePooling1D()(made)
        output, states = cell(last, [dense(6, f"state{index}")(last) for index in range(count)])
        return layers.Concatenate()([output, *keras.tree.flatten(states)])

    return call


def both_ways(layer: Any, **options: Any) -> Any:
    return layers.Bidirectional(layer, name="both", **options)


def fed_back(made: Any) -> Any:
    """An encoder whose states start a decoder."""
    _, hidden, cell = layers.LSTM(6, return_state=True, name="encoder", **RANDOM)(made)
    return layers.LSTM(6, return_sequences=True, name="decoder", **RANDOM)(made, initial_state=[hidden, cell])


def stateful() -> keras.Model:
    inputs = keras.Input((5, 3), batch_size=3)
    made = layers.LSTM(6, stateful=True, name="lstm", **RANDOM)(dense(8, "before")(inputs))
    return keras.Model(inputs, dense(2)(made))


def masked() -> keras.Model:
    inputs = keras.Input((5,), dtype="int32")
    made = layers.Embedding(9, 8, mask_zero=True, name="before")(inputs)
    return keras.Model(inputs, dense(2)(both_ways(layers.GRU(6, **RANDOM))(made)))


def frames_per_step(made: Any) -> Any:
    made = layers.Reshape((5, 4, 2))(made)
    conv = layers.Conv1D(6, 2, activation="relu", name="conv", **RANDOM)
    made = layers.TimeDistributed(conv, name="each")(made)
    made = layers.TimeDistributed(layers.BatchNormalization(name="norm"), name="normed")(made)
    return layers.TimeDistributed(layers.GlobalMaxPooling1D(), name="pooled")(made)


def merged(mode: str) -> keras.Model:
    return over_steps(both_ways(layers.LSTM(6, return_sequences=True, **RANDOM), merge_mode=mode))


def conv_lstm(rank: int, **options: Any) -> Any:
    kinds = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D, 3: layers.ConvLSTM3D}
    return kinds[rank](6, 2, name="lstm", **RANDOM, **options)


def framed(rank: int, **options: Any) -> keras.Model:
    """Two recurrences over images: the second reads what the first makes."""
    first = options.get("data_format") == "channels_first"
    shape = (3, 2, *[4] * rank) if first else (3, *[4] * rank, 2)
    before = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D, 3: layers.ConvLSTM3D}[rank]
    data_format = options.get("data_format")
    made = before(5, 2, return_sequences=True, name="before", data_format=data_format, **RANDOM)
    return over_frames(lambda tensor: conv_lstm(rank, **options)(made(tensor)), shape)


CASES: dict[str, Case] = {
    "SimpleRNN": (lambda: over_steps(layers.SimpleRNN(6, name="rnn", **RANDOM)), {"before": 8, "rnn": 6}),
    "LSTM": (lambda: over_steps(layers.LSTM(6, name="rnn", **RANDOM)), {"before": 8, "rnn": 6}),
    "GRU": (lambda: over_steps(layers.GRU(6, name="rnn", **RANDOM)), {"before": 8, "rnn": 6}),
    "GRU, reset before": (
        lambda: over_steps(layers.GRU(6, reset_after=False, name="rnn", **RANDOM)),
        {"before": 8, "rnn": 6},
    ),
    "LSTM without a bias": (lambda: over_steps(layers.LSTM(6, use_bias=False, name="rnn")), {"rnn": 6}),
    "LSTM's sequence": (
        lambda: over_steps(layers.LSTM(6, return_sequences=True, go_backwards=True, name="rnn", **RANDOM)),
        {"before": 8, "rnn": 6},
    ),
    "LSTM's states": (lambda: over_steps(joined(layers.LSTM(6, return_state=True, name="rnn", **RANDOM))), {"rnn": 6}),
    "GRU's states": (lambda: over_steps(joined(layers.GRU(6, return_state=True, name="rnn", **RANDOM))), {"rnn": 6}),
    "states that are given": (lambda: over_steps(with_states(layers.LSTM(6, name="rnn", **RANDOM), 2)), {"rnn": 6}),
    "a state that is given": (lambda: over_steps(with_states(layers.GRU(6, name="rnn", **RANDOM), 1)), {"rnn": 6}),
    "an encoder and a decoder": (lambda: over_steps(fed_back), {"before": 8, "encoder": 6, "decoder": 6}),
    "stateful": (stateful, {"before": 8, "lstm": 6}),
    "masked": (masked, {"before": 8, "both#forward": 6}),
    "dropout": (
        lambda: over_steps(layers.LSTM(6, dropout=0.2, recurrent_dropout=0.2, name="rnn", **RANDOM)),
        {"rnn": 6},
    ),
    "LSTMCell": (lambda: over_steps(one_step(layers.LSTMCell(6, name="cell", **RANDOM), 2)), {"before": 8, "cell": 6}),
    "GRUCell": (lambda: over_steps(one_step(layers.GRUCell(6, name="cell", **RANDOM), 1)), {"before": 8, "cell": 6}),
    "SimpleRNNCell": (lambda: over_steps(one_step(layers.SimpleRNNCell(6, name="cell", **RANDOM), 1)), {"cell": 6}),
    "RNN": (lambda: over_steps(layers.RNN(layers.LSTMCell(6, **RANDOM), name="rnn")), {"before": 8, "rnn": 6}),
    "RNN's sequence and states": (
        lambda: over_steps(
            lambda made: layers.RNN(layers.GRUCell(6, **RANDOM), return_sequences=True, return_state=True, name="rnn")(
                made
            )[0]
        ),
        {"before": 8, "rnn": 6},
    ),
    "RNN of several cells": (
        lambda: over_steps(layers.RNN(cells(), name="rnn", return_sequences=True)),
        {"before": 8, "rnn#first": 4, "rnn": 6},
    ),
    "RNN of several cells with states": (
        lambda: over_steps(joined(layers.RNN(cells(), name="rnn", return_state=True))),
        {"before": 8, "rnn#first": 4, "rnn": 6},
    ),
    "RNN with a state": (
        lambda: over_steps(with_states(layers.RNN(layers.GRUCell(6, **RANDOM), name="rnn"), 1)),
        {"rnn": 6},
    ),
    **{f"Bidirectional, {mode}": (partial(merged, mode), BOTH) for mode in ("concat", "sum", "mul", "ave")},
    "Bidirectional, not merged": (
        lambda: over_steps(lambda made: layers.Add()(both_ways(layers.GRU(6, **RANDOM), merge_mode=None)(made))),
        {"both#forward": 6},
    ),
    "Bidirectional's states": (
        lambda: over_steps(joined(both_ways(layers.LSTM(6, return_state=True, **RANDOM)))),
        {"both#forward": 6},
    ),
    "Bidirectional with states": (
        lambda: over_steps(with_states(both_ways(layers.LSTM(6, **RANDOM)), 4)),
        {"both#forward": 6, "state0": 6},
    ),
    "Bidirectional of two layers": (
        lambda: over_steps(
            both_ways(layers.LSTM(6, **RANDOM), backward_layer=layers.GRU(6, go_backwards=True, **RANDOM))
        ),
        {"before": 8, "both#forward": 6},
    ),
    "Bidirectional RNN": (
        lambda: over_steps(both_ways(layers.RNN(cells()))),
        {"before": 8, "both#forward": 6, "both#forward/first": 4},
    ),
    "ConvLSTM1D": (lambda: framed(1), {"before": 5, "lstm": 6}),
    "ConvLSTM2D": (lambda: framed(2), {"before": 5, "lstm": 6}),
    "ConvLSTM2D's sequence": (lambda: framed(2, return_sequences=True, padding="same"), {"before": 5, "lstm": 6}),
    "ConvLSTM3D": (lambda: framed(3), {"before": 5, "lstm": 6}),
    "TimeDistributed": (
        lambda: over_steps(layers.TimeDistributed(dense(6, activation="relu"), name="each")),
        {"before": 8, "each": 6},
    ),
    "TimeDistributed over images": (lambda: over_steps(frames_per_step), {"each": 6}),
    "TimeDistributed, called twice": (
        lambda: over_steps(
            lambda made: (lambda each: each(made) + each(made * 2.0))(layers.TimeDistributed(dense(6), name="each"))
        ),
        {"before": 8, "each": 6},
    ),
    "SpectralNormalization": (
        lambda: over_steps(layers.SpectralNormalization(dense(6), name="normed")),
        {"before": 8, "normed": 6},
    ),
    "SpectralNormalization of a convolution": (
        lambda: over_steps(layers.SpectralNormalization(layers.Conv1D(6, 2, **RANDOM), name="normed")),
        {"before": 8, "normed": 6},
    ),
    "SpectralNormalization of a transposed convolution": (
        lambda: over_steps(layers.SpectralNormalization(layers.Conv1DTranspose(6, 2, **RANDOM), name="normed")),
        {"before": 8, "normed": 6},
    ),
}


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", CASES)
def test_cut_is_exact_and_units_go(name: str) -> None:
    assert_units_go(CASES[name], seeds=(0,))


@pytest.mark.parametrize(
    ("kind", "gates", "options"),
    [
        (layers.SimpleRNN, 1, {}),
        (layers.LSTM, 4, {}),
        (layers.GRU, 3, {}),
        (layers.GRU, 3, {"reset_after": False}),
    ],
)
def test_recurrence_equals_one_built_by_hand(kind: Any, gates: int, options: dict[str, Any]) -> None:
    model = over_steps(kind(6, name="rnn", **RANDOM, **options))
    channels = analyse(lift(model))
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["before"].ids[[2, 7]]]] = True
    gone[channels.unit[channels.sources["rnn"].ids[[0, 4]]]] = True
    small = channels.graph.copy()
    cut_units(small, channels, gone)

    features, units = np.array([0, 1, 3, 4, 5, 6]), np.array([1, 2, 3, 5])
    blocks = np.concatenate([units + 6 * gate for gate in range(gates)])
    inputs = keras.Input((5, 3))
    made = kind(4, name="rnn", **options)(dense(6, "before", activation="tanh")(inputs))
    by_hand = keras.Model(inputs, dense(2, "head")(made))
    weights = {name: model.get_layer(name).get_weights() for name in ("before", "rnn", "head")}
    by_hand.get_layer("before").set_weights([array[..., features] for array in weights["before"]])
    kernel, recurrent, bias = weights["rnn"]
    own = [kernel[np.ix_(features, blocks)], recurrent[np.ix_(units, blocks)], bias[..., blocks]]
    by_hand.get_layer("rnn").set_weights(own)
    by_hand.get_layer("head").set_weights([weights["head"][0][units], weights["head"][1]])
    data = array(2, 5, 3)
    np.testing.assert_allclose(emit(small)(data), by_hand(data), rtol=1e-5, atol=1e-6)


def test_convolutional_recurrence_with_channels_first_follows_the_labels() -> None:
    channels = analyse(lift(framed(2, data_format="channels_first", return_sequences=True)))
    assert {free(channels, "before"), free(channels, "lstm")} == {5, 6}
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["before"].ids[1]]] = True
    small = channels.graph.copy()
    cut_units(small, channels, gone)
    assert small["before"].spec.shape == (None, 3, 4, 3, 3)
    assert small.layers["lstm"].weights["conv_lstm_cell/kernel"].shape == (2, 2, 4, 24)


def test_states_of_unlike_directions_are_a_barrier() -> None:
    layer = both_ways(layers.LSTM(6), backward_layer=layers.GRU(4, go_backwards=True), merge_mode=None)
    inputs = keras.Input((5, 3))
    channels = analyse(lift(keras.Model(inputs, layer(dense(8, "before")(inputs)))))
    assert "equally many" in channels.barriers["both"]


def test_a_recurrence_whose_activation_mixes_units_is_a_barrier() -> None:
    channels = analyse(lift(over_steps(layers.GRU(6, activation="softmax", name="rnn"))))
    assert "computed over all channels" in channels.barriers["rnn"]


def test_a_model_inside_a_wrapper_is_a_barrier() -> None:
    inner = keras.Sequential([keras.Input((8,)), dense(4), dense(6)])
    channels = analyse(lift(over_steps(layers.TimeDistributed(inner, name="each"))))
    assert channels.barriers.keys() == {"each"}
    assert free(channels, "before") == 0


def test_configs_of_layers_inside_follow_and_forget_what_they_were_built_with(tmp_path: Any) -> None:
    model = over_steps(both_ways(layers.RNN(cells())))
    channels = analyse(lift(model))
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["both#forward/first"].ids[0]]] = True
    small = channels.graph.copy()
    cut_units(small, channels, gone)
    for path in ("layer", "backward_layer"):
        first, second = small.layers["both"].config[path]["config"]["cell"]["config"]["cells"]
        assert (first["config"]["units"], second["config"]["units"]) == (3, 6)
        assert "build_config" not in first
    emitted = emit(small)
    emitted.save(tmp_path / "small.keras")
    data = array(2, 5, 3)
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(outputs(again, data)[0], outputs(emitted, data)[0], rtol=1e-6)
    before = lift(model).layers["both"].config["layer"]["config"]["cell"]["config"]["cells"][0]
    assert before["config"]["units"] == 4  # the model's own config is left alone
