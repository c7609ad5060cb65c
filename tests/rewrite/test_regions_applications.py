"""Regions of published networks: the blocks that their papers describe, found without their names."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import keras
import pytest

from kerasurgeon.ir import Graph, Value
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.matching import find
from kerasurgeon.rewrite.patterns import anything, layers, optional
from kerasurgeon.rewrite.regions import Region, cut_points, region_between, regions, runs
from kerasurgeon.rewrite.surgery import check_border

SIZES = {"InceptionV3": 75}


@cache
def network(name: str) -> tuple[Graph, tuple[Region, ...]]:
    size = SIZES.get(name, 32)
    keras.backend.clear_session()
    build: Any = getattr(keras.applications, name)
    graph = lift(build(weights=None, classes=10, input_shape=(size, size, 3), include_top=True))
    return graph, regions(graph)


def of_kind(name: str, kind: str) -> list[Region]:
    return [region for region in network(name)[1] if region.kind == kind]


def names(found: list[Region]) -> list[str]:
    return [region.name for region in found]


NETWORKS = (
    "DenseNet121",
    "EfficientNetB0",
    "InceptionV3",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
)


@pytest.mark.sweep
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_else_crosses_the_border_of_any_region(name: str) -> None:
    graph, found = network(name)
    assert len({region.name for region in found}) == len(found)
    for region in found:
        check_border(graph, region.nodes, [region.entry], [region.exit])
    for before, after in zip(cut_points(graph), cut_points(graph)[1:], strict=False):
        assert region_between(graph, before, after).nodes


@pytest.mark.sweep
def test_resnet50_has_sixteen_residual_blocks() -> None:
    graph, found = network("ResNet50")
    blocks = of_kind("ResNet50", "residual")
    depths = {2: 3, 3: 4, 4: 6, 5: 3}
    assert names(blocks) == [f"conv{s}_block{b + 1}" for s, n in depths.items() for b in range(n)]
    assert [str(block.exit) for block in blocks] == [f"{block.name}_add" for block in blocks]
    assert {len(block) for block in blocks if block.name.endswith("block1")} == {11}  # projection and its norm
    assert {len(block) for block in blocks if not block.name.endswith("block1")} == {9}
    assert sum(block.keeps_spec for block in blocks) == 12
    assert Counter(region.kind for region in found) == {"residual": 16, "chain": 16 + 4 + 2}
    assert [len(run) for run in runs(graph, blocks)] == [16]


def test_mobilenetv2_has_ten_residual_blocks_and_chains_between() -> None:
    graph, found = network("MobileNetV2")
    residual = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    assert names(of_kind("MobileNetV2", "residual")) == [f"block_{index}" for index in residual]
    top = {region.name: region for region in found if region.depth == 0 and region.kind == "chain"}
    assert {"block_3", "block_6", "block_10", "block_13"} < set(top)
    assert (top["block_3"].entry, top["block_3"].exit) == (Value("block_2_add"), Value("block_3_project_BN"))
    first, *_, last = top.values()
    assert (str(first.entry), str(first.exit)) == ("input_layer", "block_1_project_BN")
    assert (str(last.entry), str(last.exit)) == ("block_15_add", "predictions")
    whole = region_between(graph, "block_3_project_BN", "block_13_project_BN")
    assert whole.kind == "run"


@pytest.mark.spread(2)
@pytest.mark.parametrize(("name", "residual", "gates"), [("EfficientNetB0", 9, 16), ("MobileNetV3Small", 6, 9)])
def test_gates_lie_inside_residual_blocks(name: str, residual: int, gates: int) -> None:
    _, found = network(name)
    assert len(of_kind(name, "residual")) == residual
    assert len(of_kind(name, "gate")) == gates
    parents = Counter(gate.parent is not None for gate in of_kind(name, "gate"))
    by_name = {region.name: region for region in found}
    assert parents[True] == sum(any(c.kind == "gate" for c in r.children) for r in of_kind(name, "residual"))
    assert all(by_name[g.parent].kind == "residual" for g in of_kind(name, "gate") if g.parent is not None)
    assert parents[True] == (9 if name == "EfficientNetB0" else 5)


@pytest.mark.sweep
def test_inceptionv3_has_eleven_cells() -> None:
    cells = [region for region in of_kind("InceptionV3", "branches") if region.depth == 0]
    assert names(cells) == [f"mixed{index}" for index in range(11)]
    assert [len(cell.children) for cell in cells[:3]] == [4, 4, 4]
    inner = [region for region in of_kind("InceptionV3", "branches") if region.depth == 1]
    assert {region.parent for region in inner} == {"mixed9", "mixed10"}  # their 1x3 and 3x1 pairs


@pytest.mark.sweep
def test_densenet121_has_58_dense_blocks_and_transitions_between() -> None:
    graph, found = network("DenseNet121")
    blocks = of_kind("DenseNet121", "dense")
    depths = {2: 6, 3: 12, 4: 24, 5: 16}
    assert names(blocks) == [f"conv{s}_block{b + 1}" for s, n in depths.items() for b in range(n)]
    assert {"pool2", "pool3", "pool4"} <= {region.name for region in found}
    assert [len(run) for run in runs(graph, blocks)] == [58]


@pytest.mark.sweep
def test_nasnet_cells_read_two_predecessors_so_only_parts_of_them_are_regions() -> None:
    graph, found = network("NASNetMobile")
    assert len(cut_points(graph)) < 10
    sums = [region for region in found if graph.kind(region.exit.node) == "Add"]
    assert len(sums) > 30
    assert all(str(region.exit) != "normal_concat_6" for region in found)
    whole = max(found, key=len)
    assert (str(whole.entry), str(whole.exit)) == ("stem_bn1", "normal_concat_12")


def test_every_batch_norm_of_mobilenetv2_is_found_behind_its_convolution() -> None:
    graph, _ = network("MobileNetV2")
    linear = layers.one_of("Conv2D", "DepthwiseConv2D")
    pad = optional(layers.ZeroPadding2D(anything("x"))).bind("pad")
    pattern = layers.BatchNormalization(linear(pad).bind("conv")).bind("bn")
    matches = find(graph, pattern)
    assert len(matches) == 52
    assert [match.node("pad").name for match in matches if match["pad"]] == [
        f"block_{index}_pad" for index in (1, 3, 6, 13)
    ]
