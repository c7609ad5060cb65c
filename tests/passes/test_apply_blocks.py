"""ApplyBlocks: what a plan says is done again, elsewhere, with the same weights."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.plan import BlockPlan
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import ApplyBlocks, ReplaceWithShunt, ReplaceWithTranslator
from kerasurgeon.rewrite.pipeline import Pipeline
from tests.blocks.networks import residual_net
from tests.passes.checking import changed, outputs_of, reasons, run, state_of
from tests.zoo.sampling import randomise


@pytest.fixture
def model() -> keras.Model:
    net = residual_net()
    randomise(net, 0)
    return net


def test_a_plan_gives_the_same_bytes_again(model: keras.Model, tmp_path: Path) -> None:
    passes = [ReplaceWithShunt(["block1", "block2"], "1-se"), ReplaceWithTranslator(("block2_b_bn", "head"))]
    first = Pipeline(passes).run(model, seed=7, verify="types")
    plans = [report.plans[0] for report in first.report.passes]
    for number, plan in enumerate(plans):
        plan.save(tmp_path / f"plan{number}")
    before = state_of(model)
    for one, two in ((plans[0], plans[1]), (tmp_path / "plan0.json", str(tmp_path / "plan1"))):
        again = Pipeline([ApplyBlocks(one), ApplyBlocks(two)]).run(model, seed=99, verify="types")
        assert [layer.name for layer in again.model.layers] == [layer.name for layer in first.model.layers]
        pairs = zip(first.model.get_weights(), again.model.get_weights(), strict=True)
        assert all(a.tobytes() == b.tobytes() for a, b in pairs)
        images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
        assert np.array_equal(outputs_of(first.model, images)[0], outputs_of(again.model, images)[0])
        assert [report.plans[0] for report in again.report.passes] == plans
        assert list(changed(again)) == ["block1_add", "block2_b_bn"]
    assert state_of(model) == before


def test_a_report_with_a_plan_is_json(model: keras.Model) -> None:
    report = run(ReplaceWithShunt("block1", "4"), model).report
    (plan,) = report.to_dict()["passes"][0]["plans"]
    assert plan["steps"][0]["entry"] == "stem_relu"
    assert '"shunt_1"' in report.to_json()


def test_other_weights_around_are_no_obstacle_but_other_shapes_are(model: keras.Model) -> None:
    (plan,) = run(ReplaceWithShunt("block1", "4"), model).report.passes[0].plans
    other = residual_net()
    randomise(other, 5)
    assert list(changed(run(ApplyBlocks(plan), other))) == ["block1_add"]
    with pytest.raises(PassError, match="a tensor differs"):
        run(ApplyBlocks(plan), residual_net((32, 32)))
    stranger = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    with pytest.raises(PassError, match="does not fit this model: There is no node 'stem_relu'"):
        run(ApplyBlocks(plan), stranger)


def test_an_empty_plan_says_so(model: keras.Model) -> None:
    assert list(reasons(run(ApplyBlocks(BlockPlan()), model)).values()) == ["the plan has no steps"]


def test_options_and_files_that_cannot_be_used(model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'plan'"):
        ApplyBlocks(3)  # type: ignore[arg-type]
    with pytest.raises(PassError, match="cannot be read"):
        run(ApplyBlocks(tmp_path / "nowhere.json"), model)
