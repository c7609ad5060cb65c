"""Model files to work on, and two ways to run the command line: in this process, and as the installed script."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

from kerasurgeon.cli.app import app

SCRIPT = Path(sys.executable).with_name("kerasurgeon")

RECIPE = """\
seed = 3

[[pass]]
name = "FoldBatchNorm"
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to stand in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("COLUMNS", raising=False)  # set where tests run in several processes: tables would be narrow
    return tmp_path


def invoke(*arguments: object) -> Outcome:
    """Run the command line in this process."""
    result = CliRunner().invoke(app, [str(item) for item in arguments], prog_name="kerasurgeon")
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def run(folder: Path) -> Run:
    """Run the command line in this process, in an empty directory."""
    return invoke


@pytest.fixture
def script(folder: Path) -> Run:
    """Run the installed script, with nothing set that would keep TensorFlow quiet."""

    def call(*arguments: object) -> Outcome:
        done = subprocess.run(
            [SCRIPT, *map(str, arguments)], env=clean_environment(), capture_output=True, text=True, timeout=300
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


def clean_environment() -> dict[str, str]:
    """The environment of a user, who has not silenced anything."""
    hushed = ("TF_CPP_MIN_LOG_LEVEL", "GLOG_minloglevel", "TF_CPP_MIN_VLOG_LEVEL")
    return {key: value for key, value in os.environ.items() if key not in hushed}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with model files, recipes and data."""
    place = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    model = small_model()
    model.save(place / "small.keras")
    model.save(place / "small.h5")
    image = keras.Input((4, 4, 3), name="image")
    keras.Model(image, layers.Lambda(lambda x: x * 2, name="double")(image)).save(place / "lambda.keras")
    whole = (place / "small.keras").read_bytes()
    (place / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (place / "empty.keras").touch()
    (place / "text.keras").write_text("not a model")
    (place / "fold.toml").write_text(RECIPE)
    np.save(place / "images.npy", np.random.default_rng(0).random((32, 8, 8, 3), dtype=np.float32))
    return place


def small_model() -> keras.Model:
    """Convolutions with batch norms and a residual; 8 x 8 x 3 to 4."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(image)
    x = layers.ReLU(name="act")(layers.BatchNormalization(name="first_bn")(x))
    y = layers.Conv2D(8, 3, padding="same", name="second")(x)
    y = layers.BatchNormalization(name="second_bn")(y)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    model = keras.Model(image, layers.Dense(4, name="head")(x), name="small")
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    model.compile("adam", "mse")
    return model


def save_custom_model(path: Path, *, module: str, source: str, build: Callable[[Any], Any] | None = None) -> None:
    """Write a module with a class ``Custom`` beside a model that uses it, and forget the module again."""
    path.with_name(f"{module}.py").write_text(source)
    sys.path.insert(0, str(path.parent))
    importlib.invalidate_caches()
    try:
        custom = importlib.import_module(module).Custom
        (build or _around_layer)(custom).save(path)
    finally:
        sys.path.remove(str(path.parent))
        sys.modules.pop(module, None)


def _around_layer(custom: Any) -> keras.Model:
    vector = keras.Input((4,), name="vector")
    return keras.Model(vector, custom(name="custom")(vector))
