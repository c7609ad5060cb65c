"""Every region of every network: replaced by a shunt of the right shape, or refused with the reason."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.blocks.bridges import build_shunt
from kerasurgeon.blocks.geometry import Geometry, geometry
from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.blocks.shunts import SHUNTS
from kerasurgeon.errors import GraphError
from kerasurgeon.ir import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.recursion import room_for
from kerasurgeon.rewrite.regions import Region
from tests.applications import CLASSES, SMALLEST, SMALLEST_OTHERWISE
from tests.blocks.applications import groups


def smallest_fit(form: Geometry) -> str:
    return next((name for name in ("4", "1", "5") if SHUNTS[name].fits(form)), "5")


def why_not(graph: Graph, region: Region) -> str:
    """The reason, told without the library, why no shunt can stand in for a region; empty if one can."""
    shapes = [graph.spec(value).shape for value in (region.entry, region.exit)]
    if any(len(shape) != 4 for shape in shapes):
        return "with a tensor that is no image"
    sizes = [(int(shape[1] or 0), int(shape[2] or 0)) for shape in shapes]
    if any(made > read for read, made in zip(*sizes, strict=True)):
        return "makes images larger"
    # Convolutions of stride 1 or 2, the strided ones first, each padded or not.
    for count in (1, 2, 3):
        if all(made in reachable(read, count) for read, made in zip(*sizes, strict=True)):
            return ""
    return "cannot bridge this region"


def reachable(size: int, count: int) -> set[int]:
    """The sizes that so many 3x3 convolutions make of another, the strided ones first."""
    found = set()
    for strided in range(count + 1):
        sizes = {size}
        for index in range(count):
            stride = 2 if index < strided else 1
            sizes = {-(-one // stride) for one in sizes} | {-(-(one - 2) // stride) for one in sizes if one >= 3}
        found |= sizes
    return found


def with_shunts(graph: Graph, found: list[Region], made: dict[Geometry, tuple[str, Graph]]) -> tuple[Graph, int]:
    """The graph with a shunt in place of each region that one can bridge, and how many those are."""
    steps = []
    for index, region in enumerate(found):
        reason = why_not(graph, region)
        if reason:
            with pytest.raises(GraphError, match=reason) as raised:
                build_shunt(graph, region, "auto", 0)
            assert None not in (raised.value.where, raised.value.got, raised.value.hint)
            continue
        form = geometry(graph, region)
        if form not in made:
            made[form] = build_shunt(graph, region, smallest_fit(form), 0)
        arch, network = made[form]
        steps.append(BlockStep.of("shunt", f"shunt_{index}", region, network, arch=arch))
    work = graph.copy()
    for step in carry_out(work, steps):
        assert step.bridge is not None
        assert work[step.bridge.new_exit].spec == step.exit_spec
    return work, len(steps)


def test_every_region_is_bridged_or_refused(application: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    few = not request.config.getoption("--all-architectures")
    size = SMALLEST_OTHERWISE.get(application, SMALLEST)
    model = getattr(keras.applications, application)(weights=None, input_shape=(size, size, 3), classes=CLASSES)
    graph = lift(model)
    made: dict[Geometry, tuple[str, Graph]] = {}
    bridged = total = 0
    exported = few
    for found in groups(graph, few=few):
        work, count = with_shunts(graph, found, made)
        result = emit(work, compile=False)
        assert result.output_shape == model.output_shape
        assert result.input_shape == model.input_shape
        assert result.output_names == model.output_names
        total, bridged = total + len(found), bridged + count
        if count and not exported:
            saves_and_exports(result, tmp_path)
            exported = True
        del work, result
        keras.backend.clear_session(free_memory=False)
        gc.collect()
    logging.getLogger(__name__).info("%s: %d of %d regions bridged", application, bridged, total)
    assert bridged >= 0.9 * total or few
    assert bridged > 0


def saves_and_exports(model: keras.Model, folder: Path) -> None:
    """A result saves and loads, and is exported, run and compared by the exporter."""
    images = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    model.save(folder / "small.keras")
    with room_for(len(model.operations)):
        loaded = keras.saving.load_model(folder / "small.keras")
    assert np.array_equal(np.asarray(loaded(images)), np.asarray(model(images)))
    for name in ("small.tflite", "small.onnx"):
        ks.export(model, folder / name)
        assert (folder / name).stat().st_size > 0


@pytest.mark.sweep
@pytest.mark.parametrize("size", [(16, 16), (15, 10)])
def test_shunts_of_all_kinds_are_exported(size: tuple[int, int], tmp_path: Path) -> None:
    inputs = keras.Input((*size, 4), name="image")
    x = keras.layers.Conv2D(6, 3, padding="same", name="a")(inputs)
    for number, stride in enumerate([(2, 2), (2, 1)]):
        x = keras.layers.Conv2D(6, 3, stride, "same", activation="relu", name=f"block{number}_a")(x)
        x = keras.layers.Conv2D(6, 3, padding="same", name=f"block{number}_b")(x)
    x = keras.layers.Conv2D(6, 3, padding="same", dilation_rate=2, name="dilated_a")(x)
    x = keras.layers.Conv2D(6, 3, padding="same", dilation_rate=2, name="dilated_b")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="mean")(x))
    from kerasurgeon.passes import ReplaceWithShunt

    arch = {"block0*": "1-se", "block1*": "4", "dilated*": "1-se-bottleneck"}
    places = ["block0_a..block0_b", "block1_a..block1_b", "dilated_a..dilated_b"]
    small = ks.apply_passes(model, [ReplaceWithShunt(places, arch)], verify="types")
    saves_and_exports(small, tmp_path)
