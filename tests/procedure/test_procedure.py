"""The procedure as a whole: what it leaves, what it comes to, functions in place of steps."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import GraphError, OptionError, RecipeError
from kerasurgeon.passes import ReplaceWithShunt
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.workflows.data import DataSet, Split
from kerasurgeon.workflows.networks import application
from kerasurgeon.workflows.procedure import STEPS, Procedure, Run, RunFolder, read_procedure
from kerasurgeon.workflows.procedure.segmentations import pictures_in, write_pictures
from tests.procedure import tiny

ROOT = Path(__file__).resolve().parents[2]


def weights_of(folder: Path, name: str) -> list[np.ndarray]:
    return list(RunFolder(folder).load_model(name).get_weights())


def assert_same_end(one: Path, other: Path) -> None:
    """All models and measures of two runs are the same."""
    for name in ("original", "trained", "shunted", "shunt_trained", "inserted", "final"):
        for a, b in zip(weights_of(one, name), weights_of(other, name), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)
    ours, theirs = (json.loads((folder / "summary.json").read_text()) for folder in (one, other))
    for row, same in zip(ours["rows"], theirs["rows"], strict=True):
        assert row == same


def log_lines(folder: Path) -> list[str]:
    return [line[20:] for line in (folder / "output.log").read_text().splitlines()]


def assert_done_once(folder: Path) -> None:
    """Every step ended once, and no epoch was done twice."""
    lines = log_lines(folder)
    assert [line.split(" done in")[0] for line in lines if " done in " in line] == list(STEPS)
    for step in ("train_original", "train_shunt", "train_final"):
        start = max(index for index, line in enumerate(lines) if line.endswith(f": {step}"))
        first = min(index for index, line in enumerate(lines) if line.endswith(f": {step}"))
        end = next(index for index, line in enumerate(lines) if line.startswith(f"{step} done in"))
        epochs = [line.split(":")[0] for line in lines[first:end] if line.startswith("epoch ")]
        assert epochs == [f"epoch {number} of 3" for number in (1, 2, 3)], (step, start, epochs)


def test_the_page_of_a_run(whole: Path, tmp_path: Path) -> None:
    """Both networks, learning curves as in the histories, quotients, and what each step came to."""
    result = Procedure.resume(whole, allow="tests").run(whole)
    data = result.to_page()
    for side, model in (("before", result.original), ("after", result.model)):
        assert [node["name"] for node in data[side]["nodes"]] == [layer.name for layer in model.layers]
    charts = {each["title"]: each for each in data["charts"]}
    with (whole / "histories" / "final.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, key in (("training", "loss"), ("validation", "val_loss")):
        (drawn,) = (each for each in charts["final: loss"]["series"] if each["name"] == name)
        assert drawn["points"] == [[place + 1, float(row[key])] for place, row in enumerate(rows)]
    quotients = json.loads((whole / "quotients.json").read_text())["rows"]
    bars = charts["Knowledge quotient of each region"]
    assert set(bars["names"]) == {row["region"] for row in quotients}
    assert {each["name"] for each in bars["series"]} == {"left in place", "chosen"}
    steps = next(table for table in data["tables"] if table["title"] == "Steps")
    assert [row[0].split(". ")[1] for row in steps["rows"]] == list(STEPS)
    assert "stem to block2" in steps["rows"][STEPS.index("shunt")][1]
    result.save(tmp_path / "run.html")
    assert "learning" in (tmp_path / "run.html").read_text().lower()
    result.save(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["metric"] == "accuracy"
    with pytest.raises(OptionError, match="suffix"):
        result.save(tmp_path / "run.pdf")


def test_a_network_that_has_not_learned_is_told_of(tmp_path: Path) -> None:
    changes = {"train_original.run": False, "train_shunt.run": False, "train_final.run": False, "latency.run": False}
    changes["quotients.run"] = False
    result = Procedure.from_recipe(tiny.RECIPE, changes=changes, allow="tests").run(tmp_path / "run")
    assert any("has not learned" in text for text in result.summary["warnings"])
    assert "has not learned" in str(result)
    assert "has not learned" in (tmp_path / "run" / "output.log").read_text()


def test_losses_and_metrics_of_ones_own(tmp_path: Path) -> None:
    """Two losses are added up: the logged loss is that of both, computed by hand."""
    changes: dict[str, Any] = {f"{step}.run": False for step in ("train_shunt", "train_final", "quotients", "latency")}
    changes |= {"train_original.losses": ["tests.procedure.tiny:squared", "tests.procedure.tiny:squared"]}
    changes |= {"train_original.metrics": "tests.procedure.tiny:Nearness", "train_original.keep_best": False}
    changes |= {"train_original.learning_rate": 0.001}
    folder = tmp_path / "run"
    result = Procedure.from_recipe(tiny.RECIPE, changes=changes, allow="tests").run(folder)
    with (folder / "histories" / "original.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    part = tiny.blobs(seed=3).validation
    scores = np.asarray(result.original(part.images, training=False))
    squared = np.square(scores - np.eye(3)[part.labels]).sum(axis=-1)
    assert float(last["val_loss"]) == pytest.approx(2 * squared.mean(), rel=1e-3)
    assert float(last["val_nearness"]) == pytest.approx((1 / (1 + squared)).mean(), rel=1e-3)
    with pytest.raises(OptionError, match="losses: Keras knows none"):
        Procedure.from_recipe(tiny.RECIPE, changes={"train_original.losses": "crossed"}, allow="tests").run(
            tmp_path / "other"
        )
    with pytest.raises(RecipeError, match="may not be imported"):
        Procedure.from_recipe(tiny.RECIPE, changes=changes, allow="tests.procedure.tiny:blobs")


def test_pictures_of_segmentations(tmp_path: Path) -> None:
    """What is in the files is the image, the truth, and what each network finds."""
    image = pytest.importorskip("matplotlib.image")
    rng = np.random.default_rng(0)
    images = rng.random((6, 5, 7, 3)).astype("float32")
    labels = rng.integers(0, 3, (6, 5, 7))
    inputs = keras.Input((5, 7, 3))
    plain = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    turned = keras.Model(inputs, keras.layers.Rescaling(-1.0)(inputs))
    part = Split(images, labels)
    data = DataSet("drawn", part, part, part, classes=3, task="segmentation")
    assert write_pictures(tmp_path, data, (plain, turned)) == 4
    rows = pictures_in(tmp_path)
    assert [[path.name for path in row] for row in rows][1] == [
        "2_image.png",
        "2_truth.png",
        "2_original.png",
        "2_result.png",
    ]
    for number, row in enumerate(rows):
        wanted = (labels[number], images[number].argmax(-1), images[number].argmin(-1))
        for path, ids in zip(row[1:], wanted, strict=True):
            found = np.rint(255 * image.imread(path)[..., :3]).astype(int)
            assert all((found[ids == each] == found[ids == each][0]).all() for each in range(3))
            assert len({tuple(each) for each in found.reshape(-1, 3)}) == len(np.unique(ids))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    keras.utils.set_random_seed(99)  # what came before must not matter
    Procedure.from_recipe(tiny.RECIPE, allow="tests").run(folder)
    return folder


def test_what_a_run_leaves(whole: Path) -> None:
    assert_done_once(whole)
    summary = json.loads((whole / "summary.json").read_text())
    original, final = (keras.saving.load_model(whole / "models" / f"{n}.keras") for n in ("trained", "final"))
    data = tiny.blobs(seed=3)

    def accuracy(model: keras.Model) -> float:
        logits = np.asarray(model(data.test.images, training=False))
        return float((logits.argmax(-1) == data.test.labels).mean())

    rows = summary["rows"]
    assert rows[0]["accuracy"] == pytest.approx(accuracy(original))
    assert rows[-1]["accuracy"] == pytest.approx(accuracy(final))
    # 3x3 convolutions from 8 to 8 channels on 6x6 positions, twice, become one 1x1.
    assert rows[0]["macs"] - rows[-1]["macs"] == 36 * 8 * 8 * (9 + 9 - 1)
    assert summary["macs_saved"] == pytest.approx(1 - rows[-1]["macs"] / rows[0]["macs"])
    assert rows[0]["accuracy"] > 0.7 > rows[1]["accuracy"]
    assert [path.name for path in sorted((whole / "histories").iterdir())] == [
        "final.csv",
        "original.csv",
        "shunt_1.csv",
    ]
    with (whole / "histories" / "final.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == 3
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "dark_knowledge"} <= set(history[0])
    rates = [float(row["learning_rate"]) for row in history]
    np.testing.assert_allclose(rates, [0.02 * (1 - e / 3) ** 0.9 for e in range(3)], rtol=1e-5)
    quotients = json.loads((whole / "quotients.json").read_text())
    assert {row["region"] for row in quotients["rows"]} >= {"block1", "block2"}
    assert set(summary["latency_ms"]) == {"original", "final"}
    steps = json.loads((whole / "state.json").read_text())["steps"]
    assert summary["seconds"] == pytest.approx(
        sum(facts["seconds"] for step, facts in steps.items() if step != "summary")
    )
    assert "of the MACs" in (whole / "summary.txt").read_text()


def test_a_run_that_has_ended_does_nothing_more(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("models/*")}
    phases: list[str] = []
    result = Procedure.resume(whole, allow="tests").run(whole, phase=phases.append)
    assert phases == []
    assert {path: path.stat().st_mtime_ns for path in whole.glob("models/*")} == before
    assert result.summary["rows"][0]["stage"] == "original"
    assert len(result.model.layers) < len(result.original.layers)


@pytest.mark.parametrize(
    "steps", [("train_shunt",), pytest.param(STEPS, marks=pytest.mark.sweep)], ids=["one", "every one"]
)
def test_interrupted_at_steps(steps: tuple[str, ...], whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for step in steps:
        keras.utils.set_random_seed(len(step))  # another process would have other random states

        def phase(label: str, step: str = step) -> None:
            if label.endswith(f": {step}"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Procedure.from_recipe(tiny.RECIPE, allow="tests").run(folder, phase=phase)
        assert list(RunFolder(folder).done()) == list(STEPS[: STEPS.index(step)])
    Procedure.resume(folder, allow="tests").run(folder)
    assert_done_once(folder)
    assert_same_end(whole, folder)


@pytest.mark.sweep
def test_killed_in_the_middle_of_trainings(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    for step, epoch in (("train_shunt", 1), ("train_final", 2)):
        command = [sys.executable, "-m", "tests.procedure.tiny", str(folder), step, str(epoch)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stderr[-2000:]
        assert list(RunFolder(folder).done()) == list(STEPS[: STEPS.index(step)])
    Procedure.resume(folder, allow="tests").run(folder)
    assert_done_once(folder)
    assert_same_end(whole, folder)


def test_functions_in_place_of_steps(tmp_path: Path) -> None:
    seen: list[str] = []

    def put_shunts(run: Run) -> Any:
        seen.append("shunt")
        return Pipeline([ReplaceWithShunt(["block1", "block2"], tiny.small_shunt)]).run(run.original)

    def no_training(run: Run) -> keras.Model:
        seen.append("train_final")
        assert [bridge.name for bridge in run.bridges] == ["shunt_1", "shunt_2"]
        return run.model("inserted")

    changes = {
        "train_original.function": "tests.procedure.tiny:twice",
        "quotients.run": False,
        "train_shunt.run": False,
        "latency.run": False,
    }
    functions = {"shunt": put_shunts, "train_final": no_training, "summary": lambda run: {"by": "me"}}
    result = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=changes, functions=functions).run(
        tmp_path / "run"
    )
    assert seen == ["shunt", "train_final"]
    assert result.summary["by"] == "me"
    assert len(result.summary["shunts"]) == 2
    for a, b in zip(result.original.get_weights(), weights_of(tmp_path / "run", "original"), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(result.model.get_weights(), weights_of(tmp_path / "run", "shunted"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_regions_are_chosen_for_a_budget(tmp_path: Path) -> None:
    changes = {
        "shunt": {"choose": {"macs": 0.6}, "arch": "tests.procedure.tiny:small_shunt"},
        "train_original.run": False,
        "train_shunt.run": False,
        "train_final.run": False,
        "latency.run": False,
    }
    result = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=changes).run(tmp_path / "run")
    assert 0.3 < result.summary["macs_saved"] < 0.9
    assert "chosen:" in (tmp_path / "run" / "output.log").read_text()


def test_what_a_step_gives_is_checked(tmp_path: Path) -> None:
    run = {"train_original.run": False}
    for step, what in (("data", "no data set"), ("original", "no model"), ("shunt", "a model with shunts")):
        procedure = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=run, functions={step: lambda run: 3})
        with pytest.raises(OptionError, match=what):
            procedure.run(tmp_path / step)
    with pytest.raises(OptionError, match="no step 'shunts'"):
        Procedure.from_recipe(tiny.RECIPE, allow="tests", functions={"shunts": tiny.twice})
    with pytest.raises(OptionError, match="is no function"):
        Procedure.from_recipe(tiny.RECIPE, allow="tests", functions={"shunt": 3})  # type: ignore[dict-item]


def test_a_step_of_ones_own_may_time_networks_in_its_own_way(tmp_path: Path) -> None:
    off = {f"{step}.run": False for step in ("train_original", "train_shunt", "train_final", "quotients")}
    rows = [{"device": "phone", "ms": 1.5}]
    for number, (made, kept) in enumerate([(rows, {"rows": rows}), ({"note": "none"}, {"note": "none"})]):
        functions = {"latency": lambda run, made=made: made}
        procedure = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=off, functions=functions)
        result = procedure.run(tmp_path / str(number))
        assert result.summary["latency_ms"] == {}
        assert result.summary["latency"] == kept
    procedure = Procedure.from_recipe(
        tiny.RECIPE, allow="tests", changes=off, functions={"latency": lambda run: {"model": run.original}}
    )
    with pytest.raises(OptionError, match="something else than plain data"):
        procedure.run(tmp_path / "other")


def test_options_of_later_trainings_are_looked_at_before_the_first(tmp_path: Path) -> None:
    for key, value, step in (
        ("train_final.dark_knowledge", {"temperature": -1}, "original"),
        ("train_final.attention_transfer", {"layers": ["nowhere"]}, "shunt"),
    ):
        changes = {key: value, "train_original.run": False, "quotients.run": False, "latency.run": False}
        folder = tmp_path / step
        with pytest.raises(ks.KerasurgeonError):
            Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=changes).run(folder)
        assert step not in RunFolder(folder).done()
        assert not (folder / "training").exists()


def test_steps_that_have_not_begun_may_be_changed(whole: Path, tmp_path: Path) -> None:
    off = {f"{step}.run": False for step in ("train_original", "train_shunt", "quotients", "latency")}
    wrong = {**off, "train_final.feature_matching": {"layers": ["nowhere"]}}
    with pytest.raises(ks.KerasurgeonError, match="nowhere"):
        Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=wrong).run(tmp_path / "run")
    right = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes={**off, "train_final.run": False})
    done = right.run(tmp_path / "run")
    assert done.summary["macs_saved"] > 0
    assert RunFolder(tmp_path / "run").recipe() == right.recipe
    earlier = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes={**off, "original.width": 4})
    with pytest.raises(RecipeError, match=r"original\.width = 8"):
        earlier.run(tmp_path / "run")


def test_a_network_that_has_become_larger_is_told_of(tmp_path: Path) -> None:
    off = {f"{step}.run": False for step in ("train_original", "train_shunt", "train_final", "quotients", "latency")}
    changes = {**off, "shunt.arch": "tests.procedure.tiny:large_shunt"}
    Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=changes).run(tmp_path / "run")
    assert "has MORE macs than the original" in (tmp_path / "run" / "output.log").read_text()
    summary = (tmp_path / "run" / "summary.txt").read_text()
    assert re.search(r"\d% more MACs, \d.*% more parameters", summary)
    assert "saved" not in summary


def test_networks_of_keras_by_name(tmp_path: Path) -> None:
    off = {f"{step}.run": False for step in ("train_original", "train_shunt", "train_final", "quotients", "latency")}
    recipe = {
        "data": {"name": "digits"},
        "original": {"network": "MobileNetV2", "alpha": 0.35},
        "shunt": {"regions": "block_4"},
    }
    built = application("MobileNetV2", (32, 32, 3), 5, alpha=0.35)
    assert built.output_shape == (None, 5)
    small = application("MobileNetV2", (8, 8, 1), 5, alpha=0.35)  # enlarged, in three channels
    assert (small.input_shape, small.output_shape) == ((None, 8, 8, 1), (None, 5))
    assert small.layers[-1].input_shape == (None, 32, 32, 3)
    assert read_procedure(recipe, changes=off)["original"]["network"] == "MobileNetV2"
    with pytest.raises(RecipeError, match="no original 'MobileNetV4'"):
        read_procedure(recipe, changes={"original.network": "MobileNetV4"})


def test_first_strides_are_taken_out_for_small_images(tmp_path: Path) -> None:
    off = {f"{step}.run": False for step in ("train_original", "train_shunt", "train_final", "quotients", "latency")}
    recipe = {**tiny.RECIPE, "original": {"network": "tests.procedure.tiny:strided", "change_stride_layers": 1}}
    result = Procedure.from_recipe(recipe, allow="tests", changes=off).run(tmp_path / "run")
    assert RunFolder(tmp_path / "run").load_model("original").get_layer("stem").output.shape[1:3] == (6, 6)
    assert "stem: stride 2x2 becomes 1" in (tmp_path / "run" / "output.log").read_text()
    assert result.summary["macs_saved"] != 0
    with pytest.raises(GraphError, match="up to 1 strides"):
        Procedure.from_recipe(recipe, allow="tests", changes={"original.change_stride_layers": 2}).run(tmp_path / "two")
    with pytest.raises(RecipeError, match="change_stride_layers"):
        read_procedure(recipe, changes={"original.change_stride_layers": -1})


def test_a_network_that_does_not_fit_the_data(tmp_path: Path) -> None:
    layers = keras.layers
    wrong = keras.Sequential([keras.Input((9, 9, 1)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(OptionError, match="does not fit the data set"):
        Procedure.from_recipe(tiny.RECIPE, allow="tests", functions={"original": lambda run: wrong}).run(
            tmp_path / "run"
        )
    with pytest.raises(ZeroDivisionError) as caught:
        Procedure.from_recipe(tiny.RECIPE, allow="tests", functions={"original": lambda run: 1 / 0}).run(
            tmp_path / "other"
        )
    (note,) = caught.value.__notes__
    assert "in step 'original'" in note
    assert str(tmp_path / "other") in note
    assert list(RunFolder(tmp_path / "other").done()) == ["data"]


def test_folders(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = Procedure.from_recipe(tiny.RECIPE, allow="tests", changes={"train_final.epochs": 7})
    with pytest.raises(RecipeError, match="another recipe") as caught:
        changed.run(whole)
    assert "train_final.epochs = 3" in str(caught.value)
    assert "train_final.epochs = 7" in str(caught.value)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OptionError, match="not empty"):
        changed.run(tmp_path / "full")
    with pytest.raises(OptionError, match="holds no run"):
        Procedure.resume(tmp_path, allow="tests")
    monkeypatch.chdir(tmp_path)
    first, second = (RunFolder.new(None, changed.recipe) for _ in range(2))
    assert first.path.parent == Path("runs")
    assert first.path != second.path
    with first.locked(), pytest.raises(OptionError, match="Another process"), first.locked():
        pass


def test_the_public_name() -> None:
    assert ks.Procedure is Procedure
