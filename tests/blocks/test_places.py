"""Regions by name, pattern, layers and tensors; errors that say what to name instead."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from kerasurgeon.blocks.places import find_region, find_regions, without_overlap
from kerasurgeon.errors import GraphError, OptionError
from kerasurgeon.ir import Graph
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.regions import regions
from tests.blocks.networks import residual_net


@pytest.fixture(scope="module")
def graph() -> Graph:
    return lift(residual_net())


@pytest.fixture(scope="module")
def nested() -> Graph:
    body = residual_net()
    inputs = keras.Input((16, 16, 3), name="photo")
    x = keras.layers.Rescaling(2.0, name="scale")(inputs)
    return lift(keras.Model(inputs, keras.layers.Dense(2, name="top")(body(x))))


def ends(graph: Graph, where: Any) -> list[tuple[str, str]]:
    return [(str(region.entry), str(region.exit)) for region in find_regions(graph, where)]


@pytest.mark.parametrize(
    "where",
    [
        "block1",
        "block1_a..block1_add",
        ("block1_a", "block1_add"),
        ["block1_a", "block1_add"],
        "stem_relu->block1_add",
        "stem_relu -> block1_add",
        ["block1"],
        "block1*",
    ],
)
def test_one_region_by_all_its_names(graph: Graph, where: Any) -> None:
    assert ends(graph, where) == [("stem_relu", "block1_add")]
    (region,) = find_regions(graph, where)
    assert region.nodes == ("block1_a", "block1_a_bn", "block1_relu", "block1_b", "block1_b_bn", "block1_add")
    assert find_region(graph, region) == find_region(graph, region)
    if not isinstance(where, list) and "*" not in where:
        assert find_region(graph, where).nodes == region.nodes


def test_what_a_region_is_called_finds_it_again(graph: Graph) -> None:
    for region in regions(graph):
        assert find_region(graph, region.name) == region
        again = find_region(graph, region)
        assert (again.nodes, again.entry, again.exit, again.name) == (
            region.nodes,
            region.entry,
            region.exit,
            region.name,
        )


def test_a_run_that_is_no_canonical_region(graph: Graph) -> None:
    region = find_region(graph, ("block1_a", "block3_add"))
    assert (str(region.entry), str(region.exit)) == ("stem_relu", "block3_add")
    assert region.name == "block1_a..block3_add"
    assert len(region) == 17
    assert find_region(graph, ("block1", "block3")).nodes == region.nodes  # by regions
    assert find_region(graph, "block1..block3").nodes == region.nodes
    assert find_region(graph, "block1_a..block1_b_bn..block3").nodes == region.nodes  # the first of them called a..b


def test_one_layer_alone(graph: Graph) -> None:
    region = find_region(graph, "block1_b..block1_b")
    assert region.nodes == ("block1_b",)


def test_patterns_mean_the_outermost_and_sequences_mean_all(graph: Graph) -> None:
    found = find_regions(graph, "*")
    tops = [region for region in regions(graph) if region.depth == 0]
    assert [region.name for region in found] == [region.name for region in tops]
    assert ends(graph, ("block1", "block3")) == [("stem_relu", "block1_add"), ("block2_b_bn", "block3_add")]
    assert len(find_regions(graph, ["block1", "block*", "block1_a..block1_add"])) == 3  # each once
    without_overlap(found)


def test_regions_of_nested_models(nested: Graph) -> None:
    region = find_region(nested, "block1")
    assert str(region.exit) == "residual_net/block1_add"
    assert find_region(nested, "residual_net/block1") == region
    assert find_region(nested, "block1_a..block1_add").nodes == region.nodes
    whole = find_region(nested, "residual_net")
    assert (str(whole.entry), str(whole.exit)) == ("scale", "residual_net/scores")
    assert set(whole.nodes) == {node.name for node in nested.nodes_in("residual_net")}


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ("block9", ["no region 'block9'", "did you mean", "'block1'"]),
        (
            "block1_a",
            ["is a layer, not a region", "the regions 'block1', 'block1_a..block1_b_bn'", "'block1_a..block1_a'"],
        ),
        ("block1_a..block1_ad", ["no node 'block1_ad'", "did you mean 'block1_add'"]),
        (("block1_b", "block1_a"), ["'block1_b' comes after 'block1_a'", "block1_a..block1_b"]),
        (("block1_add", "block2_b_bn"), ["cannot begin with 'block1_add'", "stem_relu", "region 'block1'"]),
        (("image", "stem"), ["nothing enters it", "begin with what reads it: stem"]),
        (("block1_b", "block2_a"), ["other tensors cross its border", "stem_relu also enters"]),
        ("stem_relu->block1_b->block1_add", ["no region"]),
        ("blk*", ["No region's name matches 'blk*'"]),
        ("scores->stem", ["is not computed from"]),
    ],
)
def test_errors_say_what_to_name(graph: Graph, where: Any, parts: list[str]) -> None:
    with pytest.raises(GraphError) as raised:
        find_regions(graph, where)
    for part in parts:
        assert part in str(raised.value), str(raised.value)


@pytest.mark.parametrize("where", [None, 3, (), [], b"block1", ["block1", 3], {"block1": 1}])
def test_what_is_no_place_is_refused(graph: Graph, where: Any) -> None:
    with pytest.raises(OptionError):
        find_regions(graph, where)


def test_a_region_with_a_model_output_inside_is_refused() -> None:
    model = residual_net()
    two = lift(keras.Model(model.input, [model.output, model.get_layer("block1_b").output]))
    with pytest.raises(GraphError, match="block1_b also leaves"):
        find_region(two, "block1_a..block1_add")


def test_a_region_of_another_graph_is_refused(graph: Graph) -> None:
    other = lift(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(2)]))
    with pytest.raises(GraphError, match="is not one of this graph"):
        find_region(other, regions(graph)[0])


def test_overlaps_are_named(graph: Graph) -> None:
    with pytest.raises(GraphError, match=r"'block1' and 'block1_b..block2_a_bn' overlap|overlap") as raised:
        without_overlap(find_regions(graph, ["block1", "block1_add->block2_a_bn", "stem->block1_add"]))
    assert "both hold 'stem_relu'" in str(raised.value) or "both hold 'block1_a'" in str(raised.value)
