"""What each command does when all is well."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import kerasurgeon
from tests.cli.conftest import Run, save_custom_model

LAYERS_MODULE = """\
import keras

class Custom(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.out) == (0, f"kerasurgeon {kerasurgeon.__version__}\n")


def test_inspect_shows_layers_cost_and_regions(run: Run, models: Path) -> None:
    done = run("inspect", models / "small.keras")
    assert done.code == 0
    for part in ("second_bn", "MACs", "residual", "peak activations"):
        assert part in done.out
    assert done.err == ""


@pytest.mark.parametrize("part", ["layers", "cost", "regions"])
def test_inspect_shows_the_part_that_is_asked_for(run: Run, models: Path, part: str) -> None:
    document = run("inspect", models / "small.keras", f"--{part}", "--json").json
    assert part in document
    assert not {"layers", "cost", "regions"} - {part} & set(document)


def test_inspect_counts_as_the_library_does(run: Run, models: Path) -> None:
    document = run("inspect", models / "small.h5", "--json").json
    model = keras.saving.load_model(models / "small.keras")
    assert document["cost"]["parameters"] == model.count_params()
    assert document["cost"]["macs"] == kerasurgeon.cost(model).macs
    assert [row["name"] for row in document["layers"]][-1] == "head"
    assert "residual" in [region["kind"] for region in document["regions"]]


def test_compress_writes_every_format_and_compares_it(run: Run, models: Path, folder: Path) -> None:
    outputs = [folder / f"out{suffix}" for suffix in (".keras", ".tflite", ".onnx")]
    options = [item for path in outputs for item in ("-o", path)]
    done = run("compress", models / "small.keras", "--recipe", models / "fold.toml", *options)
    assert done.code == 0, done.err
    assert "FoldBatchNorm" in done.out
    assert "relative error" in done.out
    assert sorted(folder.iterdir()) == sorted(outputs)
    for path in outputs:
        assert run("compare", models / "small.keras", path).code == 0


def test_compress_json_report_and_recipe(run: Run, models: Path, folder: Path) -> None:
    done = run(
        "compress", models / "small.keras", "-p", "FoldBatchNorm", "-o", "out.keras",
        "--seed", 7, "--report", "report.json", "--save-recipe", "recipe.toml", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    document = done.json
    assert (folder / "report.json").read_text().strip() == done.out.strip()
    assert document["recipe"]["seed"] == 7
    assert document["report"]["passes"][0]["changed"]
    assert document["cost"]["parameters"]["kept"] < 1
    assert document["files"][0]["bytes"] == (folder / "out.keras").stat().st_size
    again = run("compress", models / "small.keras", "-r", "recipe.toml", "-o", "again.keras")
    assert again.code == 0, again.err
    first, second = (keras.saving.load_model(name).get_weights() for name in ("out.keras", "again.keras"))
    assert all(map(np.array_equal, first, second))


def test_compress_sets_options_of_passes(run: Run, models: Path) -> None:
    done = run(
        "compress", models / "small.keras", "-p", "TuckerSplit", "-p", "Simplify",
        "--set", "TuckerSplit.ratio=0.5", "--set", 'TuckerSplit.where=["second"]', "--set", "Simplify.constants=false",
        "-o", "out.keras", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    tucker, simplify = done.json["recipe"]["pass"]
    assert tucker == {"name": "TuckerSplit", "ratio": 0.5, "where": ["second"]}
    assert simplify == {"name": "Simplify", "constants": False}


def test_compress_gives_data_to_passes(run: Run, models: Path, folder: Path) -> None:
    command = ("compress", models / "small.keras", "-p", "RecalibrateBatchNorm", "-o")
    assert run(*command, "out.keras", "--data", models / "images.npy").code == 0
    model = keras.saving.load_model(models / "small.keras")
    images = np.load(models / "images.npy")
    expected = kerasurgeon.apply_passes(model, [kerasurgeon.passes.RecalibrateBatchNorm()], data=images)
    written = keras.saving.load_model("out.keras")
    assert all(map(np.array_equal, written.get_weights(), expected.get_weights()))
    without = run(*command, "again.keras")
    assert without.code == 2
    assert "--data FILE" in without.err


def test_existing_files_are_replaced_only_on_request(run: Run, models: Path, folder: Path) -> None:
    (folder / "out.keras").write_text("precious")
    command = ("compress", models / "small.keras", "-r", models / "fold.toml", "-o", "out.keras")
    refused = run(*command)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert (folder / "out.keras").read_text() == "precious"
    assert run(*command, "--overwrite").code == 0
    assert keras.saving.load_model("out.keras").name == "small"


def test_export_int8_with_the_options_of_each_format(run: Run, models: Path, folder: Path) -> None:
    done = run(
        "export", models / "small.keras", "-o", "a.tflite", "-o", "b.onnx", "-o", "c.keras",
        "--quantize", "int8", "--calibration", models / "images.npy", "--integer-io", "--opset", 16, "--json",
        "--int8-weights", "unsigned",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [item["quantize"] for item in done.json["files"]] == ["int8", "int8", None]
    assert not [note for note in done.json["files"][1]["notes"] if "weights" in note]  # said where they were chosen
    assert run("inspect", "a.tflite", "--json").json["tensors"][0]["dtype"] == "int8"
    assert "quantisation" in run("inspect", "a.tflite").out


def test_export_batch_size(run: Run, models: Path) -> None:
    done = run("export", models / "small.keras", "-o", "a.onnx", "--batch-size", 3, "--inputs", models / "images.npy")
    assert done.code == 0, done.err
    assert run("inspect", "a.onnx", "--json").json["tensors"][0]["shape"] == [3, 8, 8, 3]


def test_compare_tells_models_apart(run: Run, models: Path) -> None:
    run("compress", models / "small.keras", "-p", "TuckerSplit", "--set", "ratio=0.25", "-o", "other.keras")
    same = run("compare", models / "small.keras", models / "small.h5", "--json")
    assert (same.code, same.json["same"]) == (0, True)
    different = run("compare", models / "small.keras", "other.keras", "--json")
    assert (different.code, different.json["same"]) == (1, False)
    assert different.json["relative_error"] > 1e-3
    assert run("compare", models / "small.keras", "other.keras", "--tolerance", 10).code == 0
    assert "different" in run("compare", models / "small.keras", "other.keras").out


def test_explain_says_what_a_pass_would_do(run: Run, models: Path) -> None:
    done = run("explain", models / "small.keras", "--pass", "FoldBatchNorm", "--json")
    assert done.code == 0, done.err
    assert [site["node"] for site in done.json["sites"] if site["would_change"]] == ["first_bn", "second_bn"]
    assert "would be" in run("explain", models / "small.keras", "--pass", "FoldBatchNorm").out


def test_custom_classes_from_a_file(run: Run, folder: Path) -> None:
    save_custom_model(folder / "custom.keras", module="my_layers", source=LAYERS_MODULE)
    refused = run("inspect", "custom.keras")
    assert refused.code == 1
    assert "'Custom'" in refused.err
    assert "--custom-objects" in refused.err
    for module in ("my_layers.py", "my_layers"):
        done = run("inspect", "custom.keras", "--custom-objects", module, "--layers", "--json")
        assert done.code == 0, done.err
        assert done.json["layers"][-1]["kind"].endswith("Custom")


def test_lambda_layers_load_on_request(run: Run, models: Path) -> None:
    done = run("inspect", models / "lambda.keras", "--unsafe", "--layers")
    assert done.code == 0, done.err


def test_recipe_new_can_be_checked_and_run(run: Run, models: Path, folder: Path) -> None:
    new = run("recipe", "new", "Simplify", "FoldBatchNorm")
    assert new.code == 0, new.err
    (folder / "new.toml").write_text(new.out)
    checked = run("recipe", "check", "new.toml", "--json")
    assert checked.code == 0, checked.err
    assert [item["name"] for item in checked.json["passes"]] == ["Simplify", "FoldBatchNorm"]
    assert run("compress", models / "small.keras", "-r", "new.toml", "-o", "out.keras").code == 0


def test_recipes_of_all_purposes_begin_and_are_checked(run: Run, models: Path, folder: Path) -> None:
    purposes = {"compress": "PruneChannels", "tucker": "TuckerSplit", "morphnet": "MorphNetShrink"}
    for purpose, first in {**purposes, "optimize": "FoldBatchNorm"}.items():
        new = run("recipe", "new", purpose)
        assert new.code == 0, new.err
        (folder / f"{purpose}.toml").write_text(new.out)
        checked = run("recipe", "check", f"{purpose}.toml", "--json")
        assert checked.code == 0, checked.err
        assert checked.json["passes"][0]["name"] == first
    assert run("compress", models / "small.keras", "-r", "optimize.toml", "-o", "optimized.keras").code == 0
    assert "did you mean 'shunt'" in run("recipe", "new", "shunts").err
    shunt = run("recipe", "new", "shunt", "-o", "shunt.toml")
    assert shunt.code == 0, shunt.err
    assert "kerasurgeon shunt --recipe shunt.toml" in shunt.out
    assert "--overwrite" in run("recipe", "new", "optimize", "-o", "shunt.toml").err
    checked = run("recipe", "check", "shunt.toml", "--json")
    assert checked.code == 0, checked.err
    assert [step["name"] for step in checked.json["steps"]][:2] == ["data", "original"]
    (folder / "ran.py").write_text("open('ran', 'w').write('x')\ndef net(): ...\n")
    (folder / "own.toml").write_text('[original]\nnetwork = "ran:net"\n')
    own = run("recipe", "check", "own.toml")
    assert own.code == 0, own.err
    assert "not checked: ran:net" in own.out
    assert not (folder / "ran").exists()
    (folder / "wrong.toml").write_text("[train_final]\nepoch = 3\n")
    wrong = run("recipe", "check", "wrong.toml")
    assert wrong.code == 2
    assert "'epochs'" in wrong.err


def test_plan_show_says_what_would_go_also_of_numbers(run: Run, models: Path, folder: Path) -> None:
    (folder / "plan.json").write_text('{"first": 3}')
    done = run("plan", "show", models / "small.keras", "plan.json", "--importance", "fpgm")
    assert done.code == 0, done.err
    for part in ("first", "3", "which ones: by fpgm", "goes with the others", "MACs"):
        assert part in done.out
    needs_data = run("plan", "show", models / "small.keras", "plan.json", "--importance", "apoz")
    assert needs_data.code == 2
    assert "--data FILE" in needs_data.err
    with_data = ("--importance", "apoz", "--data", models / "images.npy", "--json")
    found = run("plan", "show", models / "small.keras", "plan.json", *with_data).json
    assert found["layers"]["first"] == {"before": 8, "after": 3, "named": True, "chosen": "which ones: by apoz"}
    assert run("plan", "show", models / "small.keras", "plan.json", "--importance", "l3").code == 2
