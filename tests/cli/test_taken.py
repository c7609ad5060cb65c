"""Files that another process puts in place while a command works: they stay, and the command says where its own are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasurgeon import atomic
from kerasurgeon.hidden import alone
from tests.cli.conftest import Run

OTHERS = "the work of another process"
# A command, and a file that it writes. {m} is the directory of models.
WRITES = {
    "a model": ("export {m}/small.keras -o a.keras", "a.keras"),
    "a .tflite": ("export {m}/small.keras -o a.tflite", "a.tflite"),
    "a report": ("compress {m}/small.keras -r {m}/fold.toml -o a.keras --report r.json", "r.json"),
    "a recipe": ("compress {m}/small.keras -r {m}/fold.toml -o a.keras --save-recipe r.toml", "r.toml"),
    "factors": ("tucker {m}/small.keras -o a.keras --save-factors f.npz", "f.npz"),
    "the text of factors": ("tucker {m}/small.keras -o a.keras --save-factors f.npz", "f.json"),
    "a picture": ("blocks {m}/small.keras --data {m}/images.npy --labels labels.npy --plot q.png", "q.png"),
    "curves": ("plot run -o c.png", "c.png"),
    "models in a folder": ("morphnet -m {m}/small.keras --records own.npz --epochs 1 -o out", "out/small.keras"),
    "results in a folder": ("morphnet -m {m}/small.keras --records own.npz --epochs 1 -o out", "out/results.json"),
}


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Another process: just before files are put in place, it puts these there."""
    files: list[Path] = []
    place = atomic._place

    def late(temporaries: Sequence[Path], targets: Sequence[Path], **options: Any) -> None:
        for target in targets:
            if any(target == file.resolve() for file in files) and not target.exists():
                target.write_text(OTHERS)
        place(temporaries, targets, **options)

    monkeypatch.setattr(atomic, "_place", late)
    return files


def inputs(folder: Path) -> None:
    labels = np.arange(32) % 4
    np.save(folder / "labels.npy", labels)
    images = np.random.default_rng(0).random((32, 8, 8, 3), "float32")
    np.savez(folder / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    (folder / "run").mkdir()
    (folder / "run" / "history.csv").write_text("epoch,loss\n0,1.0\n1,0.5\n")


@pytest.mark.spread(3)
@pytest.mark.parametrize("what", WRITES)
def test_it_stays(what: str, run: Run, models: Path, folder: Path, other: list[Path]) -> None:
    command, name = WRITES[what]
    inputs(folder)
    other.append(folder / name)
    done = run(*command.format(m=models).split())
    assert done.code == 1, done.err
    assert done.out == ""
    path = Path(name)
    kept = path.with_name(f"{path.stem}-2{path.suffix}")
    for part in (name, "another process has put a file there", str(kept), "--overwrite"):
        assert part in done.err
    assert path.read_text() == OTHERS
    assert kept.stat().st_size > 0
    assert not list(folder.rglob(".*")), "nothing hidden is left"
    if "-o a.keras" in command and name != "a.keras":
        assert "written before this failed: a.keras" in done.err


def test_with_overwrite_it_goes(run: Run, models: Path, folder: Path, other: list[Path]) -> None:
    other += [folder / name for name in ("a.keras", "r.json", "r.toml")]
    done = run(
        "compress", models / "small.keras", "-r", models / "fold.toml", "-o", "a.keras", "--report", "r.json",
        "--save-recipe", "r.toml", "--overwrite",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert not [item for item in folder.iterdir() if item.read_bytes() == OTHERS.encode()]


@pytest.mark.parametrize("command", ["morphnet --epochs 1 -o out", "shunt --folder out --recipe shunt.toml"])
def test_a_folder_in_which_another_is_at_work(command: str, run: Run, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "shunt.toml").write_text("[original]\nnetwork = 'inverted_bottlenecks'\n[shunt]\nregions = 'block_2'\n")
    with alone(folder / "out"):
        done = run(*command.split())
        assert done.code == 2, done.err
        assert "Another process is at work there" in done.err
    assert not list((folder / "out").iterdir())
