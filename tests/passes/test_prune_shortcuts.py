"""PruneChannels and ApplyPlan with shortcuts="scatter": branches shrink, sums keep their width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.passes import ApplyPlan, PruneChannels
from tests.applications import shared_application
from tests.passes.checking import assert_lives, changed, difference, model_of, reasons, state_of

layers = keras.layers


def residual() -> keras.Model:
    """A stem, an identity block, and a block with a projection, as in a ResNet."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for block, stride in enumerate((1, 1, 2)):
        short = layers.Conv2D(16, 1, strides=stride, name=f"{block}_short")(x) if stride > 1 else x
        y = layers.Conv2D(12, 3, strides=stride, padding="same", name=f"{block}_one")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(16, 3, padding="same", name=f"{block}_two")(y)
        x = layers.ReLU()(layers.Add(name=f"{block}_sum")([short, layers.BatchNormalization()(y)]))
    return model_of(inputs, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D()(x)))


def run(model: keras.Model, pass_: ks.Pass, **options: Any) -> Any:
    return ks.Pipeline([pass_]).run(model, verify="exact", **options)


def prune(model: keras.Model, **options: Any) -> Any:
    data = {name: options.pop(name) for name in ("data", "loss", "evaluate") if name in options}
    return run(model, PruneChannels(shortcuts="scatter", **options), **data)


def filters(model: keras.Model) -> dict[str, int]:
    return {layer.name: layer.filters for layer in model.layers if isinstance(layer, layers.Conv2D)}


def sums(graph: Any) -> list[tuple[int | None, ...]]:
    return [node.spec.shape for node in graph.nodes() if graph.kind(node) == "Add"]


def is_plain(model: keras.Model) -> bool:
    return not any(type(layer).__module__.startswith("kerasurgeon") for layer in model._flatten_layers())


@pytest.mark.spread(2)
@pytest.mark.parametrize("compensate", ["none", "batch_norm"])
def test_branches_shrink_and_sums_do_not(tmp_path: Path, compensate: str) -> None:
    model = residual()
    before = state_of(model)
    result = prune(model, ratio=0.5, scope="local", compensate=compensate)
    assert state_of(model) == before
    # The stem is a branch of the first sum itself: it shrinks for the block that reads it, and is widened for the sum.
    halves = {name: width // 2 for name, width in filters(model).items()}
    assert filters(result.model) == halves
    assert sums(result.graph) == sums(ks.lift(model))
    assert result.report.passes[0].difference < 1e-4
    assert is_plain(result.model)
    said = changed(result)
    assert said["1_two"] == "16 -> 8 channels"
    assert "keeps its width" in said["1_sum"]
    assert not any("scatter" in site.node for site in result.report.passes[0].sites)
    assert_lives(result.model, tmp_path)


@pytest.mark.spread(3)
@pytest.mark.parametrize("target", ["macs", "params", "bytes"])
def test_targets_hold_for_the_result(target: str) -> None:
    attribute = {"params": "parameters", "bytes": "weight_bytes"}.get(target, target)
    model = residual()
    whole = getattr(ks.cost(model), attribute)
    reached = getattr(ks.cost(prune(model, **{target: 0.5}).graph), attribute)
    assert 0.47 * whole <= reached <= 0.5 * whole


@pytest.mark.sweep
def test_mobile_net(tmp_path: Path) -> None:
    model = shared_application("MobileNetV2")
    whole = ks.cost(model).macs
    result = prune(model, macs=0.6, compensate="none")
    assert 0.59 * whole <= ks.cost(result.graph).macs <= 0.6 * whole
    assert result.report.passes[0].difference < 1e-4
    assert sums(result.graph) == sums(ks.lift(model))
    assert result.model.get_layer("block_2_project").filters < model.get_layer("block_2_project").filters
    assert is_plain(result.model)
    assert_lives(result.model, tmp_path, train=False)


def test_converted_files_agree(tmp_path: Path) -> None:
    small = prune(residual(), ratio=0.4).model
    for suffix in (".tflite", ".onnx"):
        assert ks.export(small, tmp_path / f"small{suffix}") is not None  # it was run and compared


def test_rounds_and_callbacks_see_plain_models() -> None:
    model = residual()
    seen: list[int] = []

    def train(small: keras.Model, step: int) -> None:
        assert is_plain(small)
        seen.append(small.get_layer("1_two").filters)
        kernel = small.get_layer("1_two").kernel
        kernel.assign(kernel * 1.5)

    result = prune(model, ratio=0.5, scope="local", steps=2, callback=train)
    assert seen == [12, 8]
    assert filters(result.model)["1_two"] == 8
    assert sums(result.graph) == sums(ks.lift(model))
    assert result.report.passes[0].difference < 1e-4
    assert is_plain(result.model)


@pytest.mark.sweep
def test_evaluation_latency_and_what_is_taken_back() -> None:
    model = residual()
    lost = iter((1.0, 0.9, 0.1))

    def evaluate(small: keras.Model) -> float:
        assert is_plain(small)
        return next(lost, 0.1)

    result = prune(model, ratio=0.5, scope="local", steps=2, max_loss=0.3, evaluate=evaluate)
    assert filters(result.model)["1_two"] == 12
    assert is_plain(result.model)

    def latency(small: keras.Model) -> float:
        assert is_plain(small)
        return float(small.count_params())

    result = prune(model, latency=0.6, latency_of=latency)
    assert result.model.count_params() <= 0.6 * model.count_params()


def test_zeros_only() -> None:
    model = residual()
    zeros = prune(model, ratio=0.5, scope="local", try_zeros=True)
    assert filters(zeros.model) == filters(model)
    cut = prune(model, ratio=0.5, scope="local", compensate="none")
    assert difference(zeros.model, cut.model) < 1e-5


def test_gradients_pass_through() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 8)
    result = prune(residual(), ratio=0.3, importance="taylor", data=data)
    assert result.report.passes[0].difference < 1e-4


def test_plans() -> None:
    model = residual()
    result = run(model, ApplyPlan({"1_two": [0, 3, 7], "2_two": 5}, shortcuts="scatter"))
    assert filters(result.model)["1_two"] == 3
    assert filters(result.model)["2_two"] == 5
    assert sums(result.graph) == sums(ks.lift(model))
    assert result.report.passes[0].difference < 1e-4
    assert is_plain(result.model)


def test_a_branch_that_vanishes_is_removed() -> None:
    model = residual()
    result = run(model, ApplyPlan({"1_two": []}, shortcuts="scatter"))
    assert "the branch is gone" in changed(result)["1_sum"]
    assert not any(layer.name in ("1_one", "1_two", "1_sum") for layer in result.model.layers)
    assert result.report.passes[0].difference < 1e-4
    assert is_plain(result.model)
    # The sum keeps its width, so that the masked twin of the whole model is the one without the branch.
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    norm = twin.layers[twin.layers.index(twin.get_layer("1_sum")) - 1]
    assert isinstance(norm, layers.BatchNormalization)
    norm.gamma.assign(keras.ops.zeros_like(norm.gamma))
    norm.beta.assign(keras.ops.zeros_like(norm.beta))
    assert difference(result.model, twin) < 1e-5


def test_a_model_without_sums_is_pruned_as_ever() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="one")(inputs)
    result = prune(model_of(inputs, layers.Dense(2)(layers.Flatten()(x))), ratio=0.5)
    assert filters(result.model) == {"one": 4}
    assert any("no branch ends in a sum" in why for why in reasons(result).values())


def test_recipes_and_bad_input(tmp_path: Path) -> None:
    ks.Pipeline([PruneChannels(ratio=0.5, shortcuts="scatter")]).to_recipe().save(tmp_path / "recipe.toml")
    assert ks.Pipeline.from_recipe(tmp_path / "recipe.toml").passes[0].options["shortcuts"] == "scatter"
    assert PruneChannels(ratio=0.5).shortcuts == ApplyPlan({"one": 2}).shortcuts == "couple"
    for make in (lambda: PruneChannels(ratio=0.5, shortcuts="scater"), lambda: ApplyPlan({}, shortcuts="scater")):
        with pytest.raises(OptionError, match=r"(?s)'shortcuts' cannot be used.*'couple' or 'scatter'"):
            make()
    with pytest.raises(OptionError, match="shortcuts"):
        PruneChannels(ratio=0.5, shortcuts=True)  # type: ignore[arg-type]
