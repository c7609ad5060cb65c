"""PruneChannels: targets, scopes, rounds, reports, errors."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import kerasurgeon as ks
from kerasurgeon.cli.app import app
from kerasurgeon.errors import OptionError, PassError, RecipeError
from kerasurgeon.passes import ApplyPlan, PruneChannels
from kerasurgeon.rewrite.context import Context
from tests.applications import ARCHITECTURES, application_inputs, shared_application
from tests.passes.checking import assert_lives, changed, difference, model_of, reasons, state_of

layers = keras.layers


def net(width: int = 16) -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(width, 3, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(width, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Add()([x, layers.Conv2D(width, 1, name="outer")(y)])
    return model_of(inputs, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(x)))


def widths(model: keras.Model) -> dict[str, int]:
    return {layer.name: layer.filters for layer in model.layers if hasattr(layer, "filters")}


def prune(model: keras.Model, data: Any = None, evaluate: Any = None, loss: Any = None, **options: Any) -> Any:
    return ks.Pipeline([PruneChannels(**options)]).run(model, data=data, evaluate=evaluate, loss=loss)


def small_importance(group: Any, evidence: Any) -> np.ndarray[Any, Any]:
    """For a recipe: the first channels matter least."""
    return np.arange(group.size, dtype=float)


def test_ratio_of_every_group(tmp_path: Path) -> None:
    model = net()
    before = state_of(model)
    result = prune(model, ratio=0.25, scope="local")
    assert widths(result.model) == {"stem": 12, "inner": 12, "outer": 12}
    assert state_of(model) == before
    assert_lives(result.model, tmp_path)
    said = changed(result)
    assert said["stem"] == "16 -> 12 channels; with outer"
    assert "8 of 32 channels removed (25.0%)" in said[model.name]
    assert reasons(result)["scores"].startswith("it belongs to an output")
    assert result.report.passes[0].difference < 1e-4


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("target", "attribute"), [("macs", "macs"), ("params", "parameters"), ("bytes", "weight_bytes")]
)
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize(
    "name", ["MobileNetV2", *(pytest.param(name, marks=pytest.mark.sweep) for name in ("ResNet50", "DenseNet121"))]
)
def test_targets_are_reached(name: str, scope: str, target: str, attribute: str, built: Any) -> None:
    graph = built(name)
    whole = getattr(ks.cost(graph), attribute)
    reached = []
    for wanted in (0.5, 0.5 * whole):  # a fraction, a number
        small = graph.copy()
        options: dict[str, Any] = {target: wanted}
        PruneChannels(scope=scope, compensate="none", **options).run(small, Context())
        reached.append(getattr(ks.cost(small), attribute))
    assert 0.49 * whole <= reached[0] <= 0.5 * whole
    assert reached[1] == reached[0]


@pytest.fixture(scope="module")
def built() -> Any:
    graphs: dict[str, ks.Graph] = {}

    def get(name: str) -> ks.Graph:
        if name not in graphs:
            graphs[name] = ks.lift(shared_application(name))
        return graphs[name]

    yield get
    graphs.clear()
    gc.collect()


def test_the_result_is_that_of_the_masked_model() -> None:
    model = shared_application("MobileNetV2")
    result = prune(model, macs=0.6, round_to=8, compensate="none")
    assert result.report.passes[0].difference < 1e-4
    for layer in result.model.layers:
        if hasattr(layer, "filters"):
            whole = model.get_layer(layer.name).filters
            assert layer.filters % 8 == 0 or layer.filters == whole


@pytest.mark.sweep
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_of_the_macs_of_every_architecture(name: str) -> None:
    model = shared_application(name)
    whole = ks.cost(model).macs
    result = prune(model, macs=0.5)
    reached = ks.cost(result.graph).macs
    assert 0.49 * whole <= reached <= 0.5 * whole
    assert np.isfinite(result.model(application_inputs(model))).all()
    del model, result
    gc.collect()


def test_ratios_by_name() -> None:
    result = prune(net(), ratio={"inner": 0.5, "*": 0.25})
    assert widths(result.model) == {"stem": 12, "inner": 8, "outer": 12}
    result = prune(net(), scope={"inner": 0.75})
    assert widths(result.model) == {"stem": 16, "inner": 4, "outer": 16}


def test_a_ratio_means_the_same_in_every_scope() -> None:
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for name, width in (("thin", 8), ("thick", 20)):
        x = layers.Conv2D(width, 3, name=name, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    for scope in ("local", "global", "isomorphic"):
        found = widths(prune(model, ratio=0.5, min_channels=6, scope=scope, round_to=1).model)
        assert found["thin"] >= 6
        assert 13 <= sum(found.values()) <= 15  # half of each would leave 4 and 10, of which 6 and 10 may be
    for options in ({"ratio": 0.95}, {"ratio": {"thick": 0.95}}, {"scope": {"thick": 0.95}}):
        nearest = prune(model, max_ratio=0.5, unreachable="nearest", round_to=1, **options)
        assert widths(nearest.model)["thick"] == 10
        assert any("cannot be reached: " in note for note in nearest.report.passes[0].notes)


def test_isomorphic_groups_are_ranked_together() -> None:
    """Two residual branches lose the least of both; the stage that they are added to loses its own share."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for name in ("one", "two"):
        y = layers.Conv2D(8, 3, padding="same", name=name)(x)
        x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", name=f"{name}_back")(y)])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))

    def first_worse(group: Any, evidence: Any) -> np.ndarray[Any, Any]:
        return np.arange(group.size) + {"one": 0.0, "two": 100.0}.get(group.name, 1000.0)

    found = prune(model, ratio=0.5, importance=first_worse, scope="isomorphic", round_to=1)
    assert widths(found.model) == {"stem": 4, "one": 1, "one_back": 4, "two": 7, "two_back": 4}
    alone = prune(model, ratio=0.5, importance=first_worse, scope="local", round_to=1)
    assert set(widths(alone.model).values()) == {4}


def test_thresholds_and_zeros_only() -> None:
    model = net()
    seen = []

    def evaluate(candidate: keras.Model) -> float:
        seen.append(candidate)
        return 0.25

    options: dict[str, Any] = {"threshold": {"inner": 0.5}, "importance": small_importance, "normalise": "max"}
    zeros = prune(model, evaluate=evaluate, try_zeros=True, **options)
    assert widths(zeros.model) == widths(model)
    assert "evaluation 0.25" in changed(zeros)[model.name]
    assert len(seen) == 1
    cut = prune(model, compensate="none", **options)
    assert widths(cut.model) == {"stem": 16, "inner": 8, "outer": 16}
    assert difference(zeros.model, cut.model) < 1e-5


def test_compensation_is_on_unless_told_otherwise() -> None:
    model = net()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 8, 8, 3)).astype("float32")
    plain = prune(model, ratio=0.3, compensate="none")
    filled = prune(model, ratio=0.3)
    assert any("compensation" in site.what for site in filled.report.passes[0].changed)
    assert not any("compensation" in site.what for site in plain.report.passes[0].changed)
    measured = prune(model, data=images, ratio=0.3, compensate="data")
    errors = [np.abs(model(images) - one.model(images)).mean() for one in (plain, measured)]
    assert errors[1] < errors[0]


def test_data_criteria_in_the_pass() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 8)
    for importance in ("taylor", "hessian", "apoz"):
        result = prune(net(), data=data, params=0.6, importance=importance)
        assert result.report.passes[0].after.parameters <= 0.6 * result.report.passes[0].before.parameters
    with pytest.raises(PassError, match="needs inputs with labels"):
        prune(net(), params=0.6, importance="taylor")


def test_the_report_says_which_loss_was_taken_where_none_is_given() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 8)
    passes = [PruneChannels(params=0.6, importance="taylor")]
    told = ks.Pipeline(passes).run(net(), data=data)
    assert "loss SparseCategoricalCrossentropy(from_logits=True), as labels" in str(told.report.passes[0].changed)
    given = ks.Pipeline(passes).run(net(), data=data, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert "loss" not in str(given.report.passes[0].changed)
    counts = ks.Pipeline([ApplyPlan({"inner": 4}, importance="taylor")]).run(net(), data=data)
    assert "loss SparseCategorical" in str(counts.report.passes[0].changed)


def test_rounds_with_a_callback() -> None:
    rounds: list[tuple[int, int]] = []

    def train(model: keras.Model, step: int) -> None:
        rounds.append((step, model.get_layer("inner").filters))
        model.get_layer("scores").bias.assign([1.0, 2.0, 3.0])

    result = prune(net(), ratio=0.5, scope="local", steps=2, callback=train)
    assert rounds == [(1, 12), (2, 8)]
    assert widths(result.model) == {"stem": 8, "inner": 8, "outer": 8}
    np.testing.assert_array_equal(result.model.get_layer("scores").bias, [1.0, 2.0, 3.0])
    stepped = prune(net(32), macs=0.5, steps=3)
    assert ks.cost(stepped.graph).macs <= 0.5 * ks.cost(net(32)).macs
    with pytest.raises(PassError, match="returned a model with other layers"):
        prune(net(), ratio=0.5, callback=lambda model, step: net())


def test_a_loss_of_accuracy_takes_the_round_back() -> None:
    def evaluate(model: keras.Model) -> float:
        return {16: 1.0, 12: 0.95, 8: 0.5}[int(model.get_layer("inner").filters)]

    result = prune(net(), evaluate=evaluate, ratio=0.5, scope="local", steps=2, max_loss=0.1)
    assert widths(result.model)["inner"] == 12
    assert "round 2 of 2 was taken back" in reasons(result)[result.model.name]
    with pytest.raises(PassError, match="max_loss= needs a way to measure accuracy"):
        prune(net(), ratio=0.5, max_loss=0.1)


def test_latency_by_a_function() -> None:
    def latency(model: keras.Model) -> float:
        return float(sum(layer.filters for layer in model.layers if hasattr(layer, "filters")) / 10)

    result = prune(net(), latency=0.75, latency_of=latency)
    assert 3.0 <= latency(result.model) <= 3.6
    assert "target: latency 3.6" in changed(result)[result.model.name]
    with pytest.raises(PassError, match="latency_of= gives no latency"):
        prune(net(), latency=0.5, latency_of=lambda model: None)


def test_what_is_normalised_over_is_reported() -> None:
    inputs = keras.Input((6,))
    x = layers.LayerNormalization(name="norm")(layers.Dense(8, name="normed")(inputs))
    model = model_of(inputs, layers.Dense(2)(layers.Dense(8, name="free")(x)))
    result = prune(model, ratio=0.5, scope="local")
    assert "not exact" in changed(result)["norm"]
    exact = prune(model, ratio=0.5, scope="local", exact_only=True)
    assert "exact_only" in reasons(exact)["normed"]
    assert exact.report.passes[0].difference < 1e-5


def test_nothing_to_do_says_why() -> None:
    inputs = keras.Input((4,))
    model = model_of(inputs, layers.Dense(2, name="only")(inputs))
    said = reasons(prune(model, ratio=0.5))
    assert "no channel may go" in said[model.name] or "nothing to remove" in said[model.name]
    kept = prune(net(), macs=1.0)
    assert "nothing to remove" in reasons(kept)[kept.model.name]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "needs one target"),
    ({"ratio": 0.5, "macs": 0.5}, "needs one target"),
    ({"ratio": 1.0}, "'ratio' cannot be used"),
    ({"ratio": -0.1}, "'ratio' cannot be used"),
    ({"ratio": {"a": 2}}, "'ratio' cannot be used"),
    ({"ratio": {}}, "'ratio' cannot be used"),
    ({"macs": 0}, "'macs' cannot be used"),
    ({"params": "half"}, "'params' cannot be used"),
    ({"threshold": -1}, "'threshold' cannot be used"),
    ({"ratio": 0.5, "importance": "l3"}, "no criterion 'l3'"),
    ({"ratio": 0.5, "scope": 3}, "'scope' cannot be used"),
    ({"ratio": 0.5, "ignore": (3,)}, "'ignore' cannot be used"),
    ({"ratio": 0.5, "round_to": "tflit"}, "did you mean 'tflite'"),
    ({"ratio": 0.5, "min_channels": 0}, "'min_channels' cannot be used"),
    ({"ratio": 0.5, "max_ratio": 0}, "'max_ratio' cannot be used"),
    ({"ratio": 0.5, "reduction": "median"}, "'reduction' cannot be used"),
    ({"ratio": 0.5, "normalise": "l3"}, "'normalise' cannot be used"),
    ({"ratio": 0.5, "steps": 0}, "'steps' cannot be used"),
    ({"threshold": 0.5, "steps": 2}, "'steps' cannot be used"),
    ({"ratio": 0.5, "max_loss": -1}, "'max_loss' cannot be used"),
    ({"ratio": 0.5, "callback": 3}, "'callback' cannot be used"),
    ({"ratio": 0.5, "compensate": "mean"}, "'compensate' cannot be used"),
    ({"latency": 0.5}, "'latency_of' cannot be used"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PruneChannels(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"macs": 0.001}, r"(?s)macs=0\.001 cannot be reached: the nearest is .* MACs"),
        ({"ratio": 0.5, "ignore": "inne"}, r"(?s)no layer.*'inner'"),
        ({"ratio": {"steem": 0.5}}, r"(?s)no layer.*'stem'"),
        ({"ratio": 0.5, "importance": lambda group, evidence: [1.0]}, "one score per unit"),
        (
            {"ratio": 0.95, "max_ratio": 0.5, "scope": "global"},
            r"ratio=0\.95 cannot be reached: the nearest is \d+ channels",
        ),
        ({"ratio": 0.95, "max_ratio": 0.5}, r"ratio=0\.95 cannot be reached: the nearest is 16 channels"),
        (
            {"ratio": {"inner": 0.9}, "max_ratio": 0.5},
            r"ratio\['inner'\]=0\.9 cannot be reached: the nearest is 8 channels",
        ),
        (
            {"scope": {"inner": 0.9}, "max_ratio": 0.5},
            r"scope\['inner'\]=0\.9 cannot be reached: the nearest is 8 channels",
        ),
    ],
)
def test_what_only_the_model_can_tell(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PassError, match=message):
        prune(net(), **options)


def test_recipe_and_command_line(tmp_path: Path) -> None:
    recipe = tmp_path / "prune.toml"
    recipe.write_text(
        '[[pass]]\nname = "PruneChannels"\nmacs = 0.5\nignore = ["stem"]\n'
        'importance = "tests.passes.test_prune_channels:small_importance"\n'
    )
    result = ks.Pipeline.from_recipe(recipe, allow="tests").run(net(32))
    assert ks.cost(result.graph).macs <= 0.5 * ks.cost(net(32)).macs
    result.recipe.save(tmp_path / "again.toml")
    again = ks.Pipeline.from_recipe(tmp_path / "again.toml", allow=["tests.passes"]).run(net(32))
    for one, other in zip(result.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    recipe.write_text('[[pass]]\nname = "PruneChannels"\nmacs = -1\n')
    with pytest.raises(RecipeError, match="line 3"):
        ks.Pipeline.from_recipe(recipe)
    listed = CliRunner().invoke(app, ["passes"])
    assert "PruneChannels" in listed.output
    assert "ApplyPlan" in listed.output


def test_same_seed_same_weights() -> None:
    results = [prune(net(), ratio=0.5, importance="random") for _ in range(2)]
    for one, other in zip(results[0].model.get_weights(), results[1].model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
