"""Inputs that are drawn for a model whose inputs are a dict that is not in the order of its names."""

from __future__ import annotations

import keras

import kerasurgeon as ks
from kerasurgeon.keras_io.samples import sample_inputs


def test_every_input_gets_its_own_shape() -> None:
    wide, flat = keras.Input((8, 8, 1), name="wide"), keras.Input((5,), dtype="int32", name="flat")
    x = keras.layers.GlobalAveragePooling2D()(wide)
    model = keras.Model({"wide": wide, "flat": flat}, [x, keras.layers.Embedding(7, 2)(flat)])
    drawn = sample_inputs(ks.lift(model), batch_size=3)
    assert drawn["wide"].shape == (3, 8, 8, 1)
    assert drawn["flat"].shape == (3, 5)
    assert drawn["flat"].max() > 1
