"""The command is right, and the work fails: exit status 1, one clear error, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.cli.conftest import Run, save_custom_model, small_model

PASSES = """\
from dataclasses import dataclass
from typing import ClassVar
from kerasurgeon.authoring import EXACT, Context, Graph, Pass, Preserves

@dataclass(frozen=True)
class Raises(Pass):
    def run(self, graph: Graph, context: Context) -> None:
        raise ZeroDivisionError("somewhere in 'first'")

@dataclass(frozen=True)
class Lies(Pass):
    preserves: ClassVar[Preserves] = EXACT
    def run(self, graph: Graph, context: Context) -> None:
        layer = graph.layer_of(graph["head"])
        graph.update_layer(layer.name, layer.with_weights(bias=layer.array("bias") + 1))
"""

SUBCLASSED = """\
import keras

@keras.saving.register_keras_serializable("tests")
class Custom(keras.Model):
    def call(self, x):
        self.add_loss(keras.ops.sum(x))
        return 2 * x
"""


@pytest.fixture
def user_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "user_passes.py").write_text(PASSES)
    monkeypatch.delitem(sys.modules, "user_passes", raising=False)
    monkeypatch.syspath_prepend(folder)
    return "user_passes"


def test_a_pass_that_raises(run: Run, models: Path, user_passes: str, folder: Path) -> None:
    done = run("compress", models / "small.keras", "-p", f"{user_passes}:Raises", "-o", "out.keras")
    assert done.code == 1
    assert done.out == ""
    assert "Raises() failed: ZeroDivisionError" in done.err
    assert "node 'first'" in done.err
    assert "Traceback" not in done.err
    assert not list(folder.glob("*.keras"))


def test_a_pass_that_claims_to_be_exact_and_is_not(run: Run, models: Path, user_passes: str, folder: Path) -> None:
    done = run("compress", models / "small.keras", "-p", f"{user_passes}:Lies", "-o", "out.keras")
    assert done.code == 1, done.err
    assert "claims to be exact" in done.err
    assert "--verify types" in done.err
    assert not list(folder.glob("*.keras"))
    relaxed = run(
        "compress", models / "small.keras", "-p", f"{user_passes}:Lies", "-o", "out.keras", "--verify", "types"
    )
    assert relaxed.code == 0, relaxed.err


@pytest.mark.parametrize(
    "command", ["compress in.keras -p FoldBatchNorm -o out.keras", "export in.keras -o out.tflite"]
)
def test_weights_that_are_nan(command: str, run: Run, folder: Path) -> None:
    model = small_model()
    model.get_layer("head").bias.assign(np.full(4, np.nan))
    model.save("in.keras")
    done = run(*command.split())
    assert done.code == 1
    assert "head" in done.err
    assert [item.name for item in folder.iterdir()] == ["in.keras"]


def test_a_model_without_a_graph(run: Run, folder: Path) -> None:
    def build(custom: Any) -> keras.Model:
        model = custom()
        model(np.zeros((1, 4), np.float32))
        return model

    save_custom_model(folder / "in.keras", module="my_model", source=SUBCLASSED, build=build)
    done = run("compress", "in.keras", "-p", "Simplify", "-o", "out.keras", "--custom-objects", "my_model.py")
    assert done.code == 1
    assert "Custom" in done.err
    assert "what to do" in done.err
    assert not (folder / "out.keras").exists()


def test_a_pass_in_the_current_folder_is_found_only_if_the_user_says_so(run: Run, models: Path, folder: Path) -> None:
    (folder / "lying_here.py").write_text(PASSES)
    done = run("compress", models / "small.keras", "-p", "lying_here:Raises", "-o", "out.keras")
    assert done.code == 2
    assert "PYTHONPATH=." in done.err


def test_files_that_were_written_before_a_failure_are_named(run: Run, folder: Path) -> None:
    image = keras.Input((4, 4, 1), dtype="float64", name="image")  # ONNX Runtime convolves no float64
    keras.Model(image, keras.layers.Conv2D(2, 3, dtype="float64")(image)).save("in.keras")
    done = run("export", "in.keras", "-o", "a.keras", "-o", "b.onnx")
    assert done.code == 1
    assert "written before this failed: a.keras" in done.err
    assert sorted(item.name for item in folder.iterdir()) == ["a.keras", "in.keras"]
