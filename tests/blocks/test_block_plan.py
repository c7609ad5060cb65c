"""Plans of blocks: carried out in order, saved, loaded, edited, and refused where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.bridges import build_shunt
from kerasurgeon.blocks.places import find_region, find_regions
from kerasurgeon.blocks.plan import BlockPlan, BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.errors import FileError, GraphError, PlanError
from kerasurgeon.ir import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.regions import regions
from tests.blocks.networks import residual_net


@pytest.fixture
def graph() -> Graph:
    return lift(residual_net())


def shunt(graph: Graph, where: Any, name: str = "shunt_1", seed: int = 0) -> BlockStep:
    region = find_region(graph, where)
    arch, network = build_shunt(graph, region, "4", seed)
    return BlockStep.of("shunt", name, region, network, arch=arch)


def dropped(graph: Graph, where: Any) -> BlockStep:
    return BlockStep.of("drop", "drop_1", find_region(graph, where), None)


def inserted(graph: Graph, after: str) -> BlockStep:
    spec = graph[after].spec
    tensor = keras.Input(batch_shape=spec.shape)
    network = lift(keras.Model(tensor, keras.layers.Conv2D(spec.shape[-1], 1, name="extra")(tensor)))
    return BlockStep("insert", "insert_1", after, after, (), spec, spec, network)


def test_a_plan_survives_its_files(graph: Graph, tmp_path: Path) -> None:
    steps = [shunt(graph, "block1"), dropped(graph, "block3"), inserted(graph, "head")]
    work = graph.copy()
    plan = BlockPlan(carry_out(work, steps), "residual_net", "three things")
    plan.save(tmp_path / "plan.json")
    loaded = BlockPlan.load(tmp_path / "plan")
    assert loaded == plan
    assert (loaded.model, loaded.note, loaded.bridges) == (plan.model, plan.note, plan.bridges)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "plan.npz"]
    again = graph.copy()
    carry_out(again, loaded.steps)
    one, two = emit(work), emit(again)
    assert [layer.name for layer in one.layers] == [layer.name for layer in two.layers]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    assert np.array_equal(one(images), two(images))
    assert loaded != BlockPlan(plan.steps[:2])
    assert loaded != BlockPlan((shunt(graph, "block1", seed=1), *plan.steps[1:]))


def test_what_each_action_does(graph: Graph) -> None:
    work = graph.copy()
    done = carry_out(work, [shunt(graph, "block1"), dropped(graph, "block3"), inserted(graph, "head")])
    first, second, third = (step.bridge for step in done)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.entry, first.exit, first.new_exit) == ("stem_relu", "block1_add", "block1_add")
    assert first.layers == (
        "shunt_1_expand_1",
        "shunt_1_expand_1_bn",
        "shunt_1_expand_1_relu",
        "shunt_1_depthwise_1",
        "shunt_1_depthwise_1_bn",
        "shunt_1_depthwise_1_relu",
        "shunt_1_project_1",
        "block1_add",
    )
    assert work.kind("block1_add") == "BatchNormalization"
    assert second.layers == ()
    assert [value.node for value in work["head"].inputs] == ["block2_b_bn"]
    assert third.layers == (third.new_exit,) == ("insert_1_extra",)
    assert [value.node for value in work["head_bn"].inputs] == ["insert_1_extra"]


def test_a_plan_without_weights_is_one_file(graph: Graph, tmp_path: Path) -> None:
    plan = BlockPlan((dropped(graph, "block3"),))
    plan.save(tmp_path / "plan")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert BlockPlan.load(tmp_path / "plan.json") == plan
    assert "block3_add" in str(plan)
    assert json.loads(plan.to_json())["steps"][0]["network"] is None


def test_neighbours_and_what_they_are_called(graph: Graph) -> None:
    work = graph.copy()
    one, two = shunt(graph, "block1"), shunt(graph, "block2", "shunt_2")
    done = carry_out(work, [one, two])
    assert [value.node for value in work["shunt_2_expand_1"].inputs] == ["block1_add"]
    assert [step.bridge.exit for step in done if step.bridge] == ["block1_add", "block2_b_bn"]


def test_an_exit_that_cannot_keep_its_name() -> None:
    inputs = keras.Input((8, 8, 4), name="image")
    relu = keras.layers.ReLU(name="relu")
    x = relu(keras.layers.Conv2D(4, 3, padding="same", name="a")(inputs))
    x = relu(keras.layers.Conv2D(4, 3, padding="same", name="b")(x))
    x = keras.layers.Conv2D(4, 3, padding="same", name="d")(keras.layers.Conv2D(4, 1, name="c")(x))
    graph = lift(keras.Model(inputs, x))
    one, two = shunt(graph, ("b", "relu:1")), shunt(graph, ("c", "d"), "shunt_2")
    done = carry_out(graph, [one, two])
    first, second = (step.bridge for step in done)
    assert first is not None
    assert second is not None
    assert (first.exit, first.new_exit) == ("relu:1", "shunt_1_project_1_bn")
    assert (second.entry, second.new_entry) == ("relu:1", "shunt_1_project_1_bn")
    names = {node.name for node in lift(emit(graph)).nodes()}
    assert {*first.layers, *second.layers, first.new_exit, second.new_entry, second.new_exit} <= names


def test_two_steps_of_which_the_second_opens_a_nested_model() -> None:
    body = residual_net()
    inputs = keras.Input((16, 16, 3), name="photo")
    model = keras.Model(inputs, body(keras.layers.Rescaling(0.5, name="scale")(inputs)))
    graph = lift(model)
    crossing = next(region for region in regions(graph) if {"scale", "residual_net/stem"} <= set(region.nodes))
    steps = [shunt(graph, "block3"), shunt(graph, crossing, "shunt_2")]
    for order in (steps, steps[::-1]):
        work = graph.copy()
        done = carry_out(work, order)
        bridges = {step.name: step.bridge for step in done}
        found = bridges["shunt_1"]
        assert found is not None
        assert (found.exit, found.new_exit) == ("residual_net/block3_add", "block3_add")
        assert (found.entry, found.new_entry) == ("residual_net/block2_b_bn", "block2_b_bn")
        assert found.layers[0] == "shunt_1_expand_1"
        names = {node.name for node in lift(emit(work)).nodes()}
        assert set(found.layers) <= names
        again = graph.copy()  # what was recorded can be carried out again
        assert [step.bridge for step in carry_out(again, done)] == [step.bridge for step in done]


def change(step: BlockStep, **fields: Any) -> BlockStep:
    return replace(step, **fields)


def test_steps_that_do_not_fit_say_why_and_change_nothing(graph: Graph) -> None:
    good = shunt(graph, "block1")
    other = lift(residual_net((32, 32)))
    before = [node.name for node in graph.nodes()]
    for where, step, parts in (
        (graph, change(good, entry="stem_rel"), ["no node 'stem_rel'", "did you mean 'stem_relu'"]),
        (graph, change(good, nodes=good.nodes[:-1]), ["other layers lie between stem_relu and block1_add"]),
        (graph, change(good, exit="block1_b"), ["block1_a", "does not fit this model"]),
        (other, good, ["a tensor differs", "(?, 16, 16, 8)", "(?, 32, 32, 8)"]),
    ):
        with pytest.raises(PlanError) as raised:
            carry_out(where, [step])
        for part in parts:
            assert part in str(raised.value), str(raised.value)
    with pytest.raises(PlanError):  # the first would fit
        carry_out(graph, [good, change(good, entry="nowhere")])
    assert [node.name for node in graph.nodes()] == before
    assert graph.kind("block1_add") == "Add"


def test_weights_that_are_used_outside_are_named() -> None:
    inputs = keras.Input((8, 8, 4), name="image")
    inner = keras.layers.Conv2D(4, 1, name="inner")
    x = keras.layers.Conv2D(4, 1, name="first")(inner(inputs))
    tied = keras.ops.add(keras.layers.Conv2D(4, 1, name="after")(x), inner.bias)
    graph = lift(keras.Model(inputs, tied))
    with pytest.raises(GraphError, match="weights are used by"):
        carry_out(graph, [shunt(graph, "inner..first")])
    assert "inner" in graph


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda data: data.update(format="kerasurgeon.factors/1"), "unknown format"),
        (lambda data: data.pop("steps"), "form of a plan of blocks"),
        (lambda data: data["steps"][0].pop("entry"), "step 1"),
        (lambda data: data["steps"][0]["network"]["config"]["layers"].pop(), "network cannot be made"),
        (lambda data: data["steps"][0].update(network=None), ""),
    ],
)
def test_damaged_files(graph: Graph, tmp_path: Path, damage: Any, part: str) -> None:
    BlockPlan((shunt(graph, "block1"),)).save(tmp_path / "plan")
    data = json.loads((tmp_path / "plan.json").read_text())
    damage(data)
    (tmp_path / "plan.json").write_text(json.dumps(data))
    if not part:  # editing a shunt to a drop is no damage
        assert BlockPlan.load(tmp_path / "plan").steps[0].network is None
        return
    with pytest.raises(PlanError) as raised:
        BlockPlan.load(tmp_path / "plan")
    assert part in str(raised.value), str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        BlockPlan.load(tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(PlanError, match="not valid JSON"):
        BlockPlan.load(tmp_path / "bad")
    with pytest.raises(FileError, match="cannot be written"):
        BlockPlan().save(tmp_path / "no" / "folder.json")


def test_all_regions_of_a_pattern_as_one_plan(graph: Graph, tmp_path: Path) -> None:
    found = find_regions(graph, "block*")
    steps = [shunt(graph, region, f"shunt_{number}") for number, region in enumerate(found, 1)]
    plan = BlockPlan(carry_out(graph, steps), graph.name)
    plan.save(tmp_path / "plan")
    assert [bridge.name for bridge in BlockPlan.load(tmp_path / "plan").bridges] == ["shunt_1", "shunt_2", "shunt_3"]
