"""Factorise by accuracy: the bound is kept, evaluations are few and remembered, failures lose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError, RoundError
from kerasurgeon.passes import Factorise, TuckerSplit
from kerasurgeon.rewrite.held_out import kept_aside, loss_bound
from kerasurgeon.rewrite.pipeline import Result
from tests.passes.checking import changed, decaying, model_of, outputs_of, run

layers = keras.layers
Array = np.ndarray[Any, Any]


def network() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="one")(inputs)
    x = layers.Conv2D(24, 3, padding="same", activation="relu", name="two")(x)
    x = layers.Conv2D(24, 1, activation="relu", name="three")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = model_of(inputs, layers.Dense(6, name="logits")(x))
    rng = np.random.default_rng(1)
    for name in ("one", "two", "three"):
        kernel = model.get_layer(name).kernel
        kernel.assign(decaying(rng, tuple(kernel.shape)))
    return model


IMAGES = np.random.default_rng(0).standard_normal((96, 8, 8, 3)).astype("float32")


class Fidelity:
    """An evaluation: how near a model's outputs are to those of the first; and how often it was asked."""

    def __init__(self, model: keras.Model, fails: Callable[[int], Any] | None = None) -> None:
        self.wanted = outputs_of(model, IMAGES)[0]
        self.scale = float(np.linalg.norm(self.wanted))
        self.asked = 0
        self.fails = fails
        self.models: set[int] = set()

    def __call__(self, model: keras.Model) -> float:
        self.asked += 1
        self.models.add(id(model))
        if self.fails is not None and (failure := self.fails(self.asked)) is not None:
            if isinstance(failure, BaseException):
                raise failure
            return float(failure)
        return self.of(model)

    def of(self, model: keras.Model) -> float:
        return 1 - float(np.linalg.norm(outputs_of(model, IMAGES)[0] - self.wanted)) / self.scale


def search(model: keras.Model, evaluate: Any, **options: Any) -> Result:
    return run(Factorise(**{"max_accuracy_loss": 0.2, **options}), model, evaluate=evaluate)


@pytest.mark.spread(3)
@pytest.mark.parametrize("options", [{}, {"cost": "params"}, {"method": "tucker", "sparsity": "auto"}], ids=str)
def test_the_bound_holds_for_the_model_that_comes_out(options: dict[str, Any]) -> None:
    model = network()
    evaluate = Fidelity(model)
    result = search(model, evaluate, **options)
    assert evaluate.of(result.model) >= 1 - 0.2 - 1e-4
    (said,) = (what for node, what in changed(result).items() if node == model.name)
    assert said.startswith("accuracy 1 -> ")
    if "sparsity" not in options:
        assert ks.cost(result.model).macs < 0.95 * ks.cost(model).macs


@pytest.mark.sweep
def test_a_looser_bound_makes_a_smaller_model() -> None:
    model = network()
    sizes = [ks.cost(search(model, Fidelity(model), max_accuracy_loss=loss).model).macs for loss in (0.05, 0.2, 0.6)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@pytest.mark.sweep
def test_it_finds_more_than_one_ratio_for_all_layers_within_the_same_bound() -> None:
    model = network()
    evaluate = Fidelity(model)
    searched = ks.cost(search(model, evaluate).model).macs
    by_ratio = [
        ks.cost(made).macs
        for ratio in np.arange(0.05, 1.0, 0.05)
        if evaluate.of(made := run(Factorise(ratio=float(ratio)), model).model) >= 0.8
    ]
    assert searched < min([*by_ratio, ks.cost(model).macs])


def test_nothing_is_rebuilt_and_the_model_is_untouched() -> None:
    model = network()
    before = [array.copy() for array in model.get_weights()]
    evaluate = Fidelity(model)
    search(model, evaluate)
    assert len(evaluate.models) == 1
    assert id(model) not in evaluate.models
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_number_of_evaluations_is_bounded() -> None:
    model = network()
    evaluate = Fidelity(model)
    result = search(model, evaluate, evaluations=7)
    assert evaluate.asked == 7
    assert "ended after evaluations=7" in changed(result)[model.name]
    assert evaluate.of(result.model) >= 0.8 - 1e-4


def test_labelled_data_will_do() -> None:
    model = network()
    labels = outputs_of(model, IMAGES)[0].argmax(axis=-1)
    for given in (labels, np.eye(6)[labels]):
        result = run(Factorise(max_accuracy_loss=0.3), model, data=(IMAGES, given))
        assert (outputs_of(result.model, IMAGES)[0].argmax(axis=-1) == labels).mean() >= 0.7 - 0.011
        assert ks.cost(result.model).macs < ks.cost(model).macs
    with pytest.raises(PassError, match="not as many labels"):
        run(Factorise(max_accuracy_loss=0.1), model, data=(IMAGES, labels[:10]))
    with pytest.raises(PassError, match=r"shape \(64,\), or one-hot rows(.|\n)*got: shape \(64, 8, 8, 3\)"):
        run(Factorise(max_accuracy_loss=0.1), model, data=(IMAGES, IMAGES))
    with pytest.raises(PassError, match="needs a way to measure accuracy"):
        run(Factorise(max_accuracy_loss=0.1), model)


def labelled(count: int = 480) -> tuple[keras.Model, Array, Array]:
    """A network, images, and labels of which it has nine in ten right."""
    model = network()
    rng = np.random.default_rng(5)
    images = rng.standard_normal((count, 8, 8, 3)).astype("float32")
    labels = outputs_of(model, images)[0].argmax(axis=-1)
    wrong = rng.random(count) < 0.1
    labels[wrong] = (labels[wrong] + 1) % 6
    return model, images, labels


def right(model: keras.Model, data: tuple[Array, Array]) -> Array:
    return np.asarray(outputs_of(model, data[0])[0].argmax(axis=-1) == data[1])


def test_what_was_found_is_confirmed_on_data_kept_aside() -> None:
    model, images, labels = labelled()
    rest, aside = kept_aside((images, labels), 0.25)
    costs = []
    for confidence, allowed in ((0.5, 0.3), (0.999, 0.02)):  # the second promises more than 120 samples can show
        search = Factorise(max_accuracy_loss=allowed, confidence=confidence)
        result = run(search, model, data=(images, labels))
        base, now = right(model, aside).astype(float), right(result.model, aside).astype(float)
        assert allowed < 0.05 or loss_bound(base - now, confidence) <= allowed + 1e-6
        (said,) = (what for node, what in changed(result).items() if node == model.name)
        assert f"accuracy {right(model, rest).mean():.6g} -> {right(result.model, rest).mean():.6g}" in said
        assert f"on 120 samples kept aside {base.mean():.6g} -> {now.mean():.6g}" in said
        costs.append(ks.cost(result.model).macs)
    assert costs[0] < costs[1] == ks.cost(model).macs


def test_batches_have_a_part_kept_aside_too() -> None:
    model, images, labels = labelled(240)
    batches = [(images[at : at + 30], labels[at : at + 30]) for at in range(0, 240, 30)]
    said = str(run(Factorise(max_accuracy_loss=0.1, evaluations=8), model, data=batches).report.to_dict())
    assert "on 60 samples kept aside" in said
    whole = run(Factorise(max_accuracy_loss=0.1, evaluations=8, held_out=0), model, data=batches)
    assert "kept aside" not in str(whole.report.to_dict())


def test_the_page_shows_what_was_tried_and_what_layers_are_worth() -> None:
    model = network()
    result = search(model, Fidelity(model))
    log = result.report.passes[0].plans[0]
    tried, alone = result.report.to_page()["charts"]
    points = [tuple(point) for each in tried["series"] if each["kind"] == "points" for point in each["points"]]
    assert sorted(points) == sorted((trial.cost, trial.accuracy) for trial in log.trials)
    assert alone["names"] == [next(iter(trial.picks)) for trial in log.trials if trial.stage == "alone"]


@pytest.mark.parametrize("options", [{"held_out": 1.0}, {"held_out": -0.1}, {"confidence": 0.4}, {"confidence": 1}])
def test_shares_and_confidences(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Factorise(max_accuracy_loss=0.1, **options)


def test_the_log_is_a_table_of_what_was_tried() -> None:
    model = network()
    evaluate = Fidelity(model)
    result = search(model, evaluate)
    log, plan = result.report.passes[0].plans
    assert len(log.trials) == evaluate.asked
    assert [trial.stage for trial in log.trials[:5]] == ["base", *["alone"] * 4]
    assert max(trial.accuracy for trial in log.trials) == 1
    text = str(log)
    for part in ("layer", "ranks", "sparsity", "cost", "accuracy", "two", "tucker"):
        assert part in text
    best = log.best
    assert set(best.picks) == set(plan.layers)
    assert best.cost == min(trial.cost for trial in log.trials if trial.accuracy >= 0.8)


# ---- resumed, interrupted ---------------------------------------------------------------------------------------


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    model = network()
    log = str(tmp_path / "search.json")
    first = search(model, Fidelity(model), search_log=log)
    again = Fidelity(model)
    second = search(model, again, search_log=log)
    assert again.asked == 0
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (RuntimeError("out of memory"), "raised RuntimeError: out of memory"),
        (float("nan"), "got: nan"),
        (float("-inf"), "got: -inf"),
    ],
)
def test_an_evaluation_that_fails_keeps_what_was_found(failure: Any, said: str, tmp_path: Path) -> None:
    model = network()
    log = tmp_path / "search.json"
    whole = Fidelity(model)
    expected = search(model, whole)
    with pytest.raises(RoundError) as caught:
        search(model, Fidelity(model, lambda asked: failure if asked == 9 else None), search_log=str(log))
    assert said in str(caught.value)
    assert "evaluation 9" in str(caught.value)
    assert "8 evaluations were made" in str(caught.value)
    assert str(log) in str(caught.value)
    assert len(json.loads(log.read_text())["trials"]) == 8
    assert len(caught.value.found.trials) == 8
    rest = Fidelity(model)
    result = search(model, rest, search_log=str(log))
    assert rest.asked == whole.asked - 8
    for one, other in zip(expected.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_interrupt_keeps_the_log(tmp_path: Path) -> None:
    model = network()
    log = tmp_path / "search.json"
    with pytest.raises(KeyboardInterrupt):
        search(model, Fidelity(model, lambda asked: KeyboardInterrupt() if asked == 4 else None), search_log=str(log))
    assert len(json.loads(log.read_text())["trials"]) == 3
    assert list(tmp_path.iterdir()) == [log]


def test_logs_of_other_searches_and_broken_ones_are_refused(tmp_path: Path) -> None:
    model = network()
    log = tmp_path / "search.json"
    search(model, Fidelity(model), search_log=str(log), evaluations=5)
    with pytest.raises(PassError, match="of another search"):
        search(model, Fidelity(model), search_log=str(log), cost="params")
    other = network()
    other.get_layer("two").kernel.assign(other.get_layer("two").kernel * 2)
    with pytest.raises(PassError, match="of another search"):
        search(other, Fidelity(other), search_log=str(log))
    log.write_text(log.read_text()[:50])
    with pytest.raises(PassError, match="cannot be read"):
        search(model, Fidelity(model), search_log=str(log))
    with pytest.raises(PassError, match="cannot be written"):
        search(model, Fidelity(model), search_log=str(tmp_path / "nowhere" / "search.json"))


def test_nothing_to_factorise_is_no_error() -> None:
    inputs = keras.Input((4,), name="x")
    model = model_of(inputs, layers.ReLU(name="act")(inputs))
    result = run(TuckerSplit(max_accuracy_loss=0.1), model, evaluate=lambda model: 1.0)
    assert ks.cost(result.model).macs == ks.cost(model).macs
