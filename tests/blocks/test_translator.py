"""Translators: the pooling of the publication for every pair of sizes, and a 1x1 convolution."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.cuts import between
from kerasurgeon.blocks.geometry import Geometry, geometry
from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.blocks.translator import pooling, translator
from kerasurgeon.ir import TensorSpec
from kerasurgeon.keras_io import emit, lift


def form(size: Any, wanted: Any, *, inputs: int = 4, outputs: int = 6) -> Geometry:
    entry, exit = TensorSpec((None, *size, inputs), "float32"), TensorSpec((None, *wanted, outputs), "float32")
    return Geometry(entry, exit, (1, 1), (0, 0))


def test_windows_and_strides_are_the_published_ones() -> None:
    for size in range(1, 60):
        for wanted in range(1, size + 1):
            window, stride = pooling(size, wanted, 0)
            assert window >= 1
            assert (size - window) // stride + 1 == wanted  # the size of a pooling without padding
            if size % wanted == 0:
                assert window == stride == size // wanted
            elif size - -(-size // wanted) * (wanted - 1) >= 1:
                assert (window, stride) == (size - -(-size // wanted) * (wanted - 1), -(-size // wanted))
    assert pooling(456 // 2, 15, 0) == (4, 16)  # EfficientNetB5: block1c_add to block7a_expand_conv
    assert pooling(112, 7, 0) == (16, 16)  # MobileNetV2: expanded_conv_project_BN to Conv_1


@pytest.mark.parametrize(
    ("size", "wanted"), [((8, 8), (8, 8)), ((8, 12), (4, 3)), ((9, 7), (4, 7)), ((5, 5), (4, 3)), ((7, 6), (1, 1))]
)
def test_a_translator_computes_max_and_product(size: Any, wanted: Any) -> None:
    model = translator(form(size, wanted), 0)
    model.get_layer("conv").bias.assign(np.linspace(-1, 1, 6))
    x = np.random.default_rng(0).normal(size=(2, *size, 4)).astype("float32")
    (high, down), (wide, across) = (pooling(a, b, 0) for a, b in zip(size, wanted, strict=True))
    pooled = np.stack(
        [
            np.stack(
                [
                    x[:, i * down : i * down + high, j * across : j * across + wide].max((1, 2))
                    for j in range(wanted[1])
                ],
                axis=1,
            )
            for i in range(wanted[0])
        ],
        axis=1,
    )
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.get_layer("conv").weights)
    expected = np.maximum(pooled @ kernel[0, 0] + bias, 0.0)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert len(pools) == (size != wanted)
    assert model.count_params() == 4 * 6 + 6


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two, other = (translator(form((8, 8), (4, 4)), seed).get_weights()[0] for seed in (1, 1, 2))
    assert one.tobytes() == two.tobytes() != other.tobytes()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_translator_set_to_the_linear_map_of_what_it_replaces_reproduces_the_model(data_format: str) -> None:
    layout = {"data_format": data_format}
    inputs = keras.Input((8, 6, 5) if data_format == "channels_last" else (5, 8, 6), name="image")
    x = keras.layers.Conv2D(4, 1, name="a", **layout)(inputs)
    x = keras.layers.MaxPooling2D(2, name="pool", **layout)(x)
    x = keras.layers.Conv2D(9, 1, name="one", **layout)(x)
    x = keras.layers.Conv2D(7, 1, name="two", **layout)(x)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="b", **layout)(x))
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        model.get_layer(name).bias.assign(rng.normal(size=model.get_layer(name).bias.shape))
    graph = lift(model)
    region = between(graph, "a", "b")
    bridge = translator(geometry(graph, region), 0, activation=None)
    (k1, b1), (k2, b2) = (model.get_layer(name).get_weights() for name in ("one", "two"))
    bridge.get_layer("conv").set_weights([k1 @ k2, b1 @ k2[0, 0] + b2])
    carry_out(graph, [BlockStep.of("translator", "translator_1", region, lift(bridge))])
    small = emit(graph)
    assert [layer.name for layer in small.layers] == ["image", "a", "translator_1_pool", "two", "b"]
    images = rng.normal(size=(2, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(small(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (15, 17)])
def test_open_sizes_take_the_strides_of_the_layers_between(size: Any) -> None:
    inputs = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, 2, "same", name="a")(inputs)
    y = keras.layers.MaxPooling2D((2, 1), padding="same", name="pool")(x)
    y = keras.layers.Conv2D(5, 3, (2, 1), "same", name="c")(y)
    model = keras.Model(inputs, keras.layers.Conv2D(6, 1, name="b")(y))
    graph = lift(model)
    region = between(graph, "a", "b")
    assert geometry(graph, region).strides == (4, 1)
    carry_out(graph, [BlockStep.of("translator", "t", region, lift(translator(geometry(graph, region))))])
    images = np.ones((1, *size, 3), "float32")
    assert emit(graph)(images).shape == model(images).shape
