"""A user's mistakes: one clear error each, an exit status, nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasurgeon.cli.steps import parse_settings
from tests.cli.conftest import Run

# Command, exit status, what the message must say. {m} is the directory of models.
MISTAKES = {
    "missing model": ("inspect {m}/smal.keras", 2, ["does not exist", "did you mean 'small.keras'"]),
    "directory": ("inspect {m}", 2, ["is a directory"]),
    "unknown kind": ("inspect {m}/fold.toml", 2, ["cannot be read here", ".keras"]),
    "truncated": ("inspect {m}/cut.keras", 1, ["without its end", "copy or download it again"]),
    "empty": ("inspect {m}/empty.keras", 1, ["is empty"]),
    "no model": ("inspect {m}/text.keras", 1, ["cannot be read as a .keras file"]),
    "lambda": ("inspect {m}/lambda.keras", 1, ["Lambda", "--unsafe"]),
    "no output": ("export {m}/small.keras", 2, ["--output"]),
    "nothing to do": ("compress {m}/small.keras -o x.keras", 2, ["--recipe FILE", "--pass NAME"]),
    "both": ("compress {m}/small.keras -o x.keras -r {m}/fold.toml -p Simplify", 2, ["--pass with --set"]),
    "no recipe": ("compress {m}/small.keras -o x.keras -r {m}/fol.toml", 2, ["did you mean 'fold.toml'"]),
    "unknown pass": ("compress {m}/small.keras -o x.keras -p FoldBachNorm", 2, ["did you mean 'FoldBatchNorm'"]),
    "unknown option": (
        "compress {m}/small.keras -o x.keras -p TuckerSplit --set energi=0.9",
        2,
        ["TuckerSplit has no option 'energi'", "did you mean 'energy'"],
    ),
    "option value": ("compress {m}/small.keras -o x.keras -p TuckerSplit --set energy=9", 2, ["in (0, 1]", "9"]),
    "bad set": ("compress {m}/small.keras -o x.keras -p Simplify --set constants", 2, ["NAME.option=value"]),
    "set of another": ("compress {m}/small.keras -o x.keras -p Simplify --set A.b=1", 2, ["not run", "Simplify"]),
    "suffix": ("export {m}/small.keras -o x.pb", 2, [".keras or .tflite or .onnx", ".pb"]),
    "no directory": ("export {m}/small.keras -o no/x.keras", 2, ["does not exist", "mkdir -p no"]),
    "itself": ("export {m}/small.keras -o {m}/small.keras -f", 2, ["named twice"]),
    "twice": ("export {m}/small.keras -o x.keras -o ./x.keras", 2, ["named twice"]),
    "reports twice": (
        "compress {m}/small.keras -o x.keras -p Simplify --report r.json --save-recipe r.json",
        2,
        ["named twice", "r.json"],
    ),
    "factors twice": (
        "tucker {m}/small.keras -o x.keras --save-factors f.npz --report f.json",
        2,
        ["named twice", "f.json"],
    ),
    "names of no layer": (
        "tucker {m}/small.keras -o x.keras --where frist*",
        2,
        ["where= names no layer and no nested model by 'frist*'", "did you mean 'first'"],
    ),
    "a directory": ("export {m}/small.keras -o folder.keras", 2, ["is a directory"]),
    "int8 without data": ("export {m}/small.keras -o x.tflite --quantize int8", 2, ["--calibration FILE"]),
    "accept of float32": ("export {m}/small.keras -o x.onnx --accept 0.5", 2, ["--accept does nothing"]),
    "weights of no int8": ("export {m}/small.keras -o x.onnx --int8-weights reduced", 2, ["--quantize int8"]),
    "weights of .tflite": (
        "export {m}/small.keras -o x.tflite --quantize int8 --calibration {m}/images.npy --int8-weights full",
        2,
        ["an .onnx file to write"],
    ),
    "weights unknown": (
        "export {m}/small.keras -o x.onnx --quantize int8 --calibration {m}/images.npy --int8-weights 7",
        2,
        ["auto, full, reduced, unsigned"],
    ),
    "quantise .keras": ("export {m}/small.keras -o x.keras --quantize int8", 2, ["--quantize does nothing"]),
    "opset": ("export {m}/small.keras -o x.onnx --opset 99", 2, ["8 to 24", "99"]),
    "opset of tflite": ("export {m}/small.keras -o x.tflite --opset 17", 2, ["--opset does nothing"]),
    "batch": ("export {m}/small.keras -o x.onnx --batch-size many", 2, ["free or auto", "many"]),
    "data file": ("export {m}/small.keras -o x.keras --inputs {m}/none.npy", 2, ["does not exist"]),
    "data kind": ("export {m}/small.keras -o x.keras --inputs {m}/fold.toml", 2, [".npy, .npz"]),
    "data shape": ("export {m}/small.keras -o x.keras --inputs wrong.npy", 2, ["wrong shape", "(2, 3)"]),
    "not numbers": ("export {m}/small.keras -o x.keras --inputs text.npy", 2, ["cannot be read as an array"]),
    "data of passes": ("compress {m}/small.keras -o x.keras -p Simplify --data {m}/none.npy", 2, ["does not exist"]),
    "no data": (
        "compress {m}/small.keras -o x.keras -p PruneChannels --set ratio=0.5 --set compensate=data",
        2,
        ["Pass PruneChannels(ratio=0.5, compensate='data') failed", "Calibration data is needed", "--data FILE"],
    ),
    "data that does not fit": (
        "compress {m}/small.keras -o x.keras -p RecalibrateBatchNorm --data wrong.npy",
        2,
        ["does not fit the model's inputs", "(2, 3)"],
    ),
    "layer that there is not": (
        "compress {m}/small.keras -o x.keras -p PruneChannels --set ratio=.5 --set ignore=frist",
        2,
        ["ratio=0.5", "no layer, nested model or region is called 'frist'", "did you mean 'first'"],
    ),
    "target that cannot be reached": (
        "compress {m}/small.keras -o x.keras -p PruneChannels --set macs=1e-3",
        2,
        ["macs=0.001 cannot be reached", "4.6% of what there is"],
    ),
    "no plan": ("compress {m}/small.keras -o x.keras -p ApplyPlan", 2, ["ApplyPlan needs the option 'plan'", "path"]),
    "compare": ("compare {m}/small.keras {m}/lambda.keras --unsafe", 2, ["different outputs"]),
    "explain": ("explain {m}/small.keras --pass Nothing", 2, ["There is no pass 'Nothing'"]),
    "passes": ("passes Simplifi", 2, ["did you mean 'Simplify'"]),
    "custom objects": ("inspect {m}/small.keras --custom-objects no_such_module", 2, ["no_such_module"]),
    "inspect parts": ("inspect x.tflite --cost", 2, ["does not exist"]),
    "command": ("shrink", 2, ["shrink"]),
    "demo folder": ("demo -o full", 2, ["not empty", "--overwrite"]),
    "demo file": ("demo -o wrong.npy", 2, ["is a file"]),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained_and_nothing_is_written(mistake: str, run: Run, models: Path, folder: Path) -> None:
    command, code, parts = MISTAKES[mistake]
    np.save(folder / "wrong.npy", np.zeros((2, 3), np.float32))
    (folder / "text.npy").write_text("no array")
    (folder / "folder.keras").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    before = sorted(folder.rglob("*"))
    done = run(*command.format(m=models).split())
    assert done.code == code, done.err
    assert done.out == ""
    for part in parts:
        assert part in done.err
    assert "Traceback" not in done.err
    assert sorted(folder.rglob("*")) == before


RECIPES = {
    "sead = 4": ["line 1", "sead", "did you mean 'seed'"],
    "seed = -1": ["line 1", "seed", "0, 1, 2"],
    'verify = "all"': ["line 1", "verify", "structure or types or exact or outputs", "'all'"],
    '[[pass]\nname = "Simplify"': ["not valid TOML", "line 1"],
    "[[pass]]\nenergy = 0.5": ["Pass number 1 has no name", "FoldBatchNorm"],
    '\n[[pass]]\nname = "FoldBatchNorms"': ["There is no pass 'FoldBatchNorms'", "did you mean 'FoldBatchNorm'"],
    '\n[[pass]]\nname = "Simplify"\nconstant = true': ["line 4", "constant", "did you mean 'constants'"],
    '\n[[pass]]\nname = "ReplaceLayers"\npattern = "a"': ["line 2", "needs the option 'function'", "module:name"],
    '[[pass]]\nname = "TuckerSplit"\nratio = 2.0': ["line 3", "ratio", "(0, 1]", "2.0"],
}


@pytest.mark.parametrize("text", RECIPES)
def test_recipes_are_refused_with_line_key_and_what_is_allowed(text: str, run: Run, folder: Path) -> None:
    (folder / "bad.toml").write_text(text)
    done = run("recipe", "check", "bad.toml")
    assert done.code == 2, done.err
    for part in RECIPES[text]:
        assert part in done.err


def test_debug_shows_the_traceback(run: Run) -> None:
    from typer.testing import CliRunner

    from kerasurgeon.cli.app import app

    result = CliRunner().invoke(app, ["--debug", "inspect", "none.keras"])
    assert type(result.exception).__name__ == "UsageError"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".5", 0.5),
        ("5.", 5.0),
        ("-.5e-1", -0.05),
        ("1e-3", 1e-3),
        ("0.5", 0.5),
        ("5", 5),
        (".", "."),
        (".5.5", ".5.5"),
        ("v.5", "v.5"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: object) -> None:
    (options,) = parse_settings(["Simplify"], [f"some={text}"]).values()
    assert options == {"some": value}
    assert type(options["some"]) is type(value)
