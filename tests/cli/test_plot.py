"""``kerasurgeon plot``, and the learning curves that it draws."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from kerasurgeon.errors import MissingExtraError, OptionError
from kerasurgeon.report.pictures import plot_curves
from kerasurgeon.workflows.procedure.plot import read_curves
from tests.cli.conftest import Run

FINAL = "epoch,accuracy,learning_rate,loss,val_loss\n0,0.5,0.1,2.0,3.0\n1,0.75,0.05,1.0,\n"
SHUNT = "epoch,loss,learning_rate\n0,4.0,0.1\n"


@pytest.fixture
def histories(folder: Path) -> Path:
    place = folder / "run" / "histories"
    place.mkdir(parents=True)
    (place / "final.csv").write_text(FINAL)
    (place / "shunt_1.csv").write_text(SHUNT)
    (place / "original.csv").write_text(FINAL)
    going_on = folder / "run" / "training" / "shunt" / "shunt_2"
    going_on.mkdir(parents=True)
    (going_on / "history.csv").write_text(SHUNT)
    return folder / "run"


def test_curves_in_the_order_of_the_procedure(histories: Path) -> None:
    curves = read_curves(histories)
    assert [(curve.training, curve.field) for curve in curves] == [
        ("original", "accuracy"),
        ("original", "loss"),
        ("shunt_1", "loss"),
        ("shunt_2", "loss"),
        ("final", "accuracy"),
        ("final", "loss"),
    ]
    assert curves[1].train == (2.0, 1.0)
    assert curves[1].validation[0] == 3.0
    assert curves[1].validation[1] != curves[1].validation[1], "not a number"
    assert curves[2].validation == ()
    assert [curve.training for curve in read_curves(histories, ["final/loss"])] == ["final"]
    assert len(read_curves(histories, ["val_loss"])) == 4
    assert len(read_curves(histories, ["learning_rate", "loss", "final/loss"])) == 8
    (one,) = read_curves(histories / "training" / "shunt" / "shunt_2")
    assert one.training == "shunt_2"


def test_a_picture(run: Run, histories: Path) -> None:
    done = run("plot", "run", "loss", "accuracy", "-o", "curves.png")
    assert done.code == 0, done.err
    assert "6 curves" in done.out
    assert Path("curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert run("plot", "run", "-o", "curves.png").code == 2
    assert run("plot", "run", "-o", "curves.svg").code == 0
    svg = Path("curves.svg").read_text()
    assert svg.count('id="axes_') == 6


def test_mistakes(run: Run, histories: Path, folder: Path) -> None:
    for arguments, message in (
        (["none"], "no such folder"),
        (["."], "holds no histories"),
        (["run", "los"], "did you mean"),
        (["run", "-o", "curves.txt"], ".png"),
    ):
        done = run("plot", *arguments)
        assert done.code == 2, arguments
        assert message in done.err
    with pytest.raises(OptionError, match="no kind of picture"):
        plot_curves(read_curves(histories), folder / "x.gif")


def test_without_matplotlib(histories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        plot_curves(read_curves(histories), "curves.png")
