"""``kerasurgeon convert``: old files become new ones that compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from tests.cli.conftest import Run
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
