"""Networks without branches are one region: pieces of them, as one would name them by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.blocks.candidates import chosen_regions
from kerasurgeon.blocks.places import find_regions
from kerasurgeon.errors import GraphError
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import DropBlock
from tests.passes.checking import model_of


def separable(x: Any, name: str, filters: int, strides: int = 1) -> Any:
    """As in MobileNet (V1), where strides have a padding of their own."""
    if strides > 1:
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    padding = "valid" if strides > 1 else "same"
    x = layers.DepthwiseConv2D(3, strides, padding=padding, use_bias=False, name=f"{name}_dw")(x)
    x = layers.ReLU(name=f"{name}_dw_relu")(layers.BatchNormalization(name=f"{name}_dw_bn")(x))
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pw")(x)
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def mobile() -> keras.Model:
    """A stem, four separable convolutions, and a head of two dense layers behind a flatten."""
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Rescaling(2.0, name="scale")(inputs)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(x)
    x = separable(x, "a", 8)
    x = separable(x, "b", 12, strides=2)
    x = layers.PReLU(name="b_prelu")(separable(x, "c", 12))
    x = layers.MaxPooling2D(name="pool")(separable(x, "d", 12))
    x = layers.Flatten(name="flat")(x)
    x = layers.LayerNormalization(name="norm")(layers.Dense(16, name="hidden")(x))
    return model_of(inputs, layers.Dense(4, activation="softmax", name="scores")(x))


PIECES = [
    "stem..stem",
    "a_dw..a_relu",
    "b_pad..b_relu",
    "c_dw..b_prelu",
    "d_dw..pool",
    "flat..norm",
    "scores..scores",
]


def labelled(model: keras.Model, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and what the model takes them for."""
    images = np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype("float32")
    return images, np.asarray(model(images)).argmax(axis=-1)


def test_pieces_are_those_that_one_would_name() -> None:
    assert [region.name for region in chosen_regions(lift(mobile()), None, 2)] == PIECES
    inputs = keras.Input((12, 5), name="series")
    x = layers.Conv1D(6, 3, activation="relu", name="one")(layers.ZeroPadding1D(1, name="pad")(inputs))
    x = layers.SeparableConv1D(6, 3, name="two")(layers.UpSampling1D(2, name="up")(x))
    series = model_of(inputs, layers.Dense(3, name="scores")(layers.GRU(7, name="states")(x)))
    names = [region.name for region in chosen_regions(lift(series), None, 2)]
    assert names == ["pad..one", "up..two", "states..states", "scores..scores"]


def test_names_patterns_and_sizes() -> None:
    graph = lift(mobile())
    assert [region.name for region in chosen_regions(graph, None, 6)] == [*PIECES[1:4], PIECES[4]]
    assert [region.name for region in chosen_regions(graph, "*_dw..*", 2)] == ["a_dw..a_relu", *PIECES[3:5]]
    assert [region.name for region in chosen_regions(graph, "c_dw..pool", 2)] == ["c_dw..pool"]
    with pytest.raises(GraphError, match="no region of 8 nodes"):
        chosen_regions(graph, None, 8)
    assert [region.name for region in find_regions(graph, ["[ab]_*", "flat..norm"])] == [*PIECES[1:3], PIECES[5]]
    assert [region.name for region in find_regions(graph, "*")] == ["scale..scores"]  # the outermost is all of it


def test_a_network_with_branches_has_its_regions() -> None:
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="one")(inputs)
    x = layers.Add(name="sum")([x, layers.Conv2D(4, 1, name="two")(layers.ReLU(name="relu")(x))])
    names = [region.name for region in chosen_regions(lift(model_of(inputs, x)), None, 2)]
    assert names == ["sum", "relu..two"]


def test_quotients_are_those_of_networks_without_a_piece() -> None:
    model = mobile()
    images, labels = labelled(model)
    found = ks.knowledge_quotients(model, data=(images, labels))
    assert [row.region for row in found] == PIECES
    rows = {row.region: row for row in found}
    assert {name for name, row in rows.items() if row.method == "drop"} == {"a_dw..a_relu", "c_dw..b_prelu"}
    for name in ("a_dw..a_relu", "c_dw..b_prelu"):
        first, last = name.split("..")
        order = [layer.name for layer in model.layers]
        x = inputs = keras.Input(model.input_shape[1:])
        for layer in model.layers[1:]:
            if not order.index(first) <= order.index(layer.name) <= order.index(last):
                x = layer(x)
        without = keras.Model(inputs, x)
        right = float((np.asarray(without(images)).argmax(axis=-1) == labels).mean())
        assert rows[name].value == pytest.approx(right)
        assert rows[name].parameters_saved == model.count_params() - without.count_params()
        small = ks.apply_passes(model, [DropBlock(name, correction="none")])
        np.testing.assert_allclose(small(images), without(images), rtol=1e-4, atol=1e-5)


def test_a_budget_is_met_by_pieces_and_never_by_the_whole() -> None:
    model = mobile()
    found = ks.knowledge_quotients(model, data=labelled(model))
    chosen = found.choose(macs=0.8)
    assert set(chosen) < set(PIECES)
    small = ks.apply_passes(model, [DropBlock(chosen)], data=labelled(model)[0])
    assert ks.cost(small).macs <= 0.8 * ks.cost(model).macs


def test_sizes_that_are_open() -> None:
    """What pads is told by its kind; a bridge that does not fit with this data is left, with the sizes."""
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="one")(inputs)
    x = layers.Conv2D(8, 3, name="two")(layers.ZeroPadding2D(1, name="pad")(x))
    x = layers.Conv2D(5, 3, name="valid")(x)
    model = model_of(inputs, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D(name="pool")(x)))
    images = np.random.default_rng(0).normal(size=(12, 9, 9, 3)).astype("float32")
    labels = np.asarray(model(images)).argmax(axis=-1)
    found = ks.knowledge_quotients(model, data=(images, labels), sizes=(9, 9, 3))
    assert [row.region for row in found] == ["one..one", "pad..two"]
    assert list(found.left) == ["pool..scores", "valid..valid"]
    assert found.left["valid..valid"] == "with this data its exit has the size (7, 7), expected was (9, 9)"
    assert found.left["pool..scores"] == "its entry has 4 axes, its exit 2"
    again = ks.knowledge_quotients(model, data=(images, labels), sizes=(9, 9, 3), method=("affine", "projection"))
    assert again.left["valid..valid"] == found.left["valid..valid"]


def test_words_are_no_channels() -> None:
    ids = keras.Input((12,), dtype="int32", name="ids")
    x = layers.Conv1D(8, 3, padding="same", name="conv")(layers.Embedding(50, 8, name="words")(ids))
    model = model_of(ids, layers.Dense(4, name="scores")(layers.GRU(6, name="states")(x)))
    tokens = np.random.default_rng(0).integers(0, 50, (30, 12))
    found = ks.knowledge_quotients(model, data=(tokens, np.asarray(model(tokens)).argmax(axis=-1)))
    assert [row.region for row in found] == ["conv..conv", "states..states", "scores..scores"]
    assert found.left == {"words..words": "ids is no dense tensor of numbers over channels: (?, 12) int32"}
