"""``kerasurgeon morphnet``: a run on digits, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from tests.cli.conftest import Run

OPTIONS = ("--epochs", "2", "--batch-size", "128")


def test_a_run(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = run(
        "morphnet",
        *OPTIONS,
        "--kept",
        "0.5",
        "--log-dir",
        str(folder),
        "--json",
        "--report",
        str(tmp_path / "run.html"),
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    (data,) = re.findall(r'id="report">(.*?)</script>', (tmp_path / "run.html").read_text())
    charts = {each["title"]: each for each in json.loads(data)["charts"]}
    assert [len(each["points"]) for each in charts["morphnet: loss"]["series"]] == [2, 2]
    assert charts["Alive channels"]["series"][1]["points"] == [
        list(each) for each in enumerate(result["widths"].values())
    ]
    assert result["small_cost"] <= 0.5 * result["initial_cost"]
    small = keras.saving.load_model(folder / "small.keras")
    whole = keras.saving.load_model(folder / "morphnet.keras")
    assert ks.cost(small).macs == result["small_cost"]
    assert ks.cost(whole).macs == result["initial_cost"]
    plan = ks.ChannelPlan.load(folder / "plan.json")
    assert ks.cost(ks.cut(whole, plan)).macs == result["small_cost"]
    names = {path.name for path in (folder / "learned_structure").iterdir()}
    assert {"alive_0", "alive_20", "plan_20.json"} <= names
    assert json.loads((folder / "results.json").read_text()) == result
    again = run("morphnet", *OPTIONS, "--log-dir", str(folder))
    assert again.code != 0
    assert "not empty" in again.err


def own_files(folder: Path) -> tuple[str, ...]:
    """Options for a network and images from files, which are trained in no time."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    keras.Model(image, keras.layers.Dense(3, activation="softmax")(x)).save(folder / "own.keras")
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "train_images": rng.random((60, 8, 8, 1), "float32"),
        "train_labels": np.arange(60) % 3,
        "test_images": rng.random((12, 8, 8, 1), "float32"),
        "test_labels": np.arange(12) % 3,
    }
    np.savez(folder / "own.npz", **arrays)
    return ("-m", str(folder / "own.keras"), "--records", str(folder / "own.npz"))


@pytest.mark.usefixtures("untraced")
def test_a_network_without_scales_from_a_file(run: Run, tmp_path: Path) -> None:
    done = run("morphnet", *own_files(tmp_path), "--epochs", "1", "--log-dir", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "small:" in done.out
    small = keras.saving.load_model(tmp_path / "out" / "small.keras")
    assert all(layer.__class__.__module__.startswith("keras.") for layer in small.layers)


@pytest.mark.sweep
def test_a_set_of_tensorflow_datasets(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package need not be there: what is asked of it is one function for the parts, one for arrays."""
    rng = np.random.default_rng(0)

    def load(name: str, *, split: str, batch_size: int, as_supervised: bool) -> Any:
        assert (name, batch_size, as_supervised) == ("toy/small", -1, True)
        number = {"train": 60, "test": 20}[split]
        return rng.integers(0, 256, (number, 8, 8, 3)).astype("uint8"), np.arange(number) % 4

    fake = types.SimpleNamespace(load=load, as_numpy=lambda pair: pair)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    done = run(
        "morphnet", "--tfds", "toy/small", "--epochs", "1", "--log-dir", str(tmp_path / "runs" / "out"), "--json"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "runs" / "out" / "results.json").is_file()  # the folder that it is in was not there
    assert (done.json["data"], done.json["test_images"]) == ("toy/small", 20)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    done = run("morphnet", "--tfds", "toy/small", "--log-dir", str(tmp_path / "other"))
    assert done.code != 0
    assert "pip install tensorflow-datasets" in done.err.replace("\n", " ")


BAD = [
    (("--kept", "1.5"), "(0, 1)"),
    (("--hardware", "V100"), "--target-cost latency"),
    (("--target-cost", "latency", "--hardware", "V1000"), "did you mean 'V100'"),
    (("--target-cost", "latency"), "needs to know the hardware"),
    (("--multiplier", "-1"), "'strength'"),
    (("-m", "ResNet5"), "did you mean"),
    (("--records", "nothing.npz"), "does not exist"),
    (("--target-cost", "flops"), "latency"),
    (("--log-dir", f"{__file__}/out"), "is no folder"),
]


@pytest.mark.parametrize(("options", "match"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_bad_options(run: Run, tmp_path: Path, options: tuple[str, ...], match: str) -> None:
    done = run("morphnet", "--log-dir", str(tmp_path / "out"), *options)
    assert done.code != 0
    assert match in done.err.replace("\n", " ")
    assert "Traceback" not in done.err


class Stop(keras.callbacks.Callback):
    """As a kill in the middle of the third epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("untraced")
def test_it_goes_on_after_a_kill(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    command = ("morphnet", *own_files(tmp_path), "--epochs", "4", "--batch-size", "30", "--log-dir", str(folder))
    plain = keras.Model.fit
    seen: list[int] = []

    def watched(self: keras.Model, *args: Any, callbacks: Any, **options: Any) -> Any:
        epochs = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
        return plain(self, *args, callbacks=[*callbacks, epochs, *([Stop()] if not resumed else [])], **options)

    resumed = False
    monkeypatch.setattr(keras.Model, "fit", watched)
    stopped = run(*command)
    assert (stopped.code, "To go on" in stopped.err) == (130, True)
    assert (folder / "training" / "state.npz").is_file()
    assert not (folder / "results.json").exists()
    resumed = True
    other = run(*command, "--learning-rate", "0.5")
    assert other.code == 2
    assert "--learning-rate 0.003" in other.err
    done = run(*command)
    assert done.code == 0, done.err
    assert seen == [0, 1, 2, 2, 3]
    assert len((folder / "histories" / "morphnet.csv").read_text().splitlines()) == 1 + 4
    assert {path.name for path in folder.iterdir()} >= {"small.keras", "results.json", "plan.json"}
    assert not (folder / "training").exists()


@pytest.mark.usefixtures("untraced")
def test_no_room_for_what_is_kept_on_the_way(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.savez

    def full(file: Any, *args: Any, **arrays: Any) -> None:
        if "strength" in arrays:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(file, *args, **arrays)

    monkeypatch.setattr(np, "savez", full)
    folder = tmp_path / "out"
    options = (*own_files(tmp_path), "--epochs", "2", "--tuning-epochs", "0", "--batch-size", "30")
    done = run("morphnet", *options, "--log-dir", str(folder))
    assert done.code == 0, done.err
    assert done.err.count("training goes on") == 1
    assert "state.npz: No space left on device" in done.err
    assert (folder / "small.keras").is_file()


def test_options_reach_the_training(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    def watched(self: keras.Model, *args: Any, callbacks: Any, **options: Any) -> None:
        made.update(optimizer=self.optimizer, policy=self.layers[3].dtype_policy.name, morph=callbacks[0].morph)
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", watched)
    options: tuple[str, ...] = (
        "--algorithm",
        "group-lasso",
        "--l1-fraction",
        "0.25",
        "--ignore",
        "stem",
        "--floors",
        "block1_*=3",
    )
    options += ("--optimizer", "sgd", "--learning-rate", "0.25", "--precision", "mixed_bfloat16")
    run("morphnet", *options, "--log-dir", str(tmp_path / "out"))
    assert isinstance(made["optimizer"], keras.optimizers.SGD)
    assert float(made["optimizer"].learning_rate) == 0.25
    assert made["policy"] == "mixed_bfloat16"
    assert made["morph"].floors == {"block1_*": 3}
    assert "stem" in made["morph"].left
    wrong = run("morphnet", "--floors", "three", "--log-dir", str(tmp_path / "other"))
    assert wrong.code == 2
    assert "--floors" in wrong.err
    many = run("morphnet", "--devices", "99", "--log-dir", str(tmp_path / "many"))
    assert many.code == 2
    assert "not so many devices" in many.err
