"""Commands that ask for nothing, that name what is not in the model, or whose files are other than they should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.blocks.plan import BlockPlan
from tests.cli.conftest import Run

COMPRESS = "compress {m}/small.keras -o x.keras"
CHANNELS = '{"format": "kerasurgeon.channels/1", "kept": {}}'

# Files that are there, the command, and what its message must say. {m} is the directory of models.
NOTHING = {
    "an empty recipe": ("r.toml", "", "{c} -r r.toml", ["Nothing to do", "r.toml", "[[pass]]"]),
    "a recipe without passes": ("r.toml", "pass = []", "{c} -r r.toml", ["Nothing to do", "r.toml"]),
    "a recipe of a seed": ("r.json", '{"seed": 3}', "{c} -r r.json", ["Nothing to do", "r.json"]),
    "an empty recipe, checked": ("r.toml", "", "recipe check r.toml", ["Nothing to do", "r.toml"]),
    "an empty plan": ("p.json", "{}", "{c} -p ApplyPlan --set plan=p.json", ["Nothing to do", "no layer"]),
    "an empty plan of its form": ("p.json", CHANNELS, "{c} -p ApplyPlan --set plan=p.json", ["Nothing to do"]),
    "an empty plan, shown": ("p.json", "{}", "plan show {m}/small.keras p.json", ["Nothing to do", "p.json"]),
    "an empty plan, explained": (
        "p.json",
        "{}",
        "explain {m}/small.keras --pass ApplyPlan --set plan=p.json",
        ["to do"],
    ),
    "an empty plan in a recipe": (
        "r.toml",
        '[[pass]]\nname = "ApplyPlan"\nplan = {}',
        "{c} -r r.toml",
        ["Nothing to do", "ApplyPlan"],
    ),
    "an empty structure": ("s.json", "{}", "{c} -p ReconstructWidths --set structure=s.json", ["Nothing to do"]),
    "nothing alive": ("p.json", "{}", "{c} -p MorphNetShrink --set plan=p.json", ["Nothing to do"]),
    "a plan without blocks": ("", "", "{c} -p ApplyBlocks --set plan=blocks.json", ["Nothing to do", "no steps"]),
    "a plan without factors": ("", "", "{c} -p ApplyFactors --set plan=factors.npz", ["Nothing to do"]),
    # Said twice.
    "an index twice": (
        "p.json",
        '{"first": [0, 3, 3]}',
        "{c} -p ApplyPlan --set plan=p.json",
        ["p.json", "'first'", "twice", "3"],
    ),
    "an index twice, shown": ("p.json", '{"first": [1, 1]}', "plan show {m}/small.keras p.json", ["p.json", "twice"]),
    "a layer twice": (
        "p.json",
        '{"first": [0], "first": [1]}',
        "{c} -p ApplyPlan --set plan=p.json",
        ["'first' stands there twice"],
    ),
    "a key of a recipe twice": ("r.json", '{"seed": 1, "seed": 2}', "{c} -r r.json", ["'seed' stands there twice"]),
    "a structure's layer twice": (
        "s.json",
        '{"first": 3, "first": 4}',
        "{c} -p ReconstructWidths --set structure=s.json",
        ["twice"],
    ),
    # What is not in the model.
    "no region": ("", "", "{c} -p DropBlock --set region=nope", ["no region 'nope'"]),
    "no region of a pattern": ("", "", "{c} -p DropBlock --set region=nope*", ["No region's name matches"]),
    "no layers of a region": ("", "", "{c} -p DropBlock --set region=nope..head", ["no node 'nope'"]),
    "no tensors": ("", "", "{c} -p DropBlock --set region=nope->head", ["no node 'nope'"]),
    "a region to shunt": ("", "", "{c} -p ReplaceWithShunt --set region=nope", ["no region 'nope'"]),
    "a region that no shunt bridges": (
        "",
        "",
        "{c} -p ReplaceWithShunt --set region=pool..head",
        ["with a tensor that is no image"],
    ),
    "no architecture for it": (
        "r.toml",
        '[[pass]]\nname = "ReplaceWithShunt"\nregion = "first..act"\narch = {nope = "1"}',
        "{c} -r r.toml",
        ["No architecture is given"],
    ),
    "a place to insert": ("", "", "{c} -p InsertBlock --set at=nope", ["no node 'nope'"]),
    "places to insert": ("", "", "{c} -p InsertBlock --set at=nope*", ["no node's name matches"]),
    "a cut": ("", "", '{c} -p ReplaceWithTranslator --set cuts=["nope","head"]', ["no node 'nope'"]),
    "layers to widen": ("", "", "{c} -p Expand --set width=2 --set ignore=nope", ["names no layer"]),
    "layers to sparsify": ("", "", "{c} -p Sparsify --set sparsity=.5 --set where=nope", ["names no layer"]),
    "layers to split": ("", "", "{c} -p TuckerSplit --set ratio=.5 --set where=nope", ["names no layer"]),
    "layers to prune": ("", "", "{c} -p PruneChannels --set ratio=.5 --set ignore=nope", ["is called 'nope'"]),
    "data that is not there": ("", "", "{c} -p RecalibrateBatchNorm", ["needs data", "--data FILE"]),
    "regions to measure": ("", "", "blocks {m}/small.keras --which nope", ["no region 'nope'"]),
    # Names.
    "a long name to read": ("", "", "inspect {long}.keras", ["File name too long", "shorter name"]),
    "a long name to write": ("", "", "export {m}/small.keras -o {long}.keras", ["File name too long", "shorter name"]),
    "a long report": (
        "",
        "",
        "compress {m}/small.keras -o x.keras -p Simplify --report {long}.json",
        ["File name too long", "shorter"],
    ),
    "a long log": (
        "",
        "",
        "blocks {m}/small.keras --data {m}/images.npy --labels labels.npy --log {long}.json",
        ["File name too long"],
    ),
    "a long folder": ("", "", "morphnet --epochs 1 -o {long}", ["File name too long", "shorter"]),
    "a long run": ("", "", "shunt --folder {long}", ["holds no run"]),
    "a long recipe": ("", "", "{c} -r {long}.toml", ["File name too long"]),
    "a long plan": ("", "", "{c} -p ApplyPlan --set plan={long}.json", ["File name too long"]),
    "a long picture": ("run/history.csv", "epoch,loss\n0,1\n", "plot run -o {long}.png", ["File name too long"]),
    "data of a long name": (
        "",
        "",
        "export {m}/small.keras -o x.keras --inputs {long}.npy",
        ["File name too long", "shorter name"],
    ),
    # Arrays.
    "one array for several": ("", "", "morphnet --epochs 1 --records labels.npy -o out", ["train_images", "one array"]),
    "other arrays": ("", "", "morphnet --epochs 1 --records others.npz -o out", ["train_images", "others.npz"]),
    "a folder for arrays": ("", "", "morphnet --epochs 1 --records . -o out", ["is a directory"]),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("what", NOTHING)
def test_status_2_and_nothing_written(what: str, run: Run, models: Path, folder: Path) -> None:
    name, text, command, parts = NOTHING[what]
    np.save(folder / "labels.npy", np.arange(32) % 4)
    np.savez(folder / "others.npz", a=np.zeros(3), b=np.zeros(3))
    BlockPlan().save(folder / "blocks.json")
    ks.FactorPlan().save(folder / "factors.npz")
    if name:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    before = sorted(folder.rglob("*"))
    words = command.replace("{c}", COMPRESS).replace("{long}", "x" * 300).split()
    done = run(*(word.replace("{m}", str(models)) for word in words))
    assert done.code == 2, done.err
    assert done.out == ""
    for part in parts:
        assert part in done.err
    assert "Traceback" not in done.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("suffix", [".hdf5", ".h5"])
def test_suffixes_that_mean_the_same(suffix: str, run: Run, models: Path, folder: Path) -> None:
    shutil.copy(models / f"small.{'keras' if suffix == '.KERAS' else 'h5'}", folder / f"in{suffix}")
    path = folder / f"in{suffix}"
    for command in (
        "inspect {p} --json",
        "compare {p} {m}/small.keras --json",
        "compress {p} -p Simplify -o out.KERAS -f",
    ):
        done = run(*(part.format(p=path, m=models) for part in command.split()))
        assert done.code == 0, done.err
    assert keras.saving.load_model(models / "small.keras").count_params() == ks.open_runner(path).model.count_params()  # type: ignore[attr-defined]


def test_an_archive_under_the_name_of_an_array(run: Run, models: Path, folder: Path) -> None:
    """What a file holds decides, not how it is called."""
    images = np.load(models / "images.npy")
    with (folder / "named.npy").open("wb") as file:
        np.savez(file, image=images[:4])
    with (folder / "named.npz").open("wb") as file:
        np.save(file, images[:4])
    for name in ("named.npy", "named.npz"):
        done = run("export", models / "small.keras", "-o", f"{name}.keras", "--inputs", name, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["files"][0]["samples"] == 4
