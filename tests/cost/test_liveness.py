"""Peaks of activations: small graphs by hand, random graphs by simulation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.costs import cost
from kerasurgeon.ir import Graph, Value
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io import lift
from tests.cost.counting import called


def simulated_peak(graph: Graph) -> int:
    """Run the graph with reference counts, freeing a tensor as soon as nobody will read it again."""
    waiting: dict[Value, int] = {}
    for node in graph.nodes():
        for value in node.inputs:
            waiting[value] = waiting.get(value, 0) + 1
    for value in values_in(graph.outputs):
        waiting[value] = waiting.get(value, 0) + 1  # the caller reads it, after everything
    memory = {value: graph.spec(value).bytes() for value in values_in(graph.inputs)}
    peak = sum(memory.values())
    for node in graph.nodes():
        results = {Value(node.name, index): spec.bytes() for index, spec in enumerate(node.outputs)}
        memory |= results
        peak = max(peak, sum(memory.values()))
        for value in node.inputs:
            waiting[value] -= 1
        for value in {*node.inputs, *results}:
            if not waiting.get(value):
                del memory[value]
    return peak


def test_chain_holds_two_tensors() -> None:
    found = cost(called(lambda x: layers.Dense(1)(layers.Dense(100)(layers.Dense(10)(x))), (20,)))
    sizes = [4 * (20), 4 * (20 + 10), 4 * (10 + 100), 4 * (100 + 1)]
    assert [row.live_bytes for row in found.rows] == sizes
    assert found.peak_activation_bytes == 440
    assert found.peak_at == found.rows[2].name


def test_skip_connection_is_held_across_the_branch() -> None:
    inputs = keras.Input((10,))
    x = layers.Dense(30)(inputs)
    x = layers.Dense(10)(x)
    found = cost(keras.Model(inputs, layers.Add()([inputs, x])))
    assert [row.live_bytes // 4 for row in found.rows] == [10, 10 + 30, 10 + 30 + 10, 10 + 10 + 10]


def test_inputs_are_there_from_the_start_and_outputs_to_the_end() -> None:
    a, b = keras.Input((5,), name="a"), keras.Input((100,), name="b")
    x = layers.Dense(7, name="x")(a)
    y = layers.Dense(3, name="y")(x)
    z = layers.Concatenate(name="z")([y, b])
    found = cost(keras.Model([a, b], [x, z]))
    live = {row.name: row.live_bytes // 4 for row in found.rows}
    assert found.rows[0].live_bytes // 4 == 105
    assert [live[name] for name in ("x", "y", "z")] == [112, 110, 7 + 3 + 100 + 103]


def test_output_that_nobody_reads_is_there_while_its_node_runs() -> None:
    inputs = keras.Input((4, 6))
    hidden, _, _ = layers.LSTM(5, return_state=True)(inputs)
    found = cost(keras.Model(inputs, layers.Dense(2)(hidden)))
    assert [row.live_bytes // 4 for row in found.rows] == [24, 24 + 15, 5 + 2]


def test_operand_read_twice_is_held_once() -> None:
    found = cost(called(lambda x: layers.Multiply()([x, x]), (10,)))
    assert found.peak_activation_bytes == 80


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("mixed_float16", 2), ("mixed_bfloat16", 2)])
def test_dtypes(dtype: str, width: int) -> None:
    model = called(layers.Dense(30, dtype=dtype), (10,))
    found = cost(model)
    assert found.peak_activation_bytes == 10 * 4 + 30 * width
    assert found.weight_bytes == (300 + 30) * 4


def test_integers_and_booleans() -> None:
    tokens = keras.Input((10,), dtype="int32")
    found = cost(keras.Model(tokens, ops.not_equal(tokens, 0)))
    assert found.peak_activation_bytes == 10 * 4 + 10 * 1


def random_model(seed: int) -> keras.Model:
    """A graph of dense layers, sums, splits and concatenations with random widths and random reuse."""
    rng = np.random.default_rng(seed)
    inputs = [keras.Input((int(rng.integers(1, 40)),), name=f"in{index}") for index in range(rng.integers(1, 4))]
    tensors = list(inputs)
    for _ in range(30):
        picked = [tensors[int(index)] for index in rng.integers(0, len(tensors), 2)]
        choice = rng.integers(0, 4)
        if choice == 0:
            tensors.append(layers.Dense(int(rng.integers(1, 60)))(picked[0]))
        elif choice == 1:
            tensors.append(layers.Concatenate()(picked))
        elif choice == 2:
            tensors.append(ops.cast(picked[0] > 0, "float32") * picked[0])
        else:
            doubled = layers.Dense(2 * int(rng.integers(1, 30)))(picked[1])
            tensors.extend(ops.split(doubled, 2, axis=-1))
    outputs = [tensors[int(index)] for index in rng.choice(len(tensors), 3, replace=False)]
    return keras.Model(inputs, [layers.Identity()(tensor) for tensor in outputs])


@pytest.mark.spread(2)
@pytest.mark.parametrize("seed", range(12))
def test_peak_is_that_of_a_simulation(seed: int) -> None:
    graph = lift(random_model(seed))
    assert cost(graph).peak_activation_bytes == simulated_peak(graph)
