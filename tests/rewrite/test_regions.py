"""Regions of small models, each with one shape that matters; errors; names; listings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import pytest
from keras.src.utils import naming

from kerasurgeon.errors import GraphError
from kerasurgeon.ir import Graph, Value
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.regions import (
    Region,
    by_name,
    cut_points,
    join,
    region_between,
    region_of,
    regions,
    runs,
)
from kerasurgeon.rewrite.surgery import check_border


@pytest.fixture(autouse=True)
def _numbering_of_names_starts_anew() -> None:
    naming.reset_uids()


def image() -> Any:
    return keras.Input((8, 8, 4), name="image")


def graph_of(inputs: Any, outputs: Any) -> Graph:
    return lift(keras.Model(inputs, outputs))


def conv(x: Any, name: str, filters: int = 4, size: int = 3) -> Any:
    return keras.layers.Conv2D(filters, size, padding="same", name=name)(x)


def relu(x: Any, name: str) -> Any:
    return keras.layers.ReLU(name=name)(x)


def residual(x: Any, name: str) -> Any:
    y = relu(conv(x, f"{name}_conv1"), f"{name}_relu")
    return keras.layers.Add(name=f"{name}_add")([x, conv(y, f"{name}_conv2")])


def squeeze_excite(x: Any, name: str) -> Any:
    y = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    y = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(conv(y, f"{name}_conv", size=1))
    return keras.layers.Multiply(name=f"{name}_excite")([x, y])


def blocks(graph: Graph) -> list[Region]:
    """All that is no chain."""
    return [region for region in regions(graph) if region.kind != "chain"]


def the_block(graph: Graph) -> Region:
    (block,) = blocks(graph)
    return block


# ---- kinds ---------------------------------------------------------------------------------------------------


def test_a_residual_block_with_identity() -> None:
    x = image()
    stem = conv(x, "stem")
    graph = graph_of(x, relu(residual(stem, "block1"), "last"))
    block = the_block(graph)
    assert (block.name, block.kind) == ("block1", "residual")
    assert (block.entry, block.exit) == (Value("stem"), Value("block1_add"))
    assert block.nodes == ("block1_conv1", "block1_relu", "block1_conv2", "block1_add")
    assert block.keeps_spec
    assert "block1_conv1" in block
    assert graph["stem"] not in block
    assert len(block) == 4
    (inner,) = block.children
    assert (inner.kind, inner.entry, inner.exit) == ("chain", Value("stem"), Value("block1_conv2"))
    assert (inner.parent, inner.depth) == ("block1", 1)
    assert inner.name == "block1_conv1..block1_conv2"


def test_a_residual_block_with_projection() -> None:
    x = image()
    short = keras.layers.BatchNormalization(name="short_bn")(conv(x, "short", 6, 1))
    deep = conv(relu(conv(x, "deep1", 6), "act"), "deep2", 6)
    graph = graph_of(x, keras.layers.Add(name="add")([deep, short]))
    block = the_block(graph)
    assert block.kind == "residual"
    assert not block.keeps_spec
    assert {child.nodes for child in block.children} == {("short", "short_bn"), ("deep1", "act", "deep2")}


def test_a_pre_activation_block_with_pooled_shortcut() -> None:
    x = image()
    pre = relu(keras.layers.BatchNormalization(name="bn")(x), "pre")
    deep = keras.layers.Conv2D(4, 2, 2, name="deep2")(conv(pre, "deep1"))
    graph = graph_of(x, keras.ops.add(keras.layers.MaxPooling2D(name="pool")(pre), deep))
    block = the_block(graph)
    assert (block.kind, block.entry, block.exit) == ("residual", Value("pre"), Value("add"))


def test_two_equal_branches_are_no_residual_block() -> None:
    x = image()
    graph = graph_of(x, keras.layers.Add(name="add")([conv(x, "a"), conv(x, "b")]))
    assert (the_block(graph).kind, the_block(graph).name) == ("branches", "add")


def test_an_inception_cell() -> None:
    x = image()
    ways = [conv(x, "one", size=1), conv(relu(conv(x, "two1"), "two2"), "two3")]
    ways.append(keras.layers.MaxPooling2D(3, 1, padding="same", name="pool")(x))
    graph = graph_of(x, keras.layers.Concatenate(name="mixed")(ways))
    cell = the_block(graph)
    assert (cell.kind, cell.name, len(cell)) == ("branches", "mixed", 6)
    assert [child.nodes for child in cell.children] == [("two1", "two2", "two3")]
    singles = [region for region in regions(graph, min_nodes=1) if len(region) == 1]
    assert {region.nodes[0] for region in singles} == {"one", "pool"}


def test_a_dense_block() -> None:
    x = image()
    y = x
    for step in range(3):
        grown = conv(relu(y, f"step{step}_relu"), f"step{step}_conv", 2)
        y = keras.layers.Concatenate(name=f"step{step}_concat")([y, grown])
    graph = graph_of(x, y)
    assert [(block.name, block.kind) for block in blocks(graph)] == [
        ("step0", "dense"),
        ("step1", "dense"),
        ("step2", "dense"),
    ]


def test_a_gate_inside_a_residual_block() -> None:
    x = image()
    y = squeeze_excite(conv(x, "b_conv1"), "b_se")
    graph = graph_of(x, keras.layers.Add(name="b_add")([x, conv(y, "b_conv2")]))
    outer, gate = blocks(graph)
    assert (outer.kind, outer.name, outer.depth) == ("residual", "b", 0)
    assert (gate.kind, gate.name, gate.parent) == ("gate", "b_se", "b")
    assert (gate.entry, gate.exit) == (Value("b_conv1"), Value("b_se_excite"))
    assert region_of(graph, "b_se_sigmoid", min_nodes=5) == replace(outer, children=())
    assert region_of(graph, "b_se_excite") == gate


def test_a_hard_swish_is_a_gate() -> None:
    x = image()
    graph = graph_of(x, x * keras.layers.ReLU(6.0)(x + 3.0) * (1 / 6))
    gate = the_block(graph)
    assert (gate.kind, gate.entry, len(gate)) == ("gate", Value("image"), 3)


# ---- borders -------------------------------------------------------------------------------------------------


def test_the_entry_may_be_used_elsewhere() -> None:
    """As in a U-net, whose encoder's blocks feed the decoder too."""
    x = image()
    stem = conv(x, "stem")
    inner = residual(stem, "inner")
    graph = graph_of(x, keras.layers.Concatenate(name="skip")([stem, relu(conv(inner, "up"), "up_relu")]))
    outer, block = blocks(graph)
    assert (outer.name, outer.kind) == ("skip", "dense")
    assert (block.name, block.kind, block.parent) == ("inner", "residual", "skip")
    check_border(graph, block.nodes, [block.entry], [block.exit])


def test_what_leaves_in_the_middle_breaks_a_region() -> None:
    x = image()
    y = conv(x, "a")
    tapped = relu(y, "tapped")
    graph = graph_of(x, [keras.layers.Add(name="add")([x, conv(tapped, "b")]), tapped])
    assert blocks(graph) == []
    with pytest.raises(GraphError, match=r"image and add is no region(.|\n)*got: tapped also leaves"):
        region_between(graph, "image", "add")
    assert cut_points(graph) == (Value("image"),)


def test_what_is_computed_for_nothing_breaks_a_region_too() -> None:
    x = image()
    y = conv(x, "a")
    model = keras.Model(x, [relu(y, "kept"), relu(y, "unread")])
    graph = lift(model)
    graph.set_signature(outputs=[Value("kept")])
    assert not graph.is_output(Value("unread"))
    with pytest.raises(GraphError, match="got: a also leaves"):
        region_between(graph, "image", "kept")


def test_several_inputs_and_outputs() -> None:
    left, right = image(), keras.Input((8, 8, 4), name="right")
    merged = keras.layers.Add(name="merge")([residual(left, "l"), residual(right, "r")])
    trunk = residual(merged, "trunk")
    heads = [relu(residual(trunk, "h1"), "h1_out"), residual(trunk, "h2")]
    graph = graph_of([left, right], heads)
    assert [block.name for block in blocks(graph)] == ["l", "r", "trunk", "h1", "h2"]
    assert cut_points(graph) == (Value("merge"), Value("trunk_add"))
    assert all(block.depth == 0 for block in blocks(graph))
    with pytest.raises(GraphError, match="got: r_add also enters"):
        region_between(graph, "image", "merge")


def test_layers_with_several_results() -> None:
    x = keras.Input((6, 4), name="steps")
    parts = keras.ops.split(keras.layers.Dense(8, name="dense")(x), 2, axis=-1)
    glued = parts[0] * keras.ops.sigmoid(parts[1])
    sequence, state = keras.layers.GRU(4, return_sequences=True, return_state=True, name="gru")(glued)
    graph = graph_of(x, [keras.layers.Dense(3, name="left")(sequence), keras.layers.Dense(3, name="right")(state)])
    block = the_block(graph)
    assert (block.kind, block.entry, block.exit) == ("gate", Value("dense"), Value("multiply"))
    assert block.nodes == ("split", "sigmoid", "multiply")
    assert cut_points(graph) == (Value("steps"), Value("dense"), Value("multiply"))
    assert region_between(graph, Value("split", 1), "sigmoid").nodes == ("sigmoid",)
    with pytest.raises(GraphError, match="sigmoid also enters"):
        region_between(graph, Value("split", 0), "multiply")


def test_layers_called_inside_and_outside_are_listed() -> None:
    x = image()
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")
    block = keras.layers.Add(name="add")([x, shared(relu(shared(x), "mid"))])
    inside_only = graph_of(x, block)
    assert the_block(inside_only).shared_layers == ()
    both = graph_of(x, shared(block))
    assert the_block(both).shared_layers == ("shared",)


def test_nested_models_are_no_border() -> None:
    x = image()
    inner_input = keras.Input((8, 8, 4))
    backbone = keras.Model(inner_input, residual(conv(inner_input, "stem"), "block1"), name="backbone")
    graph = graph_of(x, residual(backbone(x), "head"))
    assert [block.name for block in blocks(graph)] == ["backbone/block1", "head"]
    assert region_between(graph, "image", "backbone/block1_add").name == "backbone"


# ---- asking for regions --------------------------------------------------------------------------------------


def three_blocks() -> Graph:
    x = image()
    y = conv(x, "stem")
    for index in (1, 2, 3):
        y = relu(residual(y, f"block{index}"), f"out{index}")
    return graph_of(x, keras.layers.GlobalAveragePooling2D(name="pool")(y))


def test_region_between_any_two_tensors() -> None:
    graph = three_blocks()
    part = region_between(graph, graph["stem"], Value("out2"))
    assert (part.kind, len(part), part.children) == ("run", 10, ())
    assert part.name == "block1_conv1..out2"
    assert region_between(graph, "image", "stem").kind == "chain"
    assert region_between(graph, "stem", "block1_add") == by_name_alone(graph, "block1")


def by_name_alone(graph: Graph, name: str) -> Region:
    """A region as ``region_between`` gives it: without its children."""
    region = by_name(regions(graph), name)
    return region_between(graph, region.entry, region.exit)


def test_errors_name_what_is_wrong() -> None:
    graph = three_blocks()
    with pytest.raises(GraphError, match="stem is not computed from out1"):
        region_between(graph, "out1", "stem")
    with pytest.raises(GraphError, match="stem is not computed from stem"):
        region_between(graph, "stem", "stem")
    with pytest.raises(GraphError, match=r"no node 'stam'(.|\n)*did you mean 'stem'"):
        region_between(graph, "stam", "out1")
    with pytest.raises(GraphError, match="got: stem also enters"):
        region_between(graph, "block1_conv1", "block1_add")
    with pytest.raises(GraphError, match=r"no region 'block4'(.|\n)*'block1'"):
        by_name(regions(graph), "block4")
    with pytest.raises(GraphError, match="no node 'out4'"):
        region_of(graph, "out4")


def test_runs_and_joins() -> None:
    graph = three_blocks()
    found = blocks(graph)
    (run,) = runs(graph, found)
    assert [region.name for region in run] == ["block1", "block2", "block3"]
    two = join(graph, run[0], run[1])
    assert (two.kind, two.entry, two.exit) == ("run", Value("stem"), Value("block2_add"))
    assert join(graph, run[0], run[0]) == run[0]
    with pytest.raises(GraphError, match="is not computed from"):
        join(graph, run[2], run[0])


def test_parallel_regions_are_runs_of_their_own() -> None:
    x = image()
    left = residual(residual(x, "l1"), "l2")
    graph = graph_of(x, keras.layers.Concatenate(name="cat")([left, residual(x, "r1")]))
    inner = [block for block in blocks(graph) if block.parent == "cat"]
    assert {tuple(region.name for region in run) for run in runs(graph, inner)} == {("l1", "l2"), ("r1",)}


def test_cut_points_of_a_chain_are_all_tensors() -> None:
    x = image()
    graph = graph_of(x, relu(conv(x, "a"), "b"))
    assert cut_points(graph) == (Value("image"), Value("a"), Value("b"))
    (chain,) = regions(graph)
    assert (chain.kind, chain.name, chain.nodes) == ("chain", "a..b", ("a", "b"))


def test_regions_that_share_a_name_are_told_apart() -> None:
    x = image()
    y = conv(conv(x, "a"), "b")
    y = keras.layers.Add(name="add")([y, y])
    for name in ("c", "d"):
        y = keras.layers.Add(name=f"x_{name}")([conv(y, f"x_{name}1"), conv(y, f"x_{name}2")])
    names = [region.name for region in regions(graph_of(x, y), min_nodes=1)]
    assert len(set(names)) == len(names)


def test_listings() -> None:
    graph = three_blocks()
    found = regions(graph)
    assert str(found[0]) == (
        "block1: residual of 4 nodes, stem (?, 8, 8, 4) float32 -> block1_add (?, 8, 8, 4) float32"
    )
