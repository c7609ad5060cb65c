"""Random recipes, plans and command lines, right ones and spoilt ones, run in this process.

What is right must work. What is spoilt must end with status 2, or 1 where only the work shows it, and a message: no
traceback, no hang, nothing written, no file changed that was there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tests.fuzz.running import limited

SECONDS = 60
"""After which a command counts as hanging."""

VALUES: dict[str, dict[str, list[Any]]] = {
    "FoldBatchNorm": {},
    "MergeBlocks": {},
    "Simplify": {"training_layers": [True, False], "reshapes": [True, False], "duplicates": [True]},
    "RemoveDeadChannels": {"atol": [0.0, 1e-6]},
    "PruneChannels": {
        "ratio": [0.25, 0.5, {"first": 0.5}],
        "importance": ["l1", "l2", "random", "fpgm"],
        "scope": ["local", "global"],
        "ignore": ["head", ["first"]],
        "round_to": [1, 2, "tflite"],
        "min_channels": [1, 2],
        "max_ratio": [0.9],
        "normalise": ["mean", "none"],
        "shortcuts": ["couple", "scatter"],
        "compensate": ["none", "batch_norm"],
        "exact_only": [True],
        "try_zeros": [True],
        "steps": [1],
    },
    "TuckerSplit": {"energy": [0.5, 0.9], "min_rank": [1, 2], "where": ["second"], "only_if_cheaper": [False]},
    "Factorise": {
        "ratio": [0.5, 1.0],
        "method": ["auto", "svd", "tucker", "spatial"],
        "sweeps": [0, 1],
        "rescale": [True, False],
    },
    "Sparsify": {"sparsity": [0.5], "structure": ["unstructured", "2:4", "channel"], "criterion": ["l1", "l2"]},
    "ApplyPlan": {"plan": [{"first": [0, 1, 4]}, {"first": 3}], "importance": ["l1"], "shortcuts": ["scatter"]},
    "Compress": {"params": [0.7], "ignore": ["head", ["first"]], "round_to": [1, 2], "unreachable": ["nearest"]},
    "Expand": {"width": [1.0, 1.5], "weights": ["net2wider", "fresh"], "round_to": [2]},
    "ReconstructWidths": {"structure": [{"first": 4, "second": 4}], "weights": ["sliced", "fresh"]},
    "SetOutputStride": {"stride": [8, 16]},
}
"""Passes with options that each may have; the first option is always given where it is needed."""

NEEDED = {
    "PruneChannels": "ratio",
    "TuckerSplit": "energy",
    "Factorise": "ratio",
    "Sparsify": "sparsity",
    "ApplyPlan": "plan",
    "Compress": "params",
    "Expand": "width",
    "ReconstructWidths": "structure",
    "SetOutputStride": "stride",
}

WRONG: tuple[Any, ...] = (
    -1,
    0,
    2,
    1.5,
    -0.5,
    10**30,
    float("nan"),
    float("inf"),
    True,
    "",
    "nope",
    "os:getcwd",
    "../x",
    "\x00",
    "é" * 300,
    [],
    [[]],
    [1, "a"],
    {},
    {"a": {"b": 1}},
    {"": 1},
    [None],
    "0.5",
    "1e309",
)


@dataclass
class Command:
    """A command line, the files that it finds, and whether it is right."""

    arguments: list[str]
    files: dict[str, str] = field(default_factory=dict)
    right: bool = True

    def __str__(self) -> str:
        return "\n".join([" ".join(self.arguments), *(f"--- {name}\n{text}" for name, text in self.files.items())])


def steps(rng: random.Random) -> list[dict[str, Any]]:
    """Passes with options that they may have."""
    chosen = []
    for name in rng.sample(sorted(VALUES), rng.randint(1, 3)):
        options = VALUES[name]
        keys = {key for key in options if rng.random() < 0.3} | ({NEEDED[name]} if name in NEEDED else set())
        chosen.append({"name": name, **{key: rng.choice(options[key]) for key in sorted(keys)}})
    return chosen


def spoil(rng: random.Random, content: dict[str, Any]) -> dict[str, Any]:
    """One thing of a recipe made wrong, or odd."""
    place = rng.choice([content, *content.get("pass", [])])
    key = rng.choice(sorted(place))
    way = rng.randrange(4)
    if way == 0:
        place[key] = rng.choice(WRONG)
    elif way == 1:
        place[rng.choice([key + "s", key[:-1], key.upper(), "x", ""])] = place.pop(key)
    elif way == 2:
        place[rng.choice(["ratio", "macs", "seed", "verify", "name", "plan", "steps"])] = rng.choice(WRONG)
    else:
        del place[key]
    return content


def scramble(rng: random.Random, text: str) -> str:
    """Characters of a text left out, doubled, replaced or swapped."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(len(text), 1))
        piece = rng.choice(["", text[at : at + 3] * 2, '"', "[", "}", "\x00", "\n", "=", "é", "1e999", "\ud800"])
        text = text[:at] + piece + text[at + rng.randint(0, 4) :]
    return text if rng.random() < 0.9 else text[: rng.randrange(max(len(text), 1))]


def recipe(rng: random.Random, passes: int = 3) -> tuple[str, str, bool]:
    """The name, the text and whether it is right."""
    head = {"seed": rng.randint(0, 9), "verify": rng.choice(["structure", "types"])}
    content: dict[str, Any] = {**head, "pass": steps(rng)[:passes]}
    right = rng.random() < 0.4
    if not right and rng.random() < 0.6:
        content = spoil(rng, content)
    if rng.random() < 0.5:
        name, text = "recipe.json", json.dumps(content)
    else:
        name = "recipe.toml"
        try:
            text = tomli_w.dumps(content)
        except (TypeError, ValueError):
            name, text = "recipe.json", json.dumps(content)
    return name, text if right or rng.random() < 0.5 else scramble(rng, text), right


def check_recipe(rng: random.Random) -> Command:
    name, text, right = recipe(rng)
    return Command(["recipe", "check", name, *["--json"] * rng.randint(0, 1)], {name: text}, right)


def compress(rng: random.Random) -> Command:
    name, text, right = recipe(rng, passes=1)  # what one renames another may name
    return Command(["compress", "{m}/small.keras", "-r", name, "-o", "out.keras"], {name: text}, right)


def show_plan(rng: random.Random) -> Command:
    kept: dict[str, Any] = {}
    for layer, size in (("first", 8), ("second", 8)):
        if rng.random() < 0.5 and not kept:  # the two are added: they go together
            kept[layer] = rng.choice([sorted(rng.sample(range(size), rng.randint(1, size))), rng.randint(1, size)])
    right = bool(kept) and rng.random() < 0.4
    if not right:
        kept[rng.choice(["first", "second", "head", "none", "act", ""])] = rng.choice(
            [*WRONG, [99], [-1], [0, 0], [0.5], ["0"], [True] * 8, [True] * 3, 99, 0, -3]
        )
    text = json.dumps(kept)
    if not right and rng.random() < 0.4:
        text = scramble(rng, text)
    return Command(["plan", "show", "{m}/small.keras", "plan.json"], {"plan.json": text}, right)


def set_options(rng: random.Random) -> Command:
    step = steps(rng)[0]
    name = step.pop("name")
    right = rng.random() < 0.4
    if not right:
        way = rng.randrange(3)
        if way == 0:
            name = rng.choice([name.lower(), name + "s", "", "os:system", ":", "a:b:c"])
        else:
            step[rng.choice([*step, "x", "ratio"])] = rng.choice(WRONG)
    if any(isinstance(value, dict | list) for value in step.values()):
        right = False
    settings = []
    for key, value in step.items():
        settings += ["--set", f"{name}.{key}={str(value).lower() if isinstance(value, bool) else value}"]
    written = ["compress", "{m}/small.keras", "-o", "out.keras", "--verify", "structure"]
    command = rng.choice([["explain", "{m}/small.keras"], written])
    if name == "Sparsify" or "try_zeros" in step:
        right = False  # may refuse at work
    return Command([*command, "--pass", name, *settings], right=right)


WORDS = """inspect compress tucker blocks export compare explain plot passes recipe plan show check new
    {m}/small.keras {m}/none.keras {m}/cut.keras {m}/text.keras {m}/empty.keras {m} {m}/fold.toml {m}/images.npy
    -o out.keras out.pb no/out.keras -p Simplify FoldBatchNorm --set Simplify.constants=true --json --cost --groups
    --regions --data --labels --macs 0.5 -1 nan --verify structure --seed 3 --overwrite --quantize int8
    --compression-factor --where first --report r.json --save-recipe s.toml -r -- - --unsafe --custom-objects"""
ODD = ("", "\x01", "é" * 300)


def any_words(rng: random.Random) -> Command:
    """Words of the command line in any order, behind a command."""
    words = [*WORDS.split(), *ODD]
    first = rng.choice(words[:11])
    return Command([first, *(rng.choice(words) for _ in range(rng.randint(0, 6)))], right=False)


RIGHT_LINES = (
    "inspect {m}/small.keras --cost",
    "inspect {m}/small.keras --groups --json",
    "inspect {m}/small.keras --regions",
    "passes",
    "passes Factorise --json",
    "recipe new Simplify FoldBatchNorm",
    "explain {m}/small.keras --pass FoldBatchNorm",
    "export {m}/small.keras -o out.keras",
    "compress {m}/small.keras -p FoldBatchNorm -o out.keras --verify structure",
    "tucker {m}/small.keras --compression-factor 0.5 -o out.keras",
    "compare {m}/small.keras {m}/small.h5",
)


def near_words(rng: random.Random) -> Command:
    """A right command line with a word left out, doubled, replaced or spoilt."""
    words = rng.choice(RIGHT_LINES).split()
    if rng.random() < 0.2:
        return Command(words)
    at = rng.randrange(len(words))
    words[at : at + 1] = rng.choice(
        [[], [words[at]] * 2, [rng.choice([*WORDS.split(), *ODD])], [scramble(rng, words[at])]]
    )
    return Command(words, right=False)


MAKERS: tuple[Callable[[random.Random], Command], ...] = (
    check_recipe,
    check_recipe,
    check_recipe,
    show_plan,
    show_plan,
    near_words,
    any_words,
    set_options,
    compress,
)


def draw_command(seed: int) -> Command:
    """The command of a seed."""
    rng = random.Random(seed)
    return MAKERS[seed % len(MAKERS)](rng)


@functools.cache
def model_folder() -> Path:
    """Model files that all commands read; made once in a process."""
    import numpy as np

    from tests.cli.conftest import RECIPE, small_model

    place = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    model = small_model()
    model.save(place / "small.keras")
    model.save(place / "small.h5")
    whole = (place / "small.keras").read_bytes()
    (place / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (place / "empty.keras").touch()
    (place / "text.keras").write_text("not a model")
    (place / "fold.toml").write_text(RECIPE)
    np.save(place / "images.npy", np.random.default_rng(0).random((8, 8, 8, 3), dtype=np.float32))
    return place


def run_command(command: Command, models: Path, folder: Path) -> str:
    """Run a command in a folder of its own.

    Raises:
        AssertionError: It does what no command may do.
    """
    from typer.testing import CliRunner

    from kerasurgeon.cli.app import app

    for name, text in command.files.items():
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    before = {**_hashes(models), **_hashes(folder)}
    arguments = [word.replace("{m}", str(models)) for word in command.arguments]
    with _inside(folder), limited(SECONDS):
        result = CliRunner().invoke(app, arguments, prog_name="kerasurgeon")
    after = {**_hashes(models), **_hashes(folder)}
    text = result.stdout + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit), f"a traceback: {result.exception!r}"
    for word in ("Traceback", "should not happen"):
        assert word not in text, f"not a message for users: {text}"
    assert result.exit_code in (0, 1, 2), f"status {result.exit_code}"
    changed = [name for name, content in before.items() if after.get(name) != content]
    assert not changed, f"status {result.exit_code}, and {changed} changed"
    if result.exit_code:
        assert result.stderr.strip() or result.stdout.strip(), f"status {result.exit_code} without a word"
        assert set(after) == set(before), f"status {result.exit_code}, and there is {sorted(set(after) - set(before))}"
    if command.right:
        assert result.exit_code == 0, f"is right, but status {result.exit_code}: {result.stderr}"
    return f"status {result.exit_code}{', right' if command.right else ''}"


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha1(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def command_record(seed: int) -> dict[str, Any]:
    """The command of a seed, and what came of it."""
    command = draw_command(seed)
    name = command.arguments[0] if command.arguments else ""
    record: dict[str, Any] = {"seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = run_command(command, model_folder(), Path(folder))
        except AssertionError as error:
            outcome = f"FAILED {error}"
            record["failures"] = [{"oracle": name, "error": str(error), "shrunk": str(command)}]
    return {**record, "oracles": {MAKERS[seed % len(MAKERS)].__name__: outcome}}


RECORD = command_record
