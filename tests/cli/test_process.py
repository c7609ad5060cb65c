"""The installed script as a process: its start, its streams, its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import SCRIPT, Run, clean_environment, save_custom_model

HEAVY = ("keras", "tensorflow", "networkx", "onnxruntime")

# A layer that stops when the file it was written to is being read back: the moment at which most is unfinished.
SLOW_LAYER = """\
import time
from pathlib import Path
import keras

class Custom(keras.layers.Layer):
    def call(self, x):
        if list(Path(".").glob(".out-*/*.keras")):
            Path("waiting").touch()
            time.sleep(60)
        return x
"""


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["passes"], 0),
        (["passes", "Simplify"], 0),
        (["compress", "--help"], 0),
        (["recipe", "new", "Simplify"], 0),
        (["inspect", "none.keras"], 2),
        (["compress", "none.keras", "--bad-option"], 2),
        (["passes", "None"], 2),
    ],
)
def test_what_needs_no_keras_does_not_import_it(arguments: list[str], code: int, folder: Path) -> None:
    program = (
        "import sys; sys.argv = ['kerasurgeon', *sys.argv[1:]]\n"
        "from kerasurgeon.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    code = end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(f'LOADED {loaded} {code or 0}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == f"LOADED [] {code}", done.stderr


def test_tensorflow_is_not_heard(script: Run, models: Path, folder: Path) -> None:
    done = script(
        "compress", models / "small.keras", "-r", models / "fold.toml",
        "-o", "a.keras", "-o", "b.tflite", "-o", "c.onnx", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.err == ""
    assert [Path(item["path"]).name for item in json.loads(done.out)["files"]] == ["a.keras", "b.tflite", "c.onnx"]


@pytest.mark.spread(2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(number: int, folder: Path) -> None:
    save_custom_model(folder / "in.keras", module="slow_layer", source=SLOW_LAYER)
    (folder / "out.keras").write_text("the old file")
    process = subprocess.Popen(
        [SCRIPT, "export", "in.keras", "-o", "out.keras", "-f", "--custom-objects", "slow_layer"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore the signal, and what they start as well.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    _wait_for(folder / "waiting", process)
    assert list(folder.glob(".out-*/*.keras"))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out == ""
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert err.strip() == "Interrupted; no unfinished file was left behind."
    assert not list(folder.glob(".out-*"))
    assert (folder / "out.keras").read_text() == "the old file"


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("arguments", [["passes"], ["passes", "--json"], ["--help"]])
def test_a_reader_that_goes_is_no_error(arguments: list[str], folder: Path) -> None:
    process = subprocess.Popen([SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert err == ""
