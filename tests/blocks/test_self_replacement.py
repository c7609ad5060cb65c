"""The oracle of all replacing: a region cut out and put back in its own place computes the same bits."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.ir import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.regions import Region, regions
from kerasurgeon.rewrite.surgery import extract
from tests.applications import application_inputs, shared_application
from tests.blocks.applications import groups
from tests.blocks.networks import residual_net
from tests.zoo.sampling import randomise


def put_back(graph: Graph, found: list[Region]) -> Graph:
    """The graph with each of these regions replaced by a copy of itself."""
    steps = [
        BlockStep.of("copy", f"copy_{index}", region, extract(graph, region.entry, region.exit))
        for index, region in enumerate(found)
    ]
    work = graph.copy()
    done = carry_out(work, steps)
    for step, region in zip(done, found, strict=True):
        assert step.bridge is not None
        assert (step.bridge.entry, step.bridge.exit) == (region.entry.node, region.exit.node)
        assert len(step.bridge.layers) == len(region)
        assert step.bridge.layers[-1] == step.bridge.new_exit
        if not graph.scopes:  # a nested model that was opened is emitted flat, which shortens names
            assert (step.bridge.new_entry, step.bridge.new_exit) == (region.entry.node, region.exit.node)
        kept = set(region.nodes) & {node.name for node in work.nodes()} - {region.exit.node}
        assert not kept  # nothing of the old region is left but the name of its last node
    return work


@pytest.mark.sweep
def test_every_region_put_back_computes_the_same_bits(application: str, request: pytest.FixtureRequest) -> None:
    model = shared_application(application)
    images = application_inputs(model)
    expected = np.asarray(model(images, training=False))
    graph = lift(model)
    few = not request.config.getoption("--all-architectures")
    for found in groups(graph, few=few):
        copy = emit(put_back(graph, found), compile=False)
        assert np.array_equal(np.asarray(copy(images, training=False)), expected)
        del copy
        keras.backend.clear_session(free_memory=False)
        gc.collect()


def test_every_region_of_a_small_network_one_by_one() -> None:
    model = residual_net()
    randomise(model, 0)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    expected = np.asarray(model(images))
    graph = lift(model)
    for region in regions(graph, min_nodes=1):
        work = put_back(graph, [region])
        copy = emit(work)
        assert np.array_equal(np.asarray(copy(images)), expected)
        assert copy.output_names == model.output_names
        assert [node.name for node in graph.nodes()] == [node.name for node in lift(model).nodes()]


def test_regions_in_a_nested_model_and_across_its_border() -> None:
    body = residual_net()
    inputs = keras.Input((16, 16, 3), name="photo")
    x = keras.layers.Rescaling(0.5, name="scale")(inputs)
    outputs = keras.layers.Dense(2, name="top")(body(keras.layers.ReLU(name="positive")(x)))
    model = keras.Model(inputs, outputs)
    randomise(model, 0)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    expected = np.asarray(model(images))
    graph = lift(model)
    seen = set()
    for region in regions(graph):
        work = graph.copy()
        network = extract(graph, region.entry, region.exit)
        (step,) = carry_out(work, [BlockStep.of("copy", "copy_1", region, network)])
        copy = emit(work)
        assert np.array_equal(np.asarray(copy(images)), expected)
        inside = {name.startswith("residual_net/") for name in region.nodes}
        nested = [layer.name for layer in copy.layers if isinstance(layer, keras.Model)]
        assert nested == (["residual_net"] if len(inside) == 1 else [])  # a model that was opened is emitted flat
        seen.add(len(inside))
        assert step.bridge is not None
        again = {node.name for node in lift(copy).nodes()}
        assert {step.bridge.new_entry, step.bridge.new_exit, *step.bridge.layers} <= again
        original = {node.name for node in graph.nodes()}
        assert {step.bridge.entry, step.bridge.exit} <= original
    assert seen == {1, 2}
