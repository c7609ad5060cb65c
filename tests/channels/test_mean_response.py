"""The mean response of a convolution to a constant, against Keras running it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.channels.linear_part import full_shape, linear_part, run_linear, to_bias
from kerasurgeon.channels.mean_response import mean_response
from kerasurgeon.keras_io import lift
from tests.zoo.sampling import randomise

CASES = {
    "1x1": (layers.Conv2D(5, 1), (9, 8, 6)),
    "same": (layers.Conv2D(5, 3, padding="same"), (9, 8, 6)),
    "strided": (layers.Conv2D(5, (5, 3), strides=(2, 3), padding="same"), (9, 8, 6)),
    "dilated": (layers.Conv2D(5, 3, dilation_rate=(2, 3), padding="same"), (9, 8, 6)),
    "valid": (layers.Conv2D(5, 3, padding="valid"), (9, 8, 6)),
    "groups": (layers.Conv2D(4, 3, groups=2, padding="same"), (9, 8, 6)),
    "causal": (layers.Conv1D(5, 3, padding="causal", dilation_rate=2), (9, 6)),
    "causal strided": (layers.Conv1D(5, 3, padding="causal", strides=2), (9, 6)),
    "volume": (layers.Conv3D(3, 3, strides=2, padding="same"), (5, 6, 7, 4)),
    "dense": (layers.Dense(5), (7, 6)),
    "even": (layers.Conv2D(5, 4, padding="same"), (9, 8, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_mean_over_positions(case: str) -> None:
    layer, shape = CASES[case]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, type(layer).from_config(layer.get_config() | {"name": "it"})(inputs))
    randomise(model, 0)
    graph = lift(model)
    node = graph["it"]
    constant = np.random.default_rng(0).normal(size=(1,) * len(shape) + shape[-1:])
    quick = mean_response(graph.layer_of(node), graph.spec(node.inputs[0]).shape, constant)
    full = np.broadcast_to(constant, full_shape(graph, node, node.inputs[0]))
    slow = to_bias(graph.layer_of(node), run_linear(graph, node, linear_part(graph, node), full))
    assert quick is not None
    np.testing.assert_allclose(quick, slow, rtol=1e-4, atol=1e-5)


def test_open_sizes_are_not_guessed() -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="it")(inputs))
    graph = lift(model)
    assert mean_response(graph.layer_of("it"), (None, None, None, 3), np.ones((1, 1, 1, 3))) is None
