"""ApplyPlan: indices, numbers, files, plans that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError, PlanError
from kerasurgeon.passes import ApplyPlan, PruneChannels
from tests.passes.checking import changed, difference, model_of, reasons

layers = keras.layers


def net() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, name="stem", activation="relu")(inputs)
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Add()([x, layers.Conv2D(8, 1, name="outer")(y)])
    return model_of(inputs, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(x)))


def apply(model: keras.Model, plan: Any, **options: Any) -> Any:
    return ks.Pipeline([ApplyPlan(plan, **options)]).run(model)


def kernel(model: keras.Model, name: str) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(model.get_layer(name).kernel))


def test_indices() -> None:
    model = net()
    result = apply(model, {"inner": [0, 3, 5]})
    np.testing.assert_array_equal(kernel(result.model, "inner"), kernel(model, "inner")[..., [0, 3, 5]])
    assert changed(result) == {"inner": "6 -> 3 channels"}
    assert result.report.passes[0].difference < 1e-5
    assert difference(result.model, ks.cut(model, ks.ChannelPlan({"inner": [0, 3, 5]}))) < 1e-6


def test_numbers_are_filled_in_by_the_criterion() -> None:
    model = net()
    norms = np.sqrt((kernel(model, "inner") ** 2).sum((0, 1, 2)))
    best = np.sort(np.argsort(norms)[2:])
    result = apply(model, {"inner": 4})
    np.testing.assert_array_equal(kernel(result.model, "inner"), kernel(model, "inner")[..., best])
    last = apply(model, {"inner": 4}, importance=lambda group, evidence: np.arange(group.size))
    np.testing.assert_array_equal(kernel(last.model, "inner"), kernel(model, "inner")[..., 2:])


def test_numbers_of_layers_that_go_together() -> None:
    result = apply(net(), {"stem": 5, "outer": 5, "inner": [1]})
    assert [result.model.get_layer(name).filters for name in ("stem", "outer", "inner")] == [5, 5, 1]
    with pytest.raises(PassError, match=r"(?s)keeps 4 channels of 'outer'.*'stem'.*another number"):
        apply(net(), {"stem": 5, "outer": 4})
    with pytest.raises(PassError, match="which cannot be had"):
        apply(net(), {"stem": [0, 1, 2], "outer": 4})


def test_files_plans_and_recipes(tmp_path: Path) -> None:
    plan = ks.ChannelPlan({"inner": [0, 3], "stem": 6})
    path = tmp_path / "plan.json"
    plan.save(path)
    results = [apply(net(), source) for source in (plan, str(path), {"inner": [0, 3], "stem": 6})]
    for result in results[1:]:
        for one, other in zip(results[0].model.get_weights(), result.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    results[0].recipe.save(tmp_path / "recipe.toml")
    again = ks.Pipeline.from_recipe(tmp_path / "recipe.toml").run(net())
    assert again.model.get_layer("inner").filters == 2


def test_a_plan_that_keeps_all() -> None:
    result = apply(net(), {"inner": 6})
    assert "the plan keeps every channel" in reasons(result).values()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"iner": 3}, r"(?s)has no layer 'iner'.*did you mean 'inner'"),
        ({"inner": 9}, "keeps more channels of 'inner' than there are"),
        ({"inner": [7]}, "has no channel 7"),
        ({"scores": 2}, r"cannot be had: it belongs to an output"),
        (ks.ChannelPlan({"inner": 3}, {"inner": 12}, "other"), "made for another model"),
        ("no_such_plan.json", "cannot be read"),
    ],
)
def test_plans_that_do_not_fit(plan: Any, message: str) -> None:
    with pytest.raises((PassError, PlanError), match=message):
        apply(net(), plan)


def test_options_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="'plan' cannot be used"):
        ApplyPlan(3)  # type: ignore[arg-type]  # what must not be given
    with pytest.raises(OptionError, match="fewer than no channels"):
        ApplyPlan({"inner": -1})
    with pytest.raises(OptionError, match="no criterion"):
        ApplyPlan({"inner": 1}, importance="l3")
    with pytest.raises(PassError, match="cannot be chosen by this criterion"):
        apply(net(), {"inner": 3}, importance="batch_norm")


def test_what_prune_channels_decides_can_be_saved_edited_and_applied(tmp_path: Path) -> None:
    model = net()
    result = ks.Pipeline([PruneChannels(ratio=0.4, scope="local", compensate="none")]).run(model)
    (plan,) = result.report.passes[0].plans
    plan.save(tmp_path / "plan.json")
    again = ks.apply_passes(model, [ApplyPlan(plan=str(tmp_path / "plan.json"))])
    for one, other in zip(again.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    edited = ks.ChannelPlan({**plan.kept, "inner": range(5)})
    assert ks.apply_passes(model, [ApplyPlan(plan=edited)]).get_layer("inner").filters == 5
    assert result.report.to_dict()["passes"][0]["plans"][0]["kept"].keys() == plan.kept.keys()
