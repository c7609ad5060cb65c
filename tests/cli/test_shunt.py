"""``kerasurgeon shunt``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tomli_w

from kerasurgeon.workflows.procedure import Procedure, RunFolder
from tests.cli.conftest import SCRIPT, Run
from tests.procedure import tiny

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("train_original.epochs=1", "train_shunt.run=false", "train_final.run=false", "quotients.run=false")


@pytest.fixture
def recipe(folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps({**tiny.RECIPE, "latency": {"run": False}}))
    return path


ALLOW = ("--allow-import", "tests")


def settings(*changes: str) -> list[str]:
    return [*ALLOW, *(part for change in (*SHORT, *changes) for part in ("--set", change))]


@pytest.mark.usefixtures("untraced")
def test_a_run_and_its_end_again(run: Run, recipe: Path) -> None:
    done = run("shunt", "--recipe", recipe, "--folder", "one", *settings("name=mine", "data.samples=24"), "--json")
    assert done.code == 0, done.err
    assert done.json["name"] == "mine"
    assert done.json["folder"] == "one"
    assert done.json["macs_saved"] > 0.3
    assert RunFolder(Path("one")).recipe().arguments["data"]["samples"] == 24
    again = run("shunt", "--folder", "one", *ALLOW, "--report", "one.html")
    assert again.code == 0, again.err
    assert "original: loss" in Path("one.html").read_text()
    taken = run("shunt", "--folder", "one", *ALLOW, "--report", "one.html")
    assert "--overwrite" in taken.err
    assert "shunts inserted, untrained" in again.out
    assert "after training" not in again.out  # neither training was to be done
    assert "of the MACs" in again.out


def test_an_interruption_says_how_to_go_on(run: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Procedure, "run", interrupted)
    done = run("shunt", "--recipe", recipe, "--folder", "two", *ALLOW, "--unsafe")
    assert done.code == 130
    assert "kerasurgeon shunt --folder two --allow-import tests --unsafe" in done.err
    named = run("shunt", "--recipe", recipe, *ALLOW, "--report", "a page.html")
    assert "kerasurgeon shunt --folder runs/" in named.err
    assert named.err.rstrip().endswith("--report 'a page.html'")


@pytest.mark.sweep
def test_control_c_leaves_what_can_be_gone_on_with(folder: Path, recipe: Path) -> None:
    long = settings("train_original.epochs=100000")
    process = subprocess.Popen(
        [SCRIPT, "shunt", "--recipe", recipe, "--folder", "run", *long],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        text=True,
        # A process that was started in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = folder / "run" / "output.log"
    deadline = time.monotonic() + 1500  # only so that it ends at all
    while not (log.exists() and "epoch 2 of" in log.read_text()):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 130
    assert "To go on: kerasurgeon shunt --folder run" in err
    assert "Traceback" not in err
    assert list(RunFolder(folder / "run").done()) == ["data", "original"]
    assert "interrupted in step train_original" in log.read_text()
    assert json.loads((folder / "run" / "state.json").read_text())["steps"].keys() == {"data", "original"}


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ([], ["nothing to do", "--recipe FILE"]),
        (["--recipe", "none.toml"], ["does not exist", "recipe.toml"]),
        (["--recipe", "recipe.toml", "--set", "seed"], ["KEY=VALUE"]),
        (["--recipe", "recipe.toml", "--set", "train_final.epoch=3"], ["no key 'epoch'", "'epochs'"]),
        (["--recipe", "recipe.toml", "--set", "seed=x"], ["'seed' cannot be 'x'"]),
        (["--folder", "empty"], ["holds no run"]),
        (["--folder", "empty", "--set", "seed=1"], ["add --recipe FILE"]),
        (["--recipe", "recipe.toml", "--folder", "full", *ALLOW], ["not empty"]),
        (
            ["--recipe", "recipe.toml"],
            ["data.name", "'tests.procedure.tiny:blobs' may not be imported", "--allow-import tests"],
        ),
    ],
)
def test_mistakes(run: Run, recipe: Path, folder: Path, arguments: list[str], messages: list[str]) -> None:
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    done = run("shunt", *arguments)
    assert done.code == 2
    for message in messages:
        assert message in done.err
    assert not (folder / "runs").exists()
