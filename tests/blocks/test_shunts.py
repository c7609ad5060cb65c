"""Shunts compute what their papers say, for every size, stride and layout; what they cannot bridge they refuse."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.bridges import ARCHITECTURES, build_shunt, check_architecture, fitting
from kerasurgeon.blocks.geometry import Geometry, geometry
from kerasurgeon.blocks.places import find_region
from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.errors import GraphError, OptionError, RecipeError
from kerasurgeon.ir import TensorSpec
from kerasurgeon.keras_io import emit, lift
from tests.blocks.networks import depthwise, excite, norm, pointwise, relu6, residual_net

pytestmark = pytest.mark.usefixtures("own_names")

# Channels of each bottleneck, which dilation each takes, and where squeeze-and-excite stands.
SHAPES: dict[str, Any] = {
    "1": ((192, 192), (0, 1), ""),
    "4": ((128,), (1,), ""),
    "5": ((192, 192, 192), (0, 0, 1), ""),
    "1-se": ((192, 192), (0, 1), "depthwise"),
    "1-se-bottleneck": ((192, 192), (0, 1), "bottleneck"),
}


def between_sizes(
    size: Any, wanted: Any, *, dilations: Any = ((1, 1), (1, 1)), outputs: int = 7, dtype: str = "float32"
) -> Geometry:
    high, wide = (round(float(np.log2(a / b))) for a, b in zip(size, wanted, strict=True))
    return Geometry(
        TensorSpec((None, *size, 5), dtype),
        TensorSpec((None, *wanted, outputs), dtype),
        (2**high, 2**wide),
        (high, wide),
        dilations,
    )


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with weights far from zero, of both signs, and variances that are positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.uniform(0.5, 2.0, weight.shape)
        signs = 1.0 if weight.path.endswith("variance") else rng.choice([-1.0, 1.0], weight.shape)
        weight.assign(values * signs)
    return model


def by_hand(arch: str, weights: list[Any], x: Any, steps: Any, dilations: Any) -> Any:
    """What a shunt computes, from its weights in order; steps are (strides, same) of each depthwise convolution."""
    widths, which, se = SHAPES[arch]
    left = [np.asarray(weight, "float64") for weight in weights]

    def take(count: int) -> list[Any]:
        taken = left[:count]
        del left[:count]
        return taken

    for index in range(len(widths)):
        x = relu6(norm(pointwise(x, *take(1)), *take(4)))
        assert x.shape[-1] == widths[index]
        strides, same = steps[index]
        dilation = (1, 1) if max(strides) > 1 or not all(same) else dilations[which[index]]
        x = relu6(norm(depthwise(x, take(1)[0], strides, dilation, same), *take(4)))
        if se == "depthwise":
            x = excite(x, take(4))
        x = norm(pointwise(x, *take(1)), *take(4))
        if index < len(widths) - 1:
            assert x.shape[-1] == 64
            if se == "bottleneck":
                x = excite(x, take(4))
    assert not left
    return x


SAME = (True, True)
CASES = [
    ("1", (8, 8), (8, 8), [((1, 1), SAME)] * 2),
    ("1", (8, 12), (4, 6), [((2, 2), SAME), ((1, 1), SAME)]),
    ("1", (9, 13), (3, 4), [((2, 2), SAME), ((2, 2), SAME)]),
    ("1", (10, 7), (5, 7), [((2, 1), SAME), ((1, 1), SAME)]),  # other strides along the other axis
    ("1", (17, 16), (8, 8), [((2, 2), (False, True)), ((1, 1), SAME)]),  # 17 -> 8 without padding
    ("1", (11, 11), (9, 9), [((1, 1), SAME), ((1, 1), (False, False))]),
    ("4", (9, 8), (5, 4), [((2, 2), SAME)]),
    ("4", (9, 9), (7, 7), [((1, 1), (False, False))]),
    ("5", (32, 20), (4, 3), [((2, 2), SAME)] * 3),
    ("5", (7, 7), (7, 7), [((1, 1), SAME)] * 3),
    ("1-se", (8, 6), (4, 3), [((2, 2), SAME), ((1, 1), SAME)]),
    ("1-se-bottleneck", (8, 6), (4, 3), [((2, 2), SAME), ((1, 1), SAME)]),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("arch", "size", "wanted", "steps"), CASES)
def test_a_shunt_computes_what_its_paper_says(arch: str, size: Any, wanted: Any, steps: Any) -> None:
    dilations = ((2, 2), (3, 3))
    model = randomised(ARCHITECTURES[arch](between_sizes(size, wanted, dilations=dilations, dtype="float64"), 0))
    if ("bottleneck" in arch or arch == "1") and steps[0][1] == (False, True) and steps[0][0] == (2, 2):
        assert any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in model.layers)
    x = np.random.default_rng(1).normal(size=(2, *size, 5))
    expected = by_hand(arch, model.get_weights(), x, steps, dilations)
    assert expected.shape == (2, *wanted, 7)
    actual = keras.ops.convert_to_numpy(model(x, training=False))
    assert actual.dtype == "float64"
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("arch", SHAPES)
def test_layers_are_made_as_the_papers_say(arch: str) -> None:
    model = ARCHITECTURES[arch](between_sizes((8, 8), (4, 4)), 3)
    convolutions = [layer for layer in model.layers if isinstance(layer, (keras.layers.Conv2D,))]
    depthwise_ = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.999, 1e-3)
        if isinstance(layer, keras.layers.ReLU) and "_se_" not in layer.name and "se_" not in layer.name:
            assert layer.max_value == 6.0
    for conv in convolutions:
        assert conv.use_bias == ("se_" in conv.name)
        assert float(conv.kernel_regularizer.l2) == pytest.approx(4e-5)
        assert isinstance(conv.kernel_initializer, keras.initializers.HeNormal)
    for conv in depthwise_:
        assert not conv.use_bias
        assert float(conv.depthwise_regularizer.l2) == pytest.approx(4e-5)
        assert isinstance(conv.depthwise_initializer, keras.initializers.HeNormal)
    assert len(depthwise_) == len(SHAPES[arch][0])
    assert isinstance(model.layers[-1], keras.layers.BatchNormalization)  # the projection is linear
    squeezed = [conv.filters for conv in convolutions if "squeeze" in conv.name]
    assert squeezed == {"1-se": [48, 48], "1-se-bottleneck": [16]}.get(arch, [])


def test_the_same_seed_gives_the_same_bytes() -> None:
    form = between_sizes((8, 8), (4, 4))
    one, two, other = (ARCHITECTURES["1"](form, seed).get_weights() for seed in (5, 5, 6))
    assert [w.tobytes() for w in one] == [w.tobytes() for w in two]
    assert [w.tobytes() for w in one] != [w.tobytes() for w in other]
    kernels = [w for w in one if w.ndim == 4]
    assert len({w.tobytes() for w in kernels}) == len(kernels)


@pytest.mark.parametrize(
    ("arch", "size", "wanted", "parts"),
    [
        ("4", (16, 16), (4, 4), ["'4' cannot", "at most 1 halvings", "16x16 -> 4x4, 2 halvings", "'1' or '5'"]),
        ("1", (64, 64), (8, 8), ["at most 2 halvings", "architecture '5' can"]),
        ("5", (64, 64), (4, 4), ["4 halvings", "no architecture can", "translator"]),
        ("1", (20, 20), (13, 13), ["no architecture makes exactly this size"]),
    ],
)
def test_what_no_shunt_of_that_kind_can_bridge(arch: str, size: Any, wanted: Any, parts: list[str]) -> None:
    form = between_sizes(size, wanted)
    with pytest.raises(GraphError) as raised:
        ARCHITECTURES[arch](form, 0)
    for part in parts:
        assert part in str(raised.value), str(raised.value)
    for name in ARCHITECTURES:
        if name in fitting(form):
            assert ARCHITECTURES[name](form, 0).output_shape == (None, *wanted, 7)


def test_every_size_that_fits_is_made_exactly() -> None:
    for size in (7, 10):
        for wanted in range(1, size + 1):
            form = between_sizes((size, size), (wanted, wanted))
            for arch in fitting(form)[:1]:
                assert ARCHITECTURES[arch](form, 0).output_shape == (None, wanted, wanted, 7)


@pytest.mark.parametrize(("size", "stride"), [((8, 10), (2, 2)), ((9, 11), (2, 2)), ((8, 9), (2, 1)), ((6, 6), (1, 1))])
def test_a_shunt_set_to_a_regions_linear_map_reproduces_the_model(size: Any, stride: Any) -> None:
    rng = np.random.default_rng(0)
    inputs = keras.Input((*size, 5), name="image")
    x = keras.layers.Conv2D(6, 1, use_bias=False, name="one")(inputs)
    x = keras.layers.Conv2D(7, 1, stride, use_bias=False, name="two")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 2, name="after")(x))
    graph = lift(model)
    region = find_region(graph, "one..two")
    form = geometry(graph, region)
    assert form.halvings == tuple(int(one > 1) for one in stride)
    shunt = ARCHITECTURES["4"](form, 0)
    for layer in shunt.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, 1 - 1e-3))
    expand = np.zeros((1, 1, 5, 128), "float32")
    expand[0, 0, np.arange(5), np.arange(5)] = 1.0
    middle = np.zeros((3, 3, 128, 1), "float32")
    # The convolution to be replaced reads pixels 0, 2, 4, ...: the tap that does so depends on the zeros in front.
    taps = tuple(0 if one == 2 and length % 2 == 0 else 1 for one, length in zip(stride, size, strict=True))
    middle[taps] = 1.0
    product = model.get_layer("one").kernel.numpy()[0, 0] @ model.get_layer("two").kernel.numpy()[0, 0]
    project = np.zeros((1, 1, 128, 7), "float32")
    project[0, 0, :5] = product
    for name, kernel in (("expand_1", expand), ("depthwise_1", middle), ("project_1", project)):
        shunt.get_layer(name).set_weights([kernel])
    work = graph.copy()
    (step,) = carry_out(work, [BlockStep.of("shunt", "shunt_1", region, lift(shunt))])
    assert step.bridge is not None
    images = rng.uniform(0.0, 6.0, (3, *size, 5)).astype("float32")  # where ReLU6 does nothing
    np.testing.assert_allclose(emit(work)(images), model(images), rtol=1e-5, atol=1e-5)


def test_layouts_dtypes_and_open_sizes() -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"data_format": "channels_first"},
        {"dtype": "mixed_float16"},
        {"dtype": "float64"},
        {"size": (None, None)},
        {"size": (15, None)},
    )
    for options in cases:
        graph = lift(residual_net(**{"size": (15, 18), **options}))
        region = find_region(graph, ("block1", "block2"))
        form = geometry(graph, region)
        assert (form.halvings, form.inputs, form.outputs) == ((1, 1), 8, 12), options
        for arch in ("1-se", "4"):
            work = graph.copy()
            _, network = build_shunt(work, region, arch, 0)
            carry_out(work, [BlockStep.of("shunt", "shunt_1", region, network)])
            model = emit(work)
            shape = (2, 3, 15, 18) if "data_format" in options else (2, 15, 18, 3)
            assert model(np.ones(shape, "float32")).shape == (2, 5)


def test_dilations_of_the_first_and_last_depthwise_convolution() -> None:
    inputs = keras.Input((16, 16, 4))
    x = keras.layers.Conv2D(4, 3, dilation_rate=5, padding="same", name="first")(inputs)
    x = keras.layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.DepthwiseConv2D(3, dilation_rate=(4, 3), padding="same")(x)
    x = keras.layers.Conv2D(4, 1, dilation_rate=7, name="last")(x)
    outputs = keras.layers.Conv2D(4, 3, dilation_rate=6, padding="same", name="behind")(x)
    graph = lift(keras.Model(inputs, outputs))
    assert geometry(graph, find_region(graph, "first..last")).dilations == ((2, 2), (4, 3))
    assert geometry(graph, find_region(graph, "last..behind")).dilations == ((6, 6), (6, 6))
    assert geometry(graph, find_region(graph, "last..last")).dilations == ((1, 1), (1, 1))
    shunt = ARCHITECTURES["1"](geometry(graph, find_region(graph, "first..last")), 0)
    rates = [layer.dilation_rate for layer in shunt.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert rates == [(2, 2), (4, 3)]


def test_regions_that_are_no_images_are_refused() -> None:
    graph = lift(residual_net())
    with pytest.raises(GraphError, match="ends with a tensor that is no image") as raised:
        geometry(graph, find_region(graph, "head->scores"))
    assert "function of your own" in str(raised.value)
    steps = keras.Input((16, 4))
    sequence = lift(keras.Model(steps, keras.layers.Conv1D(4, 3, name="b")(keras.layers.Conv1D(4, 3, name="a")(steps))))
    with pytest.raises(GraphError, match="no image"):
        geometry(sequence, find_region(sequence, "a..b"))
    volume = keras.Input((8, 8, 8, 2))
    solid = lift(keras.Model(volume, keras.layers.Conv3D(2, 3, name="b")(keras.layers.Conv3D(2, 3, name="a")(volume))))
    with pytest.raises(GraphError, match="no image"):
        geometry(solid, find_region(solid, "a..b"))


@pytest.mark.parametrize("size", [(8, 8), (None, None)])
def test_regions_that_enlarge_are_refused(size: Any) -> None:
    inputs = keras.Input((*size, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    graph = lift(keras.Model(inputs, keras.layers.UpSampling2D(2, name="up")(x)))
    with pytest.raises(GraphError, match="makes images larger") as raised:
        geometry(graph, find_region(graph, "first..up"))
    assert "UpSampling2D" in str(raised.value)


def test_a_global_pooling_over_an_open_size_is_refused() -> None:
    inputs = keras.Input((None, None, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    graph = lift(keras.Model(inputs, keras.layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)))
    with pytest.raises(GraphError, match="averages over the whole image") as raised:
        geometry(graph, find_region(graph, "first..mean"))
    assert "'mean'" in str(raised.value)


def own(entry: TensorSpec, exit: TensorSpec) -> keras.Model:
    inputs = keras.Input(batch_shape=entry.shape, dtype=entry.dtype)
    return keras.Model(inputs, keras.layers.Conv2D(exit.shape[-1], 3, padding="same", name="mine")(inputs))


def wrong(entry: TensorSpec, exit: TensorSpec) -> keras.Model:
    inputs = keras.Input(batch_shape=entry.shape)
    return keras.Model(inputs, keras.layers.Conv2D(3, 3, name="mine")(inputs))


def test_functions_of_ones_own() -> None:
    graph = lift(residual_net())
    region = find_region(graph, "block1")
    for given in (own, f"{__name__}:own"):
        name, network = build_shunt(graph, region, given, 0)
        work = graph.copy()
        (step,) = carry_out(work, [BlockStep.of("shunt", "shunt_1", region, network)])
        assert name == (given if isinstance(given, str) else "own")
        assert step.bridge is not None
        assert step.bridge.layers == ("block1_add",)  # its one layer has taken over the name
        assert work.layer_of("block1_add").array("kernel") is not None
    with pytest.raises(GraphError, match="'wrong' returned a model that does not fit the region 'block1'") as raised:
        build_shunt(graph, region, wrong, 0)
    assert "(?, 16, 16, 8) float32 -> (?, 14, 14, 3) float32" in str(raised.value)
    with pytest.raises(GraphError, match="did not return a model"):
        build_shunt(graph, region, lambda entry, exit: None, 0)


@pytest.mark.parametrize("given", ["2", 6, True, None, "1se", 1.0])
def test_architectures_that_there_are_not(given: Any) -> None:
    with pytest.raises(OptionError):
        check_architecture(given)


def test_numbers_and_paths_of_architectures() -> None:
    assert [check_architecture(given) for given in (1, "4", 5, "auto")] == ["1", "4", "5", "auto"]
    with pytest.raises(RecipeError, match="may not be imported"):
        check_architecture("nowhere:function")
