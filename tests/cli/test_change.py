"""``kerasurgeon change``: one command for other inputs, classes and vocabularies."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

import kerasurgeon as ks
from tests.cli.conftest import Run


def test_input_and_classes_at_once(run: Run, models: Path) -> None:
    arguments = ("change", models / "small.keras", "-o", "new.keras", "--input", "any,any,1", "--classes", "6")
    document = run(*arguments, "--keep-classes", "3,1", "--save-recipe", "again.toml", "--json").json
    new, old = keras.saving.load_model("new.keras"), keras.saving.load_model(models / "small.keras")
    x = np.random.default_rng(0).normal(size=(2, 12, 8, 1)).astype("float32")
    assert new.input_shape == (None, None, None, 1)
    whole = ks.change_input(old, (None, None, 3))
    np.testing.assert_allclose(
        np.asarray(new(x))[:, :2], np.asarray(whole(np.repeat(x, 3, -1)))[:, [3, 1]], rtol=1e-4, atol=1e-5
    )
    assert [item["name"] for item in document["report"]["passes"]] == ["ChangeInput", "ChangeClasses"]
    assert run("compress", models / "small.keras", "-o", "again.keras", "--recipe", "again.toml").code == 0
    for one, other in zip(keras.saving.load_model("again.keras").get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ids(run: Run) -> None:
    ids = keras.Input((5,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4, name="words")(ids))
    keras.Model(ids, keras.layers.Dense(2)(x)).save("words.keras")
    Path("used.txt").write_text("0\n8\n3\n")
    done = run("change", "words.keras", "-o", "new.keras", "--keep-ids", "used.txt", "--save-ids", "ids.json")
    assert done.code == 0, done.err
    assert ks.KeptIds.load("ids.json").ids == (0, 8, 3)
    assert keras.saving.load_model("new.keras").get_layer("words").input_dim == 3


def test_nothing_to_do_and_wrong_shapes(run: Run, models: Path) -> None:
    assert "Nothing to do" in run("change", models / "small.keras", "-o", "new.keras").err
    wrong = run("change", models / "small.keras", "-o", "new.keras", "--input", "8,8,-1")
    assert wrong.code == 2
    assert "96,96,1" in wrong.err
