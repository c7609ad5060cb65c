"""Criteria on data: activations by Keras, gradients by finite differences."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.channels import Evidence, analyse, criterion_for, groups, score
from kerasurgeon.channels.importance_data import Hessian, Taylor, TaylorRectified
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.passes import Skip
from tests.passes.checking import model_of

layers = keras.layers
Array = np.ndarray[Any, Any]


def net(dtype: str = "float64") -> keras.Model:
    """Convolution, norm and activation, then a classifier on the mean."""
    inputs = keras.Input((5, 5, 2), dtype=dtype)
    x = layers.Conv2D(4, 3, name="conv", dtype=dtype)(inputs)
    x = layers.ReLU(name="relu", dtype=dtype)(layers.BatchNormalization(dtype=dtype)(x))
    x = layers.GlobalAveragePooling2D(dtype=dtype)(
        layers.Conv2D(3, 2, name="second", activation="tanh", dtype=dtype)(x)
    )
    return model_of(inputs, layers.Dense(3, activation="softmax", name="scores", dtype=dtype)(x))


def samples(count: int = 7) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 5, 5, 2)), rng.integers(0, 3, count)


def found(model: keras.Model, name: str, importance: Any, data: Any, loss: Any = None, **options: Any) -> Array:
    channels = analyse(model)
    group = groups(channels)[name]
    return score(group, criterion_for(importance), Evidence(channels, data, loss, **options), "none")


def gate_slopes(model: keras.Model, name: str, data: tuple[Array, Array]) -> Array:
    """Derivatives of each sample's crossentropy by a factor on each channel of a layer: (samples, channels)."""
    middle = model.get_layer(name).output
    before = keras.Model(model.input, middle)
    gate = keras.Input(middle.shape[1:], dtype=middle.dtype)
    x = gate
    for layer in model.layers[model.layers.index(model.get_layer(name)) + 1 :]:
        x = layer(x)
    after = keras.Model(gate, x)
    maps = keras.ops.convert_to_numpy(before(data[0]))

    def losses(factors: Array) -> Array:
        rows = keras.ops.convert_to_numpy(after(maps * factors))
        return np.asarray(-np.log(rows[np.arange(len(rows)), data[1]]))

    step, slopes = 1e-5, []
    for channel in range(maps.shape[-1]):
        nudge = np.zeros(maps.shape[-1])
        nudge[channel] = step
        slopes.append((losses(1 + nudge) - losses(1 - nudge)) / (2 * step))
    return np.stack(slopes, axis=1)


@pytest.mark.parametrize("batch_size", [16, 3])
def test_gradient_criteria_against_finite_differences(batch_size: int) -> None:
    """The gradient by a factor on a channel is the sum over positions of activation times gradient."""
    model, data = net(), samples()
    slopes = gate_slopes(model, "relu", data)
    positions = 9
    taylor = np.abs(slopes / positions).mean(axis=0)
    np.testing.assert_allclose(found(model, "conv", Taylor(batch_size), data), taylor, rtol=1e-4)
    rectified = np.maximum((slopes / positions).mean(axis=0), 0)
    np.testing.assert_allclose(
        found(model, "conv", TaylorRectified(batch_size), data), rectified, rtol=1e-4, atol=1e-12
    )
    fisher = 0.5 * (slopes**2).mean(axis=0)
    np.testing.assert_allclose(found(model, "conv", Hessian(batch_size), data), fisher, rtol=1e-4)


def test_default_normalisers() -> None:
    model, data = net(), samples()
    channels = analyse(model)
    group, evidence = groups(channels)["conv"], Evidence(channels, data)
    assert np.linalg.norm(score(group, criterion_for("taylor"), evidence)) == pytest.approx(1.0)
    assert score(group, criterion_for("taylor_rectified"), evidence).max() == pytest.approx(1.0)


def test_activations_are_looked_at_behind_norm_and_activation() -> None:
    model, (inputs, _) = net(), samples()
    maps = keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer("relu").output)(inputs))
    np.testing.assert_allclose(found(model, "conv", "apoz", inputs), (maps > 0).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found(model, "conv", "mean_activation", inputs), np.abs(maps).mean((0, 1, 2)), rtol=1e-5)
    pairs = [(inputs[:4], None), (inputs[4:], None)]
    batches = found(model, "conv", "apoz", pairs)
    np.testing.assert_allclose(batches, (maps > 0).mean((0, 1, 2)), rtol=1e-6)


def test_labels_one_hot_losses_and_batches() -> None:
    model, (inputs, labels) = net(), samples()
    expected = found(model, "conv", "taylor", (inputs, labels))
    one_hot = np.eye(3)[labels]
    np.testing.assert_allclose(found(model, "conv", "taylor", (inputs, one_hot)), expected, rtol=1e-6)
    named = found(model, "conv", "taylor", (inputs, labels), "sparse_categorical_crossentropy")
    np.testing.assert_allclose(named, expected, rtol=1e-6)
    batches = [(inputs[:2], labels[:2]), (inputs[2:], labels[2:])]
    np.testing.assert_allclose(found(model, "conv", "taylor", batches), expected, rtol=1e-6)
    squares = found(model, "conv", "taylor", (inputs, one_hot), lambda true, given: keras.ops.square(true - given))
    assert not np.allclose(squares, expected)


def test_channels_that_are_added_are_measured_where_each_is_made() -> None:
    inputs = keras.Input((4, 4, 2))
    one, two = (layers.Conv2D(3, 1, activation="relu", name=name)(inputs) for name in ("one", "two"))
    x = layers.GlobalAveragePooling2D()(layers.Add()([one, two]))
    model = model_of(inputs, layers.Dense(2, name="scores")(x))
    data = np.random.default_rng(0).normal(size=(6, 4, 4, 2))
    rates = [
        (keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer(name).output)(data)) > 0).mean((0, 1, 2))
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(found(model, "one", "apoz", data), (rates[0] + rates[1]) / 2, rtol=1e-6)


def test_channels_inside_a_layer_are_left_to_other_criteria() -> None:
    inputs = keras.Input((5, 12))
    model = model_of(inputs, layers.Dense(2)(layers.MultiHeadAttention(4, 3, name="attention")(inputs, inputs)))
    channels = analyse(model)
    if "attention#heads" not in channels.sources:
        pytest.skip("attention has no rule yet")
    group = groups(channels)["attention#heads"]
    data = np.zeros((2, 5, 12), "float32")
    with pytest.raises(Skip, match="no tensor shows them"):
        score(group, criterion_for("apoz"), Evidence(channels, data))


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("group", "weights", "axes"),
    [
        ("heads", ["attention_output/kernel"], (0,)),
        ("value_dim", ["attention_output/kernel"], (1,)),
        ("key_dim", ["query/kernel", "query/bias"], (2, 1)),
    ],
)
def test_gradients_judge_units_inside_a_layer_by_the_weights_that_read_them(
    group: str, weights: list[str], axes: tuple[int, ...]
) -> None:
    """The score is from the derivative of each sample's loss by a factor on the unit's slices."""
    inputs = keras.Input((5, 6), dtype="float64")
    x = layers.MultiHeadAttention(4, 3, name="attention", dtype="float64")(inputs, inputs)
    x = layers.Bidirectional(layers.LSTM(3, dtype="float64"), name="both", dtype="float64")(x)
    model = model_of(inputs, layers.Dense(3, activation="softmax", name="scores", dtype="float64")(x))
    rng = np.random.default_rng(2)
    data = rng.normal(size=(4, 5, 6)), rng.integers(0, 3, 4)
    variables = [
        next(one for one in model.get_layer("attention").weights if one.path.endswith(f"attention/{path}"))
        for path in weights
    ]
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    step, slopes = 1e-5, []
    for unit in range(before[0].shape[axes[0]]):
        losses = []
        for factor in (1 + step, 1 - step):
            for variable, array, axis in zip(variables, before, axes, strict=True):
                changed = array.copy()
                changed[(slice(None),) * axis + (unit,)] *= factor
                variable.assign(changed)
            rows = keras.ops.convert_to_numpy(model(data[0]))
            losses.append(-np.log(rows[np.arange(4), data[1]]))
        for variable, array in zip(variables, before, strict=True):
            variable.assign(array)
        slopes.append((losses[0] - losses[1]) / (2 * step))
    found_slopes = np.stack(slopes, axis=1)
    name = f"attention#{group}"
    expected = np.abs(found_slopes).mean(axis=0)
    np.testing.assert_allclose(found(model, name, "taylor", data), expected, rtol=1e-4, atol=1e-10)
    expected = 0.5 * (found_slopes**2).mean(axis=0)
    np.testing.assert_allclose(found(model, name, "hessian", data), expected, rtol=1e-4, atol=1e-12)
    expected = np.maximum(found_slopes.mean(axis=0), 0)
    np.testing.assert_allclose(found(model, name, "taylor_rectified", data), expected, rtol=1e-4, atol=1e-10)


BAD: list[tuple[str, Any, Any, str]] = [
    ("taylor", None, None, "needs inputs with labels"),
    ("taylor", samples()[0], None, "data without labels"),
    ("taylor", (samples()[0], samples()[1][:4]), None, "not one label per sample"),
    ("taylor", (samples()[0], np.arange(9) % 3), None, "not one label per sample"),
    ("taylor", (samples()[0], np.zeros((7, 2))), None, "Which loss to use cannot be told"),
    ("taylor", samples(), "no_such_loss", "is no loss of Keras"),
    ("taylor", samples(), 3, "loss= cannot be used"),
    ("taylor", (samples()[0], np.zeros((7, 5))), "mse", "The loss cannot be computed"),
    ("taylor", samples(), lambda true, given: given * float("nan"), "not finite"),
    ("taylor", (samples()[0][:0], samples()[1][:0]), None, "empty"),
    ("apoz", None, None, "Calibration data is needed"),
    ("apoz", samples()[0][:0], None, "empty"),
    ("apoz", samples()[0][:, :4], None, "does not fit"),
    ("taylor", (samples()[0][..., :1], samples()[1]), None, "does not fit"),
]


@pytest.mark.parametrize(("importance", "data", "loss", "message"), BAD)
def test_bad_data(importance: str, data: Any, loss: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        found(net(), "conv", importance, data, loss)


def test_gradients_need_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(OptionError, match="TensorFlow backend"):
        found(net(), "conv", "taylor", samples())
