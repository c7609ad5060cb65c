"""Generated inputs: what Keras says of the statistics that they give, their range, their repetition, errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.generating import find_anchors, made_inputs, making
from kerasurgeon.generating.fields import smooth_noise
from tests.zoo.sampling import randomise

layers = keras.layers
Array = np.ndarray[Any, Any]


def pictures(count: int, seed: int, *, channels: int = 3, low: float = 0.0, high: float = 1.0) -> Array:
    """Smooth images that use their range, dark ones more often."""
    noise = smooth_noise((count, 12, 12, channels), np.random.default_rng(seed), 1.5, alike=False)
    return (low + (high - low) / (1 + np.exp(0.8 - 1.5 * noise))).astype("float32")


def network(data: Array, *before: keras.layers.Layer) -> keras.Model:
    """Two convolutions with batch norms that hold the statistics of some data, as training on it would leave them."""
    inputs = keras.Input(data.shape[1:], name="image")
    x = inputs
    for layer in before:
        x = layer(x)
    x = layers.Conv2D(12, 3, padding="same", use_bias=False, name="one")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="one_bn")(x))
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="two")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="two_bn")(x))
    model = keras.Model(inputs, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D()(x)))
    randomise(model, gain=1.4, shift=0.3)
    return ks.recalibrate_batch_norm(model, data, batch_size=len(data))


def apart(model: keras.Model, inputs: Array) -> float:
    """How far what batch norms read is from what they hold, by Keras and numpy: squares, in standard deviations."""
    found = []
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            read = np.asarray(keras.Model(model.input, layer.input)(inputs))
            mean, deviation = np.asarray(layer.moving_mean), np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
            axes = tuple(range(read.ndim - 1))
            found.append(np.mean(np.square((read.mean(axes) - mean) / deviation)))
            found.append(np.mean(np.square(read.std(axes) / deviation - 1)))
    return float(np.mean(found))


def test_batch_norms_read_what_they_hold() -> None:
    data = pictures(128, 0)
    model = network(data)
    made = ks.generate_inputs(model, 64, range=(0, 1), steps=40)
    assert made.shape == (64, 12, 12, 3)
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    noise = np.random.default_rng(0).random(made.shape, dtype="float32")
    assert apart(model, data) < 1e-4
    assert apart(model, made) < 0.02 < 0.2 * apart(model, noise)


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("low", "high", "before"),
    [
        (0.0, 1.0, []),
        (-1.0, 1.0, []),
        (0.0, 255.0, [lambda: layers.Rescaling(1 / 127.5, -1.0)]),
        (0.0, 255.0, [lambda: layers.ZeroPadding2D(1)]),
    ],
)
def test_the_range_is_guessed(low: float, high: float, before: list[Callable[[], keras.layers.Layer]]) -> None:
    model = network(pictures(128, 0, low=low, high=high), *(make() for make in before))
    made = made_inputs(ks.lift(model), 32, steps=3)
    assert f"[{low:g}, {high:g}]" in made.said[1], made.said
    assert low <= made.arrays[0].min() < low + 0.2 * (high - low)
    assert high - 0.2 * (high - low) < made.arrays[0].max() <= high


def test_inputs_that_were_standardised_get_a_range_of_their_own() -> None:
    data = 3.0 * (pictures(128, 0) - 0.4) / 0.3
    made = made_inputs(ks.lift(network(data.astype("float32"))), 32, steps=3)
    assert data.min() - 3 < made.arrays[0].min() < np.quantile(data, 0.2)
    assert np.quantile(data, 0.8) < made.arrays[0].max() < data.max() + 5


def test_what_is_not_known_is_asked_for() -> None:
    """Behind an activation, the first statistics say nothing of the range."""
    model = network(pictures(64, 0), layers.Conv2D(4, 3, activation="relu", name="early"))
    made = made_inputs(ks.lift(model), 8, steps=2)
    assert not made.known
    assert "range= would help much" in made.said[1]


def test_same_seed_same_inputs_and_the_model_stays() -> None:
    model = network(pictures(64, 0))
    before = [np.array(weight) for weight in model.get_weights()]
    one, two, other = (ks.generate_inputs(model, 8, range=(0, 1), steps=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).mean() > 0.05
    for was, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, weight)


def test_several_inputs_ids_among_them() -> None:
    image, ids = keras.Input((8, 8, 1), name="image"), keras.Input((5,), dtype="int32", name="ids")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv")(image))
    x = layers.GlobalAveragePooling2D()(x)
    words = layers.GlobalAveragePooling1D()(layers.Embedding(7, 6, name="words")(ids))
    model = keras.Model({"image": image, "ids": ids}, layers.Dense(2)(layers.Add()([x, words])))
    randomise(model, gain=1.0, shift=0.3)
    made = ks.generate_inputs(model, 6, range={"image": (0, 2)}, steps=2)
    assert set(made) == {"image", "ids"}
    assert made["ids"].dtype == np.int32
    assert set(np.unique(made["ids"])) <= set(range(7))
    assert 0 <= made["image"].min() < made["image"].max() <= 2
    assert model(made).shape == (6, 2)


def test_ctrl_c_keeps_what_is_there() -> None:
    model = network(pictures(64, 0))

    def press(fraction: float, message: str) -> None:
        if fraction > 0.1:
            raise KeyboardInterrupt

    made = made_inputs(ks.lift(model), 16, range=(0, 1), steps=20, progress=press)
    assert len(made.arrays[0]) == 16
    assert "interrupted" in made.said[0]


def test_statistics_that_were_never_moved_are_none() -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
    assert not find_anchors(ks.lift(model))
    with pytest.raises(OptionError, match="no layer of the model holds statistics"):
        ks.generate_inputs(model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"range": (1, 0)}, "upside down"),
        ({"range": (0, float("nan"))}, "range= cannot be used"),
        ({"range": {"picture": (0, 1)}}, "names the input 'picture'"),
        ({"count": 0}, "'count' cannot be used"),
        ({"steps": 0}, "'steps' cannot be used"),
        ({"seconds": 0}, "'seconds' cannot be used"),
        ({"seconds": 1e-9}, "in this time"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ks.generate_inputs(network(pictures(8, 0)), **options)


class Slow:
    """In place of a matcher: the first step is traced for long, the others are quick."""

    def __init__(self, clock: list[float], first: float, others: float) -> None:
        self.clock, self.first, self.others = clock, first, others

    def matched(self, start: Any, steps: int, told: Any) -> None:
        for step in range(1, steps + 1):
            took = self.first if step == 1 else self.others
            self.clock[0] += took
            if not told(step, took):
                return


@pytest.mark.parametrize(("first", "others", "does"), [(20.0, 0.01, True), (20.0, 15.0, False), (130.0, 0.01, False)])
def test_tracing_is_not_taken_for_the_time_of_a_step(
    first: float, others: float, does: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    made: Any = object.__new__(making._Making)
    made.matcher, made.start, made.began, made.seconds = Slow(clock, first, others), [np.zeros((256, 4))], 0.0, 120.0
    made.count = made.chunk = 256
    made.macs = 1
    if does:
        assert made._affordable() == (256, 100)
    else:
        with pytest.raises(making.TooLittleTime):
            made._affordable()
