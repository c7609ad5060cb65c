"""What removed channels gave on average, put elsewhere: against the original, and against theory where it is exact."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.channels import analyse
from kerasurgeon.channels.compensate import METHODS, compensate
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.moments import Moments
from kerasurgeon.channels.patches import patches
from kerasurgeon.channels.ridge import fitted
from kerasurgeon.channels.spread import gaussian
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.recover import recalibrate_batch_norm
from tests.channels.oracle import random_cut
from tests.zoo.sampling import randomise

layers = keras.layers
Array = np.ndarray[Any, Any]


def images(seed: int, count: int = 128, size: int = 8) -> Array:
    """Smooth images: patches and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(count, size // 2, size // 2, 3)).repeat(2, axis=1).repeat(2, axis=2)
    return (coarse + 0.5 * rng.normal(size=coarse.shape)).astype("float32")


def network() -> keras.Model:
    """Two residual blocks and a squeeze-excite gate, with the batch-norm statistics of ``images``."""
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", name="stem")(inputs)))
    for block in range(2):
        y = layers.Conv2D(12, 1, use_bias=False, name=f"{block}_one")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.DepthwiseConv2D(3, padding="same")(y)
        y = layers.Activation("swish")(layers.BatchNormalization()(y))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(12, 1, activation="sigmoid", name=f"{block}_gate")(gate)
        y = layers.Conv2D(16, 3, padding="same", name=f"{block}_two")(layers.Multiply()([y, gate]))
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    model = keras.Model(inputs, layers.Dense(5, name="head")(x))
    randomise(model, gain=1.4, shift=0.1)
    return recalibrate_batch_norm(model, images(1, 512), batch_size=512)


def error(model: keras.Model, other: keras.Model, inputs: Array) -> float:
    one, two = (np.asarray(keras.ops.convert_to_numpy(item(inputs, training=False))) for item in (model, other))
    return float(np.sqrt(np.mean(np.square(one - two))) / one.std())


def masked_after(model: keras.Model, gone: Array, method: str | None, **options: Any) -> tuple[keras.Model, list[str]]:
    """The masked twin of the compensated model, which the cut must equal."""
    graph = lift(model)
    channels = analyse(graph)
    notes = [] if method is None else compensate(graph, channels, gone, method=method, **options)
    twin, small = graph.copy(), graph.copy()
    mask_units(twin, channels, gone)
    cut_units(small, channels, gone)
    check_types(small, everything=True)
    made = emit(twin)
    inputs = images(9, 4)
    if made.input_shape[1:] == inputs.shape[1:]:
        assert error(made, emit(small), inputs) < 1e-4
    return made, notes


def test_every_method_helps_a_residual_net() -> None:
    model, test = network(), images(2)
    plain: list[float] = []
    after: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in range(2):
        gone = random_cut(analyse(lift(model)), seed, 0.25)
        plain.append(error(model, masked_after(model, gone, None)[0], test))
        for method in METHODS:
            data = None if method == "batch_norm" else images(1, 256)
            made, notes = masked_after(model, gone, method, data=data)
            assert not any("not compensated" in note for note in notes), notes
            after[method].append(error(model, made, test))
    means = {method: float(np.mean(errors)) for method, errors in after.items()}
    assert means["batch_norm"] < 0.85 * float(np.mean(plain)), (plain, after)
    assert means["data"] < 0.85 * float(np.mean(plain)), (plain, after)
    assert means["least_squares"] < 0.9 * means["data"], (plain, after)


def one_consumer(consumer: keras.Layer, *, behind: list[keras.Layer] | None = None, **norm: Any) -> keras.Model:
    """A batch norm with given shift and scale, a ReLU, and one layer that sums over its channels."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 1, name="makes")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm", **norm)(x))
    x = consumer(x)
    for layer in behind or ():
        x = layer(x)
    model = keras.Model(inputs, x)
    randomise(model)
    return model


def some_gone(model: keras.Model) -> Array:
    channels = analyse(lift(model))
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["makes"].ids[[1, 4]]]] = True
    return gone


@pytest.mark.spread(6)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "consumer",
    [
        lambda: layers.Conv2D(4, 1),
        lambda: layers.Conv2D(4, 3),
        lambda: layers.Conv2D(6, 3, groups=2, use_bias=False),
        lambda: layers.SeparableConv2D(4, 3),
        lambda: layers.Conv2DTranspose(4, 1),
        lambda: layers.Dense(4, use_bias=False, activation="relu"),
        lambda: layers.EinsumDense("bhwc,cd->bhwd", (8, 8, 4), bias_axes="d"),
    ],
)
def test_exact_for_constant_channels(consumer: Any, method: str) -> None:
    model = one_consumer(consumer())
    channels = analyse(lift(model))
    gone = random_cut(channels, 0, 0.5)
    norm = model.get_layer("norm")
    lost = gone[channels.unit[channels.sources["makes"].ids]]
    norm.gamma.assign(np.where(lost, 0.0, 1.0))
    norm.beta.assign(np.abs(norm.beta.numpy()) + 0.5)
    made, notes = masked_after(model, gone, method, data=images(1), **({"ridge": 1e6} if method == METHODS[2] else {}))
    assert error(model, made, images(2)) < 2e-5
    assert len(notes) == 1


def test_expected_values_are_those_of_a_rectified_gaussian() -> None:
    """E[relu(x)] of N(m, s) is m Phi(m/s) + s phi(m/s)."""
    scipy_stats = pytest.importorskip("scipy.stats")
    model = one_consumer(layers.Conv2D(4, 1))
    graph = lift(model)
    beta, gamma = (np.asarray(graph.layers["norm"].weights[key].array, float) for key in ("beta", "gamma"))
    relu = next(node for node in graph.nodes() if graph.kind(node) == "ReLU")
    spread = Moments(graph).spread(relu.value)
    assert spread is not None
    ratio = beta / gamma
    wanted = beta * scipy_stats.norm.cdf(ratio) + gamma * scipy_stats.norm.pdf(ratio)
    np.testing.assert_allclose(spread.mean.ravel(), wanted, atol=1e-3)


@pytest.mark.parametrize("name", ["relu6", "swish", "gelu", "tanh", "sigmoid", "hard_silu", "leaky_relu"])
def test_activations_by_sampling(name: str) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(
        inputs, layers.Dense(2)(layers.Activation(name, name="act")(layers.BatchNormalization()(inputs)))
    )
    randomise(model, shift=2.0)
    graph = lift(model)
    norm = next(layer for layer in graph.layers.values() if layer.kind == "BatchNormalization")
    drawn = (
        np.random.default_rng(0).normal(size=(200_000, 4)) * norm.weights["gamma"].array + norm.weights["beta"].array
    )
    wanted = np.asarray(keras.activations.get(name)(drawn.astype("float32"))).mean(axis=0)
    spread = Moments(graph).spread(Value("act"))
    assert spread is not None
    np.testing.assert_allclose(spread.mean.ravel(), wanted, atol=0.02)


def test_means_of_sums_products_and_concatenations() -> None:
    inputs = keras.Input((4, 4, 3))
    one, two = (layers.BatchNormalization(name=name)(layers.Conv2D(5, 1)(inputs)) for name in ("one", "two"))
    own = layers.Multiply(name="own")([one, layers.Activation("sigmoid", name="gate")(one)])
    total, product = layers.Add(name="sum")([one, two]), layers.Multiply(name="product")([one, two])
    unknown = layers.LayerNormalization(name="unknown")(one)
    joined = layers.Concatenate(name="joined")([total, unknown])
    model = keras.Model(inputs, [layers.Conv2D(2, 1)(x) for x in (own, product, joined)])
    randomise(model)
    moments = Moments(lift(model))

    def mean(name: str) -> Array:
        spread = moments.spread(Value(name))
        assert spread is not None
        return np.asarray(spread.mean.ravel())

    np.testing.assert_allclose(mean("sum"), mean("one") + mean("two"), atol=1e-6)
    np.testing.assert_allclose(mean("product"), mean("one") * mean("two"), atol=1e-6)
    gate = mean("one") * mean("gate")  # x and its own gate are no independent factors
    assert np.abs(mean("own") - gate).max() > 0.02
    np.testing.assert_allclose(mean("joined")[:5], mean("sum"), atol=1e-6)
    assert np.isnan(mean("joined")[5:]).all()
    assert moments.spread(Value("unknown")) is None
    assert "LayerNormalization" in moments.why(Value("unknown"))


def test_a_batch_norm_behind_takes_it_up() -> None:
    model = one_consumer(
        layers.Conv2D(4, 1, use_bias=False, name="reads"), behind=[layers.BatchNormalization(name="next")]
    )
    graph = lift(model)
    compensate(graph, analyse(graph), some_gone(model))
    assert graph.layers["reads"].array("bias") is None
    moved = graph.layers["next"].weights["moving_mean"].array - np.asarray(model.get_layer("next").moving_mean)
    assert np.abs(moved).min() > 0


def test_a_bias_is_added_where_there_is_none_and_cut_with_its_layer() -> None:
    tail = [layers.ReLU(), layers.Conv2D(3, 1)]
    model = one_consumer(layers.Conv2D(4, 1, use_bias=False, name="reads"), behind=tail)
    channels = analyse(lift(model))
    gone = some_gone(model)
    gone[channels.unit[channels.sources["reads"].ids[:2]]] = True
    made, _ = masked_after(model, gone, "batch_norm")
    assert made.get_layer("reads").use_bias


def test_what_is_not_known_is_said() -> None:
    inputs = keras.Input((6,))
    x = layers.Dense(5, activation="relu", name="makes")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="reads")(x))
    graph = lift(model)
    before = graph.layers["reads"]
    notes = compensate(graph, analyse(graph), some_gone(model))
    assert len(notes) == 1
    assert "'reads' is not compensated: it depends on the input" in notes[0]
    assert graph.layers["reads"] is before


def test_layers_without_a_place_are_named() -> None:
    inputs = keras.Input((6, 4))
    x = layers.BatchNormalization()(layers.Dense(5, name="makes")(inputs))
    model = keras.Model(inputs, layers.LSTM(3, name="reads")(x))
    graph = lift(model)
    notes = compensate(graph, analyse(graph), some_gone(model))
    assert notes == ["'reads' is not compensated: a LSTM has no bias that could take it up"]


def test_patches_are_what_a_convolution_sums_over() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, 7, 9, 3)).astype("float32")
    for padding, strides, dilation in (("same", 2, 1), ("valid", 1, 2), ("same", 1, 2), ("same", 1, 1)):
        layer = layers.Conv2D(4, (3, 2), strides=strides, dilation_rate=dilation, padding=padding, use_bias=False)
        wanted = np.asarray(layer(array))
        positions = np.stack(np.unravel_index(np.arange(wanted[..., 0].size), wanted.shape[:-1]), axis=1)
        rows = patches(layer.get_config(), array, positions).reshape(len(positions), -1)
        np.testing.assert_allclose(rows @ np.asarray(layer.kernel).reshape(-1, 4), wanted.reshape(-1, 4), atol=1e-5)


def test_ridge_is_that_of_its_definition_with_more_rows_and_with_fewer() -> None:
    rng = np.random.default_rng(0)
    for rows in (40, 6):
        x, y = rng.normal(size=(rows, 12)), rng.normal(size=(rows, 3))
        mean, got = fitted(x, y, None, 0.1)
        a, b = x - x.mean(0), y - y.mean(0)
        strength = 0.1 * np.trace(a.T @ a) / 12
        np.testing.assert_allclose(got, np.linalg.solve(a.T @ a + strength * np.eye(12), a.T @ b), atol=1e-9)
        np.testing.assert_allclose(mean, x.mean(0))


def test_where_the_rows_that_are_held_out_lie_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 6))
    y = x @ rng.normal(size=(6, 3)) + 0.5 * rng.normal(size=(80, 3))
    last, order = np.arange(80) >= 60, rng.permutation(80)
    expected, found = fitted(x, y, last, None), fitted(x[order], y[order], last[order], None)
    assert np.any(expected[1])
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-10)


def test_noise_is_not_fitted() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 60)), rng.normal(size=(80, 2))
    assert not np.any(fitted(x, y, np.arange(80) >= 60, None)[1])


def test_a_gaussian_has_the_moments_that_it_was_given() -> None:
    spread = gaussian(np.array([[1.0, -2.0]]), np.array([[4.0, 0.25]]))
    np.testing.assert_allclose(spread.mean, [[1.0, -2.0]], atol=1e-7)
    np.testing.assert_allclose(spread.variance, [[4.0, 0.25]], rtol=1e-5)


def test_bad_input() -> None:
    model = one_consumer(layers.Conv2D(4, 1))
    graph = lift(model)
    channels, gone = analyse(graph), some_gone(model)
    with pytest.raises(OptionError, match="no compensation 'mean'"):
        compensate(graph, channels, gone, method="mean")
    for method in ("data", "least_squares"):
        with pytest.raises(OptionError, match="Calibration data is needed"):
            compensate(graph, channels, gone, method=method)
        with pytest.raises(OptionError, match="does not fit"):
            compensate(graph, channels, gone, method=method, data=np.zeros((4, 8, 8, 2), "float32"))
        with pytest.raises(OptionError, match="is empty"):
            compensate(graph, channels, gone, method=method, data=np.zeros((0, 8, 8, 3), "float32"))
        with pytest.raises(OptionError, match="NaN"):
            compensate(graph, channels, gone, method=method, data=np.full((4, 8, 8, 3), np.nan, "float32"))
