"""Whole searches, with every tuner of keras-tuner; what is left of them on disk; the model that is found."""

from __future__ import annotations

import csv
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import KerasurgeonError, OptionError
from kerasurgeon.workflows.tuner import AutoCompress, Cuts, best_model, compression_score, trials
from tests.tuner.networks import CLASSES, images, separable

TUNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 2}),
    "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": 3, "num_initial_points": 2}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 3, "factor": 3}),
    "grid": (keras_tuner.GridSearch, {"max_trials": 2}),
}


def backbone() -> keras.Model:
    return separable(units=[(8, 2), (12, 2), (12, 1)])


def hypermodel(**options: Any) -> AutoCompress:
    options = {"cuts": Cuts(0.0, 1.0, most=4), "units": (4, 8, 4), "lr": (1e-3, 1e-1), **options}
    return AutoCompress(backbone(), CLASSES, compile_options={"run_eagerly": True}, **options)


def search(folder: Path, kind: str = "random", model: AutoCompress | None = None, **options: Any) -> Any:
    x, y = images(12)
    made = hypermodel() if model is None else model
    cls, given = TUNERS[kind]
    given = {**given, "objective": made.objective, "directory": folder, "project_name": "search", "seed": 1, **options}
    tuner = cls(made, **given)
    tuner.search(x[:8], y[:8], validation_data=(x[8:], y[8:]), epochs=1, batch_size=8, verbose=0)
    return tuner


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder and the tuner of a search that came to its end."""
    folder = tmp_path_factory.mktemp("search")
    return folder, search(folder)


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        ("random", "params"),
        pytest.param("bayesian", "macs", marks=pytest.mark.sweep),
        pytest.param("hyperband", "params", marks=pytest.mark.sweep),
        pytest.param("grid", "macs", marks=pytest.mark.sweep),
    ],
)
def test_every_tuner(kind: str, cost: str, tmp_path: Path, done: tuple[Path, Any]) -> None:
    tuner = done[1] if kind == "random" else search(tmp_path, kind, hypermodel(cost=cost))
    table = trials(tuner)
    assert len(table) >= 2
    assert {row.status for row in table} == {"COMPLETED"}, str(table)
    scores = [row.acc_comp or 0.0 for row in table]
    assert scores == sorted(scores, reverse=True)
    for row in table:
        assert row.translator in tuner.hypermodel.choices
        assert row.accuracy is not None
        assert row.cost is not None
        assert (row.cost == row.parameters) == (cost == "params")
        wanted = compression_score(row.accuracy, row.cost, tuner.hypermodel.max_cost, 0.8)
        assert row.acc_comp == pytest.approx(wanted, abs=1e-6)
    best = best_model(tuner)
    x, y = images(12)
    assert best.count_params() == table.rows[0].parameters
    accuracy = (np.asarray(best(x[8:], training=False)).argmax(-1) == y[8:]).mean()
    assert accuracy == pytest.approx(table.rows[0].accuracy)


def test_a_search_goes_on_from_its_directory(tmp_path: Path, done: tuple[Path, Any]) -> None:
    first = trials(done[1])
    assert len(first) == 2
    shutil.copytree(done[0], tmp_path, dirs_exist_ok=True)
    again = search(tmp_path, max_trials=3)
    assert len(trials(again)) == 3
    kept = [row for row in trials(again) if row.trial in {row.trial for row in first}]
    assert kept == list(first)


def test_a_search_cannot_go_on_with_other_cuts(tmp_path: Path, done: tuple[Path, Any]) -> None:
    shutil.copytree(done[0], tmp_path, dirs_exist_ok=True)
    with pytest.raises(OptionError, match="needs the cuts that it began with"):
        search(tmp_path, model=hypermodel(cuts=[("stem", "pw_2")]), max_trials=20)


@pytest.mark.sweep
def test_the_same_seeds_give_the_same_search(tmp_path: Path, done: tuple[Path, Any]) -> None:
    one, other = list(trials(done[1])), list(trials(search(tmp_path)))
    assert [(row.translator, row.units, row.lr) for row in one] == [
        (row.translator, row.units, row.lr) for row in other
    ]
    assert [row.acc_comp for row in one] == pytest.approx([row.acc_comp for row in other], abs=1e-6)


def test_labels_out_of_range_end_the_search(tmp_path: Path) -> None:
    x, y = images(8)
    made = hypermodel()
    tuner = keras_tuner.RandomSearch(made, objective=made.objective, max_trials=2, directory=tmp_path)
    with pytest.raises(OptionError, match="no class of the model"):
        tuner.search(x, y + CLASSES, validation_split=0.5, verbose=0)


def test_the_best_model_is_plain_keras(tmp_path: Path, done: tuple[Path, Any]) -> None:
    model = best_model(done[1])
    model.save(tmp_path / "best.keras")
    with zipfile.ZipFile(tmp_path / "best.keras") as file:
        assert b"kerasurgeon" not in file.read("config.json")  # nothing of it is imported to load the file
    again = keras.models.load_model(tmp_path / "best.keras")
    assert isinstance(again, keras.Model)
    assert again.optimizer is not None
    x, _ = images(4)
    np.testing.assert_allclose(again(x, training=False), model(x, training=False), atol=1e-6)
    assert ks.export(model, tmp_path / "best.tflite").path.exists()


def test_the_table(tmp_path: Path, done: tuple[Path, Any]) -> None:
    table = trials(done[1])
    assert "2 trials" in str(table)
    assert "macs" not in str(table)
    assert "macs" in str(replace(table, cost_name="macs"))
    lines = table.to_markdown().splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    table.to_csv(tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [float(line["acc_comp"]) for line in read] == [row.acc_comp for row in table]
    assert [line["trial"] for line in read] == [row.trial for row in table]


@pytest.mark.sweep
def test_trials_that_fail_are_in_the_table(tmp_path: Path) -> None:
    class Failing(AutoCompress):
        def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
            if self._executions:
                raise ArithmeticError("only once")
            return super().fit(hp, model, *args, **kwargs)

    made = Failing(backbone(), CLASSES, cuts=[("stem_relu", "dw_3")], compile_options={"run_eagerly": True})
    tuner = search(tmp_path, model=made, max_trials=2)
    good, failed = trials(tuner)
    assert (good.status, failed.status) == ("COMPLETED", "FAILED")
    assert failed.message == "ArithmeticError: only once"
    assert failed.acc_comp is failed.cost is None
    assert "only once" in str(trials(tuner))


def test_before_there_is_a_model(tmp_path: Path) -> None:
    made = hypermodel()
    tuner = keras_tuner.RandomSearch(made, objective=made.objective, max_trials=2, directory=tmp_path)
    assert len(trials(tuner)) == 0
    with pytest.raises(KerasurgeonError, match="no such model yet"):
        best_model(tuner)
    other = keras_tuner.RandomSearch(lambda hp: keras.Sequential(), objective="loss", directory=tmp_path / "other")
    with pytest.raises(KerasurgeonError, match="no tuner of an AutoCompress"):
        trials(other)
