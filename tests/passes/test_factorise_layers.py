"""Layers of factorised kernels: what they compute and cost, against kernels put together by the tests' own code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.authoring import Graph, emit, lift
from kerasurgeon.factors import Factors, Shape, Stage, chain_macs, chain_params
from kerasurgeon.factors.put import put
from kerasurgeon.factors.sites import Site, places
from kerasurgeon.factors.split_layers import build_layers, refusal
from tests.passes.checking import assert_lives, difference, kinds, model_of
from tests.passes.factors_by_hand import chains, keras_kernel, one_layer, random_factors, with_kernel
from tests.zoo import sample_inputs

layers = keras.layers
Array = np.ndarray[Any, Any]


@keras.saving.register_keras_serializable("factorise_layers")  # type: ignore[untyped-decorator]  # Keras has no types
def wobble(x: Any) -> Any:
    """An activation that is not Keras' own."""
    return keras.ops.sin(x) + 0.1 * x


def site_of(graph: Graph, name: str = "layer") -> Site:
    return next(site for site in places(graph) if isinstance(site, Site) and site.layer.name == name)


def split(model: keras.Model, factors: Factors, name: str = "layer") -> keras.Model:
    graph = lift(model)
    site = site_of(graph, name)
    put(graph, site.key, build_layers(site, factors))
    return emit(graph)


def shape_of(model: keras.Model) -> Shape:
    return site_of(lift(model)).shape


def three(model: keras.Model, **options: Any) -> Factors:
    """Random factors of the usual chain."""
    shape = shape_of(model)
    return random_factors(shape, chains(shape)["three"], **options)


def conv(axes: int = 2, transposed: bool = False, filters: int = 6, kernel: Any = 3, **options: Any) -> keras.Model:
    cls = getattr(layers, f"Conv{axes}D{'Transpose' if transposed else ''}")
    size = options.pop("size", {1: (11,), 2: (9, 10), 3: (5, 6, 5)}[axes])
    shape = (4, *size) if options.get("data_format") == "channels_first" else (*size, 4)
    return one_layer(cls(filters, kernel, name="layer", **options), *shape)


# ---- what the layers compute and cost ---------------------------------------------------------------------------

GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"padding": "same", "strides": 2},
    {"strides": (1, 2), "use_bias": False},
    {"padding": "same", "dilation_rate": (2, 1)},
    {"dilation_rate": (1, 3), "data_format": "channels_first"},
    {"kernel": (1, 5), "padding": "same"},
    {"kernel": 1, "strides": 2, "padding": "same"},
    {"kernel": (2, 3), "padding": "same", "strides": (3, 2), "data_format": "channels_first"},
    {"kernel": 4, "padding": "same", "strides": 2, "activation": "relu"},
    {"groups": 2, "padding": "same", "strides": 2},
    {"axes": 1},
    {"axes": 1, "padding": "same", "strides": 3, "data_format": "channels_first"},
    {"axes": 1, "padding": "causal", "dilation_rate": 2},
    {"axes": 1, "padding": "causal", "strides": 2, "data_format": "channels_first"},
    {"axes": 3, "kernel": (3, 2, 2), "padding": "same", "strides": (1, 2, 1)},
    {"axes": 3, "kernel": 2, "dilation_rate": 2, "use_bias": False},
    {"transposed": True},
    {"transposed": True, "kernel": 1, "padding": "same"},
    {"transposed": True, "kernel": 1, "strides": 2},
    {"transposed": True, "padding": "same", "strides": 2},
    {"transposed": True, "padding": "same", "strides": (2, 3), "output_padding": (1, 0)},
    {"transposed": True, "kernel": (2, 4), "strides": (3, 1), "use_bias": False},
    {"transposed": True, "dilation_rate": 2, "padding": "same"},
    {"transposed": True, "strides": 2, "data_format": "channels_first", "activation": "relu"},
    {"transposed": True, "axes": 1, "strides": 2, "padding": "same"},
    {"transposed": True, "axes": 1, "strides": 3, "output_padding": 2, "data_format": "channels_first"},
    {"transposed": True, "axes": 3, "kernel": (3, 1, 2), "strides": (2, 1, 2), "padding": "same"},
    {"transposed": True, "axes": 3, "kernel": 2, "data_format": "channels_first"},
]

# Compiled by XLA for every kernel, which takes seconds.
SLOW: list[dict[str, Any]] = [
    {"groups": 2, "kernel": (3, 2), "dilation_rate": (2, 1), "use_bias": False},
    {"axes": 1, "padding": "causal", "strides": 2, "groups": 2, "data_format": "channels_first"},
    {"axes": 3, "kernel": (2, 3, 1), "padding": "same", "data_format": "channels_first"},
    {"axes": 3, "kernel": (1, 3, 2), "groups": 2, "strides": 2},
]


def assert_computes_and_costs(model: keras.Model, *, seed: int = 0) -> int:
    """Every chain computes what the layer does with the kernel that it stands for, at the cost that is said of it."""
    shape, inputs, tried = shape_of(model), sample_inputs(model), 0
    has_bias = len(model.get_layer("layer").get_weights()) > 1
    for number, (form, stages) in enumerate(chains(shape).items()):
        graph = lift(model)
        site = site_of(graph)
        if refusal(site, stages):
            with pytest.raises(ValueError, match="cannot be built"):
                build_layers(site, random_factors(shape, stages))
            continue
        residual, added = number % 2 == 1, has_bias and number % 3 == 0
        factors = random_factors(shape, stages, residual=residual, bias=added, seed=seed + number)
        put(graph, site.key, build_layers(site, factors))
        result = emit(graph)
        expected = with_kernel(model, "layer", keras_kernel(factors), factors.bias)
        assert difference(expected, result, inputs) < 1e-5, form
        # The residual has the original's kernel, and costs what that does.
        macs = sum(chain_macs(shape, stages, spans) for spans in site.spans) + residual * site.macs()
        assert ks.cost(result).macs == macs, form
        biases = shape.groups * shape.outputs if has_bias else 0
        assert result.count_params() == chain_params(shape, stages) + residual * site.params + biases, form
        tried += 1
    assert ks.cost(model).macs == site_of(lift(model)).macs()
    return tried


@pytest.mark.spread(6)
@pytest.mark.parametrize(
    "options", [*GEOMETRIES, *(pytest.param(slow, marks=pytest.mark.sweep) for slow in SLOW)], ids=str
)
def test_any_convolution(options: dict[str, Any]) -> None:
    assert assert_computes_and_costs(conv(**options)) >= 4


@pytest.mark.spread(3)
@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "relu"}], ids=str)
@pytest.mark.parametrize("shape", [(5,), (7, 5)], ids=str)
def test_dense(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    assert assert_computes_and_costs(one_layer(layers.Dense(6, name="layer", **options), *shape)) == 4


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "shape"),
    [
        ("abc,cd->abd", (None, 6), "d", (7, 5)),
        ("ab,bc->ac", 6, None, (5,)),
        ("...x,xy->...y", 6, "y", (7, 5)),
    ],
)
def test_einsum_dense(equation: str, output_shape: Any, bias_axes: str | None, shape: tuple[int, ...]) -> None:
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, name="layer")
    assert assert_computes_and_costs(one_layer(layer, *shape)) == 4


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(150))
def test_any_convolution_at_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, transposed = int(rng.integers(1, 4)), bool(rng.integers(2))
    kernel = tuple(map(int, rng.integers(1, 5 - axes // 3, axes)))
    options: dict[str, Any] = {"padding": str(rng.choice(["same", "valid"])), "use_bias": bool(rng.integers(2))}
    options["data_format"] = str(rng.choice(["channels_last", "channels_first"]))
    options["activation"] = [None, "relu"][rng.integers(2)]
    move = ["strides", "dilation_rate"][rng.integers(2)]
    options[move] = tuple(map(int, rng.integers(1, 4, axes)))
    if transposed and move == "dilation_rate":
        options[move] = (int(rng.integers(1, 3)),) * axes
    if not transposed:
        options["groups"] = int(rng.choice([1, 1, 2]))
    size = tuple(map(int, rng.integers(10, 13, axes)))
    assert_computes_and_costs(conv(axes, transposed, kernel=kernel, size=size, **options), seed=seed)


def test_a_fixed_batch_counts() -> None:
    inputs = keras.Input(batch_shape=(4, 9, 10, 4))
    model = model_of(inputs, layers.ReLU(name="end")(layers.Conv2D(6, 3, strides=2, name="layer")(inputs)))
    site = site_of(lift(model))
    assert site.macs() == ks.cost(model).macs == 4 * 4 * 4 * 9 * 4 * 6
    factors = three(model)
    assert ks.cost(split(model, factors)).macs == chain_macs(site.shape, factors.stages, site.spans[0])


def test_a_separable_chain_becomes_one_layer() -> None:
    model = conv(strides=2, padding="same", activation="relu", kernel_regularizer=keras.regularizers.L2(0.1))
    shape = shape_of(model)
    factors = random_factors(shape, chains(shape)["separable"])
    result = split(model, factors)
    assert kinds(result) == ["SeparableConv2D", "Activation"]
    layer = result.get_layer("layer_separable")
    assert layer.depthwise_regularizer.l2 == layer.pointwise_regularizer.l2 == pytest.approx(0.1)
    assert layer.depth_multiplier == 2
    # With groups the channels are mixed group by group, which it cannot do.
    model = conv(groups=2)
    shape = shape_of(model)
    factors = random_factors(shape, chains(shape)["separable"])
    assert kinds(split(model, factors)) == ["DepthwiseConv2D", "Conv2D", "Activation"]


def test_layers_are_as_said() -> None:
    model = conv(strides=2, padding="same", transposed=True, output_padding=1)
    result = split(model, three(model, residual=True))
    assert kinds(result) == ["Conv2D", "Conv2DTranspose", "Conv2D", "Conv2DTranspose", "Add", "Activation"]
    shapes = {layer.name: tuple(layer.kernel.shape) for layer in result.layers if hasattr(layer, "kernel")}
    assert shapes == {
        "layer_in": (1, 1, 4, 2),
        "layer_core": (3, 3, 3, 2),
        "layer_out": (1, 1, 3, 6),
        "layer_residual": (3, 3, 6, 4),
    }
    assert [layer.strides for layer in result.layers if hasattr(layer, "kernel")] == [(1, 1), (2, 2), (1, 1), (2, 2)]


# ---- bias, activation, flags ------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, "softmax", wobble, layers.LeakyReLU(0.2)])
def test_bias_comes_once_and_the_activation_last(activation: Any, use_bias: bool, residual: bool) -> None:
    model = conv(activation=activation, use_bias=use_bias, padding="same")
    factors = three(model, residual=residual)
    result = split(model, factors)
    assert difference(with_kernel(model, "layer", keras_kernel(factors)), result) < 1e-5
    biased = [layer.name for layer in result.layers if getattr(layer, "use_bias", False)]
    assert biased == (["layer_out"] if use_bias else [])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv1D(6, 3, use_bias=False, name="layer"),
        lambda: layers.Dense(6, use_bias=False, name="layer"),
        lambda: layers.EinsumDense("abc,cd->abd", (None, 6), name="layer"),
    ],
)
def test_a_bias_is_added_where_there_was_none(layer: Any) -> None:
    model = one_layer(layer(), 7, 5)
    factors = three(model, bias=True)
    result = split(model, factors)
    outputs = model(inputs := sample_inputs(model)) * 0 + with_kernel(model, "layer", keras_kernel(factors))(inputs)
    np.testing.assert_allclose(result(inputs), np.asarray(outputs) + factors.bias, rtol=1e-4, atol=1e-4)


def test_regularisers_constraints_and_flags() -> None:
    model = conv(
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_regularizer=keras.regularizers.L1(0.2),
        activity_regularizer=keras.regularizers.L1(0.3),
        kernel_constraint="non_neg",
        bias_constraint="max_norm",
        activation="relu",
        trainable=False,
        padding="same",
    )
    shape = shape_of(model)
    for form in ("three", "separable", "cp"):
        for residual in (False, True):
            result = split(model, random_factors(shape, chains(shape)[form], residual=residual))
            made = [layer for layer in result.layers if layer.name.startswith("layer_")]
            last = "layer_activation" if residual else made[-1].name
            for layer in made:
                assert not layer.trainable
                assert (layer.activity_regularizer is not None) == (layer.name == last)
                for part in ("kernel", "depthwise", "pointwise"):
                    if hasattr(layer, f"{part}_regularizer"):
                        assert getattr(layer, f"{part}_regularizer").l2 == pytest.approx(0.1)
                        assert getattr(layer, f"{part}_constraint") is None
                if hasattr(layer, "use_bias"):
                    assert (layer.bias_regularizer is not None) == (layer.bias_constraint is not None) == layer.use_bias
            assert not result.trainable_weights


@pytest.mark.spread(2)
@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("form", ["three", "separable", "cp"])
def test_dtype_policies_are_carried(policy: str, form: str, tmp_path: Path) -> None:
    model = conv(dtype=policy, activation="relu")
    shape = shape_of(model)
    factors = random_factors(shape, chains(shape)[form], residual=True)
    result = split(model, factors)
    made = [layer for layer in result.layers if layer.name.startswith("layer")]
    assert {layer.dtype_policy.name for layer in made} == {policy}
    assert {str(weight.dtype) for layer in made for weight in layer.weights} == {
        model.get_layer("layer").variable_dtype
    }
    expected = with_kernel(model, "layer", keras_kernel(factors))
    assert difference(expected, result) < (1e-10 if policy == "float64" else 0.05)
    assert_lives(result, tmp_path, train=False)


@pytest.mark.parametrize("form", ["three", "separable", "cp", "spatial"])
def test_the_result_saves_and_trains(form: str, tmp_path: Path) -> None:
    model = conv(activation=wobble, padding="same")
    shape = shape_of(model)
    assert_lives(split(model, random_factors(shape, chains(shape)[form], residual=True)), tmp_path)


# ---- names, shared layers, nested models ------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("form", ["three", "separable"])
def test_the_model_output_keeps_its_name(form: str, activation: str | None, residual: bool) -> None:
    inputs = keras.Input((9, 10, 4))
    model = model_of(inputs, layers.Conv2D(6, 3, activation=activation, name="layer")(inputs))
    shape = shape_of(model)
    result = split(model, random_factors(shape, chains(shape)[form], residual=residual))
    assert result.output_names == model.output_names == ["layer"]


def test_calls_of_a_shared_layer_change_alike(tmp_path: Path) -> None:
    one, other = keras.Input((10, 10, 4), name="one"), keras.Input((7, 9, 4), name="other")
    shared = layers.Conv2D(6, 3, padding="same", activation="relu", name="layer")
    pool = layers.GlobalAveragePooling2D()
    model = model_of([one, other], layers.Add(name="end")([pool(shared(one)), pool(shared(other))]))
    assert site_of(lift(model)).macs() == ks.cost(model).macs
    factors = three(model, residual=True)
    result = split(model, factors)
    assert difference(with_kernel(model, "layer", keras_kernel(factors)), result) < 1e-5
    assert len([layer for layer in result.layers if layer.name.startswith("layer_")]) == 6
    assert_lives(result, tmp_path)


def test_a_shared_layer_may_read_itself() -> None:
    inputs = keras.Input((10, 5))
    shared = layers.Dense(5, activation="tanh", name="layer")
    model = model_of(inputs, layers.ReLU(name="end")(shared(layers.Activation("tanh")(shared(shared(inputs))))))
    factors = three(model)
    assert difference(with_kernel(model, "layer", keras_kernel(factors)), split(model, factors)) < 1e-5


def test_a_nested_model_called_twice_stays_one_model() -> None:
    inner_inputs = keras.Input((10, 4))
    inner = keras.Model(inner_inputs, layers.Conv1D(6, 3, name="layer")(inner_inputs), name="tower")
    one, other = keras.Input((10, 4), name="one"), keras.Input((10, 4), name="two")
    end = layers.Concatenate(name="end")([inner(one), layers.ReLU()(inner(other))])
    model = model_of([one, other], end)
    graph = lift(model)
    sites = [site for site in places(graph) if isinstance(site, Site)]
    factors = random_factors(sites[0].shape, chains(sites[0].shape)["first"])
    for site in sites:
        put(graph, site.key, build_layers(site, factors))
    result = emit(graph)
    assert [layer.name for layer in result.layers].count("tower") == 1
    twin = keras.models.clone_model(model)
    twin.set_weights([keras_kernel(factors), *model.get_weights()[1:]])
    assert difference(twin, result) < 1e-5


@pytest.mark.parametrize("residual", [False, True])
def test_masks_go_through(residual: bool) -> None:
    inputs = keras.Input((9,), dtype="int32")
    x = layers.Embedding(11, 5, mask_zero=True)(inputs)
    x = layers.Dense(6, activation="tanh", name="layer")(x)
    model = model_of(inputs, layers.LSTM(4, name="end")(x))
    words = np.array([[1, 2, 3, 0, 0, 4, 0, 0, 0], [5, 6, 7, 8, 9, 0, 0, 0, 0]])
    factors = three(model, residual=residual)
    assert difference(with_kernel(model, "layer", keras_kernel(factors)), split(model, factors), words) < 1e-5


# ---- what cannot be built ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "form", "reason"),
    [
        ({"strides": (1, 2)}, "separable", "equal strides only; here they would be (1, 2)"),
        ({"strides": 2}, "cp by axes", "equal strides only; here they would be (2, 1)"),
        ({"transposed": True}, "cp", "no transposed depthwise convolution"),
        ({"axes": 3, "kernel": 2}, "cp", "no depthwise layer to put in the place of a Conv3D"),
        ({"axes": 1, "padding": "causal"}, "separable", "no causal depthwise convolution"),
        ({"strides": 2}, "cp", ""),
        ({"strides": (1, 2)}, "spatial", ""),
        ({"axes": 1, "strides": 2}, "separable", ""),
    ],
)
def test_refusals(options: dict[str, Any], form: str, reason: str) -> None:
    site = site_of(lift(conv(**options)))
    said = refusal(site, chains(site.shape)[form])
    assert reason in said if reason else not said


def test_factors_of_another_layer_are_refused() -> None:
    model = conv()
    site, factors = site_of(lift(model)), three(model)
    with pytest.raises(ValueError, match="the factors are those of"):
        build_layers(site, replace(factors, shape=replace(factors.shape, inputs=5)))


def test_an_axis_without_a_stage_is_refused() -> None:
    site = site_of(lift(conv(kernel=1, strides=2)))
    stages = (Stage("in", (), 4, 2), Stage("out", (), 2, 6))
    with pytest.raises(ValueError, match="each axis of 'layer' must belong to one stage"):
        build_layers(site, random_factors(site.shape, stages))
