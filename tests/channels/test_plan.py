"""Plans: data that can be shown, saved, edited and applied, and that say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.channels import analyse
from kerasurgeon.errors import OptionError
from kerasurgeon.passes import ApplyPlan
from tests.channels.networks import residual
from tests.channels.oracle import outputs

IMAGES = np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype("float32")


def test_a_plan_that_names_one_layer_takes_what_is_coupled() -> None:
    model = residual()
    small = ks.cut(model, ks.ChannelPlan({"stem": [0, 2, 5]}))
    assert [small.get_layer(name).filters for name in ("stem", "a2", "b2")] == [3, 3, 3]
    assert [small.get_layer(name).filters for name in ("a1", "b1")] == [6, 5]
    kernel = model.get_layer("b2").kernel.numpy()
    np.testing.assert_array_equal(small.get_layer("b2").kernel.numpy(), kernel[..., [0, 2, 5]])
    np.testing.assert_array_equal(
        small.get_layer("head").kernel.numpy(), model.get_layer("head").kernel.numpy()[[0, 2, 5]]
    )
    np.testing.assert_array_equal(
        small.get_layer("bn2").moving_mean.numpy(), model.get_layer("bn2").moving_mean.numpy()[[0, 2, 5]]
    )


def test_cut_equals_masked_and_leaves_the_model_alone() -> None:
    model = residual()
    before = [weight.numpy() for weight in model.weights]
    config = json.dumps(model.get_config(), default=str)
    plan = ks.ChannelPlan({"stem": [0, 2, 5], "a1": [1], "b1": [0, 4]})
    small, twin = ks.cut(model, plan), ks.masked(model, plan)
    np.testing.assert_allclose(outputs(small, IMAGES)[0], outputs(twin, IMAGES)[0], rtol=1e-5, atol=1e-5)
    assert np.abs(outputs(model, IMAGES)[0] - outputs(twin, IMAGES)[0]).max() > 0.1
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert json.dumps(model.get_config(), default=str) == config


def test_the_masked_twin_does_not_depend_on_what_is_cut() -> None:
    """An oracle that shares nothing with the rules: whatever the cut channels compute, the outputs stay."""
    model = residual()
    plan = ks.ChannelPlan({"a1": [1, 3], "b1": [0, 4]})
    twin = ks.masked(model, plan)
    expected = outputs(twin, IMAGES)[0]
    rng = np.random.default_rng(1)
    for name, kept in (("a1", [1, 3]), ("b1", [0, 4])):
        kernel, bias = (np.array(weight) for weight in twin.get_layer(name).get_weights())
        gone = [index for index in range(kernel.shape[-1]) if index not in kept]
        kernel[..., gone] = 100 * rng.normal(size=kernel[..., gone].shape)
        bias[gone] = 1000.0
        twin.get_layer(name).set_weights([kernel, bias])
    np.testing.assert_allclose(outputs(twin, IMAGES)[0], expected, rtol=1e-6)


def test_saved_and_loaded(tmp_path: Path) -> None:
    channels = analyse(residual())
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["b1"].ids[1:3]]] = True
    plan = ks.ChannelPlan.of(channels, gone, note="by hand")
    assert plan.kept == {"b1": (0, 3, 4)}
    plan.save(tmp_path / "plan.json")
    loaded = ks.ChannelPlan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert loaded.widths == {"b1": 5}
    np.testing.assert_array_equal(loaded.gone(channels), gone)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_plans_of_others() -> None:
    plan = ks.ChannelPlan.from_json('{"b1": 3, "a1": [true, false, true, false, false, true]}')
    assert plan.kept == {"b1": 3, "a1": (0, 2, 5)}
    assert plan.counts == {"b1": 3, "a1": 3}
    assert not plan.chosen


def test_show_says_what_goes_before_it_goes() -> None:
    model = residual()
    preview = ks.ChannelPlan({"stem": range(4), "b1": []}).show(model)
    assert preview.widths == {"stem": (8, 4), "a2": (8, 4), "b1": (5, 0), "b2": (8, 0)}
    text = str(preview)
    assert "goes with the others" in text
    assert "the branch is gone" in text
    assert preview.costs.macs_kept == pytest.approx(
        ks.cost(ks.cut(model, ks.ChannelPlan({"stem": range(4), "b1": []}))).macs / ks.cost(model).macs
    )


def test_show_lets_a_criterion_choose_where_the_plan_gives_numbers() -> None:
    model = residual()
    plan = ks.ChannelPlan({"stem": 3, "b1": [0, 1]})
    preview = plan.show(model, importance="l1")
    small = ks.apply_passes(model, [ApplyPlan(plan, importance="l1")])
    assert preview.widths["stem"] == (8, 3) == (8, small.get_layer("stem").filters)
    assert preview.costs.macs_kept == pytest.approx(ks.cost(small).macs / ks.cost(model).macs)
    assert "which ones: by l1" in str(preview)
    assert preview.to_dict()["layers"]["stem"]["chosen"]
    assert not preview.to_dict()["layers"]["b1"]["chosen"]
    with pytest.raises(ks.PlanError, match="cannot be chosen by this criterion: no batch normalisation"):
        ks.ChannelPlan({"b1": 2}).show(model, importance="batch_norm")
    with pytest.raises(OptionError, match="needs inputs with labels"):
        plan.show(model, importance="taylor")


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown layer": ({"stam": [0]}, ["no layer 'stam'", "did you mean 'stem'"]),
    "index": ({"stem": [0, 8]}, ["no channel 8", "below 8"]),
    "output": ({"head": [0]}, ["may not go", "output of the model"]),
    "conflict": ({"stem": [0, 1], "a2": [0, 2]}, ["keeps a channel in", "takes the same channel", "a2[1]"]),
    "count": ({"stem": 3}, ["a number of channels for 'stem'", "importance"]),
    "cut in two": ({"stem": []}, ["cuts the network in two"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained(mistake: str) -> None:
    kept, parts = MISTAKES[mistake]
    with pytest.raises(ks.PlanError) as caught:
        ks.cut(residual(), ks.ChannelPlan(kept))
    for part in parts:
        assert part in str(caught.value)


def test_a_plan_for_another_model() -> None:
    with pytest.raises(ks.PlanError, match="made for another model"):
        ks.cut(residual(), ks.ChannelPlan({"stem": [0, 1]}, widths={"stem": 16}))


@pytest.mark.parametrize("kept", ["0,1", {"a": 1}, [0.5], [-1], -3, [True, 1]])
def test_entries_that_cannot_be_used(kept: object) -> None:
    with pytest.raises(OptionError, match="stem"):
        ks.ChannelPlan({"stem": kept})  # type: ignore[dict-item]


@pytest.mark.parametrize("text", ["{", "[1]", '{"format": "other"}', '{"format": "kerasurgeon.channels/1"}'])
def test_files_that_are_no_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ks.PlanError):
        ks.ChannelPlan.load(tmp_path / "plan.json")
    with pytest.raises(ks.PlanError, match="cannot be read"):
        ks.ChannelPlan.load(tmp_path / "missing.json")


@pytest.mark.parametrize("widths", [[3], {"conv": "16"}])
def test_widths_of_a_file_that_are_none_are_refused(widths: object) -> None:
    text = json.dumps({"format": "kerasurgeon.channels/1", "widths": widths, "kept": {"conv": [1]}})
    with pytest.raises(ks.PlanError, match="'widths' cannot be used"):
        ks.ChannelPlan.from_json(text)
