"""Choosing what goes: orders, floors, multiples, rankings, budgets; and costs told without cutting."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.channels import (
    Budget,
    Candidate,
    Chooser,
    Criterion,
    Evidence,
    Limits,
    analyse,
    candidates,
    criterion_for,
    cut_channels,
    groups,
    round_to_number,
    sections,
)
from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError
from tests.applications import shared_application
from tests.channels.oracle import random_cut
from tests.passes.checking import model_of

layers = keras.layers
Array = np.ndarray[Any, Any]


def net(widths: tuple[int, ...] = (8, 16, 10)) -> keras.Model:
    inputs = x = keras.Input((8, 8, 3))
    for place, width in enumerate(widths):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{place}")(x)
    return model_of(inputs, layers.Dense(4, name="end")(layers.GlobalAveragePooling2D()(x)))


def rising(group: Any, evidence: Any) -> Array:
    """Later channels matter more; wide groups less."""
    return np.asarray(np.arange(group.size) / group.size)


def usable(model: keras.Model, criterion: Criterion = rising, **limits: Any) -> tuple[Any, list[Candidate]]:
    channels = analyse(model)
    return channels, candidates(groups(channels), Limits(**limits), criterion, Evidence(channels))


def choose(model: keras.Model, scope: Any = "global", ratio: float | None = 0.5, **limits: Any) -> dict[str, int]:
    channels, found = usable(model, **limits)
    chosen = Chooser(channels, found, sections(channels, found, scope)).by_ratio(ratio)
    return {
        one.group.name: one.size - int(count)
        for one, count in zip(found, chosen.counts.tolist(), strict=True)
        if not one.why
    }


def test_local_takes_the_share_of_every_group_and_the_least_important() -> None:
    model = net()
    assert choose(model, "local") == {"conv0": 4, "conv1": 8, "conv2": 5}
    channels, found = usable(model)
    chosen = Chooser(channels, found, sections(channels, found, "local")).by_ratio(0.5)
    kept = channels.keep(chosen.gone).mask(channels.sources["conv1"].ids)
    np.testing.assert_array_equal(np.flatnonzero(kept), np.arange(8, 16))


def test_global_ranks_all_channels_in_one_row() -> None:
    model = net((8, 8))
    channels = analyse(model)
    scores = {"conv0": np.arange(8.0), "conv1": 4 + np.arange(8.0)}
    found = candidates(
        groups(channels), Limits(), lambda group, _: scores.get(group.name, np.ones(group.size)), Evidence(channels)
    )
    chosen = Chooser(channels, found, sections(channels, found, "global")).by_ratio(0.5)
    everything = sorted((*scores["conv0"], *scores["conv1"]))
    kept = [int((scores[name] >= everything[8]).sum()) for name in ("conv0", "conv1")]
    counts = {one.group.name: one.size - int(count) for one, count in zip(found, chosen.counts, strict=True)}
    assert abs(counts["conv0"] - kept[0]) <= 1
    assert abs(counts["conv1"] - kept[1]) <= 1
    assert counts["conv0"] + counts["conv1"] == 8


def test_sections_rank_what_they_name() -> None:
    model = net((10, 10, 10))
    assert choose(model, ("conv0",)) == {"conv0": 5, "conv1": 5, "conv2": 5}
    assert choose(model, {"conv[01]": 0.2, "conv2": 0.5}, None) == {"conv0": 8, "conv1": 8, "conv2": 5}
    assert choose(model, {"conv1": 0.4}, None) == {"conv0": 10, "conv1": 6, "conv2": 10}
    with pytest.raises(OptionError, match=r"(?s)no layer, nested model or region is called 'konv1'.*'conv1'"):
        choose(model, ("konv1",))
    with pytest.raises(OptionError, match=r"(?s)scope='globl' is not known|did you mean 'global'"):
        choose(model, "globl")


def test_nested_models_are_named_by_their_scope() -> None:
    inner = net((6, 6))
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inner.inputs, inner.get_layer("conv1").output, name="backbone")
    x = layers.Conv2D(6, 1, name="head")(backbone(inputs))
    model = model_of(inputs, layers.Dense(2, name="end")(layers.GlobalAveragePooling2D()(x)))
    assert choose(model, {"backbone": 0.5}, None) == {"backbone/conv0": 3, "backbone/conv1": 3, "head": 6}


@pytest.mark.parametrize(("round_to", "kept"), [(1, (4, 8, 5)), (4, (4, 8, 4)), (8, (8, 8, 8)), (16, (8, 16, 10))])
def test_kept_widths_are_multiples(round_to: int, kept: tuple[int, ...]) -> None:
    found = choose(net(), "local", round_to=round_to)
    whole = dict(zip(("conv0", "conv1", "conv2"), kept, strict=True))
    for name, width in whole.items():
        # A group without a smaller multiple is left alone.
        assert found.get(name, width) == width


def test_runtimes_have_multiples() -> None:
    assert round_to_number("Own", "onnxruntime") % 4 == 0
    assert round_to_number("Own", "tflite") == round_to_number("Own", "xnnpack")
    with pytest.raises(OptionError, match="did you mean 'tflite'"):
        round_to_number("Own", "tflit")
    for wrong in (0, -8, 1.5, True, None):
        with pytest.raises(OptionError, match="Own: option 'round_to' cannot be used"):
            round_to_number("Own", wrong)  # type: ignore[arg-type]  # what must not be given


def test_floors_and_largest_shares() -> None:
    assert choose(net(), "local", 0.9, min_channels=6) == {"conv0": 6, "conv1": 6, "conv2": 6}
    assert choose(net(), "local", 0.9, max_ratio=0.25) == {"conv0": 6, "conv1": 12, "conv2": 8}
    assert choose(net(), "global", 0.99) == {"conv0": 1, "conv1": 1, "conv2": 1}


def test_no_axis_of_any_tensor_becomes_empty() -> None:
    """Parts of a concatenation and of a split are axes of their own, however little they matter."""
    inputs = keras.Input((4, 4, 3))
    parts = [layers.Conv2D(4, 1, name=name)(inputs) for name in ("left", "right")]
    whole = layers.Conv2D(8, 1, name="whole")(inputs)
    x = layers.Add()([layers.Concatenate()(parts), whole])
    x = layers.Conv2D(2, 1)(x)
    model = model_of(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    for floor in (1, 2):
        channels, found = usable(model, min_channels=floor)
        chosen = Chooser(channels, found, sections(channels, found, "global")).by_ratio(0.99)
        keep = channels.keep(chosen.gone)
        for source in channels.sources.values():
            assert keep.count(source.ids) >= min(floor, source.ids.size)
        small = channels.graph.copy()
        report = cut_channels(small, chosen.gone, channels)
        assert not report.removed
        assert not report.kept


def test_ignored_layers_are_left_alone() -> None:
    assert set(choose(net(), "local", ignore=("conv1",))) == {"conv0", "conv2"}
    assert set(choose(net(), "local", ignore=("conv[02]",))) == {"conv1"}
    with pytest.raises(OptionError, match=r"(?s)ignore=: no layer.*'convv1'.*'conv1'"):
        choose(net(), ignore=("convv1",))


def test_a_depthwise_layer_stands_for_the_channels_that_it_works_on() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.Conv2D(6, 1, name="conv")(inputs))
    x = layers.Conv2D(4, 1, name="last")(x)
    model = model_of(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert set(choose(model, "local", ignore=("depthwise",))) == {"last"}


def test_a_layer_without_weights_stands_for_the_channels_that_pass_through_it() -> None:
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(6, 1, name="conv")(layers.Rescaling(0.5, name="scale")(inputs))
    side = layers.Conv2D(6, 1, name="side")(x)
    x = layers.Add(name="sum")([layers.ReLU(name="re_lu")(x), side])
    x = layers.Conv2D(4, 1, name="last")(x)
    model = model_of(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D(name="pool")(x)))
    for names in ("re_lu", "sum", "re_*"):
        assert set(choose(model, "local", ignore=(names,))) == {"last"}, names
    assert set(choose(model, "local", ignore=("pool",))) == {"conv"}
    assert choose(model, {"re_lu": 0.5}, None) == {"conv": 3, "last": 4}
    # Beside a layer that makes channels, those without do not count: "last" and "re_lu" are named, "conv" is free.
    assert set(choose(model, "local", ignore=("[lr]*",))) == {"conv"}
    for nothing in ("images", "scale"):
        with pytest.raises(OptionError, match=rf"(?s)ignore=: what '{nothing}' names has no channels.*groups\(model\)"):
            choose(model, ignore=(nothing,))


def test_a_bare_name_names_layers_of_nested_models_too() -> None:
    inner = net((6, 6))
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inner.inputs, inner.get_layer("conv1").output, name="backbone")
    x = layers.Conv2D(6, 1, name="head")(backbone(inputs))
    model = model_of(inputs, layers.Dense(2, name="end")(layers.GlobalAveragePooling2D()(x)))
    for pattern, free in (
        ("conv0", {"backbone/conv1", "head"}),
        ("backbone/conv0", {"backbone/conv1", "head"}),
        ("*/conv0", {"backbone/conv1", "head"}),
        ("conv*", {"head"}),
        ("backbone", {"head"}),
        ("head", {"backbone/conv0", "backbone/conv1"}),
    ):
        assert set(choose(model, "local", ignore=(pattern,))) == free, pattern
    with pytest.raises(OptionError, match="no layer"):
        choose(model, ignore=("back*",))  # a nested model is meant by its whole name only


def test_exact_only_leaves_what_is_normalised_over() -> None:
    inputs = keras.Input((6,))
    x = layers.LayerNormalization()(layers.Dense(8, name="normed")(inputs))
    model = model_of(inputs, layers.Dense(2)(layers.Dense(8, name="free")(x)))
    assert set(choose(model, "local")) == {"normed", "free"}
    _, found = usable(model, exact_only=True)
    whys = {one.group.name: one.why for one in found}
    assert not whys["free"]
    assert "normalised" in whys["normed"]


def test_thresholds() -> None:
    channels, found = usable(net((10, 10, 10)))
    chooser = Chooser(channels, found, sections(channels, found, "global"))
    chosen = chooser.by_threshold(0.35)
    assert {one.group.name: int(n) for one, n in zip(found, chosen.counts, strict=True) if not one.why} == {
        "conv0": 4,
        "conv1": 4,
        "conv2": 4,
    }
    own = Chooser(channels, found, sections(channels, found, {"conv1": 0.25}, "threshold=")).by_threshold()
    assert own.counts.sum() == 3


def test_unreachable_targets_say_what_can_be_reached() -> None:
    channels, found = usable(net(), max_ratio=0.25)
    chooser, budget = Chooser(channels, found, sections(channels, found, "global")), Budget(channels)
    full = budget.of("macs", chooser.nothing)
    least = budget.of("macs", chooser.by_ratio(0.99).gone)
    chosen = chooser.to_target(lambda gone: budget.of("macs", gone), 0.1 * full)
    assert chosen.reached == least
    np.testing.assert_array_equal(chosen.gone, chooser.by_ratio(0.99).gone)
    assert "left alone: 'end'" in chooser.held_back()


def attention_model() -> keras.Model:
    inputs = keras.Input((7, 12))
    x = layers.MultiHeadAttention(4, 3, name="attention")(inputs, inputs)
    x = layers.Dense(8, name="wide")(layers.LSTM(6, return_sequences=True, name="lstm")(layers.Add()([inputs, x])))
    x = layers.SeparableConv1D(6, 3, name="separable")(x)
    return model_of(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("make", [net, attention_model, lambda: shared_application("MobileNetV3Small")])
def test_costs_are_those_of_the_cut_graph(make: Any) -> None:
    channels = analyse(make())
    budget = Budget(channels)
    for seed in range(3):
        gone = random_cut(channels, seed)
        small = channels.graph.copy()
        cut_channels(small, gone, channels)
        expected = cost(small)
        assert budget.of("macs", gone) == expected.macs
        assert budget.of("params", gone) == expected.parameters
        assert budget.of("bytes", gone) == expected.weight_bytes


def test_criteria_that_skip_leave_the_group() -> None:
    _, found = usable(net(), criterion_for("batch_norm"))
    assert all(one.why for one in found)
    assert found[0].why == "no batch normalisation scales its channels"
