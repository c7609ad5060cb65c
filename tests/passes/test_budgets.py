"""Budgets of every pass and search: on models with open sizes, with layers that no rule knows, and out of reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, OptionError, PassError, RecipeError
from kerasurgeon.passes import Expand, Factorise, PruneChannels
from kerasurgeon.rules import Free, unregister_rule

LENGTH = 40


class Opaque(layers.Layer):
    """A layer that no rule knows: a dense layer, or with 0 units nothing at all."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, shape: Any) -> None:
        if self.units:
            self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x: Any) -> Any:
        return keras.ops.matmul(x, self.kernel) if self.units else keras.ops.abs(x)


def steps(length: int | None) -> keras.Model:
    """A network on sequences; the same weights whatever the length."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((length, 8), name="steps")
    for name in ("a", "b", "c"):
        y = layers.Conv1D(16, 5, padding="same", activation="relu", name=f"{name}_wide")(x)
        y = layers.Conv1D(8, 3, padding="same", name=f"{name}_narrow")(y)
        x = layers.Add(name=f"{name}_add")([x, y])
    return keras.Model(inputs, layers.Dense(4, name="scores")(layers.GlobalAveragePooling1D(name="mean")(x)))


def beside(units: int) -> keras.Model:
    """1,000 known MACs, and 10 for each unit of a layer without a rule; ``units`` of 0 for one without weights."""
    keras.utils.set_random_seed(6)
    inputs = keras.Input((10,), name="x")
    known = layers.Dense(50, activation="relu", name="one")(inputs)
    known = layers.Dense(10, name="two")(known)
    return keras.Model(inputs, [known, Opaque(units, name="odd")(inputs)])


def images(filters: int = 16) -> keras.Model:
    """Most MACs are in the stem, which makes what the model returns: no channel of it may go."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((8, 8, 3), name="image")
    stem = layers.Conv2D(filters, 3, padding="same", name="stem")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="inner")(stem)
    return keras.Model(inputs, [stem, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(x))])


def cost_of(model: keras.Model, option: str, sizes: Any = None) -> float:
    found = ks.cost(model, sizes=sizes)
    return {"macs": found.macs, "params": found.parameters, "bytes": found.weight_bytes}[option]


def printed(result: Any) -> str:
    return " ".join(str(result.report).split())


def quotients(model: keras.Model, **options: Any) -> Any:
    return ks.knowledge_quotients(model, evaluate=lambda changed: 0.9, method="drop", which=("a", "b", "c"), **options)


def shrink(model: keras.Model, **options: Any) -> Any:
    """One round of the loop, in which half of the channels of a layer die."""

    def train(current: keras.Model, number: int) -> None:
        layer = next(layer for layer in current.layers if layer.weights)
        layer.kernel.assign(np.where(np.arange(layer.kernel.shape[-1]) % 2, layer.kernel.numpy(), 0))
        layer.bias.assign(np.zeros(layer.bias.shape))

    return ks.shrink_and_expand(model, train, **options)


# ---- open sizes ------------------------------------------------------------------------------------------------------

OPEN: dict[str, Callable[..., Any]] = {
    "PruneChannels": lambda model, **run: ks.apply_passes(model, [PruneChannels(macs=0.5)], **run).get_weights(),
    "PruneChannels in rounds": lambda model, **run: ks.apply_passes(
        model, [PruneChannels(macs=0.5, steps=2)], **run
    ).get_weights(),
    "Factorise": lambda model, **run: ks.apply_passes(model, [Factorise(macs=0.7)], **run).get_weights(),
    "Factorise inside": lambda model, **run: ks.apply_passes(
        model, [Factorise(compression_factor=0.7, cost="macs")], **run
    ).get_weights(),
    "Expand": lambda model, **run: ks.apply_passes(model, [Expand(macs=1.5, uneven=0.0)], **run).get_weights(),
    "choose_regions": lambda model, **run: list(quotients(model, **run).choose(macs=0.7)),
    "shrink_and_expand": lambda model, **run: [round.width for round in shrink(model, macs=1.2, **run).rounds],
    "MorphNet": lambda model, **run: [ks.MorphNet(model, **run).initial_cost],
    "MorphNet by latency": lambda model, **run: [
        ks.MorphNet(model, target="latency", hardware="T4", **run).initial_cost
    ],
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("case", OPEN)
def test_open_sizes_are_refused_and_with_sizes_count_as_those_of_a_fixed_model(case: str) -> None:
    """The oracle: the same weights in a model whose input has that size."""
    with pytest.raises(BudgetError, match=r"MACs cannot be budgeted[\s\S]*sizes are open[\s\S]*pass sizes="):
        OPEN[case](steps(None))
    free, fixed = OPEN[case](steps(None), sizes=(LENGTH, 8)), OPEN[case](steps(LENGTH))
    assert len(free) == len(fixed) > 0
    for one, other in zip(free, fixed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.spread(2)
@pytest.mark.parametrize("option", ["params", "bytes"])
def test_what_does_not_depend_on_sizes_needs_none(option: str) -> None:
    kept: dict[str, Any] = {option: 0.5}
    for item in (PruneChannels(**kept), Factorise(**kept)):
        small = ks.apply_passes(steps(None), [item])
        assert cost_of(small, option) <= 0.5 * cost_of(steps(None), option)


def test_costs_of_groups_previews_and_cuts_are_for_sizes() -> None:
    free, fixed = steps(None), steps(LENGTH)
    sizes = (LENGTH, 8)
    assert ks.groups(free)["a_wide"].macs is None
    assert ks.groups(free, sizes=sizes)["a_wide"].macs == ks.groups(fixed)["a_wide"].macs
    plan = ks.ChannelPlan({"a_wide": list(range(5))})
    assert plan.show(free, sizes=sizes).costs.after.macs == plan.show(fixed).costs.after.macs
    assert "?" in str(plan.show(free).costs)
    inputs = keras.Input((None, None, 4), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="one")(inputs)
    x = layers.ReLU(name="between")(layers.Conv2D(4, 3, padding="same", name="two")(x))
    graph = ks.lift(keras.Model(inputs, layers.Conv2D(4, 1, name="three")(x)))
    (pair,) = [pair for pair in ks.cut_pairs(graph) if (pair.first, pair.last) == ("one", "three")]
    assert pair.macs_unknown
    assert "? MACs" in str(pair)
    (pair,) = [pair for pair in ks.cut_pairs(graph, sizes=(6, 5, 4)) if (pair.first, pair.last) == ("one", "three")]
    assert not pair.macs_unknown
    assert pair.macs_saved == 30 * (9 * 16 - 16)


def test_sizes_are_checked_before_anything_is_done() -> None:
    cases: tuple[tuple[Any, str], ...] = (
        ((LENGTH,), "as many whole numbers above 0"),
        ({"stepz": (LENGTH, 8)}, "did you mean 'steps'"),
        ((LENGTH, 0), "sizes= cannot be used"),
        ("40,8", "sizes= cannot be used"),
        (40, "sizes= cannot be used"),
        ({}, "sizes= cannot be used"),
        ((LENGTH, 9), "cannot be called with inputs of these sizes"),
    )
    for sizes, said in cases:
        with pytest.raises(OptionError, match=said):
            ks.apply_passes(steps(None), [PruneChannels(ratio=0.5)], sizes=sizes)


def test_a_search_on_open_sizes_says_what_its_costs_are() -> None:
    result = ks.Pipeline([Factorise(max_accuracy_loss=0.1, evaluations=4)]).run(steps(None), evaluate=lambda model: 0.9)
    assert "MACs are those of one position of each layer" in printed(result)
    sized = ks.Pipeline([Factorise(max_accuracy_loss=0.1, evaluations=4)]).run(
        steps(None), evaluate=lambda model: 0.9, sizes=(LENGTH, 8)
    )
    assert "one position" not in printed(sized)


# ---- layers without a rule -------------------------------------------------------------------------------------------

UNKNOWN: dict[str, Callable[[keras.Model], Any]] = {
    "PruneChannels": lambda model: ks.Pipeline([PruneChannels(macs=0.5)]).run(model),
    "Factorise": lambda model: ks.Pipeline([Factorise(macs=0.8)]).run(model),
    "Expand": lambda model: ks.Pipeline([Expand(macs=2.0)]).run(model),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("case", UNKNOWN)
def test_more_than_a_twentieth_unknown_is_refused(case: str) -> None:
    with pytest.raises(BudgetError, match=r"unknown for 1 call\.[\s\S]*odd[\s\S]*5\.66 % of all MACs[\s\S]*register"):
        UNKNOWN[case](beside(6))
    for units, share in ((5, "4.76 % of all MACs"), (0, "without weights")):
        result = UNKNOWN[case](beside(units))
        assert f"unknown and not counted (odd): {'about ' * bool(units)}{share}" in printed(result)
        kept = ks.cost(result.model).macs / 1000
        assert kept == pytest.approx({"PruneChannels": 0.5, "Factorise": 0.8, "Expand": 2.0}[case], rel=0.12)
        assert kept <= {"PruneChannels": 0.5, "Factorise": 0.8, "Expand": 2.0}[case]


def test_other_searches_refuse_what_is_unknown_too() -> None:
    keras.utils.set_random_seed(8)
    x = inputs = keras.Input((10,), name="x")
    for name in ("a", "b", "c"):
        x = layers.Add(name=f"{name}_add")([x, layers.Dense(10, name=name)(x)])
    x = layers.Dense(8, name="free")(Opaque(10, name="odd")(x))
    model = keras.Model(inputs, layers.Dense(2, name="last")(x))
    found = quotients(model)
    assert "unknown and not counted (odd)" in str(found)
    with pytest.raises(BudgetError, match="choose_regions: MACs cannot be budgeted"):
        found.choose(macs=0.8)
    assert found.choose(params=0.9)
    for unknown in (lambda: ks.MorphNet(model), lambda: shrink(model)):
        with pytest.raises(BudgetError, match="odd"):
            unknown()
    assert ks.MorphNet(model, target="size").initial_cost == model.count_params()


def test_a_rule_makes_it_known() -> None:
    class OpaqueRule(Free):
        def macs(self, call: Any) -> int:
            return int(call.input.shape[-1]) * int(call.config["units"])

    class Named(Opaque):
        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    inputs = keras.Input((10,), name="x")
    known = layers.Dense(10, name="two")(layers.Dense(50, name="one")(inputs))
    model = keras.Model(inputs, [known, Named(90, name="odd")(inputs)])
    with pytest.raises(BudgetError):
        UNKNOWN["PruneChannels"](model)
    ks.register_rule(Named, OpaqueRule())
    try:
        small = UNKNOWN["PruneChannels"](model).model
        assert ks.cost(small).macs <= 950  # half of all of it, of which the known half goes
        with pytest.raises(BudgetError, match=r"cannot be reached: the nearest is"):
            ks.apply_passes(model, [PruneChannels(macs=0.4)])
    finally:
        unregister_rule(Named)


# ---- out of reach ----------------------------------------------------------------------------------------------------

REACH: dict[str, tuple[str, Callable[..., Any]]] = {
    "PruneChannels(macs)": ("macs", lambda value, **how: PruneChannels(macs=value, **how)),
    "PruneChannels(params)": ("params", lambda value, **how: PruneChannels(params=value, **how)),
    "PruneChannels(bytes)": ("bytes", lambda value, **how: PruneChannels(bytes=value, **how)),
    "PruneChannels in rounds": ("macs", lambda value, **how: PruneChannels(macs=value, steps=3, **how)),
    "Factorise(macs)": ("macs", lambda value, **how: Factorise(macs=value, where="inner", **how)),
    "Factorise(params)": ("params", lambda value, **how: Factorise(params=value, where="inner", **how)),
    "Factorise(bytes)": ("bytes", lambda value, **how: Factorise(bytes=value, where="inner", **how)),
    "Expand(macs)": ("macs", lambda value, **how: Expand(macs=value, **how)),
    "Expand(params)": ("params", lambda value, **how: Expand(params=value, **how)),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("case", REACH)
def test_what_is_unreachable_is_refused_and_the_nearest_taken_on_request(case: str) -> None:
    option, make = REACH[case]
    model = images()
    full = cost_of(model, option)
    with pytest.raises(BudgetError, match=rf"{option}=0\.05 cannot be reached: the nearest is") as caught:
        ks.apply_passes(model, [make(0.05)])
    least, enough = caught.value.reachable, caught.value.value
    assert least is not None
    assert enough is not None
    assert 0.05 * full < least <= full
    nearest = ks.Pipeline([make(0.05, unreachable="nearest")]).run(model)
    # Biases of chains are not among what Factorise chooses by.
    assert cost_of(nearest.model, option) == pytest.approx(least, rel=1e-9, abs=0)
    over = least - 0.05 * full
    said = f"{option}=0.05 cannot be reached: {least:,.0f}"
    assert said in printed(nearest)
    assert f"{over:,.0f} more than the" in printed(nearest) or over < 100
    notes = json.loads(nearest.report.to_json())["passes"][0]["notes"]
    (note,) = [note for note in notes if "reached" in note]
    assert said in note
    again = ks.Pipeline([make(enough)]).run(model)
    assert cost_of(again.model, option) <= enough * full * (1 + 1e-9)
    assert "cannot be reached" not in printed(again)


def test_a_share_of_the_channels_is_refused_likewise() -> None:
    options: dict[str, Any] = {"max_ratio": 0.5, "importance": "l1", "scope": "global"}
    with pytest.raises(BudgetError, match=r"ratio=0\.9 cannot be reached: the nearest is 3 channels") as caught:
        ks.apply_passes(images(), [PruneChannels(ratio=0.9, **options)])
    assert caught.value.value == 0.5
    result = ks.Pipeline([PruneChannels(ratio=0.9, unreachable="nearest", **options)]).run(images())
    assert result.model.get_layer("inner").filters == 3
    assert "ratio=0.9 cannot be reached: 3 channels are kept" in printed(result)


def test_latencies_out_of_reach() -> None:
    def latency(model: keras.Model) -> float:
        return 1.0 + float(sum(weight.shape[-1] for weight in model.weights if len(weight.shape) > 1)) / 100

    for make in (
        lambda **how: PruneChannels(latency=0.1, latency_of=latency, **how),
        lambda **how: Factorise(latency=0.1, latency_of=latency, **how),
    ):
        with pytest.raises(BudgetError, match=r"latency=0\.1 cannot be reached") as caught:
            ks.apply_passes(images(), [make()])
        assert caught.value.reachable is not None
        result = ks.Pipeline([make(unreachable="nearest")]).run(images())
        assert f"latency=0.1 cannot be reached: {caught.value.reachable:.4g}" in printed(result)


def test_an_unreachable_target_is_told_before_the_first_round() -> None:
    trained: list[int] = []
    with pytest.raises(BudgetError):
        ks.apply_passes(
            images(), [PruneChannels(macs=0.05, steps=3, callback=lambda model, step: trained.append(step))]
        )
    assert trained == []


def test_regions_that_do_not_save_enough() -> None:
    model = steps(LENGTH)
    found = quotients(model)
    with pytest.raises(
        BudgetError, match=r"choose_regions: macs=0\.0001 cannot be reached[\s\S]*larger regions"
    ) as caught:
        found.choose(macs=0.0001)
    assert caught.value.reachable == 8 * 4  # the scores alone
    chosen = found.choose(macs=0.0001, unreachable="nearest")
    assert tuple(chosen) == ("a", "b", "c")
    assert "macs=0.0001 cannot be reached: 32 MACs are kept" in chosen.summary()
    assert chosen.to_dict()["notes"] == list(chosen.notes)
    assert found.choose(macs=caught.value.value) == tuple(chosen)
    assert found.choose(macs=0.7).notes == ()


def test_morphnet_out_of_reach() -> None:
    morph = ks.MorphNet(images(), target="size", floors={"inner": 2})
    with pytest.raises(BudgetError, match=r"MorphNet: kept=0\.01 cannot be reached") as caught:
        morph.plan(kept=0.01)
    small = morph.shrink(kept=0.01, unreachable="nearest")
    assert small.count_params() == caught.value.reachable
    assert "kept=0.01 cannot be reached" in morph.plan(kept=0.01, unreachable="nearest").note
    assert morph.costs.of(~morph.plan(kept=caught.value.value).gone(morph.channels)) == caught.value.reachable
    morph.detach()
    loop = shrink(steps(LENGTH), macs=0.1, unreachable="nearest")
    assert loop.rounds[0].cost == loop.rounds[0].shrunk > loop.budget
    assert "round 1 of 1: macs=0.1 cannot be reached" in loop.notes[0]
    with pytest.raises(BudgetError, match=r"shrink_and_expand: macs=0\.1 cannot be reached"):
        shrink(steps(LENGTH), macs=0.1)


def test_what_unreachable_may_be_is_checked_by_all() -> None:
    for make in (
        lambda: PruneChannels(macs=0.5, unreachable="near"),
        lambda: Factorise(macs=0.5, unreachable="near"),
        lambda: Expand(macs=0.5, unreachable="near"),
        lambda: shrink(images(), unreachable="near"),
        lambda: quotients(steps(LENGTH)).choose(macs=0.5, unreachable="near"),
        lambda: ks.MorphNet(images()).plan(kept=0.5, unreachable="near"),
    ):
        with pytest.raises(OptionError, match="'unreachable' cannot be used"):
            make()


# ---- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.spread(4)
@pytest.mark.parametrize("sizes", [(LENGTH, 8), {"steps": (LENGTH, 8)}])
@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_recipes_hold_sizes(sizes: Any, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"recipe{suffix}"
    first = ks.Pipeline([PruneChannels(macs=0.5, unreachable="nearest")]).run(steps(None), sizes=sizes)
    first.recipe.save(path)
    pipeline = ks.Pipeline.from_recipe(path)
    again = pipeline.run(steps(None))
    assert again.recipe.sizes == sizes
    assert pipeline.to_recipe().sizes == sizes
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    other = pipeline.run(steps(None), sizes=(LENGTH + 1, 8))
    assert other.report.sizes == {"steps": (LENGTH + 1, 8)}


def test_sizes_in_a_recipe_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for text in ("[40, 0]", "[]", '"40,8"', "40", "[40, 8.5]", "[true, 8]"):
        path.write_text(f'seed = 1\nsizes = {text}\n[[pass]]\nname = "Simplify"\n')
        if text == "[]":
            continue  # the sizes of an input without axes
        with pytest.raises(RecipeError, match=r"sizes cannot be used[\s\S]*line 2"):
            ks.Pipeline.from_recipe(path)


def test_explain_counts_for_sizes() -> None:
    with pytest.raises(PassError, match="pass sizes="):
        ks.explain(PruneChannels(macs=0.5), steps(None))
    assert "channels" in str(ks.explain(PruneChannels(macs=0.5), steps(None), sizes=(LENGTH, 8)))
