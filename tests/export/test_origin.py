"""What files say of how they came to be. The oracles are onnx and TFLite's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers
from typer.testing import CliRunner

import kerasurgeon as ks
from kerasurgeon.cli.app import app
from kerasurgeon.passes import FoldBatchNorm, PruneChannels, ReplaceLayers

WAYS: list[dict[str, Any]] = [{}, {"quantize": "int8"}, {"quantize": "float16"}, {"writer": "converter"}]


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3), name="image")
    h = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, name="conv")(x)))
    return keras.Model(x, layers.Dense(4, name="y")(layers.GlobalAveragePooling2D()(h)))


def said(path: Path) -> dict[str, str]:
    """What stands in a file."""
    if path.suffix == ".onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (entry,) = [entry for entry in model.metadata if entry.name == b"kerasurgeon"]
    found: dict[str, str] = json.loads(bytes(model.buffers[entry.buffer].data))
    return found


@pytest.mark.spread(3)
@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_recipes_are_in_the_file(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    folded = ks.apply_passes(network(), [FoldBatchNorm()], seed=3)
    model = ks.apply_passes(folded, [PruneChannels(ratio=0.5, compensate="none")], seed=4)
    path = tmp_path / f"m.{suffix}"
    data = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    ks.export(model, path, calibration=data if options.get("quantize") == "int8" else None, **options)
    found = said(path)
    assert found["keras"] == keras.__version__
    first, second = json.loads(found["recipe"])
    assert (first["seed"], first["pass"]) == (3, [{"name": "FoldBatchNorm"}])
    assert (second["seed"], second["pass"]) == (
        4,
        [{"name": "PruneChannels", "ratio": 0.5, "compensate": "none"}],
    )
    assert second["versions"]["numpy"] == np.__version__
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert shown.exit_code == 0
    assert "  FoldBatchNorm\n  PruneChannels ratio=0.5 compensate='none'" in shown.output
    assert f"keras: {keras.__version__}" in shown.output
    document = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout)
    assert document["metadata"]["recipe"] == [first, second]


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_a_model_that_no_recipe_made(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{suffix}"
    ks.export(network(), path)
    assert set(said(path)) == {"keras", "kerasurgeon"}


def test_a_recipe_that_cannot_be_written(tmp_path: Path) -> None:
    model = ks.apply_passes(network(), [ReplaceLayers("conv", lambda layer: layer)], verify="structure")
    ks.export(model, tmp_path / "m.onnx")
    (recipe,) = json.loads(said(tmp_path / "m.onnx")["recipe"])
    assert recipe["pass"] == [{"name": "ReplaceLayers"}]
    assert "not written" in recipe


def test_texts_of_others_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    ks.export(network(), path)
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, {"recipe": '[{"pass": 3}]', "evil": "\x1b[2Jgone", "keras": "[red]"})
    onnx.save(proto, path)
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert shown.exit_code == 0
    assert "evil: ?[2Jgone" in shown.output
    assert "keras: [red]" in shown.output
    assert 'recipe: [{"pass": 3}]' in shown.output
