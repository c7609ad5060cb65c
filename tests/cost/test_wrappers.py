"""Layers that hold layers, models inside models, and what nobody can tell."""

# mypy: disallow-subclassing-any=False
# Keras ships no types: its classes are Any.

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from kerasurgeon.costs import cost
from tests.cost.counting import called, macs_of, row


def test_time_distributed() -> None:
    steps = 3
    assert macs_of(layers.TimeDistributed(layers.Dense(5)), (steps, 6)) == steps * 6 * 5
    convolution = layers.TimeDistributed(layers.Conv2D(5, 3, padding="same", strides=2))
    assert macs_of(convolution, (steps, 8, 6, 4)) == steps * 4 * 3 * 5 * 9 * 4
    free = layers.TimeDistributed(layers.BatchNormalization())
    assert macs_of(free, (steps, 6)) == 0


def test_time_distributed_twice_and_with_recurrence_inside() -> None:
    nested = layers.TimeDistributed(layers.TimeDistributed(layers.Dense(5)))
    assert macs_of(nested, (2, 3, 6)) == 2 * 3 * 6 * 5
    recurrent = layers.TimeDistributed(layers.SimpleRNN(4))
    assert macs_of(recurrent, (2, 3, 6)) == 2 * 3 * 4 * (6 + 4)


def test_time_distributed_model() -> None:
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    per_frame = 64 * 4 * 9 * 3 + 4 * 2
    assert macs_of(layers.TimeDistributed(inner), (5, 8, 8, 3)) == 5 * per_frame
    inputs = keras.Input((6,))
    functional = keras.Model(inputs, layers.Dense(4)(inputs) + layers.Dense(4)(inputs))
    assert macs_of(layers.TimeDistributed(functional), (5, 6)) == 5 * 2 * 24


def test_spectral_normalization_costs_what_it_wraps() -> None:
    convolution = layers.SpectralNormalization(layers.Conv2D(5, 3))
    assert macs_of(convolution, (8, 8, 4)) == 36 * 5 * 9 * 4
    assert macs_of(layers.SpectralNormalization(layers.Dense(5)), (4, 6)) == 4 * 6 * 5


def test_nested_models_are_counted_by_their_layers() -> None:
    parts = [keras.Input((6,)), layers.Dense(4, name="a"), layers.Dense(3, name="b")]
    inner = keras.Sequential(parts, name="inner")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    found = cost(model)
    assert found.macs == 24 + 12 + 6
    assert {item.name for item in found.rows} >= {"inner/a", "inner/b"}
    assert found.parameters == model.count_params()


def test_model_called_twice_costs_twice_and_weighs_once() -> None:
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6)], name="inner")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, inner(inner(inputs)))
    found = cost(model)
    assert (found.macs, found.parameters) == (2 * 36, 42)
    assert found.parameters == model.count_params()


def test_shared_layer_costs_at_every_call_and_weighs_at_the_first() -> None:
    shared = layers.Dense(4, name="shared")
    a, b = keras.Input((6,), name="a"), keras.Input((3, 6), name="b")
    found = cost(keras.Model([a, b], [shared(a), shared(b)]))
    first, second = (item for item in found.rows if item.kind == "Dense")
    assert (first.macs, second.macs) == (24, 3 * 24)
    assert (first.parameters, second.parameters) == (28, 0)
    assert (first.weight_bytes, second.weight_bytes) == (112, 0)
    assert found.parameters == 28


def test_model_that_hands_its_input_through_is_counted_as_a_whole() -> None:
    """Such a model is not inlined; its layers are counted all the same."""
    inner_in = keras.Input((6,))
    inner = keras.Model(inner_in, [inner_in, layers.Dense(4)(inner_in)], name="inner")
    found = cost(called(lambda x: inner(x), (6,)))
    assert found.unknown == ()
    assert (found.macs, row(found, "Functional").macs) == (24, 24)


class Unheard(layers.Layer):
    """A layer that no rule knows."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

    def call(self, inputs: Any) -> Any:
        return inputs @ self.kernel

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], 4)


def test_unknown_layer_is_listed_and_weighed() -> None:
    found = cost(called(lambda x: layers.Dense(2)(Unheard(name="odd")(x)), (6,)))
    (unknown,) = found.unknown
    assert (unknown.name, unknown.what) == ("odd", "macs")
    assert unknown.kind.endswith("Unheard")
    assert "register_rule" in unknown.reason
    assert found.macs == 4 * 2
    assert found.parameters == 24 + 10


def test_unknown_layer_in_a_wrapper_is_listed() -> None:
    found = cost(called(layers.TimeDistributed(Unheard(name="odd"), name="outer"), (3, 6)))
    (unknown,) = found.unknown
    assert (unknown.name, unknown.what) == ("outer", "macs")


def test_subclassed_model_and_lambda_are_unknown() -> None:
    class Stack(keras.Model):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dense = layers.Dense(4)

        def call(self, inputs: Any, training: Any = None) -> Any:
            return self.dense(inputs) * (2 if training else 1)  # which keeps it closed

    found = cost(called(lambda x: layers.Lambda(lambda y: y * keras.random.uniform(()))(Stack()(x)), (6,)))
    assert [item.kind.rpartition(".")[2] for item in found.unknown] == ["Stack", "Lambda"]
    assert found.parameters == 28
