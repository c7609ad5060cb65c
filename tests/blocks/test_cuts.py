"""Cuts between two layers: the published lists are among those found, with the same savings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.cuts import CutPair, between, cut_pairs
from kerasurgeon.blocks.geometry import geometry
from kerasurgeon.blocks.translator import translator
from kerasurgeon.costs import cost
from kerasurgeon.errors import GraphError
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import ReplaceWithTranslator
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.rewrite.surgery import check_border
from tests.blocks.networks import residual_net

# Published options: positions of A, positions of B, further pairs, and how many percent of the parameters they save.
PUBLISHED: dict[str, Any] = {
    "MobileNet": ((3, 9, 16, 22, 29, 35, 42, 48, 54, 60, 66), (73, 80), ((72, 80),), (0.3, 65.9)),
    "MobileNetV2": (
        (8, 17, 26, 35, 44, 53, 62, 71, 80, 89, 97, 106, 115, 124, 133),
        (143, 151),
        ((142, 151),),
        (13.2, 81.3),
    ),
    "EfficientNetB5": ((40, 114, 188, 292), (396, 530), ((395, 530),), (11.6, 61.9)),
}
COUNTS = {"MobileNet": 23, "MobileNetV2": 31, "EfficientNetB5": 9}


def options(name: str) -> Iterator[tuple[int, int]]:
    starts, ends, more, _ = PUBLISHED[name]
    yield from ((start, end) for start in starts for end in ends)
    yield from more


def saved_by_hand(model: keras.Model, start: int, end: int) -> int:
    """Parameters of the layers strictly between two positions, less a 1x1 convolution with bias."""
    layers = model.layers
    channels_in, channels_out = layers[start].output.shape[-1], layers[end].input.shape[-1]
    between_them: int = sum(layer.count_params() for layer in layers[start + 1 : end])
    return between_them - int((channels_in + 1) * channels_out)


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_cuts_are_among_those_found(name: str) -> None:
    size = 456 if name == "EfficientNetB5" else 224
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(size, size, 3))
    graph = lift(model)
    found = {(pair.first, pair.last): pair for pair in cut_pairs(graph)}
    total = model.count_params()
    percents = []
    for start, end in options(name):
        pair = found[model.layers[start].name, model.layers[end].name]
        saved = saved_by_hand(model, start, end)
        assert pair.parameters_saved == saved
        assert pair.parameters_kept_ratio == pytest.approx(1 - saved / total)
        percents.append(100 * saved / total)
    assert len(percents) == COUNTS[name] < len(found)
    assert (round(min(percents), 1), round(max(percents), 1)) == PUBLISHED[name][3]
    if name == "MobileNetV2":
        assert total == 2_257_984
        assert total - found["expanded_conv_project_BN", "Conv_1"].parameters_saved == 422_144
    check_some(graph, list(found.values()))


def check_some(graph: Any, found: list[CutPair]) -> None:
    """Some of the cuts are closed, a translator bridges them, and costs what was said."""
    macs = {row.name: row.macs for row in cost(graph).rows}
    for pair in found[:: len(found) // 5]:
        region = between(graph, pair.first, pair.last)
        assert (region.entry, region.exit, len(region)) == (pair.entry, pair.exit, pair.nodes)
        check_border(graph, region.nodes, [region.entry], [region.exit])
        bridge = lift(translator(geometry(graph, region)))
        assert bridge[
            next(iter(bridge.outputs if isinstance(bridge.outputs, list) else [bridge.outputs])).node
        ].spec == (region.exit_spec)
        assert pair.macs_saved == sum(macs[name] or 0 for name in region.nodes) - cost(bridge).macs


def test_what_was_said_to_be_saved_is_saved() -> None:
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3), alpha=0.35)
    pairs = {(pair.first, pair.last): pair for pair in cut_pairs(lift(model))}
    chosen = [("expanded_conv_project_BN", "block_6_expand"), ("block_9_add", "block_16_expand")]
    small = Pipeline([ReplaceWithTranslator(chosen)]).run(model, verify="types").model
    saved = sum(pairs[cut].parameters_saved for cut in chosen)
    assert small.count_params() == model.count_params() - saved
    assert cost(small).macs == cost(model).macs - sum(pairs[cut].macs_saved for cut in chosen)


def test_shared_layers_count_where_all_their_calls_go() -> None:
    inputs = keras.Input((8, 8, 4), name="image")
    twice = keras.layers.Conv2D(4, 3, padding="same", name="twice")
    x = twice(keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs))
    x = keras.layers.Conv2D(4, 3, padding="same", name="between")(x)
    outputs = keras.layers.Conv2D(4, 3, padding="same", name="last")(twice(x))
    graph = lift(keras.Model(inputs, outputs))
    pairs = {(pair.first, pair.last): pair for pair in cut_pairs(graph, saving=False)}
    one, translator_size = 3 * 3 * 4 * 4 + 4, 4 * 4 + 4
    assert pairs["first", "between"].parameters_saved == 0 - translator_size  # its other call stays
    assert pairs["first", "last"].parameters_saved == 2 * one - translator_size
    assert pairs["twice", "last"].parameters_saved == one - translator_size
    assert ("first", "between") not in {(pair.first, pair.last) for pair in cut_pairs(graph)}


def test_no_cut_enlarges_or_leaves_images() -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, 2, "same", name="down")(inputs)
    x = keras.layers.Conv2DTranspose(8, 3, 2, "same", name="up")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Conv2D(8, 3, name="conv")(x))
    outputs = keras.layers.Dense(3, name="scores")(keras.layers.Dense(64, name="wide")(x))
    found = {(pair.first, pair.last) for pair in cut_pairs(lift(keras.Model(inputs, outputs)), saving=False)}
    assert found == {("image", "up"), ("image", "conv"), ("image", "pool"), ("up", "pool")}


@pytest.mark.parametrize(
    ("first", "last", "parts"),
    [
        ("stem_relu", "block1_add", ["reads 2 tensors", "cut_pairs(graph)"]),
        ("block2_a", "stem", ["does not come before", "('stem', 'block2_a')"]),
        ("stem", "stem_bn", ["nothing between"]),
        ("stem", "stem", ["does not come before"]),
        ("block1_a", "block2_a", ["other tensors cross", "stem_relu also enters"]),
        ("nowhere", "block2_a", ["no node 'nowhere'"]),
        ("stem_relu#1", "block2_a", ["has no output 1"]),
    ],
)
def test_errors_of_cuts(first: str, last: str, parts: list[str]) -> None:
    with pytest.raises(GraphError) as raised:
        between(lift(residual_net()), first, last)
    for part in parts:
        assert part in str(raised.value), str(raised.value)


def test_kept_ratios_agree_with_the_model() -> None:
    graph = lift(residual_net())
    total = cost(graph)
    for pair in cut_pairs(graph, saving=False):
        assert np.isclose(pair.macs_kept_ratio, 1 - pair.macs_saved / total.macs)
        assert "saved" in str(pair)
