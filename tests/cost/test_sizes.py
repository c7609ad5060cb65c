"""Batches, open sizes, other sizes."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers, ops

from kerasurgeon.costs import cost
from kerasurgeon.errors import LiftError, OptionError
from kerasurgeon.keras_io import lift
from tests.cost.counting import called, row


def windows(x: Any) -> Any:
    """Folds 2 x 2 windows of an 8 x 8 image into the batch and applies a dense layer there."""
    x = ops.reshape(x, (-1, 4, 2, 4, 2, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 4, 3))
    x = layers.Dense(5, name="inside")(x)
    return ops.reshape(x, (-1, 16, 20))


def test_windows_folded_into_the_batch_are_counted() -> None:
    """Keras records (None, 4, 5) inside: that None is 16 for one sample, not 1."""
    found = cost(called(windows, (8, 8, 3)))
    assert found.unknown == ()
    assert row(found, "Dense").shape == (16, 4, 5)
    assert found.macs == 16 * 4 * 3 * 5


def test_batch_size_scales_activations_and_not_macs() -> None:
    model = called(windows, (8, 8, 3))
    one, three = cost(model), cost(model, batch_size=3)
    assert one.macs == three.macs
    assert three.batch_size == 3
    assert row(three, "Dense").shape == (48, 4, 5)
    assert row(three, "Dense").activation_bytes == 3 * row(one, "Dense").activation_bytes
    assert three.peak_activation_bytes == 3 * one.peak_activation_bytes
    assert three.weight_bytes == one.weight_bytes


def test_concatenation_along_the_batch() -> None:
    found = cost(called(lambda a, b: layers.Dense(5)(layers.Concatenate(axis=0)([a, b])), (6,), (6,)))
    assert found.macs == 2 * 6 * 5


def test_open_sizes_are_unknown_until_they_are_given() -> None:
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", strides=2)(inputs)
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    found = cost(model)
    assert found.macs == 8 * 5
    assert {(item.kind, item.what) for item in found.unknown} == {
        ("InputLayer", "activations"),
        ("Conv2D", "activations"),
        ("Conv2D", "macs"),
    }
    assert row(found, "Conv2D").macs is None
    fixed = cost(model, sizes={"image": (32, 16, 3)})
    assert fixed.unknown == ()
    assert fixed.macs == 16 * 8 * 8 * 9 * 3 + 40
    assert cost(model, sizes=(32, 16, 3)).macs == fixed.macs


def test_sizes_other_than_the_model_s_own() -> None:
    model = called(lambda x: layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3, padding="same")(x)), (32, 32, 3))
    graph = lift(model)
    before = graph.revision
    assert cost(graph, sizes=(8, 8, 3)).macs == 64 * 4 * 9 * 3
    assert cost(graph).macs == 1024 * 4 * 9 * 3
    assert graph.revision == before


def test_sizes_of_one_of_two_inputs() -> None:
    a, b = keras.Input((None, 6), name="a"), keras.Input((6,), name="b")
    model = keras.Model([a, b], [layers.Dense(5)(a), layers.Dense(5)(b)])
    assert cost(model, sizes={"a": (7, 6)}).macs == 7 * 30 + 30


def test_sizes_that_do_not_fit() -> None:
    model = called(lambda x: layers.Dense(5)(layers.Flatten()(x)), (4, 6))
    with pytest.raises(OptionError, match="cannot be called with inputs of these sizes"):
        cost(model, sizes=(5, 6))
    with pytest.raises(OptionError, match="did you mean 'in0'"):
        cost(model, sizes={"in_0": (4, 6)})
    for wrong in ((4,), (4, 6, 1), (4, None), (4, 0), (4, 6.0)):
        with pytest.raises(OptionError, match="sizes of input 'in0' cannot be used"):
            cost(model, sizes=wrong)  # type: ignore[arg-type] # what is tested
    two = called(lambda a, b: a + b, (6,), (6,))
    with pytest.raises(OptionError, match="2 inputs"):
        cost(two, sizes=(6,))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2"])
def test_batch_sizes_that_are_none(batch_size: Any) -> None:
    with pytest.raises(OptionError, match="batch_size"):
        cost(called(layers.Dense(5), (6,)), batch_size=batch_size)


def test_fixed_batch_is_kept() -> None:
    inputs = keras.Input(batch_shape=(4, 6))
    found = cost(keras.Model(inputs, layers.Dense(5)(inputs)), batch_size=2)
    assert found.macs == 4 * 30
    assert row(found, "Dense").shape == (4, 5)


def test_model_without_graph_is_refused() -> None:
    with pytest.raises(LiftError):
        cost(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(LiftError):
        cost("model.keras")
