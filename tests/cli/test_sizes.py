"""``--sizes`` and ``--unreachable`` of the commands that count or budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.sizes import sizes_of
from tests.cli.conftest import Run


@pytest.fixture
def free(folder: Path) -> keras.Model:
    """A model on images of any size, saved as free.keras."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    for name in ("a", "b"):
        y = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"{name}_conv")(x)
        x = layers.Add(name=f"{name}_add")([x, y])
    model = keras.Model(inputs, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D(name="mean")(x)))
    model.save(folder / "free.keras")
    return model


MACS = 6 * 5 * (27 * 8 + 2 * 72 * 8) + 32
SIZES = ("--sizes", "6,5,3")


def test_what_can_be_written() -> None:
    assert sizes_of(None) is None
    assert sizes_of([]) is None
    assert sizes_of(["224,224,3"]) == (224, 224, 3)
    assert sizes_of(["224x224x3"]) == (224, 224, 3)
    assert sizes_of(["image=6, 5,3", "steps=9"]) == {"image": (6, 5, 3), "steps": (9,)}
    for wrong in (["6,five"], ["6,0"], ["-6"], ["=6,5"], ["6.5"], ["6,5", "7,5"], ["a=6", "a=7"], ["6", "a=7"]):
        with pytest.raises(UsageError, match="--sizes"):
            sizes_of(wrong)


def test_inspect_counts_for_sizes(run: Run, free: keras.Model) -> None:
    done = run("inspect", "free.keras")
    assert done.code == 0, done.err
    assert "32 + ? MACs" in done.out
    done = run("inspect", "free.keras", *SIZES, "--json")
    assert done.json["cost"]["macs"] == MACS
    assert done.json["cost"]["sizes"] == {"image": [6, 5, 3]}
    assert done.json["cost"]["unknown"] == []
    groups = run("inspect", "free.keras", "--sizes", "image=6,5,3", "--groups", "--json").json["groups"]
    assert all(group["macs"] is not None for group in groups)
    wrong = run("inspect", "free.keras", "--sizes", "6,5")
    assert wrong.code == 2
    assert "as many whole numbers" in wrong.err


def test_compress_to_a_budget(run: Run, free: keras.Model, folder: Path) -> None:
    command = ("compress", "free.keras", "-o", "small.keras", "--pass", "PruneChannels", "--set", "macs=0.5")
    done = run(*command)
    assert done.code == 2
    assert "MACs cannot be budgeted" in done.err
    assert "pass --sizes to fix" in done.err
    assert not Path("small.keras").exists()
    done = run(*command, *SIZES, "--save-recipe", "recipe.toml")
    assert done.code == 0, done.err
    assert "costs are counted for inputs of image 6 x 5 x 3" in done.out
    small = keras.saving.load_model("small.keras")
    assert 0.4 * MACS < ks.cost(small, sizes=(6, 5, 3)).macs <= 0.5 * MACS
    again = run("compress", "free.keras", "-o", "again.keras", "--recipe", "recipe.toml", "--json")
    assert again.json["cost"]["macs"]["before"] == MACS
    assert again.json["cost"]["sizes"] == {"image": [6, 5, 3]}
    done = run(*command, "-f", "--set", "unreachable=nearest", *SIZES, "--set", "macs=0.001")
    assert done.code == 0, done.err
    assert "PruneChannels: macs=0.001 cannot be reached" in done.out


def test_explain_and_plans(run: Run, free: keras.Model) -> None:
    done = run("explain", "free.keras", "--pass", "Factorise", "--set", "macs=0.7")
    assert done.code == 2
    done = run("explain", "free.keras", "--pass", "Factorise", "--set", "macs=0.7", *SIZES)
    assert done.code == 0, done.err
    ks.ChannelPlan({"a_conv": 4}).save("plan.json")
    done = run("plan", "show", "free.keras", "plan.json", *SIZES, "--json")
    assert done.json["cost"]["macs"]["before"] == MACS


def test_blocks(run: Run, free: keras.Model) -> None:
    listed = run("blocks", "free.keras", "--json").json
    assert listed["left_out"]["open"] == 3
    assert "sizes are open" in run("blocks", "free.keras").out
    assert run("blocks", "free.keras", *SIZES, "--json").json["macs"] == MACS
    rng = np.random.default_rng(0)
    images: Any = rng.normal(size=(12, 6, 5, 3)).astype("float32")
    np.save("x.npy", images)
    np.save("y.npy", free(images).numpy().argmax(-1))
    command = ("blocks", "free.keras", "--data", "x.npy", "--labels", "y.npy")
    done = run(*command, "--macs", "0.7")
    assert done.code == 2
    assert "MACs cannot be budgeted" in done.err
    done = run(*command, "--macs", "0.6", *SIZES, "--json")
    assert done.code == 0, done.err
    (region,) = done.json["chosen"]["regions"]
    assert region in ("a", "b")
    assert done.json["chosen"]["kept"] == pytest.approx(1 - 6 * 5 * 72 * 8 / MACS)
    done = run(*command, "--macs", "0.01", *SIZES)
    assert done.code == 2
    assert "cannot be reached: the nearest is" in done.err
    done = run(*command, "--macs", "0.01", *SIZES, "--unreachable", "nearest")
    assert done.code == 0, done.err
    assert "macs=0.01 cannot be reached" in done.out
    assert run(*command, "--macs", "0.5", "--unreachable", "near").code == 2


def test_tucker_to_the_nearest(run: Run, free: keras.Model) -> None:
    command = ("tucker", "free.keras", "-o", "small.keras", "--compression-factor", "0.001")
    done = run(*command)
    assert done.code == 2
    assert "compression_factor=0.001 cannot be reached" in done.err
    done = run(*command, "--unreachable", "nearest", *SIZES)
    assert done.code == 0, done.err
    assert "compression_factor=0.001 cannot be reached" in done.out
    assert keras.saving.load_model("small.keras").count_params() < free.count_params()
