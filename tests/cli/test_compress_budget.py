"""``kerasurgeon compress MODEL --macs``: a budget, and nothing else said."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from tests.cli.conftest import Run


@pytest.fixture
def net(folder: Path) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu", name="one")(inputs)
    x = keras.layers.Conv2D(24, 3, activation="relu", name="two")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    model.save("net.keras")
    images = np.random.default_rng(0).random((40, 8, 8, 3), dtype="float32")
    np.save("x.npy", images)
    np.save("y.npy", np.asarray(model(images)).argmax(axis=-1))
    return model


def test_a_budget_alone(run: Run, net: keras.Model) -> None:
    done = run("compress", "net.keras", "--macs", "0.5", "-o", "small.keras", "--json")
    assert done.code == 0, done.err
    names = [step["name"] for step in done.json["report"]["passes"]]
    assert names == ["Compress", "RemoveDeadChannels"]
    small = keras.saving.load_model("small.keras")
    assert 0.49 * ks.cost(net).macs <= ks.cost(small).macs <= 0.5 * ks.cost(net).macs


def test_with_data_and_labels_and_an_option(run: Run, net: keras.Model) -> None:
    done = run(
        "compress", "net.keras", "--macs", ".5", "--data", "x.npy", "--labels", "y.npy", "--set", "round_to=1",
        "-o", "small.keras",
    )  # fmt: skip
    assert done.code == 0, done.err
    fresh = np.random.default_rng(1).random((64, 8, 8, 3), dtype="float32")
    small = keras.saving.load_model("small.keras")
    assert np.corrcoef(np.ravel(net(fresh)), np.ravel(small(fresh)))[0, 1] > 0.8


@pytest.mark.parametrize("also", [["--pass", "FoldBatchNorm"], ["--recipe", "r.toml"]])
def test_one_thing_or_the_other(run: Run, net: keras.Model, also: list[str]) -> None:
    Path("r.toml").write_text('[[pass]]\nname = "FoldBatchNorm"\n')
    done = run("compress", "net.keras", "--macs", "0.5", *also, "-o", "small.keras")
    assert done.code == 2
    assert "--macs stands for passes of its own" in done.err


def test_what_cannot_be_reached(run: Run, net: keras.Model) -> None:
    refused = run("compress", "net.keras", "--macs", "2", "-o", "small.keras")
    assert refused.code == 2
    assert "--unreachable nearest" in refused.err
    done = run("compress", "net.keras", "--macs", "2", "--unreachable", "nearest", "-o", "small.keras")
    assert done.code == 0, done.err
    assert ks.cost(keras.saving.load_model("small.keras")).macs < 0.05 * ks.cost(net).macs
    alone = run("compress", "net.keras", "-p", "FoldBatchNorm", "--unreachable", "nearest", "-o", "other.keras")
    assert "--set PASS.unreachable=nearest" in alone.err
