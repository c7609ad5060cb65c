"""What cannot be told as layers and ops stays closed, says why and where, and is left as it was."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from tests.opening.layers import array


class Odd(layers.Layer):
    """Runs a function of itself, its Dense layer and what it is called on."""

    def __init__(self, code: Callable[..., Any], **options: Any) -> None:
        super().__init__(**options)
        self.code, self.count = code, 0
        self.names: list[Any] = ["odd"]
        self.dense = layers.Dense(4, name="dense")
        self.random = keras.random.SeedGenerator(1)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)
        self.total = self.add_weight(shape=(4,), initializer="zeros", name="total", trainable=False)

    def call(self, x: Any, training: Any = None) -> Any:
        return self.code(self, x, training)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "code": self.code}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**config)


def draws(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) + keras.random.normal((4,), seed=self.random)


def counts(self: Odd, x: Any, training: Any) -> Any:
    self.total.assign(self.total + 1)
    return self.dense(x)


def branches_on_training(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) * 2 if training else self.dense(x)


def branches_on_values(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) if ops.max(x) > 0 else x


def calls_numpy(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) + np.asarray(ops.convert_to_numpy(x)).mean()


def adds_a_loss(self: Odd, x: Any, training: Any) -> Any:
    self.add_loss(ops.sum(x))
    return self.dense(x)


def calls_itself(self: Odd, x: Any, training: Any) -> Any:
    return self(self.dense(x))


def draws_from_numpy(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) * float(np.random.uniform())  # noqa: NPY002


def draws_from_a_generator(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) + np.random.default_rng().normal(size=4).astype("float32")


def asks_the_time(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(x) * time.time()


def makes_a_layer(self: Odd, x: Any, training: Any) -> Any:
    self.dense = layers.Dense(4, name="another")
    return self.dense(x)


def takes_its_layer_away(self: Odd, x: Any, training: Any) -> Any:
    dense = self.dense
    del self.dense
    self.names.append(x)
    return dense(x) if ops.max(x) > 0 else x


def fixes_training(self: Odd, x: Any, training: Any) -> Any:
    return self.dense(layers.Dropout(0.5)(x, training=True))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (draws, "draws random numbers"),
        (counts, "assign"),
        (branches_on_training, "does something else in training"),
        (branches_on_values, "boolean"),
        (calls_numpy, ""),
        (adds_a_loss, "adds a loss"),
        (calls_itself, "calls itself"),
        (fixes_training, "training=True"),
        (draws_from_numpy, "draws random numbers"),
        (draws_from_a_generator, "numbers that are others in every call"),
        (asks_the_time, "numbers that are others in every call"),
        (makes_a_layer, "cannot add new elements of state"),
        (takes_its_layer_away, "boolean"),
    ],
)
def test_code_that_stays_closed(code: Callable[..., Any], why: str) -> None:
    x = keras.Input((4,))
    layer = Odd(code, name="odd")
    layer.build((None, 4))
    outputs = keras.KerasTensor((None, 4))
    model = _called(x, layer, outputs)
    before = {name: id(value) for name, value in vars(layer).items()}
    inside = list(layer._layers)
    graph = ks.lift(model)
    assert "odd" in graph
    assert why in graph.model.closed["odd"]
    assert f"{__file__}, line" in graph.model.closed["odd"] or "random" in why or "numbers" in why
    assert {name: id(value) for name, value in vars(layer).items()} == before
    assert layer.names == ["odd"]
    assert layer._layers == inside
    assert len(layer._inbound_nodes) == 1
    assert not layer.dense._inbound_nodes


def _called(x: Any, layer: Any, outputs: Any) -> keras.Model:
    """A model in which a layer is called, without its code being run."""
    from keras.src.ops.node import Node

    Node(layer, call_args=(x,), call_kwargs={}, outputs=outputs)
    return keras.Model(x, layers.Dense(2, name="head")(outputs))


def test_sizes_that_are_free_are_not_taken_for_numbers() -> None:
    @keras.saving.register_keras_serializable("closed")
    class Long(layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = layers.Dense(3, name="dense")

        def build(self, shape: Any) -> None:
            self.dense.build(shape)

        def call(self, x: Any) -> Any:
            return self.dense(x) if x.shape[1] is None or x.shape[1] > 4 else x * 2

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    x = keras.Input((None, 3))
    graph = ks.lift(keras.Model(x, Long(name="long")(x)))
    assert "compares the free size of axis 1" in graph.model.closed["long"]
    fixed = keras.Input((6, 3))
    model = keras.Model(fixed, Long(name="long")(fixed))
    graph = ks.lift(model)
    assert "long/dense" in graph
    data = np.random.default_rng(0).normal(size=(2, 6, 3))
    np.testing.assert_array_equal(array(ks.emit(graph, fold=False)(data)), array(model(data)))


def test_a_layer_that_cannot_say_how_it_was_made_is_emitted_opened() -> None:
    class Silent(layers.Layer):
        def __init__(self, inner: Any, **options: Any) -> None:
            super().__init__(**options)
            self.inner = inner

        def build(self, shape: Any) -> None:
            self.inner.build(shape)

        def call(self, x: Any) -> Any:
            return ops.relu(self.inner(x))

        def get_config(self) -> dict[str, Any]:
            raise NotImplementedError("no")

    x = keras.Input((4,))
    model = keras.Model(x, Silent(layers.Dense(3, name="inner"), name="silent")(x))
    graph = ks.lift(model)
    data = np.random.default_rng(0).normal(size=(2, 4))
    emitted = ks.emit(graph)
    np.testing.assert_array_equal(array(emitted(data)), array(model(data)))
    assert not any(isinstance(layer, Silent) for layer in emitted._flatten_layers())


@keras.saving.register_keras_serializable("tests.opening")
class Forgetful(layers.Layer):
    """Cannot be opened, and does not say how it was made."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(width, name="dense")

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any, training: Any = None) -> Any:
        return self.dense(x) * 2 if training else self.dense(x)

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.dense.units)

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


@keras.saving.register_keras_serializable("tests.opening")
class Around(layers.Layer):
    """Says how it was made, the forgetful layer in it too."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.width = width
        self.first, self.inner = layers.Dense(width, name="first"), Forgetful(width, name="inner")

    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.inner.build((*shape[:-1], self.width))

    def call(self, x: Any) -> Any:
        return self.inner(self.first(x))

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


def test_around_a_closed_layer_that_cannot_be_made_again_all_stays_closed() -> None:
    model = keras.Sequential([keras.Input((4,)), Around(6, name="around"), layers.Dense(2)])
    graph = ks.lift(model)
    assert "around/first" not in graph
    assert "'inner' stays closed" in graph.model.closed["around"]
    assert "cannot be made again" in graph.model.closed["around"]
    emitted = ks.emit(graph, fold=False)
    inputs = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    assert np.array_equal(array(model(inputs)), array(emitted(inputs)))
