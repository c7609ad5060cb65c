"""Subclassed models as a whole: what they compute, by Keras running their code, is what the graph computes."""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels
from tests.opening.layers import Block, Tokens, array, randomised

RNG = np.random.default_rng(0)


class Classifier(keras.Model):
    """Images to classes, in Python."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.body = [layers.Conv2D(8, 3, strides=2, activation="relu", name=f"conv{index}") for index in range(2)]
        self.norm, self.drop = layers.BatchNormalization(name="norm"), layers.Dropout(0.2, name="drop")
        self.head = layers.Dense(3, name="head")

    def call(self, images: Any, training: Any = None) -> Any:
        x = images
        for layer in self.body:
            x = layer(x)
        x = keras.ops.mean(self.norm(x, training=training), axis=(1, 2))
        return self.head(self.drop(x, training=training))


class Pair(keras.Model):
    """Two inputs by name, two outputs by name; one input is tokens."""

    def __init__(self) -> None:
        super().__init__(name="pair")
        self.tokens, self.block = Tokens(8, 20, 6, name="tokens"), Block(6, 2, 8, name="block")
        self.out = layers.Dense(2, name="out")

    def call(self, inputs: Any) -> Any:
        x = self.block(self.tokens(inputs["ids"]))
        x = keras.ops.mean(x, axis=1) + inputs["more"]
        return {"x": x, "y": self.out(x)}


def test_a_model_that_fit_has_built() -> None:
    model = Classifier(name="classifier")
    images = RNG.normal(size=(8, 16, 16, 3)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((8, 3), "float32"), verbose=0)
    plain = ks.emit(ks.lift(model))
    assert not isinstance(plain, Classifier)
    assert plain.input_shape == (None, 16, 16, 3)
    assert [layer.name for layer in plain.layers if layer.weights] == ["conv0", "conv1", "norm", "head"]
    np.testing.assert_array_equal(array(plain(images)), array(model(images)))
    np.testing.assert_array_equal(array(plain(images[:3])), array(model(images[:3])))


def test_passes_work_on_it() -> None:
    model = Classifier()
    images = RNG.normal(size=(4, 16, 16, 3)).astype("float32")
    model(images)
    randomised(model)
    small = ks.apply_passes(model, [PruneChannels(macs=0.5)])
    assert ks.cost(small).macs <= 0.5 * ks.cost(model).macs
    plan = ks.ChannelPlan({"conv0": [0, 2, 3, 4, 6, 7], "conv1": range(1, 8)})
    cut, twin = ks.cut(model, plan), ks.masked(model, plan)
    np.testing.assert_allclose(array(cut(images)), array(twin(images)), rtol=1e-5, atol=1e-6)
    twin_of_hand = Classifier()
    twin_of_hand(images)
    twin_of_hand.set_weights(model.get_weights())
    kernel = array(twin_of_hand.body[1].kernel).copy()
    kernel[:, :, [1, 5]] = 0
    twin_of_hand.body[1].kernel.assign(kernel)
    mean = array(twin_of_hand.head.kernel).copy()
    mean[0] = 0
    twin_of_hand.head.kernel.assign(mean)
    np.testing.assert_allclose(array(cut(images)), array(twin_of_hand(images)), rtol=1e-5, atol=1e-6)


def test_inputs_say_what_the_model_takes() -> None:
    model = Pair()
    data = {"ids": RNG.integers(0, 20, (3, 5)).astype("int32"), "more": RNG.normal(size=(3, 6)).astype("float32")}
    model(data)
    graph = ks.lift(model, inputs=data)
    plain = ks.emit(graph)
    assert set(plain.input) == {"ids", "more"}
    assert plain.input["ids"].dtype == "int32"
    for key, tensor in model(data).items():
        np.testing.assert_array_equal(array(plain(data)[key]), array(tensor))
    free = {"ids": keras.Input((None,), dtype="int32"), "more": keras.Input((6,))}
    plain = ks.emit(ks.lift(model, inputs=free), fold=False)
    shorter = {"ids": data["ids"][:, :3], "more": data["more"]}
    np.testing.assert_array_equal(array(plain(shorter)["y"]), array(model(shorter)["y"]))


def test_what_is_refused() -> None:
    with pytest.raises(ks.LiftError, match=r"has no weights yet(.|\n)*call it once"):
        ks.lift(Classifier())

    class Branches(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="branches")
            self.dense = layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x) if keras.ops.max(x) > 0 else x

    model = Branches()
    model(np.ones((1, 3), "float32"))
    with pytest.raises(ks.LiftError, match=r"is a subclassed model(.|\n)*if keras\.ops\.max\(x\) > 0"):
        ks.lift(model, inputs=np.ones((1, 3), "float32"))
    functional = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(ks.OptionError, match="subclassed models only"):
        ks.lift(functional, inputs=np.ones((1, 2)))


class Plain(keras.Model):
    """A Dense layer, and one that is never called if there is to be one."""

    def __init__(self, spare: bool = False) -> None:
        super().__init__(name="plain")
        self.dense = layers.Dense(2)
        self.spare = layers.Dense(2, name="spare") if spare else None

    def call(self, x: Any) -> Any:
        return self.dense(x)


@pytest.mark.filterwarnings("ignore:`build")  # Keras, of the layer that is never called
def test_inputs_that_do_not_fit_are_named() -> None:
    model, spare = Plain(), Plain(spare=True)
    for one in (model, spare):
        one(np.ones((1, 3), "float32"))
    for inputs, why in (
        (np.array(["a"]), r"not of numbers"),
        ([[1.0, 2.0, 3.0]], r"no batch axis(.|\n)*give arrays"),
        (np.ones((1, 2), "float32"), r"got: ValueError: Input 0 .*shape \(None, 2\)"),
    ):
        with pytest.raises(ks.LiftError, match=why):
            ks.lift(model, inputs=inputs)
    with pytest.raises(ks.LiftError, match=r"no weights yet(.|\n)*not: spare(.|\n)*taken out"):
        ks.lift(spare, inputs=np.ones((1, 3), "float32"))
