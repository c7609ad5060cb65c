"""What rules say of layers, against Keras running them: nothing here reads a rule's own arithmetic twice."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rules import (
    Border,
    CannotTell,
    Each,
    Enlarged,
    Gone,
    Join,
    Moved,
    Permuted,
    Product,
    Regrouped,
    Sum,
    Window,
    affine_of,
    channel_form,
    combination_of,
    identity_of,
    is_channelwise,
    linear_form,
    linear_kinds,
    may_be_linear,
    movement_of,
    positions_of,
    rule_for,
)
from kerasurgeon.rules.linear_numbers import scaled_inputs, scaled_outputs, with_numbers
from tests.zoo.sampling import randomise

Array = np.ndarray[Any, Any]

IMAGE, SEQUENCE, VOLUME, VECTOR = (9, 8, 4), (9, 4), (5, 6, 4, 4), (4,)


def graph_with(layer: Any, *shapes: tuple[int, ...]) -> tuple[Graph, Node]:
    """A graph of one layer or function, its weights random; its node."""
    inputs = [keras.Input(shape) for shape in shapes]
    outputs = layer(inputs[0] if len(inputs) == 1 else inputs) if isinstance(layer, layers.Layer) else layer(*inputs)
    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs)
    randomise(model, 0)
    graph = lift(model)
    return graph, graph.producer(graph.outputs[0] if isinstance(graph.outputs, (list, tuple)) else graph.outputs)


def run(graph: Graph, *arrays: Array) -> Array:
    model = emit(graph)
    return np.asarray(model(list(arrays) if len(arrays) > 1 else arrays[0], training=False))


def sample(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype("float32")


LINEAR: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Dense": (lambda: layers.Dense(5), VECTOR),
    "Dense over positions": (lambda: layers.Dense(5, use_bias=False), IMAGE),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (9, 5), bias_axes="d"), SEQUENCE),
    "Conv1D": (lambda: layers.Conv1D(5, 3), SEQUENCE),
    "Conv1D causal": (lambda: layers.Conv1D(5, 3, padding="causal"), SEQUENCE),
    "Conv2D": (lambda: layers.Conv2D(5, (3, 2), strides=2, padding="same"), IMAGE),
    "Conv2D groups": (lambda: layers.Conv2D(6, 3, groups=2, dilation_rate=2, padding="same"), IMAGE),
    "Conv3D": (lambda: layers.Conv3D(3, 2), VOLUME),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(5, 3, strides=2), SEQUENCE),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 3, strides=2, padding="same"), IMAGE),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(3, 2), VOLUME),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3), SEQUENCE),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(5, 3, padding="same"), SEQUENCE),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2), IMAGE),
}


def test_every_linear_kind_has_a_case() -> None:
    assert {kind for kind in linear_kinds() if not kind.startswith("custom:")} == {name.split()[0] for name in LINEAR}


@pytest.mark.parametrize("case", LINEAR)
def test_outputs_scale_with_the_kernel_that_makes_them(case: str) -> None:
    make, shape = LINEAR[case]
    graph, node = graph_with(make(), shape)
    layer = graph.layer_of(node)
    form = channel_form(layer)
    assert form is not None
    x, before = sample(*shape), run(graph, sample(*shape))
    scale = np.linspace(0.5, 2.0, before.shape[-1])
    bias = np.zeros(before.shape[-1]) if layer.array("bias") is None else layer.weights["bias"].array * scale
    graph.update_layer(node.layer, with_numbers(layer, form, scaled_outputs(layer, form, scale), np.asarray(bias)))
    np.testing.assert_allclose(run(graph, x), before * scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LINEAR)
def test_scaled_and_shifted_inputs_go_into_the_kernel_that_reads_them(case: str) -> None:
    make, shape = LINEAR[case]
    graph, node = graph_with(make(), shape)
    layer = graph.layer_of(node)
    form = channel_form(layer)
    assert form is not None
    rng = np.random.default_rng(1)
    scale, shift = rng.uniform(0.5, 2.0, shape[-1]), rng.normal(size=shape[-1]) * form.even
    x = sample(*shape)
    wanted = run(graph, (x * scale + shift).astype("float32"))
    arrays, added = scaled_inputs(layer, form, scale, shift)
    bias = 0.0 if layer.array("bias") is None else layer.weights["bias"].array
    graph.update_layer(node.layer, with_numbers(layer, form, arrays, np.asarray(bias + added)))
    np.testing.assert_allclose(run(graph, x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", LINEAR)
def test_a_constant_gives_the_same_everywhere_where_the_form_says_so(case: str) -> None:
    make, shape = LINEAR[case]
    graph, node = graph_with(make(), shape)
    form = linear_form(graph.layer_of(node))
    assert form is not None
    result = run(graph, np.ones((1, *shape), "float32"))
    positions = result.reshape(-1, result.shape[-1])
    assert bool(np.ptp(positions, axis=0).max() < 1e-5) is form.even


def test_an_equation_over_other_axes_is_linear_but_not_by_channel() -> None:
    graph, node = graph_with(layers.EinsumDense("abc,bd->adc", (5, 4), bias_axes="c"), (9, 4))
    form = linear_form(graph.layer_of(node))
    assert form is not None
    assert not form.by_channel
    assert form.summed_axes(3) == {1}
    assert channel_form(graph.layer_of(node)) is None


def test_what_is_no_plain_kernel_says_why() -> None:
    dense = layers.Dense(5, name="it")
    graph, node = graph_with(dense, VECTOR)
    dense.enable_lora(2)
    graph = lift(keras.Model(dense.input, dense.output))
    with pytest.raises(CannotTell, match="lora"):
        rule_for("Dense").linear(graph.layer_of("it"))
    assert linear_form(graph.layer_of("it")) is None
    assert may_be_linear("Dense")
    for kind in ("LSTM", "ops.conv", "ReLU", "custom:nobody.Knows"):
        assert not may_be_linear(kind)
    assert node.name == "it"


ALONG: dict[str, tuple[Any, tuple[int, ...]]] = {
    **LINEAR,
    "ReLU": (layers.ReLU, IMAGE),
    "Activation": (lambda: layers.Activation("gelu"), IMAGE),
    "Softmax": (layers.Softmax, IMAGE),
    "PReLU": (layers.PReLU, SEQUENCE),
    "BatchNormalization": (layers.BatchNormalization, IMAGE),
    "LayerNormalization": (layers.LayerNormalization, IMAGE),
    "RMSNormalization": (layers.RMSNormalization, SEQUENCE),
    "UnitNormalization": (layers.UnitNormalization, IMAGE),
    "Rescaling": (lambda: layers.Rescaling([1.0, 2.0, 3.0, 4.0], 1.0), IMAGE),
    "SpatialDropout2D": (lambda: layers.SpatialDropout2D(0.5), IMAGE),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(3, strides=2, padding="same"), IMAGE),
    "MaxPooling1D": (lambda: layers.MaxPooling1D(2), SEQUENCE),
    "AveragePooling3D": (lambda: layers.AveragePooling3D(2), VOLUME),
    "ZeroPadding2D": (lambda: layers.ZeroPadding2D(((1, 2), (3, 0))), IMAGE),
    "ZeroPadding1D": (lambda: layers.ZeroPadding1D((1, 2)), SEQUENCE),
    "Cropping3D": (lambda: layers.Cropping3D(((1, 1), (0, 2), (1, 0))), VOLUME),
    "UpSampling1D": (lambda: layers.UpSampling1D(3), SEQUENCE),
    "UpSampling2D": (lambda: layers.UpSampling2D((2, 3)), IMAGE),
    "GlobalAveragePooling2D": (layers.GlobalAveragePooling2D, IMAGE),
}


def test_reductions_take_the_positions_away_or_leave_them() -> None:
    def positions(**options: Any) -> Any:
        graph, node = graph_with(lambda x: ops.mean(x, **options), IMAGE)
        return positions_of(graph, node)

    assert isinstance(positions(axis=(1, 2)), Gone)
    assert isinstance(positions(axis=(2, 3), keepdims=True), Gone)
    assert isinstance(positions(axis=-1, keepdims=True), Each)
    assert positions(axis=-1) is None
    assert positions(axis=1, keepdims=True) is None


def _changed(graph: Graph, shape: tuple[int, ...], place: tuple[int, ...], channels: slice) -> Array:
    """Which elements of the result change when one position of the operand does."""
    x = sample(*shape, seed=3)[:1]
    other = x.copy()
    at: Any = (0, *place, channels)
    other[at] += np.linspace(1.0, 3.0, shape[-1])[channels]  # not the same: norms take out a mean
    return np.asarray(np.abs(run(graph, other) - run(graph, x))[0] > 1e-6)


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", ALONG)
def test_positions_reach_as_far_as_the_rule_says(case: str) -> None:
    make, shape = ALONG[case]
    graph, node = graph_with(make(), shape)
    found = positions_of(graph, node)
    assert found is not None
    place = tuple(size // 2 for size in shape[:-1])
    changed = _changed(graph, shape, place, slice(None))
    where = np.argwhere(changed.any(axis=-1))
    sizes = changed.shape[:-1]
    if isinstance(found, Each):
        assert where.tolist() == [list(place)]
    elif isinstance(found, Window):
        reach = [(size - 1) * gap + 1 for size, gap in zip(found.size, found.dilation, strict=True)]
        assert len(where)
        for axis, (taps, step) in enumerate(zip(reach, found.strides, strict=True)):
            spread = np.ptp(where[:, axis]) + 1
            assert spread <= (taps if found.transposed else -(-taps // step))
            if not found.transposed and found.padding in ("valid", "same"):
                padded = shape[axis] if found.padding == "same" else shape[axis] - taps + 1
                assert sizes[axis] == -(-padded // step)
    elif isinstance(found, Border):
        sign = -1 if found.cuts else 1
        assert sizes == tuple(size + sign * sum(pair) for size, pair in zip(shape[:-1], found.sides, strict=True))
        assert where.tolist() == [[at + sign * pair[0] for at, pair in zip(place, found.sides, strict=True)]]
    elif isinstance(found, Enlarged):
        assert sizes == tuple(size * factor for size, factor in zip(shape[:-1], found.factors, strict=True))
        assert len(where) == np.prod(found.factors)
    else:
        assert not sizes


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", ALONG)
def test_channels_meet_where_the_rule_does_not_deny_it(case: str) -> None:
    make, shape = ALONG[case]
    graph, node = graph_with(make(), shape)
    place = tuple(size // 2 for size in shape[:-1])
    others = np.arange(shape[-1]) != 1
    changed = _changed(graph, shape, place, slice(1, 2)).reshape(-1, run(graph, sample(*shape)).shape[-1]).any(axis=0)
    meets = changed.shape != others.shape or bool((changed & others).any())
    layer = graph.layer_of(node)
    if is_channelwise(layer):
        assert not meets
    elif case not in ("DepthwiseConv1D",):  # its channels are apart here, as its multiplier is 1
        assert meets


MERGES: dict[str, Any] = {
    "Add": layers.Add(),
    "Subtract": layers.Subtract(),
    "Average": layers.Average(),
    "Multiply": layers.Multiply(),
    "Concatenate": layers.Concatenate(),
    "ops.add": ops.add,
    "ops.subtract": ops.subtract,
    "ops.multiply": ops.multiply,
    "ops.concatenate": lambda a, b: ops.concatenate([a, b], axis=1),
}


@pytest.mark.parametrize("case", MERGES)
def test_combinations(case: str) -> None:
    graph, node = graph_with(MERGES[case], (3, 4), (3, 4))
    a, b = sample(3, 4), sample(3, 4, seed=1)
    found, result = combination_of(graph, node), run(graph, a, b)
    if isinstance(found, Sum):
        np.testing.assert_allclose(result, found.factors[0] * a + found.factors[1] * b, rtol=1e-6)
    elif isinstance(found, Product):
        np.testing.assert_allclose(result, a * b, rtol=1e-6)
    else:
        assert isinstance(found, Join)
        np.testing.assert_array_equal(result, np.concatenate([a, b], found.axis))
    turned = np.array_equal(result, run(graph, b, a))
    assert rule_for(graph.kind(node)).commutes(graph.layer_of(node)) is turned


@pytest.mark.parametrize("kind", ["Maximum", "Minimum"])
def test_what_is_no_sum_is_none(kind: str) -> None:
    graph, node = graph_with(getattr(layers, kind)(), (4,), (4,))
    assert combination_of(graph, node) is None


MOVES: dict[str, Any] = {
    "Reshape": layers.Reshape((4, 6)),
    "Flatten": layers.Flatten(),
    "Permute": layers.Permute((3, 1, 2)),
    "RepeatVector": None,
    "ops.transpose": lambda x: ops.transpose(x, (0, 2, 3, 1)),
    "ops.swapaxes": lambda x: ops.swapaxes(x, 1, -1),
    "ops.moveaxis": lambda x: ops.moveaxis(x, 1, 3),
    "ops.expand_dims": lambda x: ops.expand_dims(x, 2),
    "ops.reshape": lambda x: ops.reshape(x, (-1, 24)),
}


@pytest.mark.parametrize("case", MOVES)
def test_movements(case: str) -> None:
    shape = (5,) if case == "RepeatVector" else (2, 3, 4)
    graph, node = graph_with(MOVES[case] or layers.RepeatVector(3), shape)
    x = sample(*shape)
    found, result = movement_of(graph, node), run(graph, x)
    if isinstance(found, Permuted):
        np.testing.assert_array_equal(result, x.transpose(found.order))
    elif isinstance(found, Regrouped):
        np.testing.assert_array_equal(result.ravel(), x.ravel())
    else:
        assert isinstance(found, Moved)
        assert set(np.unique(result)) <= {*np.unique(x).tolist(), 0.0}


def test_flatten_of_channels_first_is_more_than_a_regrouping() -> None:
    graph, node = graph_with(layers.Flatten(data_format="channels_first"), (2, 3, 4))
    assert isinstance(movement_of(graph, node), Moved)


IDENTITIES: dict[str, tuple[Any, bool]] = {
    "Identity": (layers.Identity(), True),
    "linear": (layers.Activation("linear"), True),
    "relu": (layers.Activation("relu"), False),
    "Dropout 0": (layers.Dropout(0.0), True),
    "Dropout": (layers.Dropout(0.5), False),
    "pool 1": (layers.MaxPooling2D(1), True),
    "pool 2": (layers.MaxPooling2D(2), False),
    "pad 0": (layers.ZeroPadding2D(0), True),
    "crop 1": (layers.Cropping2D(1), False),
    "up 1": (layers.UpSampling2D(1), True),
    "rescale": (layers.Rescaling(1.0, 0.0), True),
    "rescaled": (layers.Rescaling(2.0), False),
    "x + 0": (lambda x: ops.add(x, 0.0), True),
    "1 * x": (lambda x: ops.multiply(1.0, x), True),
    "x / 1": (lambda x: ops.divide(x, 1.0), True),
    "x ** 1": (lambda x: ops.power(x, 1.0), True),
    "x + 1": (lambda x: ops.add(x, 1.0), False),
    "cast": (lambda x: ops.cast(x, "float32"), True),
    "repeat": (lambda x: ops.repeat(x, 1, axis=1), True),
    "all of it": (lambda x: x[:, 0:4], True),
    "some of it": (lambda x: x[:, 1:4], False),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_identities(case: str) -> None:
    layer, wanted = IDENTITIES[case]
    graph, node = graph_with(layer, (4, 4, 2))
    try:
        said = bool(identity_of(graph, node))
    except CannotTell:
        said = False
    assert said is wanted
    x = sample(4, 4, 2)
    result = run(graph, x)
    same = result.shape == x.shape and np.array_equal(result, x)
    trains = rule_for(graph.kind(node)).only_in_training(graph.layer_of(node))
    assert same is (wanted or trains)


def test_a_batch_norm_is_affine_and_knows_its_results() -> None:
    graph, node = graph_with(layers.BatchNormalization(axis=1), (3, 50, 40))
    layer = graph.layer_of(node)
    affine = affine_of(layer)
    assert affine is not None
    x = sample(3, 50, 40)
    shape = (1, -1, 1, 1)
    np.testing.assert_allclose(
        run(graph, x), x * affine.scale.reshape(shape) + affine.shift.reshape(shape), rtol=1e-4, atol=1e-5
    )
    mean, variance = layer.weights["moving_mean"].array, layer.weights["moving_variance"].array
    typical = (mean + np.sqrt(variance) * x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2).astype("float32")
    known = rule_for(layer.kind).statistics(layer, 4)
    assert known is not None
    result = run(graph, typical)
    np.testing.assert_allclose(result.mean(axis=(0, 2, 3)), known.mean.ravel(), atol=0.1)
    np.testing.assert_allclose(result.var(axis=(0, 2, 3)), known.variance.ravel(), rtol=0.1)


def test_a_normalisation_without_data_knows_nothing() -> None:
    graph, node = graph_with(layers.Normalization(mean=0.0, variance=1.0), (4,))
    with pytest.raises(CannotTell, match="not those of data"):
        rule_for("Normalization").statistics(graph.layer_of(node), 2)
