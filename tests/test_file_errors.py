"""What the operating system refuses comes as an error of the library: which file, why, what to do. Nothing is left."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon import passes
from kerasurgeon.morphnet.records import write_records as write_structures
from kerasurgeon.morphnet.structure import read_structure
from kerasurgeon.report.pictures import Curve, plot_curves
from kerasurgeon.workflows.data import segmentation_records, write_records
from kerasurgeon.workflows.procedure import RunFolder
from kerasurgeon.workflows.procedure.plot import read_curves
from kerasurgeon.workflows.tuner.trials import TrialRow, Trials
from tests.procedure import tiny
from tests.recover.networks import bridged, images, residual

DATA = images(16)
WIDE = 60_000
"""Bytes that no file may have where a disk is said to be full: less than any of these writers wants."""


class Given:
    """What is written: each file is larger than ``WIDE`` where it can be."""

    def __init__(self) -> None:
        self.model = residual(1)
        self.student, self.bridge = bridged(self.model)
        x = inputs = keras.Input((64,), name="in")
        for number in range(2):
            x = keras.layers.Dense(128, activation="relu", name=f"dense{number}")(x)
        self.large = keras.Model(inputs, keras.layers.Dense(64, name="out")(x), name="large")
        self.factors = ks.Pipeline([passes.Factorise(method="svd", ratio=0.9, only_if_cheaper=False)]).run(self.large)
        self.quotients = ks.knowledge_quotients(self.model, data=DATA)
        row = TrialRow("x" * WIDE, None, None, None, None, None, None, None, "COMPLETED", "")
        self.trials = Trials((row,), "params", 1.0)


@pytest.fixture(scope="module")
def given() -> Given:
    return Given()


def curves(path: Path) -> None:
    rng = np.random.default_rng(0)
    plot_curves([Curve("final", "loss", tuple(rng.random(4000)), ()) for _ in range(8)], path)


def records(path: Path) -> None:
    rng = np.random.default_rng(0)
    write_records(path, rng.integers(0, 256, (2, 160, 160, 3), "uint8"), np.zeros((2, 160, 160), "uint8"))


def widths(given: Given, folder: Path) -> None:
    write_structures(ks.MorphNet(keras.models.clone_model(given.model)), folder, 0)


Act = Callable[[Given, Path], Any]
BIG = "note" * WIDE
# What writes a file at a path; the suffix that it has.
FILES: dict[str, tuple[Act, str]] = {
    "export .keras": (lambda given, path: ks.export(given.large, path), ".keras"),
    "export .tflite": (lambda given, path: ks.export(given.large, path), ".tflite"),
    "export .onnx": (lambda given, path: ks.export(given.large, path), ".onnx"),
    "ChannelPlan": (lambda given, path: ks.ChannelPlan({"a": [0]}, note=BIG).save(path), ".json"),
    "BlockPlan": (lambda given, path: ks.BlockPlan(note=BIG).save(path), ".json"),
    "FactorPlan": (lambda given, path: given.factors.report.passes[0].plans[0].save(path), ".json"),
    "Quotients": (lambda given, path: ks.Quotients(BIG, 1.0, 1, 1).save(path), ".json"),
    "Recipe": (lambda given, path: ks.Recipe((("Simplify", {}),), versions={"x": BIG}).save(path), ".toml"),
    "plot of quotients": (lambda given, path: given.quotients.plot(path), ".png"),
    "plot of curves": (lambda given, path: curves(path), ".svg"),
    "trials": (lambda given, path: given.trials.to_csv(path), ".csv"),
    "records": (lambda given, path: records(path), ".tfrecord"),
    "log of quotients": (lambda given, path: ks.knowledge_quotients(given.model, data=DATA, log=path), ".json"),
    "log of a search": (
        lambda given, path: ks.apply_passes(
            given.large, [passes.Factorise(max_accuracy_loss=0.5, evaluations=2, search_log=str(path))],
            evaluate=lambda model: 1.0,
        ),
        ".json",
    ),
}  # fmt: skip
SMALL = {"plot of quotients", "log of quotients", "log of a search"}
"""Files that are small whatever is in them."""

# What writes files in a folder.
FOLDERS: dict[str, Act] = {
    "fine_tune": lambda given, path: ks.fine_tune(
        given.large, (np.zeros((8, 64)), np.zeros((8, 64))), loss="mse", metrics=None, epochs=1, folder=path, verbose=0
    ),
    "train_bridges": lambda given, path: ks.train_bridges(
        given.model,
        given.student,
        given.bridge,
        np.zeros((200, 6, 6, 3)),
        cache="disk",
        epochs=1,
        folder=path,
        verbose=0,
    ),
    "procedure": lambda given, path: ks.Procedure.from_recipe(
        tiny.RECIPE, allow="tests", changes={"original.width": 64, "train_original.run": False}
    ).run(path),
    "morphnet": widths,
}

READS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "ChannelPlan": (ks.ChannelPlan.load, ".json"),
    "BlockPlan": (ks.BlockPlan.load, ".json"),
    "FactorPlan": (ks.FactorPlan.load, ".json"),
    "Quotients": (ks.Quotients.load, ".json"),
    "structure": (read_structure, ""),
    "recipe": (ks.Pipeline.from_recipe, ".toml"),
    "procedure": (ks.Procedure.from_recipe, ".toml"),
    "run": (ks.Procedure.resume, ""),
    "run folder": (RunFolder.open, ""),
    "curves": (read_curves, ""),
    ".keras": (ks.open_runner, ".keras"),
    ".h5": (ks.open_runner, ".h5"),
    ".tflite": (ks.open_runner, ".tflite"),
    ".onnx": (ks.open_runner, ".onnx"),
    "records": (lambda path: segmentation_records(path, path, classes=2, size=16), ".tfrecord"),
    "ApplyPlan": (lambda path: ks.apply_passes(residual(1), [passes.ApplyPlan(str(path))]), ".json"),
    "ReconstructWidths": (lambda path: ks.apply_passes(residual(1), [passes.ReconstructWidths(str(path))]), ".json"),
}


def said(caught: pytest.ExceptionInfo[ks.KerasurgeonError], path: Path) -> str:
    """The error's text, which names the file and says what to do."""
    text = str(caught.value)
    assert str(path)[:150] in text
    assert "what to do" in text or "expected" in text
    return text


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file may become larger, as on a disk that is full: whoever writes more is told so by the system."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.parametrize("what", sorted(FILES))
def test_files_that_cannot_be_written(what: str, given: Given, tmp_path: Path) -> None:
    act, suffix = FILES[what]
    (tmp_path / f"folder{suffix}").mkdir()
    for path, part in (
        (tmp_path / f"{'x' * 300}{suffix}", "File name too long"),
        (tmp_path / "none" / f"it{suffix}", "mkdir -p"),
        (tmp_path / f"folder{suffix}", "directory"),
    ):
        with pytest.raises(ks.KerasurgeonError) as caught:
            act(given, path)
        assert part in said(caught, path)
    assert [item.name for item in tmp_path.iterdir()] == [f"folder{suffix}"]


@pytest.mark.parametrize("what", sorted(FILES.keys() - SMALL))
def test_a_disk_that_fills_leaves_the_old_file(what: str, given: Given, tmp_path: Path) -> None:
    act, suffix = FILES[what]
    path = tmp_path / f"it{suffix}"
    path.write_bytes(b"old")
    with small_files(WIDE), pytest.raises(ks.FileError) as caught:
        act(given, path)
    text = said(caught, tmp_path / "it")
    assert "File too large" in text
    assert "make room" in text
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("what", sorted(FOLDERS))
def test_folders_that_cannot_be_written(what: str, given: Given, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, part in (
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "file" / "it", "is no folder"),
    ):
        with pytest.raises(ks.KerasurgeonError) as caught:
            FOLDERS[what](given, path)
        assert part in said(caught, path)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("what", sorted(FOLDERS.keys() - {"morphnet"}))
def test_a_disk_that_fills_in_a_folder(what: str, given: Given, tmp_path: Path) -> None:
    with small_files(20_000), pytest.raises(ks.FileError) as caught:
        FOLDERS[what](given, tmp_path / "run")
    assert "File too large" in said(caught, tmp_path / "run")
    for item in (tmp_path / "run").rglob("*"):
        assert item.name[0] != "."
        assert item.suffix not in (".keras", ".h5", ".npz", ".npy"), "half a file"


@pytest.mark.parametrize("what", sorted(READS))
def test_files_that_cannot_be_read(what: str, tmp_path: Path) -> None:
    act, suffix = READS[what]
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (
        tmp_path / f"{'x' * 300}{suffix}",
        tmp_path / "none" / f"it{suffix}",
        tmp_path / f"it{suffix}",
        tmp_path / f"folder{suffix}",
    ):
        with pytest.raises(ks.KerasurgeonError) as caught:
            act(path)
        said(caught, path)
