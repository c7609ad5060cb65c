"""One variable that is reached in two ways stays one: as many parameters, and whoever changes it changes both uses."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.ir.verify import verify_structure
from kerasurgeon.rewrite.calls import splice
from tests.zoo.sampling import randomise

PACKAGE = "kerasurgeon_ties"


@keras.saving.register_keras_serializable(PACKAGE)
class Backbone(keras.Model):
    """A functional model with a constructor of its own, so that it stays closed."""

    def __init__(self, width: int, depth: int = 1, **options: Any) -> None:
        embedding = layers.ReversibleEmbedding(20, width, name="table")
        tokens = keras.Input((6,), dtype="int32")
        x = layers.Dense(width, activation="relu", name="inner")(embedding(tokens))
        for index in range(depth - 1):
            x = Rows(width, name=f"rows{index}")(x)
        super().__init__(tokens, x, **options)
        self.table, self.width, self.depth = embedding, width, depth

    def get_config(self) -> dict[str, Any]:
        return {"width": self.width, "depth": self.depth, "name": self.name}


@keras.saving.register_keras_serializable(PACKAGE)
class Rows(keras.Model):
    """Closed too; it computes with a weight of a layer that it does not call."""

    def __init__(self, width: int, **options: Any) -> None:
        dense = layers.Dense(width, name="row")
        x = keras.Input((6, width))
        y = dense(x)
        super().__init__(x, ops.matmul(y, dense.kernel), **options)
        self.dense, self.width = dense, width

    def get_config(self) -> dict[str, Any]:
        return {"width": self.width, "name": self.name}


@keras.saving.register_keras_serializable(PACKAGE)
class Around(layers.Layer):
    """Holds a layer in an attribute, in a private one, in a list or in a dict inside a list."""

    def __init__(self, inner: Any, place: str = "public", **options: Any) -> None:
        super().__init__(**options)
        inner = keras.saving.deserialize_keras_object(inner) if isinstance(inner, dict) else inner
        self.place = place
        if place == "public":
            self.inner = inner
        elif place == "private":
            self._inner = inner
        else:
            self.inners = [{"it": inner}]

    @property
    def held(self) -> Any:
        found = {"public": lambda: self.inner, "private": lambda: self._inner}
        return found.get(self.place, lambda: self.inners[0]["it"])()

    def build(self, input_shape: Any) -> None:
        if not self.held.built:
            self.held.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return ops.tanh(self.held(inputs))

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.held)
        return {**super().get_config(), "inner": inner, "place": self.place}


@keras.saving.register_keras_serializable(PACKAGE)
class BorrowsKernel(layers.Dense):
    """A dense layer with the kernel of another one, which it is told of after it was made."""

    source: Any = None

    def build(self, input_shape: Any) -> None:
        source = self.source[0] if isinstance(self.source, list) else self.source
        self._kernel = source.kernel
        self.bias = self.add_weight(shape=(self.units,), name="bias")
        self.built = True


def tokens() -> Any:
    return keras.Input((6,), dtype="int32", name="tokens")


def rows(width: int = 4) -> Any:
    return keras.Input((6, width), name="x")


def closed_and_open() -> keras.Model:
    backbone, x = Backbone(4), tokens()
    return keras.Model(x, backbone.table(backbone(x), reverse=True))


def open_then_closed() -> keras.Model:
    backbone, x = Backbone(4), tokens()
    y = layers.Dense(4, name="before")(backbone.table(x))
    return keras.Model(x, layers.Add()([y, backbone(x)]))


def operand_from_closed() -> keras.Model:
    backbone, x = Backbone(4), tokens()
    return keras.Model(x, ops.einsum("btc,vc->btv", backbone(x), backbone.table.embeddings))


def three_deep() -> keras.Model:
    backbone, x = Backbone(4, depth=3), tokens()
    dense = backbone.get_layer("rows1").dense
    return keras.Model(x, dense(layers.LayerNormalization(name="norm")(backbone(x))))


def two_closed() -> keras.Model:
    dense, x = layers.Dense(4, name="d"), rows()
    first = keras.Sequential([keras.Input((4,)), dense], name="first")
    second = keras.Sequential([keras.Input((4,)), layers.ReLU(), dense], name="second")
    y = layers.TimeDistributed(first, name="one")(x)
    return keras.Model(x, layers.TimeDistributed(second, name="two")(y))


def two_open_models() -> keras.Model:
    dense, x = layers.Dense(4, name="d"), rows()
    models = []
    for name in ("first", "second"):
        inner = rows()
        models.append(keras.Model(inner, dense(layers.Dense(4, name="own")(inner)), name=name))
    return keras.Model(x, models[1](models[0](x)))


def wrapped(wrap: Callable[[Any], Any], inner: Callable[[], Any] = lambda: layers.Dense(4, name="d")) -> keras.Model:
    x, one = rows(), inner()
    return keras.Model(x, one(wrap(one)(x)))


def twice(wrap: Callable[..., Any], inner: Any) -> keras.Model:
    x = rows()
    return keras.Model(x, wrap(inner, name="two")(wrap(inner, name="one")(x)))


def kernel_untracked_and_set() -> keras.Model:
    """As users tie two layers that are built, against Keras' will."""
    x = rows()
    one, other = layers.Dense(4, name="one"), layers.Dense(4, name="other")
    model = keras.Model(x, other(layers.ReLU()(one(x))))
    other._untrack_variable(other._kernel)
    other._tracker.unlock()
    other._kernel = one._kernel
    other._tracker.lock()
    return model


def kernel_borrowed(listed: bool = False) -> keras.Model:
    x, one, other = rows(), layers.Dense(4, name="one"), BorrowsKernel(4, name="other")
    y = one(x)
    other.source = [one] if listed else one
    return keras.Model(x, other(y))


def lora() -> keras.Model:
    x, dense = rows(), layers.Dense(4, name="d")
    y = layers.TimeDistributed(dense, name="td")(x)
    dense.enable_lora(2)
    return keras.Model(x, layers.TimeDistributed(dense, name="again")(dense(y)))


def quantized() -> keras.Model:
    x, dense = rows(), layers.Dense(4, name="d")
    model = keras.Model(x, layers.TimeDistributed(dense, name="again")(layers.TimeDistributed(dense, name="td")(x)))
    dense.quantize("int8")
    return model


MODELS: dict[str, Callable[[], keras.Model]] = {
    "a layer of a closed model is called outside of it": closed_and_open,
    "and called outside first": open_then_closed,
    "a weight of a layer of a closed model is an operand": operand_from_closed,
    "a layer three closed models deep": three_deep,
    "one layer in two closed models": two_closed,
    "one layer in two open models": two_open_models,
    "TimeDistributed(d) and d": lambda: wrapped(layers.TimeDistributed),
    "TimeDistributed twice": lambda: twice(layers.TimeDistributed, layers.Dense(4, name="d")),
    "TimeDistributed of a norm, and the norm": lambda: wrapped(
        layers.TimeDistributed, lambda: layers.LayerNormalization(name="d")
    ),
    "SpectralNormalization(d) and d": lambda: wrapped(layers.SpectralNormalization),
    "a wrapper in a custom layer, and d": lambda: wrapped(
        lambda inner: Around(layers.TimeDistributed(inner, name="td"), name="around")
    ),
    "one cell in two RNNs": lambda: twice(
        lambda cell, name: layers.RNN(cell, return_sequences=True, name=name), layers.LSTMCell(4, name="cell")
    ),
    "a recurrent layer as the backward one, and by itself": lambda: wrapped(
        lambda inner: layers.Bidirectional(
            layers.LSTM(4, return_sequences=True, name="forth"), backward_layer=inner, merge_mode="sum", name="both"
        ),
        lambda: layers.LSTM(4, return_sequences=True, go_backwards=True, name="back"),
    ),
    "a kernel untracked and set": kernel_untracked_and_set,
    "a kernel borrowed from a layer that an attribute holds": kernel_borrowed,
    "LoRA": lora,
    "quantised to int8": quantized,
} | {
    f"a custom layer holds it, {place}": lambda place=place: wrapped(lambda inner: Around(inner, place, name="around"))
    for place in ("public", "private", "listed")
}


def inputs_of(model: keras.Model) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(0)
    if "int" in model.input.dtype:
        return generator.integers(0, 20, (3, *model.input.shape[1:]))
    return generator.normal(size=(3, *model.input.shape[1:])).astype("float32")


def made(name: str) -> keras.Model:
    model = MODELS[name]()
    if "int8" not in name:
        randomise(model, 0)
    return model


def assert_same_and_tied(model: keras.Model, other: keras.Model) -> None:
    """One after the other, every variable grows in both: outputs stay equal only if all its uses have grown."""
    data = inputs_of(model)
    assert [tuple(weight.shape) for weight in model.weights] == [tuple(weight.shape) for weight in other.weights]
    assert model.count_params() == other.count_params()
    for one, twin in zip([None, *model.weights], [None, *other.weights], strict=True):
        if one is not None and twin is not None:
            assert one is not twin
            for variable in (one, twin):
                value = np.asarray(keras.ops.convert_to_numpy(variable))
                variable.assign(value + 1 if value.dtype.kind in "iu" and value.max() < 100 else value * 1.25)
        wanted, got = np.asarray(model(data)), np.asarray(other(data))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", MODELS)
def test_one_variable_stays_one(name: str) -> None:
    model = made(name)
    graph = ks.lift(model)
    verify_structure(graph)
    assert ks.cost(graph).parameters == model.count_params()
    emitted = ks.emit(graph)
    assert_same_and_tied(model, emitted)
    assert_same_and_tied(emitted, ks.emit(ks.lift(emitted)))  # what came out can be lifted again


def test_a_layer_that_does_not_say_what_it_borrows_is_refused_where_it_stays_closed() -> None:
    model = kernel_borrowed(listed=True)
    with pytest.raises(ks.KerasurgeonError, match="'other'"):
        ks.emit(ks.lift(model, open="none"))
    assert_same_and_tied(model, ks.emit(ks.lift(model)))


@keras.saving.register_keras_serializable(PACKAGE)
class Closure(layers.Layer):
    """Computes with a function that closes over its weight, where nobody can exchange it."""

    def build(self, input_shape: Any) -> None:
        kernel = self.add_weight(shape=(4, 4), name="kernel")
        self.function: Callable[[Any], Any] = lambda x: ops.matmul(x, kernel)

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def test_a_variable_that_cannot_be_exchanged_is_refused() -> None:
    model = twice(layers.TimeDistributed, Closure(name="closure"))
    with pytest.raises(ks.EmitError, match=r"'two' \(TimeDistributed\) is one with that of another layer") as caught:
        ks.emit(ks.lift(model))
    assert "self.kernel" in str(caught.value)


SHARED = layers.Dense(4, name="shared")


@pytest.mark.parametrize("way", ["closure", "default", "global", "inner", "layer"])
def test_functions_that_reach_for_a_weight_are_refused(way: str) -> None:
    """What is emitted would compute with the variable of the lifted model."""
    dense = SHARED if way == "global" else layers.Dense(4, name="shared")
    functions: dict[str, Callable[..., Any]] = {
        "closure": lambda x: ops.matmul(x, dense.kernel),
        "default": lambda x, kernel=dense: ops.matmul(x, kernel.kernel),
        "global": lambda x: ops.matmul(x, SHARED.kernel),
        "inner": lambda x: (lambda: ops.matmul(x, dense.kernel))(),
        "layer": lambda x: dense(x),
    }
    x = rows()
    y = dense(x)
    model = keras.Model(x, layers.Lambda(functions[way], output_shape=(6, 4), name="tying")(y))
    with pytest.raises(ks.LiftError, match=r"'tying' \(Lambda\).*weight 'kernel' of layer 'shared'") as caught:
        ks.lift(model)
    assert "keras.ops.matmul" in str(caught.value)
    other = keras.Model(x, layers.Lambda(functions[way], output_shape=(6, 4))(layers.Dense(4)(x)))
    ks.lift(other)  # a variable of nobody in the model is a constant, as it is for Keras


def test_branches_of_an_op_that_reach_for_a_weight_are_refused() -> None:
    x, dense = rows(), layers.Dense(4, name="shared")
    y = dense(x)
    function = functools.partial(lambda layer: ops.matmul(y, layer.kernel), dense)
    chosen = ops.cond(ops.sum(y) > 0, function, lambda: y)
    with pytest.raises(ks.LiftError, match="weight 'kernel' of layer 'shared'"):
        ks.lift(keras.Model(x, chosen))


def test_weights_that_come_apart_are_found() -> None:
    graph: ks.Graph = ks.lift(made("TimeDistributed twice"))
    graph.set_weight("one", "d/kernel", 2 * graph.layers["one"].weights["d/kernel"].array)
    with pytest.raises(ks.VerificationError, match=r"I10: one\.d/kernel and two\.d/kernel are one variable"):
        verify_structure(graph)


def test_a_network_that_is_put_in_twice_is_two() -> None:
    inner = ks.lift(made("TimeDistributed twice"))
    x = rows()
    graph = ks.lift(keras.Model(x, layers.ReLU(name="end")(x)))
    for _ in range(2):
        (old,) = keras.tree.flatten(graph.outputs)
        graph.set_output(old, splice(graph, inner, old))
    assert sorted(map(len, graph.ties().values())) == [2, 2, 2, 2]
    assert ks.emit(graph).count_params() == 2 * 20


def test_a_fork_is_tied_to_none() -> None:
    x = rows()
    dense = layers.Dense(4, name="d")
    y = layers.TimeDistributed(dense, name="td")(x)
    graph = ks.lift(keras.Model(x, dense(dense(y))))
    key = graph.fork_layer("d:1")
    assert all(weight.tie is None for weight in graph.layers[key].weights.values())
    assert ks.emit(graph).count_params() == 2 * 20


def test_weights_that_have_come_apart_do_not_reach_other_graphs() -> None:
    """Graphs share weights. One that was spoilt, and emitted all the same, leaves the others as they are."""
    graph: ks.Graph = ks.lift(made("TimeDistributed twice"))
    before = graph.layers["two"].weights["d/kernel"].array.copy()
    spoilt = graph.copy()
    spoilt.set_weight("one", "d/kernel", 2 * before)
    ks.emit(spoilt)
    np.testing.assert_array_equal(graph.layers["two"].weights["d/kernel"].array, before)
    verify_structure(graph)
