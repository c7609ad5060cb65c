"""``kerasurgeon convert``: old files become new ones that compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from tests.cli.conftest import Run
from tests.keras_io.checkpoints import write_checkpoint
from tests.keras_io.keras2_files import write_h5
from tests.keras_io.test_keras2 import old_lstm, plain_cnn, with_function


def test_an_old_file_becomes_a_new_one(run: Run) -> None:
    config, weights, (x,), expected = old_lstm()
    write_h5(Path("old.h5"), config, weights, version="2.2.4")
    document = run("convert", "old.h5", "new.keras", "--json").json
    assert [item.split(":")[0] for item in document["changes"]] == [
        "layer 'activation_1'",
        "layer 'lstm_1'",
        "layer 'dense_1'",
    ]
    new = keras.saving.load_model("new.keras")
    np.testing.assert_allclose(np.asarray(new(x)), expected(x), rtol=2e-5, atol=2e-6)
    # The other commands read it, too.
    assert run("inspect", "old.h5", "--json").json["cost"]["parameters"] == new.count_params()

    config, weights, (x,), expected = plain_cnn()
    Path("model.json").write_text(json.dumps({**config, "keras_version": "2.8.0"}))
    write_h5(Path("weights.h5"), None, weights, alone=True)
    run("convert", "model.json", "other.keras", "--weights", "weights.h5")
    found = keras.saving.load_model("other.keras")(x)
    np.testing.assert_allclose(np.asarray(found), expected(x), rtol=2e-5, atol=2e-6)


def test_what_cannot_be_converted_is_said(run: Run) -> None:
    write_h5(Path("old.h5"), with_function(), {"dense": [("k", np.ones((3, 2))), ("b", np.ones(2))]})
    refused = run("convert", "old.h5", "new.keras")
    assert refused.code == 1
    assert "'squared' has Python code of its own" in refused.err
    assert "--unsafe" in refused.err
    assert not Path("new.keras").exists()
    Path("model.json").write_text("{}")
    assert "needs its weights" in run("convert", "model.json", "new.keras").err
    Path("saved").mkdir()
    Path("saved/saved_model.pb").write_bytes(b"\x08\x01")
    assert "kerasurgeon convert" in run("convert", "saved", "new.keras").err


def test_weights_come_from_a_checkpoint(run: Run) -> None:
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="scores")], name="net")
    network.save("net.keras")
    kernel = np.arange(6, dtype="float32").reshape(3, 2)
    write_checkpoint(Path("model.ckpt-9"), {"head/fc/weights": kernel, "head/fc/biases": np.ones(3, "float32")})
    command = ("convert", "net.keras", "new.keras", "--checkpoint", "model.ckpt-9")
    refused = run(*command)
    assert refused.code == 1
    assert "--rename PATTERN=NAME" in refused.err
    assert not Path("new.keras").exists()
    refused = run(*command, "--rename", "fc=scores")
    assert "scores/bias: is (2,), head/fc/biases in the checkpoint is (3,)" in refused.err
    assert "--partial" in refused.err
    said = run(*command, "--rename", "fc=scores", "--partial")
    assert said.code == 0, said.err
    assert "1 of 2 variables were read" in said.out
    np.testing.assert_array_equal(keras.saving.load_model("new.keras").get_layer("scores").get_weights()[0], kernel)
    document = run(*command, "--rename", "fc=scores", "--partial", "--overwrite", "--json").json
    assert [row["status"] for row in document["checkpoint"]["variables"]] == ["read", "shape"]
    for wrong, word in (
        (("--scope", "head"), "does nothing without --checkpoint"),
        (("--checkpoint", "model.ckpt-9", "--rename", "fc"), "PATTERN=NAME"),
        (("--checkpoint", "model.ckpt-9", "--rename", "(=a"), "no regular expression"),
    ):
        refused = run("convert", "net.keras", "other.keras", *wrong)
        assert (refused.code, word in refused.err) == (2, True), refused.err
