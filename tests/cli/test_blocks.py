"""``kerasurgeon blocks``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from tests.cli.conftest import Run
from tests.passes.checking import model_of


@pytest.fixture
def model(folder: Path) -> keras.Model:
    """A small residual classifier with labelled data: model.keras, x.npy, y.npy."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    for name in ("one", "two"):
        y = layers.Conv2D(6, 3, padding="same", activation="relu", name=f"{name}_a")(x)
        y = layers.Conv2D(6, 3, padding="same", name=f"{name}_b")(y)
        x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="down")(x)
    model = model_of(inputs, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D(name="pool")(x)))
    images = np.random.default_rng(0).normal(size=(60, 8, 8, 3)).astype("float32")
    np.save(folder / "x.npy", images)
    np.save(folder / "y.npy", np.asarray(model(images)).argmax(axis=-1))
    model.save(folder / "model.keras")
    return model


LABELLED = ("--data", "x.npy", "--labels", "y.npy")


def test_without_data_the_regions_and_their_cost(run: Run, model: keras.Model) -> None:
    done = run("blocks", "model.keras", "--json")
    assert done.code == 0, done.err
    regions = {row["name"]: row for row in done.json["regions"]}
    assert regions["one"]["macs"] == 2 * 8 * 8 * 9 * 6 * 6
    assert regions["one"]["parameters"] == 2 * (9 * 6 + 1) * 6
    assert regions["one"]["keeps_spec"]
    assert done.json["parameters"] == model.count_params()
    done = run("blocks", "model.keras", "--which", "t*", "--min-nodes", "3")
    assert done.code == 0, done.err
    assert "│ two " in done.out
    assert "│ one " not in done.out


def test_quotients_and_the_choice(run: Run, model: keras.Model) -> None:
    done = run("blocks", "model.keras", *LABELLED, "--which", "one", "--which", "two", "--macs", "0.7", "--json")
    assert done.code == 0, done.err
    found = ks.knowledge_quotients(model, data=(np.load("x.npy"), np.load("y.npy")), which=("one", "two"))
    rows = done.json["quotients"]["rows"]
    assert [(row["region"], row["quotient"]) for row in rows] == [(row.region, row.quotient) for row in found]
    assert done.json["chosen"] == found.choose(macs=0.7).to_dict()
    done = run("blocks", "model.keras", *LABELLED, "--which", "one", "--method", "affine,projection", "--params", "0.9")
    assert done.code == 0, done.err
    for word in ("affine", "projection", "quotient", "1 region: "):
        assert word in done.out


def test_plot_and_log(run: Run, model: keras.Model) -> None:
    pytest.importorskip("matplotlib")
    command = ("blocks", "model.keras", *LABELLED, "--which", "one", "--log", "log.json", "--plot", "it.png")
    done = run(*command)
    assert done.code == 0, done.err
    assert Path("it.png").read_bytes()[:4] == b"\x89PNG"
    assert [row.region for row in ks.Quotients.load("log.json")] == ["one"]
    assert run(*command).code == 2  # the picture is there already
    done = run(*command, "--overwrite")
    assert done.code == 0, done.err


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--data", "x.npy"), "--labels FILE"),
        (("--labels", "y.npy"), "--data FILE"),
        (("--macs", "0.5"), "--macs needs quotients"),
        (("--log", "log.json"), "--log needs quotients"),
        ((*LABELLED, "--macs", "0.5", "--params", "0.5"), "two budgets"),
        ((*LABELLED, "--macs", "0.01", "--which", "one"), "cannot be reached"),
        ((*LABELLED, "--which", "ones"), "did you mean 'one'"),
        (("--which", "x_*"), "matches 'x_*'"),
        ((*LABELLED, "--method", "dropp"), "did you mean 'drop'"),
        (("--data", "y.npy", "--labels", "y.npy"), "does not fit the model's inputs"),
        (("--data", "x.npy", "--labels", "x.npy"), "do not fit the model's output"),
        (("--data", "x.npy", "--labels", "large.npy"), "no class of the model"),
        ((*LABELLED, "--plot", "it.gif"), ".png"),
        ((*LABELLED, "--log", "log.txt"), ".json"),
        ((*LABELLED, "--log", "broken.json"), "cannot be read"),
    ],
)
def test_mistakes_end_with_status_two(run: Run, model: keras.Model, given: tuple[str, ...], said: str) -> None:
    np.save("large.npy", np.load("y.npy") + 9)
    Path("broken.json").write_text("{")
    done = run("blocks", "model.keras", *given)
    assert done.code == 2, done.err
    assert said in done.err
    assert done.err.count("error:") == 1
    assert not done.out


def test_the_report_of_each_command_that_looks(run: Run, model: keras.Model) -> None:
    def page(path: str) -> dict[str, Any]:
        text = Path(path).read_text()
        return dict(json.loads(text.split('id="report">')[1].split("</script>")[0]))

    chosen = (*LABELLED, "--which", "one", "--which", "two", "--macs", "0.8")
    done = run("blocks", "model.keras", *chosen, "--report", "blocks.html")
    assert done.code == 0, done.err
    data = page("blocks.html")
    assert [item["title"] for item in data["charts"]] == [
        "Knowledge quotient of each region",
        "Quotient against MACs saved",
    ]
    assert [series["name"] for series in data["charts"][0]["series"]] == ["left in place", "chosen"]
    (table,) = data["tables"]
    assert [row[0].strip() for row in table["rows"]] == ["one", "two"]
    assert data["before"]["totals"]["parameters"] == model.count_params()
    assert data["after"] is None
    ks.ChannelPlan({"one_a": [0, 1, 2]}).save("plan.json")
    for command, rows in (
        (("blocks", "model.keras"), 3),
        (("inspect", "model.keras", "--layers"), len(model.layers)),
        (("explain", "model.keras", "--pass", "FoldBatchNorm"), 0),
        (("explain", "model.keras", "--pass", "PruneChannels", "--set", "ratio=0.5"), 1),
        (("plan", "show", "model.keras", "plan.json"), 1),
        (("compare", "model.keras", "model.keras"), 1),
    ):
        done = run(*command, "--report", "it.html", "--overwrite")
        assert done.code == 0, done.err
        data = page("it.html")
        assert sum(len(table["rows"]) for table in data["tables"]) >= rows, command
        assert (data["after"] is not None) == (command[0] == "compare")
        assert len(data["before"]["nodes"]) == len(model.layers)
        written = run(*command, "--report", "it.json", "--json", "--overwrite")
        assert json.loads(Path("it.json").read_text()) == written.json
        assert run(*command, "--report", "it.html").code == 2  # it is there already
        assert "suffix" in run(*command, "--report", "it.png").err
