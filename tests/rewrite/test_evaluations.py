"""Searches by accuracy: what they refuse to go by, that they name the round, and that they keep what is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.channels import FinishedRounds
from kerasurgeon.errors import KerasurgeonError, OptionError, PassError, RoundError
from kerasurgeon.passes import ApplyPlan, Factorise, PruneChannels
from kerasurgeon.rewrite.class_ids import check_class_ids
from kerasurgeon.rewrite.evaluation_of import number_by
from kerasurgeon.rewrite.judging import accuracy_on
from tests.passes.checking import model_of

layers = keras.layers
CLASSES = 4


def network(classes: int = CLASSES, name: str = "net") -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,), name="x")
    x = layers.Dense(12, activation="relu", name="one")(inputs)
    x = layers.Dense(12, activation="relu", name="two")(x)
    return model_of(inputs, layers.Dense(classes, name="scores")(x))


def samples(count: int = 40) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(count, 6)).astype("float32")


def by_hand(model: keras.Model, inputs: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> float:
    return float((model(inputs).numpy().argmax(-1) == classes).mean())


# ---- what an evaluation may give ------------------------------------------------------------------------------------

GOOD: dict[str, tuple[Any, float]] = {
    "an int": (1, 1.0),
    "a float": (0.25, 0.25),
    "a number of numpy": (np.float32(0.25), 0.25),
    "an int of numpy": (np.int64(2), 2.0),
    "an array of one": (np.array([0.5]), 0.5),
    "a tensor": (keras.ops.convert_to_tensor(0.5), 0.5),
    "a tensor in half precision": (keras.ops.cast(0.5, "bfloat16"), 0.5),
    "a variable": (keras.Variable(0.5), 0.5),
}
BAD: dict[str, Any] = {
    "nothing": None,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": np.float32("-inf"),
    "a tensor of NaN": keras.ops.convert_to_tensor(float("nan")),
    "a number as text": "0.9",
    "bytes": b"0.9",
    "an array of text": np.array("0.9"),
    "a list of one": [0.9],
    "loss and metrics": [0.4, 0.9],
    "an array of two": np.array([0.4, 0.9]),
    "an empty array": np.zeros(0),
    "a truth value": True,
    "a truth value of numpy": np.bool_(True),
    "an array of a truth value": np.array([True]),
    "a complex number": 0.9 + 0j,
    "an array of a complex number": np.array(0.9j),
    "a dict": {"accuracy": 0.9},
    "an object": np.array({"accuracy": 0.9}, dtype=object),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_a_number(case: str) -> None:
    given, expected = GOOD[case]
    assert number_by(given, "evaluate=", "it") == expected


Search = Callable[[keras.Model, Callable[[Any], Any]], Any]


def residual() -> keras.Model:
    """Three regions, a, b and c."""
    inputs = x = keras.Input((6,), name="x")
    for name in ("a", "b", "c"):
        x = layers.Add(name=f"{name}_add")([x, layers.Dense(6, activation="tanh", name=name)(x)])
    return keras.Model(inputs, layers.Dense(CLASSES, name="scores")(x))


def quotients(model: keras.Model, evaluate: Callable[[Any], Any]) -> Any:
    return ks.knowledge_quotients(residual(), evaluate=evaluate, method="drop", which=("a", "b", "c"))


SEARCHES: dict[str, tuple[Search, list[str]]] = {
    "PruneChannels": (
        lambda model, evaluate: ks.apply_passes(
            model, [PruneChannels(ratio=0.75, steps=3, scope="local", max_loss=0.2)], evaluate=evaluate
        ),
        ["the model as it is", "round 1 of 3", "round 2 of 3"],
    ),
    "Factorise": (
        lambda model, evaluate: ks.apply_passes(model, [Factorise(max_accuracy_loss=0.2)], evaluate=evaluate),
        ["evaluation 1 ", "evaluation 2 ", "evaluation 3 "],
    ),
    "knowledge_quotients": (quotients, ["the whole model", "without region", "without region"]),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_no_number_is_refused_at_every_round(search: str) -> None:
    run, names = SEARCHES[search]
    model = network()
    for place, name in enumerate(names):
        # All of them at one place, each at some place: the searches are slow beside the check.
        for case in BAD if place == 1 else ("NaN", "a number as text"):
            values: Iterator[Any] = iter([*[0.9] * place, BAD[case]])
            with pytest.raises(RoundError) as caught:
                run(model, partial(next, values))
            text = str(caught.value)
            assert "evaluate= gives no finite number" in text, case
            assert name in text, (case, text)
            assert (caught.value.found is None) == (place == 0 or (search == "PruneChannels" and place == 1)), case


@pytest.mark.parametrize("search", SEARCHES)
def test_an_evaluation_that_raises_is_told_with_its_round(search: str) -> None:
    run, names = SEARCHES[search]
    values = iter([0.9, 0.9])
    with pytest.raises(RoundError) as caught:
        run(network(), lambda changed: next(values) / 1)
    assert "evaluate= raised StopIteration" in str(caught.value)
    assert names[2] in str(caught.value)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert caught.value.found is not None


# ---- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["raises", "nan", "callback", "diverged"])
def test_pruning_keeps_its_finished_rounds(failure: str) -> None:
    """The oracle: as many rounds of a pruning that nobody interrupts, by a schedule of shares worked out by hand."""
    model = network()

    def evaluate(changed: keras.Model) -> float:
        if changed.get_layer("one").units == 3 and failure in ("raises", "nan"):
            return 1 / 0 if failure == "raises" else float("nan")
        return 0.9

    def callback(changed: keras.Model, step: int) -> None:
        if step == 3 and failure == "callback":
            raise MemoryError("too large")
        if step == 3 and failure == "diverged":
            changed.get_layer("two").kernel.assign(changed.get_layer("two").kernel * float("nan"))

    options: dict[str, Any] = {"scope": "local", "importance": "l1", "compensate": "none"}
    searched = PruneChannels(ratio=0.75, steps=3, max_loss=0.1, callback=callback, **options)
    with pytest.raises(RoundError) as caught:
        ks.apply_passes(model, [searched], evaluate=evaluate)
    assert "round 3 of 3" in str(caught.value)
    assert "rounds 1 to 2 are finished" in str(caught.value)
    found = caught.value.found
    assert isinstance(found, FinishedRounds)
    assert [found.model.get_layer(name).units for name in ("one", "two")] == [6, 6]
    # Two rounds of a quarter of 12 channels each: a quarter, then a third of what is left.
    plain = ks.apply_passes(model, [PruneChannels(ratio=0.25, **options), PruneChannels(ratio=1 / 3, **options)])
    for one, other in zip(found.model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    again = ks.apply_passes(model, [ApplyPlan(plan) for plan in found.plans])
    np.testing.assert_allclose(again(samples()), found.model(samples()), rtol=1e-5, atol=1e-5)


def test_quotients_keep_what_was_measured(tmp_path: Path) -> None:
    log = tmp_path / "quotients.json"
    values = iter([0.8, 0.4, 0.2, float("nan")])
    with pytest.raises(RoundError) as caught:
        ks.knowledge_quotients(
            residual(), evaluate=lambda changed: next(values), method="drop", which=("a", "b", "c"), log=log
        )
    assert str(log) in str(caught.value)
    assert [row.value for row in caught.value.found] == [0.4, 0.2]
    assert [row.quotient for row in caught.value.found] == [0.5, 0.75]
    assert ks.Quotients.load(log) == caught.value.found


@pytest.mark.parametrize("finished", [0, 1, 4])
def test_a_log_that_is_said_to_exist_exists(finished: int, tmp_path: Path) -> None:
    log = tmp_path / "search.json"
    values = iter([0.9] * finished)
    with pytest.raises(RoundError) as caught:
        ks.apply_passes(
            network(), [Factorise(max_accuracy_loss=0.1, search_log=str(log))], evaluate=lambda model: next(values)
        )
    assert (str(log) in str(caught.value)) == bool(finished)
    assert len(json.loads(log.read_text())["trials"]) == finished
    none = tmp_path / "none.json"
    with pytest.raises(RoundError) as caught:
        ks.knowledge_quotients(residual(), evaluate=lambda model: 1 / 0, method="drop", log=none)
    assert str(none) not in str(caught.value)


def test_the_loop_of_morphnet_keeps_its_finished_rounds() -> None:
    model = network()

    def train(changed: keras.Model, number: int) -> None:
        if number == 2:
            raise RuntimeError("out of memory")
        kernel = changed.get_layer("one").kernel.numpy()
        kernel[:, :6] = 0
        changed.get_layer("one").kernel.assign(kernel)
        changed.get_layer("one").bias.assign(np.zeros(12))

    with pytest.raises(RoundError, match=r"(?s)train= raised RuntimeError: out of memory.*round 2 of 3") as caught:
        ks.shrink_and_expand(model, train, rounds=3, params=250)
    first = ks.shrink_and_expand(model, lambda changed, number: train(changed, 1), params=250)
    assert len(caught.value.found.rounds) == 1
    for one, other in zip(caught.value.found.model.get_weights(), first.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(RoundError, match=r"(?s)finish= raised.*1 of 1 rounds are finished"):
        ks.shrink_and_expand(model, lambda changed, number: train(changed, 1), params=250, finish=lambda made: 1 / 0)

    def diverge(changed: keras.Model, number: int) -> None:
        changed.get_layer("two").bias.assign(np.full(12, np.inf))

    with pytest.raises(RoundError, match=r"(?s)train= left weights that are NaN.*round 1 of 1.*two"):
        ks.shrink_and_expand(model, diverge, params=250)


# ---- labels ---------------------------------------------------------------------------------------------------------

IDS = np.arange(40) % CLASSES
LABELS: dict[str, tuple[Any, str]] = {
    "too large": (np.full(40, 9), r"no class of the model[\s\S]*9 \(40 of 40"),
    "counted from 1": (IDS + 1, r"no class of the model[\s\S]*from 0 to 3[\s\S]*4 \(10 of 40"),
    "negative": (np.full(40, -3), r"no class of the model[\s\S]*-3"),
    "one is ignored elsewhere": (np.where(np.arange(40) == 7, 255, IDS), r"no class of the model[\s\S]*255 \(1 of 40"),
    "fractions": (IDS + 0.5, r"no class ids[\s\S]*0\.5"),
    "NaN": (np.where(np.arange(40) == 7, np.nan, IDS), r"no class ids[\s\S]*nan"),
    "texts": (IDS.astype(str), r"no class ids[\s\S]*'0'"),
    "a list of texts": (["cat"] * 40, r"no class ids[\s\S]*'cat'"),
    "objects": (IDS.astype(object), "no class ids"),
    "complex": (IDS.astype(complex), "no class ids"),
    "ragged": ([[0], [1, 2], *[[0]] * 38], "no array"),
    "too few": (IDS[:-1], "not as many labels"),
    "too many": (np.append(IDS, 0), "not as many labels"),
    "other rows": (np.eye(7)[IDS], r"do not fit the model's output[\s\S]*\(40, 7\)"),
    "a matrix of ids": (np.stack([IDS, IDS], 1), "do not fit the model's output"),
    "rows of several classes": (np.eye(CLASSES)[IDS] + np.eye(CLASSES)[IDS - 1], "do not name one class each"),
    "rows of none": (np.zeros((40, CLASSES)), "do not name one class each"),
    "rows of NaN": (np.full((40, CLASSES), np.nan), "NaN or infinity"),
    "one for all": (np.int64(1), ""),
    "none": (None, ""),
}
LABELLED: dict[str, Callable[[keras.Model, Any], Any]] = {
    "Factorise": lambda model, data: ks.apply_passes(
        model, [Factorise(max_accuracy_loss=0.02, evaluations=6)], data=data
    ),
    "PruneChannels": lambda model, data: ks.apply_passes(model, [PruneChannels(ratio=0.5, max_loss=0.1)], data=data),
    "knowledge_quotients": lambda model, data: ks.knowledge_quotients(model, data=data),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("search", LABELLED)
def test_labels_that_the_model_cannot_give_are_refused(search: str) -> None:
    model = network()
    for case, (labels, said) in LABELS.items():
        with pytest.raises((OptionError, PassError), match=said or ".") as caught:
            LABELLED[search](model, (samples(), labels))
        assert not isinstance(caught.value, RoundError), case
        assert isinstance(caught.value, OptionError) or isinstance(caught.value.__cause__, KerasurgeonError), case


def test_inputs_that_are_not_finite_are_refused() -> None:
    broken = samples()
    broken[5, 2] = np.nan
    for search in LABELLED.values():
        with pytest.raises(KerasurgeonError, match="NaN or infinity"):
            search(network(), (broken, IDS))


def test_predictions_that_are_not_finite_are_no_class() -> None:
    """The largest of some NaN is class 0: labels of 0 alone would be found right, every one of them."""
    inputs = keras.Input((6,), name="x")
    x = layers.Dense(12, name="one")(keras.ops.log(inputs))
    model = keras.Model(inputs, layers.Dense(CLASSES, name="scores")(layers.Dense(12, name="two")(x)))
    zeros = np.zeros(40, int)
    assert by_hand(model, samples(), zeros) > 0.9
    for search in LABELLED.values():
        with pytest.raises(RoundError, match=r"gives NaN or infinity[\s\S]*(as it is|the whole model)"):
            search(model, (samples(), zeros))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (IDS, CLASSES),
        (IDS[:, None], CLASSES),
        (IDS.astype("float32"), CLASSES),
        (IDS.tolist(), CLASSES),
        (keras.ops.convert_to_tensor(IDS), CLASSES),
        (np.eye(CLASSES)[IDS], CLASSES),
        (0.9 * np.eye(CLASSES)[IDS] + 0.025, CLASSES),
        (IDS > 1, 1),
        ((IDS > 1).astype("float32")[:, None], 1),
    ],
    ids=[
        "ids",
        "a column",
        "floats",
        "a list",
        "a tensor",
        "one-hot",
        "smoothed",
        "booleans",
        "a column of floats",
    ],
)
def test_accuracy_by_every_form_of_labels(labels: Any, classes: int) -> None:
    model = network(classes)
    graph, inputs = ks.lift(model), samples()
    given = model(inputs).numpy()
    right = given.argmax(-1) == IDS if classes > 1 else (given[:, 0] > 0.5) == (IDS > 1)
    assert accuracy_on(graph, (inputs, labels), model, "it") == pytest.approx(right.mean())
    if isinstance(labels, np.ndarray):
        batches = [(inputs[:16], labels[:16]), (inputs[16:], labels[16:])]
        assert accuracy_on(graph, batches, model, "it") == pytest.approx(right.mean())


def test_accuracy_of_a_model_with_inputs_by_name() -> None:
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((3,), name=name) for name in ("left", "right")}
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Concatenate()([inputs["left"], inputs["right"]])))
    given = {"left": samples()[:, :3], "right": samples()[:, 3:]}
    expected = (model(given).numpy().argmax(-1) == IDS).mean()
    assert accuracy_on(ks.lift(model), (given, IDS), model, "it") == pytest.approx(expected)


def test_pruning_within_a_loss_of_accuracy_on_labelled_data() -> None:
    model, inputs = network(), samples(200)
    model.get_layer("scores").bias.assign(-model(inputs).numpy().mean(axis=0))  # all classes alike
    labels = model(inputs).numpy().argmax(-1)
    options: dict[str, Any] = {"ratio": 0.9, "steps": 5, "scope": "local", "compensate": "none", "importance": "l2"}
    small = ks.apply_passes(model, [PruneChannels(max_loss=0.5, **options)], data=(inputs, labels))
    assert by_hand(small, inputs, labels) >= 0.5
    assert small.count_params() < model.count_params()
    far = ks.apply_passes(model, [PruneChannels(**options)], data=(inputs, labels))
    assert by_hand(far, inputs, labels) < 0.5  # the search had to stop before


def test_ids_beside_those_of_classes() -> None:
    check_class_ids(np.array([[0, 2], [255, 1]]), 3, ignored=255)
    with pytest.raises(OptionError, match=r"or 255 for what does not count[\s\S]*254, 256 \(2 of 3"):
        check_class_ids(np.array([254, 255, 256]), 3, ignored=255)
    check_class_ids(np.zeros(0, int), 3)
