"""What a cut, its masked twin and a whole run hold beside their results."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasurgeon import Pipeline, apply_passes
from kerasurgeon.channels import analyse
from kerasurgeon.channels.cut import cut_units, take
from kerasurgeon.channels.masked import mask_weights
from kerasurgeon.keras_io import lift, tensors
from kerasurgeon.passes import Factorise, PruneChannels
from kerasurgeon.rules.channel_call import Held
from kerasurgeon.rules.keep import Keep


def network() -> keras.Model:
    """16 MB of weights, most of them in one layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Dense(640, activation="relu", name="large")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(x))


def _half(channels: Any) -> Any:
    gone = np.arange(channels.units) % 2 == 0
    gone[list(channels.frozen)] = False
    return gone


def _bytes(weight: Any) -> int:
    return int(weight.value.numpy().nbytes)


def _weight_bytes(model: keras.Model) -> int:
    return sum(map(_bytes, model.weights))


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_blocks_of_a_cut(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(take.__globals__, "_BLOCK", block)
    random = np.random.default_rng(0)
    array = random.normal(size=(3, 4, 7, 5)).astype("float32")
    alive = random.random(40) < 0.5
    kept = {axis: np.flatnonzero(alive[10 * axis : 10 * axis + array.shape[axis]]) for axis in range(4)}
    for axes in [(2,), (3,), (0, 3), (2, 3), (3, 0, 2)]:
        held = [Held("kernel", (axis,), np.arange(10 * axis, 10 * axis + array.shape[axis])) for axis in axes]
        chosen = [kept[axis] if axis in axes else np.arange(size) for axis, size in enumerate(array.shape)]
        np.testing.assert_array_equal(take(array, held, Keep(alive)), array[np.ix_(*chosen)])
    whole = [Held("kernel", (2,), np.arange(7))]
    assert take(array, whole, Keep(np.ones(40, bool))) is array


@pytest.mark.parametrize("make", [cut_units, mask_weights])
def test_no_copies_beside_the_result(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors hold the result, which Python's trace of memory does not see: it sees whatever is made besides."""
    monkeypatch.setitem(take.__globals__, "_BLOCK", 2**16)
    model = network()
    graph = lift(model)
    channels = analyse(graph)
    tracemalloc.start()
    try:
        make(graph, channels, _half(channels))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    kernel = graph.layers["large"].weights["kernel"].array
    assert id(kernel) in tensors._TENSORS
    assert peak < 0.1 * _weight_bytes(model)


def _large() -> dict[int, int]:
    """Bytes of every variable, and array that shows a tensor, above 100 kB that lives, by their ids."""
    variables = [found for found in gc.get_objects() if issubclass(type(found), tf.Variable)]
    sizes = {id(found): found.dtype.size * found.shape.num_elements() for found in variables}
    sizes |= {key: array.nbytes for key, (shown, _) in tensors._TENSORS.items() if (array := shown()) is not None}
    return {key: size for key, size in sizes.items() if size > 100_000}


RUNS: dict[str, list[Any]] = {
    "no passes": [],
    "two passes": [PruneChannels(ratio=0.25), PruneChannels(ratio=0.25, compensate="none", steps=2)],
    "data": [PruneChannels(ratio=0.25, compensate="least_squares")],
    "factors": [Factorise(ratio=0.1)],
}


@pytest.mark.spread(4)
@pytest.mark.parametrize("passes", RUNS.values(), ids=RUNS)
def test_a_run_leaves_nothing_but_its_result(passes: list[Any]) -> None:
    model = network()
    data = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
    apply_passes(model, passes, data=data)  # what is made once
    gc.collect()
    before = _large()
    gc.disable()
    tracemalloc.start()
    try:
        result = apply_passes(model, passes, data=data)
        held = tracemalloc.get_traced_memory()[0]
        new = {key: size for key, size in _large().items() if key not in before}
    finally:
        tracemalloc.stop()
        gc.enable()
    assert sum(new.values()) == sum(size for size in map(_bytes, result.weights) if size > 100_000)
    assert held < 0.25 * _weight_bytes(model)


def test_a_result_and_its_graph_share_their_weights() -> None:
    result = Pipeline([PruneChannels(ratio=0.25)]).run(network())
    array = result.graph.layers["large"].weights["kernel"].array
    kernel = result.model.get_layer("large").kernel
    assert np.shares_memory(array, kernel.value.read_value()._numpy())
    kept = array.copy()
    kernel.assign_add(keras.ops.ones(kernel.shape))
    np.testing.assert_array_equal(array, kept)
