"""What layers read: against patches cut out by hand, and against the errors of outputs that Keras computes."""

from __future__ import annotations

from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.errors import OptionError
from kerasurgeon.factors import Inputs
from kerasurgeon.factors import inputs as module
from kerasurgeon.factors.inputs import measure_inputs
from kerasurgeon.keras_io import lift

Array = np.ndarray[Any, Any]

# Layers over 3 position axes at most; the input has 4 channels.
CASES: dict[str, tuple[tuple[int, ...], Any]] = {
    "plain": ((7, 6), lambda: layers.Conv2D(5, 3)),
    "same": ((7, 6), lambda: layers.Conv2D(5, (3, 2), padding="same")),
    "strided": ((8, 7), lambda: layers.Conv2D(5, 3, strides=2, padding="same")),
    "dilated": ((9, 8), lambda: layers.Conv2D(6, 3, dilation_rate=2, padding="same", activation="relu")),
    "valid strided": ((8, 9), lambda: layers.Conv2D(5, (2, 3), strides=3, use_bias=False)),
    "grouped": ((6, 6), lambda: layers.Conv2D(6, 3, groups=2, padding="same")),
    "1x1 strided": ((6, 5), lambda: layers.Conv2D(7, 1, strides=2)),
    "causal": ((9,), lambda: layers.Conv1D(5, 3, padding="causal", dilation_rate=2)),
    "volume": ((4, 5, 4), lambda: layers.Conv3D(3, 2, padding="same")),
    "dense": ((), lambda: layers.Dense(5)),
    "dense over steps": ((6,), lambda: layers.Dense(5)),
}


def data_of(shape: tuple[int, ...], samples: int = 11, seed: int = 0) -> Array:
    """Channels that go together and are far from zero."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((samples, *shape, 4)) @ rng.standard_normal((4, 4))
    return np.asarray(mixed + np.array([3.0, -1.0, 0.0, 8.0]), "float32")


def patches_by_hand(layer: Any, data: Array) -> Array:
    """``(groups, positions, taps * inputs)``, from an input padded with zeros, one position after the other."""
    if isinstance(layer, layers.Dense):
        return data.reshape(1, -1, data.shape[-1])
    sizes, strides, rates = layer.kernel_size, layer.strides, layer.dilation_rate
    pads, counts = [(0, 0)], []
    for length, size, stride, rate in zip(data.shape[1:-1], sizes, strides, rates, strict=True):
        reach = rate * (size - 1) + 1
        count = (length - reach) // stride + 1 if layer.padding == "valid" else -(-length // stride)
        total = max((count - 1) * stride + reach - length, 0)
        before = {"valid": 0, "same": total // 2, "causal": reach - 1}[layer.padding]
        pads.append((before, max(total - before, 0)))
        counts.append(count)
    padded = np.pad(data, [*pads, (0, 0)])
    rows = []
    for sample, *at in product(range(len(data)), *map(range, counts)):
        taps = [
            padded[(sample, *(a * s + t * r for a, s, t, r in zip(at, strides, tap, rates, strict=True)))]
            for tap in product(*map(range, sizes))
        ]
        rows.append(np.stack(taps).reshape(len(taps), layer.groups, -1))
    return np.stack(rows).transpose(2, 0, 1, 3).reshape(layer.groups, len(rows), -1).astype(float)


def measured(model: keras.Model, data: Any, **options: Any) -> dict[str, Inputs]:
    graph = lift(model)
    return measure_inputs(graph, list(graph.layers), data, **options)


@pytest.mark.parametrize("case", list(CASES))
def test_moments_are_those_of_patches_cut_out_by_hand(case: str) -> None:
    shape, make = CASES[case]
    layer, data = make(), data_of(shape)
    inputs = keras.Input((*shape, 4))
    model = keras.Model(inputs, layer(inputs))
    found = measured(model, data, positions=10**6)[layer.name]
    rows = patches_by_hand(layer, data)
    np.testing.assert_allclose(found.mean, rows.mean(axis=1), rtol=1e-5, atol=1e-5)
    for group, own in enumerate(rows):
        expected = np.cov(own, rowvar=False, bias=True)
        np.testing.assert_allclose(found.covariance[group], expected, rtol=1e-4, atol=1e-4)
        taps = expected.reshape(-1, 4 // len(rows), len(expected) // (4 // len(rows)), 4 // len(rows))
        blocks = [taps[tap, :, tap] for tap in range(len(taps))]
        np.testing.assert_allclose(found.channels[group], np.mean(blocks, axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.spread(3)
@pytest.mark.parametrize("case", list(CASES))
def test_the_error_of_the_output_follows_from_the_moments(case: str) -> None:
    shape, make = CASES[case]
    layer, data = make(), data_of(shape)
    layer.activation = keras.activations.linear
    inputs = keras.Input((*shape, 4))
    model = keras.Model(inputs, layer(inputs))
    found = measured(model, data, positions=10**6)[layer.name]
    before = model.predict(data, verbose=0)
    kernel = layer.get_weights()[0]
    change = np.random.default_rng(1).standard_normal(kernel.shape).astype("float32")
    layer.set_weights([kernel + change, *layer.get_weights()[1:]])
    actual = np.square(model.predict(data, verbose=0) - before).sum(axis=-1).mean()
    groups = len(found.mean)
    rows = np.moveaxis(change.reshape(-1, groups, change.shape[-1] // groups), 1, 0)
    told = sum(
        np.trace(own.T @ covariance @ own) + np.square(own.T @ mean).sum()
        for own, covariance, mean in zip(rows, found.covariance, found.mean, strict=True)
    )
    assert told == pytest.approx(actual, rel=1e-4)


def test_channels_first_is_read_along_its_own_axis() -> None:
    data = data_of((7, 6))
    outer, inner = keras.Input((4, 7, 6)), layers.Conv2D(5, 3, strides=2, data_format="channels_first", name="conv")
    # Only the input of the layer is looked at, so that it does not matter whether this machine could run it.
    graph = lift(keras.Model(outer, inner(outer)))
    found = measure_inputs(graph, ["conv"], np.moveaxis(data, -1, 1), positions=10**6)["conv"]
    plain = layers.Conv2D(5, 3, strides=2)
    plain.build((None, 7, 6, 4))
    rows = patches_by_hand(plain, data)[0]
    np.testing.assert_allclose(found.mean[0], rows.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.covariance[0], np.cov(rows, rowvar=False, bias=True), rtol=1e-4, atol=1e-4)


def test_calls_of_a_layer_count_together() -> None:
    conv = layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv")
    inputs = keras.Input((6, 6, 4))
    first = conv(inputs)
    model = keras.Model(inputs, conv(layers.MaxPooling2D()(first)))
    data = data_of((6, 6), samples=40)
    between = keras.Model(inputs, model.layers[2].output).predict(data, verbose=0)
    rows = np.concatenate([patches_by_hand(conv, data), patches_by_hand(conv, between)], axis=1)[0]
    found = measured(model, data, positions=10**6)["conv"]
    np.testing.assert_allclose(found.mean[0], rows.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.covariance[0], np.cov(rows, rowvar=False, bias=True), rtol=1e-3, atol=1e-3)


def test_a_part_of_the_positions_estimates_all_of_them() -> None:
    inputs = keras.Input((16, 16, 4))
    model = keras.Model(inputs, layers.Conv2D(5, 3, padding="same", name="conv")(inputs))
    data = data_of((16, 16), samples=70)
    whole = measured(model, data, positions=10**6)["conv"]
    part = measured(model, data, positions=4000, seed=1)["conv"]
    again = measured(model, data, positions=4000, seed=1)["conv"]
    other = measured(model, data, positions=4000, seed=2)["conv"]
    np.testing.assert_array_equal(part.covariance, again.covariance)
    assert (part.covariance != other.covariance).any()
    error = np.linalg.norm(part.covariance - whole.covariance) / np.linalg.norm(whole.covariance)
    assert 0 < error < 0.1


def test_several_runs_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = keras.Input((6, 6, 4))
    tensor = layers.Conv2D(5, 3, name="one")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="two")(layers.Conv2D(5, 3, name="three")(tensor)))
    data = data_of((6, 6))
    whole = measured(model, data)
    monkeypatch.setattr(module, "_SUMS", 1)
    parts = measured(model, data)
    assert list(parts) == list(whole) == ["one", "three", "two"]
    for key, inputs_ in whole.items():
        np.testing.assert_array_equal(parts[key].covariance, inputs_.covariance)


def test_layers_that_cannot_be_measured_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = keras.Input((6, 6, 4))
    tensor = layers.Conv2DTranspose(4, 3, name="transposed")(inputs)
    tensor = layers.DepthwiseConv2D(3, name="depthwise")(tensor)
    tensor = layers.BatchNormalization(name="norm")(tensor)
    model = keras.Model(inputs, layers.Conv2D(3, 1, name="pointwise")(layers.Conv2D(4, 3, name="wide")(tensor)))
    monkeypatch.setattr(module, "LARGEST_PATCH", 35)
    assert list(measured(model, data_of((6, 6)))) == ["pointwise"]
    assert measure_inputs(lift(model), ["norm"], None) == {}


def test_at_most_so_many_samples_are_looked_at() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, name="dense")(inputs))
    data = data_of((), samples=50)
    found = measured(model, data, samples=20)["dense"]
    np.testing.assert_allclose(found.mean[0], data[:20].mean(axis=0), rtol=1e-5)


def test_a_layer_that_reads_infinities_is_named() -> None:
    inputs = keras.Input((4,))
    tensor = layers.Rescaling(1e38, name="scale")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="dense")(tensor))
    with pytest.raises(OptionError, match="'dense'"), np.errstate(all="ignore"):
        measured(model, data_of(()))
    with pytest.raises(OptionError, match="Calibration data is needed"):
        measured(model, None)
