"""Code that needs sizes which the model leaves open stays closed, says how it would be opened, and then is."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels
from tests.opening.layers import PACKAGE, array, randomised

DATA = np.random.default_rng(0).normal(size=(3, 6, 8)).astype("float32")


@keras.saving.register_keras_serializable(PACKAGE)
class Mixing(layers.Layer):
    """As the blocks of FNet: a Fourier transform, of which Keras must know the sizes, mixes steps and channels."""

    def __init__(self, hidden: int, **options: Any) -> None:
        super().__init__(**options)
        self.hidden, self.norm = hidden, layers.LayerNormalization(name="norm")
        self.inner, self.outer = layers.Dense(hidden, "gelu", name="inner"), layers.Dense(8, name="outer")

    def build(self, shape: Any) -> None:
        self.norm.build(shape)
        self.inner.build(shape)
        self.outer.build((*shape[:-1], self.hidden))

    def call(self, x: Any) -> Any:
        mixed, _ = ops.fft2((x, ops.zeros_like(x)))
        x = self.norm(x + mixed)
        return x + self.outer(self.inner(x))

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}


def mixer(length: int | None, *, nested: bool = False) -> keras.Model:
    x = keras.Input((length, 8), name="steps")
    inner = keras.Model(x, Mixing(16, name="mixing")(x), name="inner")
    y = inner.output
    if nested:
        x = keras.Input((length, 8), name="steps")
        y = inner(x)
    return randomised(keras.Model(x, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(y))))


@pytest.mark.parametrize("nested", [False, True])
def test_it_says_that_known_sizes_would_open_it_and_they_do(nested: bool) -> None:
    model, path = mixer(None, nested=nested), "inner/mixing" if nested else "mixing"
    graph = ks.lift(model)
    assert path in graph
    assert "kerasurgeon.change_input(model, shape)" in graph.model.closed[path]
    fixed = ks.change_input(model, (6, 8))
    again = ks.lift(fixed)
    assert again.model.closed == {}
    assert f"{path}/inner" in again
    np.testing.assert_array_equal(array(ks.emit(again, fold=False)(DATA)), array(model(DATA)))
    small = ks.apply_passes(fixed, [PruneChannels(ratio=0.5)])
    assert ks.cost(small).parameters < ks.cost(model).parameters


def test_what_other_sizes_would_not_open_does_not_say_so() -> None:
    class Drawing(Mixing):
        def call(self, x: Any) -> Any:
            return super().call(x) + keras.random.normal((8,), seed=keras.random.SeedGenerator(1))

    x = keras.Input((None, 8))
    closed = ks.lift(keras.Model(x, Drawing(16, name="drawing")(x))).model.closed
    assert "change_input" not in closed["drawing"]
