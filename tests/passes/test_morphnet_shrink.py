"""What training has left dead is cut, and the rest computes what the masked model computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import MorphNetShrink
from tests.channels.networks import residual
from tests.passes.checking import assert_lives, changed, difference, outputs_of, reasons, run, state_of
from tests.zoo import sample_inputs


def weaken(model: keras.Model, name: str, channels: list[int]) -> None:
    """As a group lasso leaves a filter: small beyond the threshold, its bias as it was."""
    layer = model.get_layer(name)
    kernel = np.asarray(layer.kernel).copy()
    kernel[..., channels] *= 1e-5
    layer.kernel.assign(kernel)


def trained() -> keras.Model:
    model = residual()
    weaken(model, "a1", [0, 3])
    weaken(model, "b1", [4])
    for name in ("stem", "a2", "b2"):
        weaken(model, name, [2])
    weaken(model, "stem", [5])  # alive all the same: a2 and b2 make it too
    return model


@pytest.mark.spread(2)
@pytest.mark.parametrize("compensate", ["none", "batch_norm"])
def test_dead_filters_go_from_all_that_is_added(compensate: str, tmp_path: Path) -> None:
    model = trained()
    before = state_of(model)
    result = run(MorphNetShrink(compensate=compensate), model, verify="exact")
    small = result.model
    assert state_of(model) == before
    assert {name: small.get_layer(name).filters for name in ("stem", "a1", "a2", "b1", "b2")} == {
        "stem": 7,
        "a1": 4,
        "a2": 7,
        "b1": 4,
        "b2": 7,
    }
    np.testing.assert_array_equal(
        np.asarray(small.get_layer("bn1").gamma),
        np.asarray(model.get_layer("bn1").gamma)[[1, 2, 4, 5]],
    )
    assert result.report.passes[0].difference is not None
    assert changed(result)["a1"] == "6 -> 4 channels"
    assert result.report.passes[0].plans[0].kept["a1"] == (1, 2, 4, 5)
    assert_lives(small, tmp_path)


def test_against_the_model_with_its_dead_rows_zeroed_by_hand() -> None:
    model = trained()
    small = run(MorphNetShrink(compensate="none"), model).model
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for name, dead in (("a2", [0, 3]), ("b2", [4]), ("a1", [2]), ("b1", [2])):
        kernel = np.asarray(twin.get_layer(name).kernel).copy()
        kernel[:, :, dead] = 0
        twin.get_layer(name).kernel.assign(kernel)
    head = np.asarray(twin.get_layer("head").kernel).copy()
    head[2] = 0
    twin.get_layer("head").kernel.assign(head)
    assert difference(twin, small) < 1e-5


def test_compensation_gives_the_mean_of_what_went() -> None:
    """Dead filters give their bias through batch norm; with compensation the result is nearer to the trained model."""
    model = trained()
    inputs = sample_inputs(model)
    expected = outputs_of(model, inputs)[0]
    errors = []
    for how in ("none", "batch_norm"):
        got = outputs_of(run(MorphNetShrink(compensate=how), model).model, inputs)[0]
        errors.append(float(np.abs(got - expected).mean()))
    assert errors[1] < errors[0]


def test_gamma_decides_by_scales() -> None:
    model = residual()
    norm = model.get_layer("bn1")
    norm.gamma.assign(np.where(np.arange(6) < 2, 1e-4, np.asarray(norm.gamma)))
    result = run(MorphNetShrink(algorithm="gamma"), model, verify="exact")
    assert result.model.get_layer("a1").filters == 4
    assert result.model.get_layer("b1").filters == 5  # no scale speaks for it


def test_a_branch_that_died_is_removed_and_its_constant_stays(tmp_path: Path) -> None:
    model = residual()
    weaken(model, "a1", list(range(6)))
    result = run(MorphNetShrink(compensate="none"), model, verify="exact")
    assert "a2" not in {layer.name for layer in result.model.layers}
    assert "constant" in changed(result)["sum1"]
    assert_lives(result.model, tmp_path)
    kept = run(MorphNetShrink(keep_first=True), model, verify="exact").model
    assert kept.get_layer("a1").filters == 1
    floored = run(MorphNetShrink(floors={"a*": 3}), model, verify="exact").model
    assert floored.get_layer("a1").filters == 3


def test_a_plan_of_what_is_alive(tmp_path: Path) -> None:
    model = residual()
    plan = ks.ChannelPlan({"a1": [0, 2, 5], "b1": [1]})
    plan.save(tmp_path / "plan.json")
    models = [
        run(MorphNetShrink(given), model, verify="exact").model
        for given in (plan, tmp_path / "plan.json", {"a1": [0, 2, 5], "b1": [1]})
    ]
    for small in models:
        assert (small.get_layer("a1").filters, small.get_layer("b1").filters) == (3, 1)
        assert difference(small, models[0]) == 0
    recipe = ks.Pipeline([MorphNetShrink(plan)]).to_recipe()
    again = ks.Pipeline.from_recipe(recipe).run(model).model
    assert difference(again, models[0]) == 0


def test_nothing_dead_says_so() -> None:
    result = run(MorphNetShrink(), residual())
    assert reasons(result) == {"residual": "every channel is alive"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "gama"}, "did you mean 'gamma'"),
        ({"threshold": -1}, "a number from 0"),
        ({"l1_fraction": 1.5}, r"a number in \[0, 1\]"),
        ({"keep_first": 1}, "True or False"),
        ({"plan": 3}, "a ChannelPlan, the path of one"),
        ({"compensate": "data"}, "batch_norm"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MorphNetShrink(**options)


def test_plans_that_do_not_fit(tmp_path: Path) -> None:
    model = residual()
    for plan, message in (
        ({"a1": 3}, "ReconstructWidths takes numbers"),
        ({"a11": [0]}, "did you mean"),
        ({"a1": [9]}, "has no channel 9"),
        (str(tmp_path / "missing.json"), "cannot be read"),
    ):
        with pytest.raises(PassError, match=message):
            run(MorphNetShrink(plan), model)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"format": "kerasurgeon.channels/1", "widths": {"a1": 64}, "kept": {"a1": [0]}}))
    with pytest.raises(PassError, match="made for another model"):
        run(MorphNetShrink(other), model)
    with pytest.raises(PassError, match="cuts the network in two"):
        run(MorphNetShrink(threshold=1e9), model)
    with pytest.raises(PassError, match="did you mean 'a1'"):
        run(MorphNetShrink(floors={"a11": 1}), model)
