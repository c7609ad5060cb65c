"""Which layers can be factorised, what is known of them, and why others are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.authoring import Graph, emit, lift
from kerasurgeon.factors import METHODS, Shape
from kerasurgeon.factors.left_alone import ROLES
from kerasurgeon.factors.put import put
from kerasurgeon.factors.sites import NoSite, Site, places
from kerasurgeon.factors.split_layers import build_layers, refusal
from kerasurgeon.passes import FoldBatchNorm
from tests.passes.checking import model_of
from tests.passes.factors_by_hand import chains, one_layer, random_factors

layers = keras.layers


def sites(model: keras.Model | Graph) -> dict[str, Site]:
    graph = model if isinstance(model, Graph) else lift(model)
    return {site.name: site for site in places(graph) if isinstance(site, Site)}


def left(model: keras.Model | Graph) -> dict[str, str]:
    graph = model if isinstance(model, Graph) else lift(model)
    return {site.name: site.reason for site in places(graph) if isinstance(site, NoSite)}


# ---- what is known of a site ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "inputs", "shape", "spans"),
    [
        (layers.Conv1D(6, 3, strides=2), (11, 4), Shape((3,), 4, 6), ((11, 5),)),
        (layers.Conv2D(6, (3, 2), groups=2), (9, 10, 4), Shape((3, 2), 2, 3, 2), ((9, 7), (10, 9))),
        (layers.Conv2D(6, 1, data_format="channels_first"), (4, 9, 10), Shape((1, 1), 4, 6), ((9, 9), (10, 10))),
        (layers.Conv3D(6, 2), (5, 6, 7, 4), Shape((2, 2, 2), 4, 6), ((5, 4), (6, 5), (7, 6))),
        (
            layers.Conv2DTranspose(6, 3, strides=(2, 1)),
            (5, 6, 4),
            Shape((3, 3), 4, 6, transposed=True),
            ((5, 11), (6, 8)),
        ),
        (layers.Dense(6), (4,), Shape((), 4, 6), ()),
        (layers.Dense(6), (7, 3, 4), Shape((), 4, 6), ((7, 7), (3, 3))),
        (layers.EinsumDense("abc,cd->abd", (None, 6)), (7, 4), Shape((), 4, 6), ((7, 7),)),
        (layers.Conv2D(6, 3, strides=2, padding="same"), (None, 10, 4), Shape((3, 3), 4, 6), ((2, 1), (10, 5))),
        (
            layers.Conv2DTranspose(6, 3, strides=2),
            (None, None, 4),
            Shape((3, 3), 4, 6, transposed=True),
            ((1, 2), (1, 2)),
        ),
        (layers.Dense(6), (None, 4), Shape((), 4, 6), ((1, 1),)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else None,
)
def test_shapes_and_spans(layer: Any, inputs: tuple[int | None, ...], shape: Shape, spans: Any) -> None:
    model = one_layer(layer, *inputs)
    (site,) = sites(model).values()
    assert site.shape == shape
    assert site.spans == (spans,)
    assert site.open == (None in inputs)
    kernel = np.asarray(model.layers[1].get_weights()[0])
    assert (site.params, site.bytes) == (kernel.size, 4 * kernel.size)
    assert site.kernel().shape == (shape.groups, *shape.sizes, shape.inputs, shape.outputs)
    if not site.open:
        assert site.macs() == ks.cost(model).macs


def test_kernels_are_seen_group_by_group() -> None:
    model = one_layer(layers.Conv1D(6, 3, groups=2, name="layer"), 9, 4)
    kernel = model.get_layer("layer").get_weights()[0]
    seen = sites(model)["layer"].kernel()
    for group, place, read, made in np.ndindex(2, 3, 2, 3):
        assert seen[group, place, read, made] == kernel[place, read, 3 * group + made]
    model = one_layer(layers.Conv2DTranspose(6, 2, name="layer", dtype="bfloat16"), 9, 9, 4)
    seen = sites(model)["layer"].kernel()
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen[0], model.get_layer("layer").get_weights()[0].swapaxes(-1, -2))


def test_names() -> None:
    inner_inputs = keras.Input((10, 4))
    inner = keras.Model(inner_inputs, layers.Conv1D(6, 3, name="conv")(inner_inputs), name="backbone")
    inputs = keras.Input((10, 4))
    site = sites(model_of(inputs, layers.Dense(3, name="head")(inner(inputs))))["backbone/conv"]
    for pattern in ("conv", "con*", "backbone/*", "backbone", "*/conv"):
        assert site.matches(pattern)
    for pattern in ("head", "back*/x", "inner", "back*"):
        assert not site.matches(pattern)


def test_calls_of_a_shared_layer_are_one_site() -> None:
    one, other = keras.Input((10, 4), name="one"), keras.Input((7, 4), name="other")
    shared, pool = layers.Conv1D(6, 3, name="conv"), layers.GlobalAveragePooling1D()
    model = model_of([one, other], layers.Add(name="end")([pool(shared(one)), pool(shared(other))]))
    (site,) = sites(model).values()
    assert site.spans == (((10, 8),), ((7, 5),))
    assert site.macs() == (8 + 5) * 3 * 4 * 6 == ks.cost(model).macs


# ---- what is left alone, and why --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "inputs", "reason"),
    [
        (lambda: layers.DepthwiseConv2D(3, name="layer"), (6, 6, 8), "a DepthwiseConv2D has one channel a kernel"),
        (lambda: layers.SeparableConv1D(6, 3, name="layer"), (6, 8), "a SeparableConv1D is a factorised convolution"),
        (lambda: layers.ConvLSTM1D(3, 3, name="layer"), (4, 6, 8), "inside a recurrent cell"),
        (
            lambda: layers.TimeDistributed(layers.Conv2D(12, 3), name="layer"),
            (3, 6, 6, 8),
            "its Conv2D is inside a TimeDistributed wrapper",
        ),
        (
            lambda: layers.TimeDistributed(layers.Dense(12), name="layer"),
            (3, 8),
            "its Dense is inside a TimeDistributed wrapper",
        ),
        (
            lambda: layers.Bidirectional(layers.ConvLSTM1D(3, 3), name="layer"),
            (4, 6, 8),
            "its ConvLSTM1D is inside a Bidirectional wrapper",
        ),
        (
            lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), name="layer"),
            (4, 6),
            "'abc,cde->abde' is no product with a matrix over the last axis",
        ),
        (lambda: layers.EinsumDense("abc,bd->adc", (3, 6), name="layer"), (4, 6), "over the last axis"),
        (lambda: layers.EinsumDense("abc,cd->abd", (4, 3), bias_axes="bd", name="layer"), (4, 6), "last axis"),
        (lambda: layers.EinsumDense("...c,cd->...d", 3, name="layer"), (4, 5, 6), "as the shape of its result"),
        (lambda: layers.Conv2D(8, 3, groups=8, name="layer"), (6, 6, 8), "one channel in and out a group"),
        (lambda: layers.Dense(1, name="layer"), (1,), "one channel in and out a group"),
    ],
)
def test_layers_that_have_no_matrix(layer: Any, inputs: tuple[int, ...], reason: str) -> None:
    assert reason in left(one_layer(layer(), *inputs))["layer"]


def test_ops_are_left_alone() -> None:
    inputs = keras.Input((9, 4))
    kernel = np.zeros((3, 4, 6), "float32")
    model = model_of(inputs, layers.ReLU(name="end")(keras.ops.conv(inputs, kernel)))
    (reason,) = left(model).values()
    assert "its kernel is an operand" in reason


@pytest.mark.parametrize("base", [layers.Conv2D, layers.DepthwiseConv2D])
def test_subclasses_are_left_alone(base: Any) -> None:
    class Odd(base):
        """A convolution that does more."""

    made = Odd(12, 3, name="layer") if base is layers.Conv2D else Odd(3, name="layer")
    assert left(one_layer(made, 6, 6, 8))["layer"] == (
        f"Odd is a subclass of {base.__name__}: what it computes is its own"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kernels_that_are_not_finite_are_left_alone(value: float) -> None:
    model = one_layer(layers.Dense(6, name="layer"), 4)
    kernel, bias = model.get_layer("layer").get_weights()
    kernel[0, 0] = value
    model.get_layer("layer").set_weights([kernel, bias])
    assert left(model)["layer"] == "its kernel has entries that are not finite"


def test_adapters_quantised_and_tied_kernels_are_left_alone() -> None:
    model = one_layer(layers.Conv2D(12, 3, name="layer"), 6, 6, 8)
    model.get_layer("layer").enable_lora(2)
    assert "lora_kernel_a" in left(model)["layer"]

    model = one_layer(layers.Dense(12, name="layer"), 8)
    model.get_layer("layer").quantize("int8")
    assert left(model)["layer"] == "its kernel is quantised"

    inputs = keras.Input((6, 6, 8))
    conv = layers.Conv2D(12, 3, name="layer")
    x = conv(inputs)
    assert "are used elsewhere too" in left(model_of(inputs, keras.ops.multiply(x, conv.bias)))["layer"]


def test_a_shared_layer_that_names_an_output_is_left_alone() -> None:
    inputs = keras.Input((5,))
    shared = layers.Dense(5, name="layer")
    model = model_of(inputs, shared(layers.ReLU()(shared(inputs))))
    assert "called 2 times, and the model's output that is named after it" in left(model)["layer"]


# ---- what an earlier factorisation left -------------------------------------------------------------------------


def split_all(model: keras.Model, form: str, *, residual: bool) -> Graph:
    """Every site factorised in a form, as far as that can be built."""
    graph = lift(model)
    for site in sites(graph).values():
        stages = chains(site.shape).get(form)
        if stages is not None and not refusal(site, stages):
            put(graph, site.key, build_layers(site, random_factors(site.shape, stages, residual=residual)))
    return graph


@pytest.mark.spread(6)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("form", ["three", "first", "last", "separable", "cp", "spatial"])
def test_factors_are_told_from_layers(form: str, residual: bool, tmp_path: Path) -> None:
    inputs = keras.Input((12, 12, 4), name="in")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="a")(inputs)
    x = layers.Conv2D(6, 3, groups=2, name="b")(x)
    x = layers.Conv2D(6, 3, use_bias=False, name="c_1")(x)
    # The last gives the output, so that what computes it takes its name.
    model = model_of(inputs, layers.Conv2D(8, 3, name="end")(x))
    graph = split_all(model, form, residual=residual)
    path = tmp_path / "split.keras"
    emit(graph).save(path)
    for again in (graph, lift(keras.saving.load_model(path))):
        assert not sites(again)
        for name, reason in left(again).items():
            own = "one channel a kernel" in reason or "factorised convolution already" in reason
            assert own == ("separable" in name or "depthwise" in name or (form == "separable" and name == "end"))
            assert own or "that an earlier factorisation of" in reason
            assert ("a residual" in reason) == name.endswith("_residual")


def test_one_factor_and_its_residual() -> None:
    model = one_layer(layers.Conv2D(6, 3, activation="relu", name="layer"), 9, 9, 4)
    graph = split_all(model, "one", residual=True)
    assert not sites(graph)
    said = "that an earlier factorisation of 'layer' left:"
    assert left(graph) == {
        "layer_core": f"it is a factor {said} 'layer_residual' is another part",
        "layer_residual": f"it is a residual {said} 'layer_core' is another part",
    }


def test_factors_of_dense_layers_and_of_shared_ones() -> None:
    one, other = keras.Input((10, 4), name="one"), keras.Input((7, 4), name="other")
    shared, pool = layers.Dense(6, activation="relu", name="fc"), layers.GlobalAveragePooling1D()
    model = model_of([one, other], layers.Add(name="end")([pool(shared(one)), pool(shared(other))]))
    graph = split_all(model, "first", residual=True)
    assert set(left(graph)) == {"fc_in", "fc_out", "fc_residual"}
    assert not sites(graph)


def test_folded_batch_norms_do_not_hide_factors() -> None:
    inputs = keras.Input((12, 12, 4))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False, name="a")(inputs))
    model = model_of(inputs, layers.ReLU()(layers.Conv2D(6, 3, name="b")(layers.ReLU()(x))))
    folded = ks.apply_passes(emit(split_all(model, "three", residual=False)), [FoldBatchNorm()])
    assert folded.get_layer("a_out").use_bias
    assert not sites(folded)


def test_a_core_by_itself_is_a_layer_as_any_other() -> None:
    inputs = keras.Input((12, 12, 4))
    x = layers.Conv2D(6, 1, name="block_in")(inputs)
    x = layers.Conv2D(6, 3, name="block_core")(layers.ReLU()(x))
    model = model_of(inputs, layers.Dense(4, name="encoder_out")(layers.Dense(3, name="decoder_in")(x)))
    assert set(sites(model)) == {"block_in", "block_core", "encoder_out", "decoder_in"}
    inputs = keras.Input((6,), name="net_in")
    assert set(sites(model_of(inputs, layers.Dense(4, name="net_out")(inputs)))) == {"net_out"}


def test_linear_bottlenecks_are_no_factors() -> None:
    """As in MobileNetV2 and ResNet with their batch norms folded: convolutions right behind each other."""
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(24, 1, activation="relu6", name="block_1_expand")(inputs)
    x = layers.DepthwiseConv2D(3, activation="relu6", name="block_1_depthwise")(x)
    x = layers.Conv2D(6, 1, name="block_1_project")(x)
    x = layers.Conv2D(24, 1, use_bias=False, name="block_2_expand")(x)
    x = layers.Conv2D(24, 3, use_bias=False, name="block_2_conv")(x)
    x = layers.Conv2D(8, 1, use_bias=False, name="block_2_project")(x)
    model = model_of(inputs, layers.Dense(4, name="head")(x))
    assert set(left(model)) == {"block_1_depthwise"}
    assert len(sites(model)) == 6


@pytest.mark.spread(4)
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2"])
def test_nothing_in_these_is_taken_for_a_factor(name: str, fold: bool) -> None:
    model = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=4)
    graph = lift(ks.apply_passes(model, [FoldBatchNorm()]) if fold else model)
    assert all("has one channel a kernel" in reason for reason in left(graph).values())
    found = sites(graph)
    assert len(found) == {"ResNet50": 54, "MobileNetV2": 36}[name]
    rows = [row for row in ks.cost(graph).rows if "Conv2D" in row.kind or row.kind == "Dense"]
    assert {site.name: site.macs() for site in found.values()} == {
        row.name: row.macs for row in rows if row.kind != "DepthwiseConv2D"
    }


def test_roles_are_those_of_the_methods() -> None:
    shapes = [Shape((3, 3), 8, 8), Shape((3,), 8, 8), Shape((1, 1), 8, 8), Shape((), 8, 8), Shape((3, 3), 4, 4, 2)]
    used = {
        stage.role
        for method in METHODS.values()
        for shape in shapes
        if not method.refusal(shape)
        for stage in method.stages(shape, method.limits(shape))
    }
    assert used <= set(ROLES)
    assert len(used) > 4
