"""Kernels of recurrent layers that are fitted, against those that follow by hand where units are copies of others."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.channels import analyse
from kerasurgeon.channels.compensate import compensate
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.passes import PruneChannels

layers = keras.layers
Array = np.ndarray[Any, Any]
UNITS, STEPS = 4, 7


def bidirectional(units: int, name: str, **options: Any) -> keras.Layer:
    return layers.Bidirectional(layers.LSTM(units, **options), name=name)


CASES: dict[str, Any] = {
    "SimpleRNN": layers.SimpleRNN,
    "LSTM": layers.LSTM,
    "GRU": layers.GRU,
    "GRU, gate before the product": lambda units, **options: layers.GRU(units, reset_after=False, **options),
    "LSTM backwards without bias": lambda units, **options: layers.LSTM(
        units, go_backwards=True, use_bias=False, **options
    ),
    "GRU backwards": lambda units, **options: layers.GRU(units, go_backwards=True, **options),
    "Bidirectional": bidirectional,
    "masked GRU": layers.GRU,
}


def copies(array: Array, axis: int, gates: int = 1) -> Array:
    """With each block along an axis once more behind itself."""
    blocks = np.split(array, gates, axis=axis)
    return np.concatenate([np.concatenate([block, block], axis=axis) for block in blocks], axis=axis)


def of_copies(case: str) -> tuple[keras.Model, keras.Model]:
    """A network in which the second half of the features and of the units repeats the first half, and the smaller one.

    In the large one both halves are read with kernels of their own, which the small one adds up.
    """
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    models = []
    for width in (2 * UNITS, UNITS):
        inputs = keras.Input((STEPS, 3))
        x = layers.Masking()(inputs) if case == "masked GRU" else inputs
        x = layers.Dense(width, activation="tanh", name="reads")(x)
        x = CASES[case](width, return_sequences=True, name="steps")(x)
        x = layers.Dense(2, name="head")(x)
        models.append(keras.Model(inputs, x))
    large, small = models
    values: list[Array] = []
    sums: list[Array] = []
    for weight in small.weights:
        parts = weight.shape[0] // UNITS if weight.path.endswith("kernel") and weight.shape[0] % UNITS == 0 else 0
        gates = weight.shape[-1] // UNITS if weight.shape[-1] % UNITS == 0 else 0
        shape = (*weight.shape[:-1], weight.shape[-1])
        halves = [0.5 * rng.normal(size=shape) for _ in range(2 if parts else 1)]
        total = sum(halves)
        if parts:  # rows of both halves, behind one another for each direction
            blocks = [np.split(half, parts, axis=0) for half in halves]
            whole = np.concatenate([block for pair in zip(*blocks, strict=True) for block in pair], axis=0)
        else:
            whole = halves[0]
        values.append(copies(whole, -1, gates) if gates else whole)
        sums.append(np.asarray(total))
    large.set_weights(values)
    small.set_weights(sums)
    return large, small


def sequences(seed: int, count: int = 96, *, masked: bool = False) -> Array:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, STEPS, 3)).astype("float32")
    if masked:
        found[np.arange(STEPS)[None] >= rng.integers(2, STEPS + 1, count)[:, None]] = 0
    return found


def error(model: keras.Model, other: keras.Model, inputs: Array) -> float:
    one, two = (np.asarray(item(inputs, training=False), np.float64) for item in (model, other))
    return float(np.abs(one - two).max() / np.abs(one).max())


def second_halves(graph: Any, channels: Any) -> Array:
    """The units whose features or states repeat those of others."""
    gone = np.zeros(channels.units, bool)
    for node, key in (("reads", "kernel"), ("steps", "recurrent_kernel")):
        for (layer, name), several in channels.weights.items():
            for held in several:
                if layer != node or not name.endswith(key) or held.contracted != (node == "steps"):
                    continue
                units = channels.unit[held.ids.ravel()]
                if len(units) == 2 * UNITS:
                    gone[units[UNITS:]] = True
    return gone


@pytest.mark.parametrize("case", CASES)
def test_what_follows_by_hand_is_found(case: str) -> None:
    large, small = of_copies(case)
    test = sequences(1, 32, masked=case == "masked GRU")
    assert error(large, small, test) < 1e-5
    graph = lift(large)
    channels = analyse(graph)
    gone = second_halves(graph, channels)
    assert gone.sum() == 2 * UNITS  # directions keep the same units
    plain = graph.copy()
    data = sequences(0, masked=case == "masked GRU")
    notes = compensate(graph, channels, gone, method="least_squares", data=data, ridge=1e-7)
    count = (3 if case == "Bidirectional" else 2) * UNITS
    assert f"'steps' is fitted to the states that it had with {count} features and units more" in notes
    cut_units(plain, channels, gone)
    assert error(large, emit(plain), test) > 0.05
    small_graph, masked = graph.copy(), graph.copy()
    cut_units(small_graph, channels, gone)
    mask_units(masked, channels, gone)
    cut = emit(small_graph)
    assert error(emit(masked), cut, test) < 1e-5
    assert error(large, cut, test) < 2e-3
    for found, expected in zip(cut.get_weights(), small.get_weights(), strict=True):
        assert found.shape == expected.shape
        if found.ndim > 1:
            np.testing.assert_allclose(found, expected, atol=2e-2)


def test_a_stack_of_two_is_closer_with_kernels_that_are_fitted() -> None:
    """No exact answer: random kernels, half of the channels of every layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((STEPS, 3))
    x = layers.GRU(12, return_sequences=True, name="first")(layers.Dense(12, activation="tanh")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.LSTM(12, name="second")(x)))
    data, test = sequences(0, 256), sequences(1, 64)
    results = {
        way: ks.Pipeline([PruneChannels(ratio=0.5, importance="l2", round_to=1, compensate=way)]).run(model, data=data)
        for way in ("none", "data", "least_squares")
    }
    errors = {way: error(model, result.model, test) for way, result in results.items()}
    assert errors["least_squares"] < 0.6 * min(errors["none"], errors["data"]), errors
    default = ks.Pipeline([PruneChannels(ratio=0.5)]).run(model, data=data)
    assert "importance 'reconstruction'" in " ".join(site.what for site in default.report.passes[0].sites)
    again = ks.apply_passes(model, [PruneChannels(ratio=0.5, importance="l2", round_to=1)], data=data)
    np.testing.assert_array_equal(again(test), results["least_squares"].model(test))


def test_where_no_fit_helps_kernels_stay() -> None:
    """What goes is all that there is, and of another sign in the samples that are held out: a bias could only harm."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((1, 5))
    model = keras.Model(inputs, layers.SimpleRNN(8, name="steps")(layers.Dense(6, name="reads")(inputs)))
    model.get_layer("reads").kernel.assign(np.ones((5, 1)) * np.array([1, 1, 0, 0, 0, 0]))
    graph = lift(model)
    channels = analyse(graph)
    gone = np.zeros(channels.units, bool)
    held = next(one for one in channels.weights["reads", "kernel"] if not one.contracted)
    gone[channels.unit[held.ids.ravel()[:2]]] = True
    before = dict(graph.layers["steps"].weights)
    data = np.repeat([0.2, -0.2], [36, 12])[:, None, None] * np.ones((48, 1, 5), "float32")
    notes = compensate(graph, channels, gone, method="least_squares", data=data)
    assert notes == ["'steps' stays as it is: no fit brings its states closer"]
    assert dict(graph.layers["steps"].weights) == before
    data[36:] *= -1
    notes = compensate(graph, channels, gone, method="least_squares", data=data)
    assert notes == ["'steps' is fitted to the states that it had with 2 features and units more"]
    assert abs(graph.layers["steps"].weights["simple_rnn_cell/bias"].array).max() > 0.1
