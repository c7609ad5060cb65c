"""Channels duplicated everywhere they live: outputs stay, whatever couples them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.channels import analyse
from kerasurgeon.channels.grow import Growth, cannot_grow, grow_units
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.rewrite.outputs import rounding_sensitivity, tolerance
from tests.applications import application_inputs, shared_application
from tests.channels.building import conv, dense, image, steps
from tests.channels.networks import residual
from tests.channels.oracle import outputs
from tests.zoo import ZOO, build, randomise


def grown(model: keras.Model, seed: int = 0, most: int = 3, uneven: float = 0.5) -> tuple[Graph, Growth]:
    """A model with every unit there a random number of times, and what was done."""
    graph = lift(model)
    channels = analyse(graph)
    rng = np.random.default_rng(seed)
    growth = grow_units(graph, channels, rng.integers(1, most + 1, channels.units), rng=rng, uneven=uneven)
    check_types(graph, everything=True)
    return graph, growth


def worst(expected: list[np.ndarray[Any, Any]], got: list[np.ndarray[Any, Any]]) -> float:
    differences = []
    for one, other in zip(expected, got, strict=True):
        assert one.shape == other.shape
        scale = max(float(np.abs(one).max(initial=0.0)), 1e-6)
        differences.append(float(np.abs(one.astype("float64") - other.astype("float64")).max(initial=0.0)) / scale)
    return max(differences, default=0.0)


def assert_grows(model: keras.Model, inputs: Any = None, *, seeds: tuple[int, ...] = (0, 1), rtol: float = 1e-5) -> int:
    """Random growth leaves the outputs. Returns how many units were duplicated in all."""
    data = sample_inputs(lift(model), batch_size=3, seed=7) if inputs is None else inputs
    expected, total = None, 0
    for seed in seeds:
        graph, growth = grown(model, seed)
        total += int((growth.copies > 1).sum())
        if not growth.widths:
            continue
        expected = outputs(model, data) if expected is None else expected
        assert worst(expected, outputs(emit(graph), data)) <= rtol
    return total


def test_against_net2wider_by_hand() -> None:
    """Two dense layers widened in numpy, by the equations of the paper."""
    inputs = keras.Input((5,))
    model = keras.Model(inputs, dense(3, "out")(dense(4, "hidden", activation="tanh")(inputs)))
    randomise(model, 3)
    graph = lift(model)
    channels = analyse(graph)
    copies = np.ones(channels.units, int)
    copies[channels.unit[channels.sources["hidden"].ids]] = [1, 3, 1, 2]
    growth = grow_units(graph, channels, copies)
    assert growth.widths == {"hidden": (4, 7)}
    kernel, bias, head, _ = (np.asarray(weight) for weight in model.get_weights())
    source, times = [0, 1, 1, 1, 2, 3, 3], np.array([1, 3, 3, 3, 1, 2, 2])
    hidden, out = graph.layers["hidden"], graph.layers["out"]
    np.testing.assert_array_equal(hidden.weights["kernel"].array, kernel[:, source])
    np.testing.assert_array_equal(hidden.weights["bias"].array, bias[source])
    np.testing.assert_allclose(out.weights["kernel"].array, head[source] / times[:, None], rtol=1e-6)
    assert hidden.config["units"] == 7


def test_uneven_shares_add_up_and_part_the_copies() -> None:
    model = residual()
    graph = lift(model)
    channels = analyse(graph)
    copies = np.ones(channels.units, int)
    copies[channels.unit[channels.sources["a1"].ids]] = 2
    grow_units(graph, channels, copies, rng=np.random.default_rng(0), uneven=0.5)
    rows = graph.layers["a2"].weights["kernel"].array.reshape(6, 2, 8)
    assert (rows[:, 0] != rows[:, 1]).all()
    before = np.asarray(model.get_layer("a2").kernel).reshape(6, 8)
    np.testing.assert_allclose(rows.sum(axis=1), before, rtol=1e-6)
    ratio = rows[:, 0] / before
    assert ratio.min() >= 0.25
    assert ratio.max() <= 0.75


def test_everything_that_is_added_grows_alike() -> None:
    model = residual()
    graph, growth = grown(model)
    assert {growth.widths[name][1] for name in ("stem", "a2", "b2")} == {growth.widths["stem"][1]}
    small = emit(graph)
    assert small.get_layer("bn2").gamma.shape == (growth.widths["stem"][1],)
    assert "head" not in growth.widths
    assert growth.left


def _shuffle(value: Any) -> Any:
    """A channel shuffle over two groups."""
    value = layers.Reshape((6, 6, 2, 4))(value)
    return layers.Reshape((6, 6, 8))(layers.Permute((1, 2, 4, 3))(value))


def _depth_to_space(value: Any) -> Any:
    """Blocks of two by two from channels."""
    blocks = ops.transpose(ops.reshape(value, (-1, 6, 6, 2, 2, 2)), (0, 1, 3, 2, 4, 5))
    return layers.Reshape((12, 12, 2))(blocks)


TAILS: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "flatten": (lambda: image(lambda x: layers.Flatten()(x)), 8),
    "flatten_twice_read": (lambda: image(lambda x: layers.Concatenate()([layers.Flatten()(x)] * 2)), 8),
    "channel_shuffle": (lambda: image(_shuffle), 4),
    "depthwise_multiplier": (lambda: image(lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x)), 8),
    "separable": (lambda: image(lambda x: layers.SeparableConv2D(5, 3, depth_multiplier=2)(x)), 13),
    "grouped_wide": (lambda: image(lambda x: conv(8, groups=2)(x)), 8),
    "grouped_narrow": (lambda: image(lambda x: conv(8, groups=4)(x)), 4),
    "grouped_one_each": (lambda: image(lambda x: conv(8, groups=8)(x)), 8),
    "group_norm": (lambda: image(lambda x: layers.GroupNormalization(4)(x)), 4),
    "batch_norm": (lambda: image(lambda x: layers.BatchNormalization()(x)), 8),
    "prelu": (lambda: image(lambda x: layers.PReLU(shared_axes=(1, 2))(x)), 8),
    "concatenate": (lambda: image(lambda x, y: layers.Concatenate()([x, y, x]), two=5), 13),
    "halves_multiplied": (lambda: image(lambda x: ops.multiply(*ops.split(x, 2, axis=-1))), 4),
    "slice": (lambda: image(lambda x: x[..., 2:7]), 8),
    "picked_half": (lambda: image(lambda x: ops.take(x, [6, 0, 3, 3], axis=-1)), 8),
    "upsampling": (lambda: image(lambda x: layers.UpSampling2D()(x)), 8),
    "transposed": (lambda: image(lambda x: layers.Conv2DTranspose(5, 3)(x)), 13),
    "squeeze_excite": (
        lambda: image(
            lambda x: layers.Multiply()(
                [x, layers.Reshape((1, 1, 8))(dense(8)(dense(3)(layers.GlobalAveragePooling2D()(x))))]
            )
        ),
        11,
    ),
    "dense_to_image": (lambda: image(lambda x: conv(4)(layers.Reshape((3, 3, 4))(dense(36)(layers.Flatten()(x))))), 16),
    "depth_to_space": (lambda: image(_depth_to_space), 2),
    "pad_channels": (lambda: image(lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 2)))), 8),
    "rescaling_list": (lambda: image(lambda x: layers.Rescaling([1.0, 2, 3, 4, 5, 6, 7, 8])(x)), 8),
    "constant_per_channel": (lambda: image(lambda x: x * np.arange(1.0, 9.0, dtype="float32")), 8),
    "lstm": (lambda: steps(lambda x: layers.LSTM(4, return_sequences=True)(x)), 12),
    "gru": (lambda: steps(lambda x: layers.GRU(4)(x)), 12),
    "bidirectional": (lambda: steps(lambda x: layers.Bidirectional(layers.SimpleRNN(3))(x)), 11),
    "attention": (lambda: steps(lambda x: layers.MultiHeadAttention(2, 3, value_dim=2)(x, x)), 23),
    "grouped_query": (lambda: steps(lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x)), 14),
    "time_distributed": (lambda: steps(lambda x: layers.TimeDistributed(dense(5))(x)), 13),
    "einsum_dense": (lambda: steps(lambda x: layers.EinsumDense("abc,cd->abd", (None, 5))(x)), 13),
}


@pytest.mark.spread(6)
@pytest.mark.parametrize("case", TAILS)
def test_couplings(case: str) -> None:
    make, number = TAILS[case]
    model = make()
    randomise(model, 1)
    channels = analyse(lift(model))
    growth = grow_units(lift(model), channels, np.full(channels.units, 2))
    assert int((growth.copies > 1).sum()) == number, growth.left
    assert_grows(model)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: image(lambda x: layers.LayerNormalization()(x)), "normalised over"),
        (lambda: image(lambda x: layers.Softmax()(x)), "normalised over"),
        (lambda: image(lambda x: ops.mean(x, axis=-1, keepdims=True)), "reduced over"),
        (lambda: image(lambda x: layers.UnitNormalization()(x)), "summed over without a weight"),
        (lambda: steps(lambda x, y: layers.Dot(2)([x, y]), two=8), "summed over without a weight"),
    ],
)
def test_what_cannot_be_duplicated_is_left_with_a_reason(make: Callable[[], keras.Model], reason: str) -> None:
    model = make()
    channels = analyse(lift(model))
    growth = grow_units(lift(model), channels, np.full(channels.units, 2))
    units = channels.unit[channels.sources["one"].ids]
    assert (growth.copies[units] == 1).all()
    assert all(reason in growth.left[unit] for unit in units.tolist())
    assert_grows(model)


def test_a_weight_that_makes_and_sums_the_same_channels_is_left() -> None:
    model = build("reversible_embedding")
    channels = analyse(lift(model))
    growth = grow_units(lift(model), channels, np.full(channels.units, 2))
    assert any("both makes it and sums over it" in why for why in growth.left.values())
    assert_grows(model)


def test_fresh_growth_takes_what_is_normalised_over_too() -> None:
    model = image(lambda x: layers.LayerNormalization()(x))
    graph = lift(model)
    channels = analyse(graph)
    growth = grow_units(graph, channels, np.full(channels.units, 2), exact=False)
    assert growth.widths["one"] == (8, 16)
    assert set(growth.left) == set(cannot_grow(channels))
    check_types(graph, everything=True)


def test_the_graph_that_was_grown_is_another() -> None:
    model = residual()
    before = [np.array(weight) for weight in model.get_weights()]
    grown(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_copies_must_fit() -> None:
    channels = analyse(lift(residual()))
    with pytest.raises(ValueError, match="a number from 1 for every unit"):
        grow_units(lift(residual()), channels, np.zeros(channels.units, int))


# The one that is left out cannot be lifted, the other warns.
@pytest.mark.spread(10)
@pytest.mark.parametrize("name", [name for name in ZOO if name not in ("custom_without_config", "mask_into_nested")])
def test_models_of_the_zoo(name: str) -> None:
    model = build(name)
    half = name == "policy_map"  # computes parts in half precision, which its dtype does not tell
    assert_grows(model, seeds=(2,), rtol=2e-3 if half else tolerance(lift(model), 1e-4))


def test_every_application(application: str) -> None:
    model = shared_application(application)
    inputs = application_inputs(model, seed=5, batch=2)
    expected = outputs(model, inputs)
    graph, growth = grown(model, seed=4, most=2)
    channels = analyse(lift(model))
    assert (growth.copies > 1).sum() > (0.05 if application.startswith("ConvNeXt") else 0.3) * channels.units
    difference = worst(expected, outputs(emit(graph, compile=False), inputs))
    if difference > 1e-4:
        # A deep network amplifies rounding: a few times what the last bit of every weight does is allowed.
        assert difference <= 4 * rounding_sensitivity(lift(model), inputs, expected, seed=0)
    keras.backend.clear_session()
    gc.collect()
