"""Composite layers become nodes. The oracle is Keras running the code of the layers themselves."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from tests.opening.layers import PACKAGE, Block, Tokens, array, image_classifier, randomised, text_classifier

RNG = np.random.default_rng(0)
PLAIN = {"InputLayer", "Functional"}


def kinds_of(model: keras.Model) -> set[str]:
    """Names of the classes of all layers in a model, those of nested models too."""
    return {type(layer).__name__ for layer in model._flatten_layers()} - PLAIN


def tokens(batch: int, length: int) -> Any:
    return RNG.integers(0, 30, (batch, length)).astype("int32")


@pytest.fixture(scope="module")
def free() -> tuple[keras.Model, ks.Graph]:
    """A model with free batch and length."""
    model = randomised(text_classifier())
    return model, ks.lift(model)


def test_what_a_layer_calls_becomes_nodes(free: tuple[keras.Model, ks.Graph]) -> None:
    _, graph = free
    assert {"embed/word", "embed/place", "block_0/query", "block_1/inner", "head"} <= {node.name for node in graph}
    assert not any(graph.kind(node).startswith("custom:") for node in graph)
    assert graph.model.closed == {}


def test_unchanged_layers_come_back_as_they_were(free: tuple[keras.Model, ks.Graph]) -> None:
    model, graph = free
    emitted = ks.emit(graph)
    assert [type(layer) for layer in emitted.layers] == [type(layer) for layer in model.layers]
    assert emitted.get_config() == model.get_config()
    x = tokens(3, 7)
    np.testing.assert_array_equal(array(emitted(x)), array(model(x)))


@pytest.mark.parametrize("size", [(1, 3), (4, 16), (2, 2)])
def test_free_sizes_stay_free(free: tuple[keras.Model, ks.Graph], size: tuple[int, int]) -> None:
    model, graph = free
    plain = ks.emit(graph, fold=False)
    assert kinds_of(plain).isdisjoint({"Block", "Tokens"})
    assert plain.input_shape == (None, None)
    np.testing.assert_array_equal(array(plain(tokens(*size) * 0 + 3)), array(model(tokens(*size) * 0 + 3)))
    x = tokens(*size)
    np.testing.assert_array_equal(array(plain(x)), array(model(x)))


def test_an_opened_model_needs_no_package(free: tuple[keras.Model, ks.Graph], tmp_path: Path) -> None:
    model, graph = free
    ks.emit(graph, fold=False).save(tmp_path / "plain.keras")
    registered = keras.saving.get_custom_objects()
    hidden = {name: registered.pop(name) for name in list(registered) if name.startswith(PACKAGE)}
    try:
        loaded = keras.saving.load_model(tmp_path / "plain.keras")
    finally:
        registered.update(hidden)
    assert loaded.count_params() == model.count_params()
    x = tokens(2, 9)
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))


def test_weights_outside_layers_stay_weights() -> None:
    model = randomised(image_classifier())
    graph = ks.lift(model)
    plain = ks.emit(graph, fold=False)
    x = RNG.normal(size=(3, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(array(plain(x)), array(model(x)))
    assert plain.count_params() == model.count_params()
    assert len(plain.trainable_weights) == len(model.trainable_weights)
    assert ks.cost(model).parameters == model.count_params()
    for one in (model, plain):
        one.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        one.train_on_batch(x, np.ones((3, 5), "float32"))
    np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-4, atol=1e-5)


def test_dropout_knows_training() -> None:
    model = randomised(text_classifier(6, rate=0.5))
    plain = ks.emit(ks.lift(model), fold=False)
    x = tokens(4, 6)
    np.testing.assert_array_equal(array(plain(x, training=False)), array(model(x, training=False)))
    assert not np.allclose(array(plain(x, training=True)), array(plain(x, training=False)))


def test_changed_values_of_weights_stay_in_the_layer(free: tuple[keras.Model, ks.Graph]) -> None:
    model, _ = free
    graph = ks.lift(model)
    graph.set_weight("block_0/query", "kernel", 2 * np.asarray(graph.layers["block_0/query"].array("kernel")))
    graph.set_weight("block_1/scale", "kernel", 3 * np.asarray(graph.layers["block_1/scale"].array("kernel")))
    emitted = ks.emit(graph)
    assert [type(layer).__name__ for layer in emitted.layers].count("Block") == 2
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.get_layer("block_0").query.kernel.assign(twin.get_layer("block_0").query.kernel * 2)
    twin.get_layer("block_1").scale.assign(twin.get_layer("block_1").scale * 3)
    x = tokens(3, 7)
    np.testing.assert_array_equal(array(emitted(x)), array(twin(x)))


def test_the_model_is_left_as_it_was() -> None:
    model = text_classifier(6)
    block = model.get_layer("block_0")
    parts = [layer for layer in model._flatten_layers() if layer is not model]
    before = [(len(layer._inbound_nodes), len(layer._outbound_nodes), set(vars(layer))) for layer in parts]
    ks.emit(ks.lift(model))
    assert [(len(layer._inbound_nodes), len(layer._outbound_nodes), set(vars(layer))) for layer in parts] == before
    assert isinstance(block.scale, keras.Variable)
    assert "__getattribute__" not in vars(keras.Layer)


def test_names_are_the_same_every_time() -> None:
    model = text_classifier(6)
    assert [node.name for node in ks.lift(model)] == [node.name for node in ks.lift(model)]


@keras.saving.register_keras_serializable(PACKAGE)
class Twice(layers.Layer):
    """Calls one layer twice, gives two tensors, and takes one that may be missing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(4, name="dense")
        self.norm = layers.BatchNormalization(name="norm")

    def build(self, shape: Any, *_: Any) -> None:
        self.dense.build(shape)
        self.norm.build(shape)

    def call(self, x: Any, other: Any = None, training: Any = None) -> Any:
        y = self.dense(self.dense(x))
        if other is not None:
            y = y - other
        return {"normed": self.norm(y, training=training), "plain": y}


@pytest.mark.parametrize("two", [False, True])
def test_calls_and_outputs_several(two: bool) -> None:
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    layer = Twice(name="twice")
    given = layer(first, other=second) if two else layer(first)
    again = layer(given["plain"])
    inputs = [first, second] if two else [first]
    model = randomised(keras.Model(inputs, [given["normed"], again["plain"]]))
    graph = ks.lift(model)
    x = [RNG.normal(size=(3, 4)).astype("float32") for _ in inputs]
    assert len(graph.calls("twice/dense")) == 4
    for emitted in (ks.emit(graph), ks.emit(graph, fold=False)):
        for one, other in zip(emitted(x), model(x), strict=True):
            np.testing.assert_array_equal(array(one), array(other))
        assert emitted.count_params() == model.count_params()


@keras.saving.register_keras_serializable(PACKAGE)
class Reader(layers.Layer):
    """Masks nothing itself; what is inside does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lstm = layers.LSTM(3, name="lstm")
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.lstm.build(shape)

    def call(self, x: Any) -> Any:
        return self.lstm(x)

    def compute_mask(self, *_: Any, **__: Any) -> Any:
        return None


def test_masks_reach_the_layers_inside() -> None:
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="ids")(ids)
    model = randomised(keras.Model(ids, Reader(name="reader")(x)))
    data = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
    graph = ks.lift(model)
    assert not np.allclose(array(model(data)), array(model(np.where(data, data, 8))))
    for emitted in (ks.emit(graph), ks.emit(graph, fold=False)):
        np.testing.assert_array_equal(array(emitted(data)), array(model(data)))


@keras.saving.register_keras_serializable(PACKAGE)
class Tied(layers.Layer):
    """Embeds, and multiplies by the same table."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table, self.block = layers.Embedding(7, 4, name="table"), Block(4, 2, 6, name="block")

    def build(self, shape: Any) -> None:
        self.table.build(shape)
        self.block.build((*shape, 4))

    def call(self, ids: Any) -> Any:
        return ops.matmul(self.block(self.table(ids)), ops.transpose(self.table.embeddings))

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


def test_tied_weights_stay_tied_and_layers_inside_are_opened() -> None:
    ids = keras.Input((5,), dtype="int32")
    model = randomised(keras.Model(ids, Tied(name="tied")(ids)))
    graph = ks.lift(model)
    assert "tied/block/query" in graph
    data = RNG.integers(0, 7, (2, 5))
    for emitted in (ks.emit(graph), ks.emit(graph, fold=False)):
        assert emitted.count_params() == model.count_params()
        table = next(weight for weight in emitted.weights if tuple(weight.shape) == (7, 4))
        table.assign(model.get_layer("tied").table.embeddings * 1.5)
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        twin.get_layer("tied").table.embeddings.assign(model.get_layer("tied").table.embeddings * 1.5)
        np.testing.assert_allclose(array(emitted(data)), array(twin(data)), atol=1e-5)


@keras.saving.register_keras_serializable(PACKAGE)
class Nested(keras.Model):
    """A functional model with a constructor of its own."""

    def __init__(self, width: int, **options: Any) -> None:
        x = keras.Input((6,))
        super().__init__(
            x, layers.Dense(3, name="out")(layers.Dense(width, activation="relu", name="wide")(x)), **options
        )
        self.width = width

    def get_config(self) -> dict[str, Any]:
        return {"width": self.width, "name": self.name}


def test_models_with_constructors_are_walked() -> None:
    x = keras.Input((6,))
    model = randomised(keras.Model(x, layers.Dense(2, name="head")(Nested(8, name="backbone")(x))))
    graph = ks.lift(model)
    assert "backbone/wide" in graph
    assert type(ks.emit(graph).get_layer("backbone")) is Nested
    data = RNG.normal(size=(3, 6)).astype("float32")
    for emitted in (ks.emit(graph), ks.emit(graph, fold=False)):
        np.testing.assert_array_equal(array(emitted(data)), array(model(data)))
    small = ks.cut(model, ks.ChannelPlan({"backbone/wide": [0, 1]}))
    assert small.get_layer("backbone").get_layer("wide").units == 2


def test_what_is_opened_is_chosen() -> None:
    model = text_classifier(6)
    assert "block_0" in ks.lift(model, open="none")
    some = ks.lift(model, open=["block_1"])
    assert {"block_0", "block_1/query", "embed"} <= {node.name for node in some}
    assert "block_0/query" in ks.lift(model, open="all")
    with pytest.raises(ks.OptionError, match="block_7"):
        ks.lift(model, open="block_7")
    with pytest.raises(ks.OptionError, match="open="):
        ks.lift(model, open=3)


def test_a_layer_with_a_rule_stays_as_it_is() -> None:
    from kerasurgeon.rules.registry import unregister_rule
    from kerasurgeon.rules.rule import Free

    model = text_classifier(6)
    ks.register_rule(Tokens, Free())
    try:
        assert "embed" in ks.lift(model)
    finally:
        unregister_rule(Tokens)
    assert "embed/word" in ks.lift(model)


class Rows(layers.Layer):
    """Builds a row of layers for other sizes than it calls it on."""

    def __init__(self, margin: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.margin = margin
        self.row = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()], name="row")

    def build(self, shape: Any) -> None:
        self.row.build((shape[0], shape[1] + self.margin, *shape[2:]))

    def call(self, x: Any, training: Any = None) -> Any:
        return ops.tanh(self.row(x, training=training))


def test_rows_of_layers_that_were_built_for_other_sizes() -> None:
    x = keras.Input((6, 5, 3))
    model = randomised(keras.Model(x, Rows(name="rows")(x)))
    graph = ks.lift(model)
    assert not graph.model.closed
    data = RNG.normal(size=(2, 6, 5, 3)).astype("float32")
    np.testing.assert_array_equal(array(ks.emit(graph, fold=False)(data)), array(model(data)))


@keras.saving.register_keras_serializable("numbers")
class Numbers(layers.Layer):
    """Multiplied by a number that is trained, and one added."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(), initializer=keras.initializers.Constant(1.5), name="factor")
        self.shift = self.add_weight(shape=(), initializer=keras.initializers.Constant(-0.25), name="shift")

    def call(self, x: Any) -> Any:
        return self.factor * x + self.shift


def test_weights_that_are_numbers() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = Numbers(name="numbers")(layers.Conv2D(8, 3, name="first")(inputs))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="second")(x))
    plain = ks.emit(ks.lift(model, open="all"), fold=False)
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(plain(images)), np.asarray(model(images)))
    assert not any(isinstance(layer, Numbers) for layer in plain.layers)
    assert sum(weight.shape.num_elements() == 1 for weight in plain.trainable_weights) == 2
    small = ks.cut(plain, ks.ChannelPlan({"first": [0, 2, 5]}))
    kernel = np.asarray(model.get_layer("second").kernel).copy()
    kernel[:, :, [1, 3, 4, 6, 7]] = 0
    model.get_layer("second").kernel.assign(kernel)
    np.testing.assert_allclose(np.asarray(small(images)), np.asarray(model(images)), atol=1e-5)
