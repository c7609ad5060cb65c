"""Parameters and bytes against what Keras and numpy count."""

from __future__ import annotations

from math import prod
from typing import Any

import keras
import pytest
from keras import layers

from kerasurgeon.costs import cost
from kerasurgeon.keras_io import lift
from tests.applications import COMPUTED, SMALLEST, SMALLEST_OTHERWISE
from tests.zoo import ZOO, ZooCase


def trainable_count(model: Any) -> int:
    return sum(prod(variable.shape) for variable in model.trainable_variables)


def bytes_of(model: Any) -> int:
    return sum(keras.ops.convert_to_numpy(variable).nbytes for variable in model.weights)


@pytest.mark.sweep
@pytest.mark.parametrize("name", COMPUTED)
def test_applications(name: str) -> None:
    size = SMALLEST_OTHERWISE.get(name, SMALLEST)
    build: Any = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(size, size, 3), classes=10)
    found = cost(model)
    assert found.unknown == ()
    assert found.parameters == model.count_params()
    assert found.trainable_parameters == trainable_count(model)
    assert found.weight_bytes == bytes_of(model)


# A layer that cannot say how it was made cannot be lifted.
LIFTED = {name: case for name, case in ZOO.items() if name != "custom_without_config"}


@pytest.mark.spread(10)
@pytest.mark.parametrize("case", LIFTED.values(), ids=LIFTED.keys())
def test_zoo(case: ZooCase) -> None:
    model = case.build()
    graph = lift(model)
    found = cost(graph)
    assert len(found.rows) == len(graph)
    assert found.parameters == model.count_params()
    assert found.weight_bytes == bytes_of(model)
    assert found.trainable_parameters == trainable_count(model)


def test_frozen_parts_do_not_train() -> None:
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.BatchNormalization()], name="inner")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(inner(inputs)))
    assert cost(model).trainable_parameters == 35 + 10 + 18
    inner.trainable = False
    assert cost(model).trainable_parameters == trainable_count(model) == 18
    model.trainable = False
    assert cost(model).trainable_parameters == 0


def test_half_precision_weights() -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(5, dtype="float16")(inputs))
    assert cost(model).weight_bytes == 2 * 35
