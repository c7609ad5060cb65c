"""``kerasurgeon tucker``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.cli.tucker import tucker
from kerasurgeon.passes import Factorise
from tests.cli.conftest import Run
from tests.passes.checking import decaying, difference, model_of, outputs_of

layers = keras.layers


@pytest.fixture
def model(folder: Path) -> keras.Model:
    """A small classifier, saved as model.keras."""
    inputs = keras.Input((10, 10, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="one")(inputs)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="two")(x)
    x = layers.Conv2D(32, 1, activation="relu", name="three")(x)
    model = model_of(inputs, layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        kernel = model.get_layer(name).kernel
        kernel.assign(decaying(rng, tuple(kernel.shape)))
    model.save(folder / "model.keras")
    return model


def kernels(model: keras.Model, *names: str) -> int:
    return sum(layer.kernel.numpy().size for layer in model.layers if layer.name.split("_")[0] in names)


def test_half_of_the_parameters_of_the_convolutions_stay(run: Run, model: keras.Model) -> None:
    done = run("tucker", "model.keras", "-o", "small.keras", "-o", "small.tflite", "--json")
    assert done.code == 0, done.err
    small = keras.saving.load_model("small.keras")
    assert 0.45 <= kernels(small, "one", "two") / kernels(model, "one", "two") <= 0.5
    assert kernels(small, "three") == kernels(model, "three")
    assert done.json["report"]["passes"][0]["name"] == "Factorise"
    assert Path("small.tflite").stat().st_size > 0


def test_all_layers_and_names(run: Run, model: keras.Model) -> None:
    done = run("tucker", "model.keras", "-o", "small.keras", "--all-layers", "--compression-factor", "0.4")
    assert done.code == 0, done.err
    small = keras.saving.load_model("small.keras")
    assert kernels(small, "three") < kernels(model, "three")
    done = run("tucker", "model.keras", "-o", "small.keras", "-f", "--where", "two", "--round-to", "4")
    assert done.code == 0, done.err
    names = [layer.name for layer in keras.saving.load_model("small.keras").layers]
    assert "two_core" in names
    assert "one" in names


def test_which_error_is_made_small(run: Run, model: keras.Model) -> None:
    np.save("images.npy", np.random.default_rng(1).random((64, 10, 10, 3), np.float32))
    made = {}
    for error in ("auto", "kernel", "output"):
        done = run("tucker", "model.keras", "-o", f"{error}.keras", "--data", "images.npy", "--minimise", error)
        assert done.code == 0, done.err
        made[error] = keras.saving.load_model(f"{error}.keras")
    by_kernel = ks.apply_passes(model, [Factorise(compression_factor=0.5, method="tucker", cost="params", round_to=1)])
    assert difference(made["kernel"], by_kernel) == 0
    assert difference(made["auto"], made["output"]) == 0
    assert difference(made["output"], by_kernel) > 0
    images = np.load("images.npy")
    errors = {error: np.abs(outputs_of(made[error], images)[0] - outputs_of(model, images)[0]).mean() for error in made}
    assert errors["output"] < errors["kernel"]


def test_the_time_for_inputs_is_that_of_the_pass() -> None:
    assert inspect.signature(tucker).parameters["generate_seconds"].default == Factorise(macs=0.5).generate_seconds


def test_factors_are_kept_and_put_in_again(run: Run, model: keras.Model) -> None:
    done = run("tucker", "model.keras", "-o", "small.keras", "--save-factors", "factors.npz")
    assert done.code == 0, done.err
    done = run("compress", "model.keras", "-o", "again.keras", "--pass", "ApplyFactors", "--set", "plan=factors.npz")
    if done.code:  # the option needs the name of its pass
        done = run(
            *("compress", "model.keras", "-o", "again.keras", "--pass", "ApplyFactors"),
            *("--set", "ApplyFactors.plan=factors.npz"),
        )
    assert done.code == 0, done.err
    small, again = (keras.saving.load_model(f"{name}.keras") for name in ("small", "again"))
    assert difference(small, again) == 0


def test_accuracy_led(run: Run, model: keras.Model) -> None:
    images = np.random.default_rng(1).standard_normal((64, 10, 10, 3)).astype("float32")
    labels = outputs_of(model, images)[0].argmax(-1)
    np.save("images.npy", images)
    np.save("labels.npy", labels)
    command = (
        *("tucker", "model.keras", "-o", "small.keras", "-f", "--method", "fixed-loss", "--max-acc-loss", "0.3"),
        *("--data", "images.npy", "--labels", "labels.npy", "--search-log", "search.json"),
        *("--compression-type", "hybrid", "--pruning-structure", "block", "--block-size", "1,8"),
    )
    done = run(*command)
    assert done.code == 0, done.err
    small = keras.saving.load_model("small.keras")
    assert (outputs_of(small, images)[0].argmax(-1) == labels).mean() >= 0.7 - 1 / 64
    trials = Path("search.json").read_text().count('"stage"')
    assert run(*command).code == 0
    assert Path("search.json").read_text().count('"stage"') == trials
    assert ks.cost(small).macs > 0


def test_labels_that_the_model_cannot_give(run: Run, model: keras.Model) -> None:
    np.save("images.npy", np.zeros((6, 10, 10, 3), "float32"))
    np.save("labels.npy", np.arange(6))
    given = ("--method", "fixed-loss", "--data", "images.npy", "--labels", "labels.npy")
    done = run("tucker", "model.keras", "-o", "small.keras", *given)
    assert done.code == 2, done.err
    assert "no class of the model" in done.err
    assert "5 (1 of 6 labels)" in done.err
    assert not Path("small.keras").exists()


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--method", "fixed-loss"], "fixed-loss needs labelled data"),
        (["--max-acc-loss", "0.1"], "--max-acc-loss does not go with --method fixed-params"),
        (["--method", "fixed-loss", "--compression-factor", "0.5"], "--compression-factor does not go with"),
        (["--block-size", "8"], "--block-size cannot be read"),
        (["--pruning-structure", "block", "--compression-type", "hybrid"], "needs the size of a block"),
        (["--compression-factor", "1.5"], "compression_factor"),
        (["--compression-factor", "0"], "compression_factor"),
        (["--sparsity-weight", "-1"], "sparsity_weight"),
        (["--minimise", "output"], "minimise"),
        (["--pruning-structure", "blocks"], "is not one of"),
        (["--labels", "labels.npy"], "Labels need the inputs"),
        (["--save-factors", "factors.json"], "suffix"),
        (["--save-factors", "taken.npz"], "The file exists already. where: taken.json"),
    ],
)
def test_mistakes(run: Run, model: Any, given: list[str], said: str) -> None:
    Path("taken.json").write_text("mine")
    done = run("tucker", "model.keras", "-o", "small.keras", *given)
    assert done.code == 2, done.err
    assert said in " ".join(done.err.split())
    assert not Path("small.keras").exists()
    assert Path("taken.json").read_text() == "mine"
