"""Large .keras files, written and read through files on disk: what Keras writes and reads."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.keras_io import large_files


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_files, "LARGE", 0)


def trained() -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 4)), rng.normal(size=(8, 2)), verbose=0)
    return model


def members(path: Path) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info.compress_type for info in archive.infolist()}


def test_the_file_is_keras_own(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "keras.keras")
    large_files.save_keras(model, tmp_path / "ours.keras")
    assert members(tmp_path / "ours.keras") == members(tmp_path / "keras.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keras.keras", "ours.keras"]
    for read in (keras.saving.load_model, ks.load_model):
        again = read(tmp_path / "ours.keras")
        for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        for one, two in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_what_layers_keep_in_files_of_their_own(tmp_path: Path) -> None:
    words = keras.layers.StringLookup()
    words.adapt(["cat", "cat", "dog"])
    words_in = keras.Input((1,), dtype="string")
    model = keras.Model(words_in, keras.layers.Embedding(3, 2)(words(words_in)))
    large_files.save_keras(model, tmp_path / "words.keras")
    assert any(name.startswith("assets/") for name in members(tmp_path / "words.keras"))
    asked = keras.ops.convert_to_tensor([["dog"], ["cow"]], dtype="string")
    np.testing.assert_array_equal(ks.load_model(tmp_path / "words.keras")(asked), model(asked))


def test_export_leaves_nothing_beside_its_file(tmp_path: Path) -> None:
    ks.export(trained(), tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_no_room_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    model.save(tmp_path / "model.keras")

    def full(target: Path) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(large_files, "hidden", full)
    with large_files.as_keras_takes_it(tmp_path / "model.keras") as source:
        assert source == tmp_path / "model.keras"
    assert len(ks.load_model(tmp_path / "model.keras").layers) == 2


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "more.txt"])
def test_an_archive_that_holds_anything_else_is_left_to_keras(name: str, tmp_path: Path) -> None:
    trained().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.writestr(name, "text")
    with large_files.as_keras_takes_it(tmp_path / "model.keras") as source:
        assert source == tmp_path / "model.keras"


def test_an_archive_whose_files_are_compressed_is_left_to_keras(tmp_path: Path) -> None:
    trained().save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as stored,
        zipfile.ZipFile(tmp_path / "small.keras", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with large_files.as_keras_takes_it(tmp_path / "small.keras") as source:
        assert source == tmp_path / "small.keras"


def test_the_folder_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trained().save(tmp_path / "model.keras")
    with large_files.as_keras_takes_it(tmp_path / "model.keras") as source:
        assert (source / "model.weights.h5").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_large_weights_are_not_drawn_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kerasurgeon.keras_io import injection

    model = trained()
    model.save(tmp_path / "model.keras")
    monkeypatch.setattr(injection, "_LARGE", 6)
    drawn: list[Any] = []
    draw = keras.initializers.GlorotUniform.__call__

    def noted(self: Any, shape: Any, dtype: Any = None, **options: Any) -> Any:
        drawn.append(tuple(shape))
        return draw(self, shape, dtype, **options)

    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", noted)
    again = ks.load_model(tmp_path / "model.keras")
    assert drawn == ([] if keras.backend.backend() == "tensorflow" else [(4, 3), (3, 2)])
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    keras.layers.Dense(9)(keras.Input((9,)))
    assert drawn[-1:] == [(9, 9)]  # elsewhere they are
