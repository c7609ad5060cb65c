"""Kill the commands at random moments, as ``kill -9`` does, and look at what is left: the table in docs/files.md.

    uv run --all-extras python benchmarks/kills.py [--moments 20] [--seed 0] [--only tucker] [--write docs]

Each command runs once undisturbed. Then, again and again, it runs in a folder of its own, is killed at a moment drawn
evenly from the time that it took, and runs a second time. Every second folder holds old files under the names that are
written to, which may be replaced. Looked at:

* after the kill: whether each file under a final name is the old one, or the undisturbed run's, to the last number;
* after the second run: whether all is there as the undisturbed run left it, and nothing hidden, here or in the folder
  for temporary files;
* in logs that are gone on with: whether anything was done twice that the log said was done.

Processes are forked from one that has imported TensorFlow, so that moments are those of the work and not of imports.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kerasurgeon.atomic import write_text

HEADS = ("command", "takes", "killed", "whole files", "half", "hidden", "same again", "hidden then", "done twice")
OLD = b"the file of an earlier run"
RECIPE = '[[pass]]\nname = "FoldBatchNorm"\n\n[[pass]]\nname = "PruneChannels"\nratio = 0.3\n'
SHUNT = {
    "seed": 3,
    "train_original": {"epochs": 2, "batch_size": 16},
    "quotients": {"run": True, "samples": 32},
    "shunt": {"regions": "stem->block"},
    "train_shunt": {"epochs": 2, "batch_size": 16},
    "train_final": {"epochs": 2, "batch_size": 16, "dark_knowledge": {"temperature": 2.0}},
    "latency": {"run": False},
}


@dataclass(frozen=True)
class Command:
    """A command to be killed.

    Attributes:
        arguments: Its arguments; ``{g}`` is the folder of what it is given. Empty for the procedure, which is called
            as ``kerasurgeon shunt`` calls it, with data and network of our own.
        files: What it writes under final names.
        overwrite: Whether it is told to replace what is there.
        twice: Of the folder after the second run: what was done that was done already.
    """

    arguments: str
    files: tuple[str, ...]
    overwrite: bool = True
    twice: Callable[[Path], int] = lambda _: 0


def rows_twice(name: str, key: str, *parts: str) -> Callable[[Path], int]:
    """Entries of a log that are there more than once."""

    def count(folder: Path) -> int:
        rows = [json.dumps([row[part] for part in parts]) for row in json.loads((folder / name).read_text())[key]]
        return len(rows) - len(set(rows))

    return count


def steps_twice(folder: Path) -> int:
    """Steps of a run that its log says are done more than once, and epochs that a history has more than once."""
    done = re.findall(r"(\w+) done in", (folder / "run" / "output.log").read_text())
    epochs = 0
    for history in (folder / "run" / "histories").glob("*.csv"):
        numbers = [line.split(",")[0] for line in history.read_text().splitlines()[1:]]
        epochs += len(numbers) - len(set(numbers))
    return len(done) - len(set(done)) + epochs


COMMANDS = {
    "compress": Command(
        "compress {g}/small.keras -r {g}/recipe.toml -o a.keras -o a.tflite --report r.json --save-recipe r.toml",
        ("a.keras", "a.tflite", "r.json", "r.toml"),
    ),
    "tucker": Command(
        "tucker {g}/small.keras -o a.keras --method fixed-loss --max-acc-loss 0.3 --data {g}/images.npy "
        "--labels {g}/labels.npy --search-log log.json --save-factors f.npz",
        ("a.keras", "f.json", "f.npz", "log.json"),
        twice=rows_twice("log.json", "trials", "picks"),
    ),
    "blocks": Command(
        "blocks {g}/small.keras --data {g}/images.npy --labels {g}/labels.npy --method drop,affine,projection "
        "--log log.json --plot q.png",
        ("log.json", "q.png"),
        twice=rows_twice("log.json", "rows", "region", "method"),
    ),
    "shunt": Command(
        "",
        (
            *("run/recipe.toml", "run/state.json", "run/quotients.json", "run/shunts.json", "run/summary.json"),
            *(f"run/models/{name}.keras" for name in ("original", "trained", "shunted", "inserted", "final")),
            *("run/histories/original.csv", "run/histories/final.csv"),
        ),
        overwrite=False,
        twice=steps_twice,
    ),
    "morphnet": Command(
        "morphnet -m {g}/small.keras --records {g}/own.npz --epochs 2 --batch-size 16 --tuning-epochs 1 -o run",
        ("run/morphnet.keras", "run/small.keras", "run/plan.json", "run/results.json", "run/learned_structure/alive_0"),
    ),
    "export": Command(
        "export {g}/small.keras -o a.keras -o a.tflite -o a.onnx --quantize int8 --calibration {g}/images.npy",
        ("a.keras", "a.tflite", "a.onnx"),
    ),
}
RESUMED = {"log.json"}
"""Files that are gone on with: at a kill they hold what was done until then."""


@dataclass
class Row:
    """What came of one command.

    Attributes:
        seconds: How long it takes undisturbed.
        killed: Runs that were killed before they had ended.
        whole: Files that were there after a kill and were whole.
        half: Files that were not, and what they were.
        hidden: Hidden folders after kills.
        same: Second runs that ended as the undisturbed one.
        left: Hidden folders after second runs.
        twice: What was done twice.
        faults: What was wrong, in words.
    """

    seconds: float
    killed: int = 0
    whole: int = 0
    half: int = 0
    hidden: int = 0
    same: int = 0
    left: int = 0
    twice: int = 0
    faults: list[str] = field(default_factory=list)


# Processes.


def forked(work: Callable[[], Any], folder: Path, log: Path) -> int:
    """Do some work in a process of its own, in a folder, with its output in a file."""
    temporary = folder.with_name(f"{folder.name}.tmp")
    temporary.mkdir(exist_ok=True)
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(folder)
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        work()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def ended(process: int, seconds: float | None = None) -> int | None:
    """Wait for a process; ``None`` if it has not ended after some seconds. Its exit status, or minus the signal."""
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, 0 if until is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if until is not None and time.monotonic() >= until:
            return None
        time.sleep(0.002)


def run(command: Command, given: Path, *, overwrite: bool) -> Callable[[], Any]:
    """The command line, as the installed script calls it."""

    def work() -> None:
        from kerasurgeon.cli import main

        if not command.arguments:
            return shunt(given)
        sys.argv = ["kerasurgeon", *command.arguments.format(g=given).split(), *(["--overwrite"] if overwrite else [])]
        return main()

    return work


def shunt(given: Path) -> None:
    """The shunt procedure, gone on with where there is a run."""
    import keras

    from kerasurgeon.workflows.data import data_set
    from kerasurgeon.workflows.procedure import Procedure

    images, labels = np.load(given / "images.npy"), np.load(given / "labels.npy")
    functions = {
        "data": lambda run: data_set((images, labels), (images, labels), classes=4),
        "original": lambda run: keras.saving.load_model(given / "small.keras"),
    }
    Procedure.from_recipe(SHUNT, functions=functions).run("run")


# What files hold.


def fingerprint(path: Path) -> str:
    """What a file holds, but for times and the folder; words for a file that is broken."""
    try:
        if path.suffix == ".keras":
            return _of_model(path)
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return _digest({key: arrays[key].tobytes() for key in arrays.files})
        if path.suffix == ".json":
            return _digest(_without_times(json.loads(path.read_text())))
        if path.suffix == ".png":
            return "a picture" if path.read_bytes()[-8:-4] == b"IEND" else "broken: no end"
        return _digest(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - whatever a reader says of half a file
        return f"broken: {type(error).__name__}: {error}"


def _of_model(path: Path) -> str:
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        found["config"] = archive.read("config.json")
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as weights:
            weights.visititems(
                lambda name, it: found.update({name: it[()].tobytes()}) if hasattr(it, "shape") else None
            )
    return _digest(found)


def _without_times(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_times(value) for key, value in data.items() if "seconds" not in key and "ms" not in key}
    return [_without_times(item) for item in data] if isinstance(data, list) else data


def _digest(data: Any) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else repr(data).encode()).hexdigest()[:16]


def hidden_in(folder: Path) -> list[Path]:
    """What the library has hidden, here and in the folder for temporary files, where ONNX Runtime keeps a `.ses`."""
    places = (folder, folder.with_name(f"{folder.name}.tmp"))
    found = [path for place in places for path in place.rglob(".*") if path.parent.suffix != ".kerasurgeon"]
    return [path for path in found if path.name != ".ses"]


# One command.


def tried(name: str, given: Path, place: Path, moments: int, seed: int) -> Row:
    """Run a command undisturbed, then kill it at some moments."""
    command, rng = COMMANDS[name], random.Random(f"{seed} {name}")
    whole = place / f"{name}-whole"
    whole.mkdir()
    started = time.monotonic()
    status = ended(forked(run(command, given, overwrite=command.overwrite), whole, place / f"{name}.log"))
    if status != 0:
        raise SystemExit(f"{name} does not run:\n{(place / f'{name}.log').read_text()[-3000:]}")
    row = Row(time.monotonic() - started)
    wanted = {file: fingerprint(whole / file) for file in command.files}
    for number in range(moments):
        folder = place / f"{name}-{number}"
        folder.mkdir()
        log, old = place / f"{name}-{number}.log", number % 2 == 1 and command.overwrite
        for file in command.files if old else ():
            if file not in RESUMED:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(OLD)
        process = forked(run(command, given, overwrite=command.overwrite), folder, log)
        if ended(process, rng.uniform(0, row.seconds)) is None:
            os.kill(process, signal.SIGKILL)
            ended(process)
            row.killed += 1
        look(row, folder, command, wanted, old=old, moment=f"{name}, moment {number}")
        status = ended(forked(run(command, given, overwrite=command.overwrite), folder, log))
        again = {file: fingerprint(folder / file) for file in command.files}
        if status == 0 and again == wanted:
            row.same += 1
        else:
            different = [file for file in wanted if again[file] != wanted[file]]
            row.faults.append(f"{name}, moment {number}: status {status}, other than undisturbed: {different}")
        left = hidden_in(folder)
        row.left += len(left)
        row.faults += [f"{name}, moment {number}: {path} is left" for path in left]
        row.twice += command.twice(folder)
        for used in (folder, folder.with_name(f"{folder.name}.tmp")):
            shutil.rmtree(used)
    return row


def look(row: Row, folder: Path, command: Command, wanted: dict[str, str], *, old: bool, moment: str) -> None:
    """What a kill has left."""
    row.hidden += len([path for path in hidden_in(folder) if path.suffix == ".kerasurgeon"])
    known = {*command.files}
    for file in command.files:
        path = folder / file
        if not path.exists():
            if old and file not in RESUMED:
                row.faults.append(f"{moment}: the old {file} is gone")
            continue
        found = fingerprint(path)
        grows = file in RESUMED or file.endswith(("state.json", ".csv", "quotients.json"))
        good = found == wanted[file] or (old and path.read_bytes() == OLD) or (grows and not found.startswith("broken"))
        row.whole += good
        row.half += not good
        if not good:
            row.faults.append(f"{moment}: {file} is {found}, {path.stat().st_size} bytes")
    for path in folder.iterdir():
        if path.is_file() and path.name not in known and path.name[0] != ".":
            row.faults.append(f"{moment}: {path.name} is there")


# What commands are given.


def prepare(given: Path) -> None:
    """A small network that has learned nothing, and data."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.random((48, 12, 12, 3), dtype=np.float32)
    x = inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(y))
    x = layers.GlobalAveragePooling2D()(layers.Add(name="block")([x, y]))
    model = keras.Model(inputs, layers.Dense(4, name="scores")(x), name="small")
    labels = np.asarray(model(images)).argmax(-1)  # an accuracy of 1 to begin with
    model.save(given / "small.keras")
    np.save(given / "images.npy", images)
    np.save(given / "labels.npy", labels)
    parts = {"train": images, "test": images[:8]}
    arrays: dict[str, Any] = {f"{part}_images": found for part, found in parts.items()}
    arrays |= {f"{part}_labels": np.arange(len(found)) % 4 for part, found in parts.items()}
    np.savez(given / "own.npz", **arrays)
    (given / "recipe.toml").write_text(RECIPE)


def table(rows: dict[str, Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    for name, row in rows.items():
        counts = (row.killed, row.whole, row.half, row.hidden, row.same, row.left, row.twice)
        lines.append(f"| {name} | {row.seconds:.1f} s | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table; with ``--write``, put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--write", type=Path, metavar="DIR", help="put the table into DIR/files.md")
    options = parser.parse_args()
    from kerasurgeon.quiet import silence_tensorflow_startup

    silence_tensorflow_startup()
    import tensorflow  # noqa: F401 - before the forks

    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        given = place / "given"
        given.mkdir()
        if ended(forked(lambda: prepare(given), given, place / "prepare.log")):
            raise SystemExit((place / "prepare.log").read_text())
        for command in options.only:
            rows[command] = tried(command, given, place, options.moments, options.seed)
            print(table({command: rows[command]}).splitlines()[-1], *rows[command].faults, sep="\n", flush=True)
    text = table(rows)
    print(text)
    if options.write:
        page = options.write / "files.md"
        before, _, after = page.read_text().partition("<!-- kills -->\n")
        end = after.partition("<!-- end of kills -->\n")[2] or after
        write_text(page, f"{before}<!-- kills -->\n{text}\n<!-- end of kills -->\n{end}")
    sys.exit(any(row.faults for row in rows.values()))


if __name__ == "__main__":
    main()
