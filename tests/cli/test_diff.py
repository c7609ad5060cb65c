"""``diff`` on files of every format, and ``--report FILE.html``."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

import kerasurgeon as ks
from tests.cli.conftest import Run
from tests.report.test_page import data_in


@pytest.fixture(scope="module")
def files(models: Path) -> Path:
    """The small model in all formats, and with its last layer doubled, beside the files of the other tests."""
    model = keras.saving.load_model(models / "small.keras", compile=False)
    ks.export(model, models / "small.onnx")
    ks.export(model, models / "small.tflite")
    model.get_layer("head").set_weights([2 * array for array in model.get_layer("head").get_weights()])
    model.save(models / "doubled.keras")
    ks.export(model, models / "doubled.onnx")
    ks.export(model, models / "doubled.tflite")
    return models


def test_a_report_as_a_page(run: Run, models: Path, folder: Path) -> None:
    options = ("-p", "FoldBatchNorm", "-o", "out.keras", "-o", "out.onnx", "--report", "run.html")
    done = run("compress", models / "small.keras", *options)
    assert done.code == 0, done.err
    data = data_in((folder / "run.html").read_text(encoding="utf-8"))
    assert data["passes"][0]["name"] == "FoldBatchNorm"
    assert data["after"]["totals"]["parameters"] == keras.saving.load_model("out.keras", compile=False).count_params()
    written, outputs = data["tables"]
    assert [row[0] for row in written["rows"]] == ["out.keras", "out.onnx"]
    assert [row[0] for row in outputs["rows"]] == ["out.keras: head", "out.onnx: head"]
    again = run("compress", models / "small.keras", *options[:3], "other.keras", "--report", "run.html")
    assert again.code == 2
    assert "exists already" in again.err


@pytest.mark.parametrize("suffix", [".keras", ".onnx", ".tflite"])
def test_what_differs_is_found(run: Run, files: Path, folder: Path, suffix: str) -> None:
    one, other = files / f"small{suffix}", files / f"doubled{suffix}"
    done = run("diff", one, other, "-o", "diff.html", "--json")
    assert done.code == 0, done.err
    document = done.json
    (layer,) = document["layers"]
    assert "head" in layer["name"]
    assert (layer["status"], layer["changes"]) == ("changed", ["values of weights"])
    data = data_in((folder / "diff.html").read_text(encoding="utf-8"))
    statuses = {node["name"]: node["status"] for node in data["after"]["nodes"]}
    assert {name for name, status in statuses.items() if status != "same"} == {layer["name"]}
    text = run("diff", one, other)
    assert layer["name"] in text.out
    assert "values of weights" in text.out
    assert "no layer differs" in run("diff", one, one).out


def test_parameters_of_files_are_those_of_the_model(run: Run, files: Path) -> None:
    # Writers fold batch norms: what a file holds is counted by its own library.
    import onnx

    found = run("diff", files / "small.onnx", files / "small.onnx", "--json").json
    arrays = [onnx.numpy_helper.to_array(each) for each in onnx.load(files / "small.onnx").graph.initializer]
    assert found["totals"]["before"]["parameters"] == sum(array.size for array in arrays)
    assert found["totals"]["before"]["weight_bytes"] == sum(array.nbytes for array in arrays)


def test_files_of_two_formats_are_compared_by_name(run: Run, files: Path) -> None:
    done = run("diff", files / "small.keras", files / "small.onnx", "--json")
    assert done.code == 0, done.err
    document = done.json
    assert {layer["status"] for layer in document["layers"]} <= {"new", "gone"}
    assert any("different formats" in note for note in document["notes"])
    names = {layer.name for layer in keras.saving.load_model(files / "small.keras", compile=False).layers}
    gone = {layer["name"] for layer in document["layers"] if layer["status"] == "gone"}
    assert gone < names  # most layers are found in the file by their names


def test_broken_files_are_named(run: Run, files: Path, folder: Path) -> None:
    for suffix in (".onnx", ".tflite"):
        (folder / f"broken{suffix}").write_bytes(b"no model at all, and long enough to be looked at")
        done = run("diff", files / f"small{suffix}", f"broken{suffix}")
        assert done.code != 0
        assert f"broken{suffix}" in done.err
        assert "Traceback" not in done.err
        whole = (files / f"small{suffix}").read_bytes()
        (folder / f"broken{suffix}").write_bytes(whole[: len(whole) // 2])
        cut = run("diff", files / f"small{suffix}", f"broken{suffix}")
        assert cut.code != 0
        assert f"broken{suffix}" in cut.err


def test_a_page_is_not_written_over_another_file(run: Run, files: Path, folder: Path) -> None:
    (folder / "diff.html").write_text("mine")
    done = run("diff", files / "small.keras", files / "doubled.keras", "-o", "diff.html")
    assert done.code == 2
    assert (folder / "diff.html").read_text() == "mine"
    assert run("diff", files / "small.keras", files / "doubled.keras", "-o", "diff.pdf").code == 2
    assert json.loads(run("diff", files / "small.keras", files / "small.h5", "--json").out)["layers"] == []
