"""What the tests of passes measure by: outputs, state and reasons, each computed by code of the tests' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.rewrite.passes import Pass
from kerasurgeon.rewrite.pipeline import Pipeline, Result
from tests.zoo import flatten_layers, randomise, sample_inputs


def model_of(inputs: Any, outputs: Any, seed: int = 0, **options: Any) -> keras.Model:
    """A model with random weights."""
    model = keras.Model(inputs, outputs, **options)
    randomise(model, seed)
    return model


def run(pass_: Pass, model: keras.Model, **options: Any) -> Result:
    """Run one pass; the pipeline's own comparison of outputs is left out: these tests make theirs."""
    return Pipeline([pass_]).run(model, **{"verify": "types", **options})


def changed(result: Result) -> dict[str, str]:
    return {site.node: site.what for site in result.report.passes[0].sites if site.changed}


def reasons(result: Result) -> dict[str, str]:
    return {site.node: site.what for site in result.report.passes[0].sites if not site.changed}


def kinds(model: keras.Model) -> list[str]:
    """The classes of the layers that a model calls, without its inputs."""
    return [type(layer).__name__ for layer in model.operations if not isinstance(layer, keras.layers.InputLayer)]


def outputs_of(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    results = keras.tree.flatten(model(inputs, training=False))
    return [keras.ops.convert_to_numpy(result).astype("float64") for result in results]


def difference(model: keras.Model, other: keras.Model, inputs: Any = None) -> float:
    """The largest difference of two models' outputs, relative to the largest value of each output."""
    inputs = sample_inputs(model) if inputs is None else inputs
    worst = 0.0
    for one, two in zip(outputs_of(model, inputs), outputs_of(other, inputs), strict=True):
        assert one.shape == two.shape
        assert np.isfinite(one).all()
        worst = max(worst, float(np.abs(one - two).max(initial=0.0) / max(np.abs(one).max(initial=0.0), 1e-30)))
    return worst


def rounding_noise(model: keras.Model, images: np.ndarray) -> float:
    """How far the outputs move when every weight, or every pixel, moves by half a unit in its last place."""
    rng = np.random.default_rng(0)

    def nudge(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        half = np.finfo(array.dtype).eps / 2
        return (array * (1 + rng.uniform(-half, half, array.shape))).astype(array.dtype)

    before, weights = outputs_of(model, images)[0], model.get_weights()
    moved = [outputs_of(model, nudge(images))[0]]
    model.set_weights([nudge(weight) for weight in weights])
    moved.append(outputs_of(model, images)[0])
    model.set_weights(weights)
    return max(float(np.abs(after - before).max() / np.abs(before).max()) for after in moved)


def state_of(model: keras.Model) -> dict[str, Any]:
    """All that a pass must leave alone in the model that it is given, by value."""
    layers = list(flatten_layers(model))
    return {
        "weights": [(weight.path, keras.ops.convert_to_numpy(weight).tobytes()) for weight in model.variables],
        "flags": [(layer.name, bool(layer.trainable), layer.dtype_policy.name) for layer in layers],
        "trainable": [(weight.path, bool(weight.trainable)) for weight in model.weights],
        "config": json.dumps(model.get_config(), default=str, sort_keys=True),
        "compile": json.dumps(model.get_compile_config() if model.compiled else None, default=str, sort_keys=True),
        "calls": [(layer.name, len(layer._inbound_nodes)) for layer in layers],
    }


def assert_lives(model: keras.Model, folder: Path, *, train: bool = True) -> None:
    """A result is a plain Keras model: it saves, loads as the same, and trains a step to finite weights."""
    path = folder / "result.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, compile=False)
    inputs = sample_inputs(model)
    assert difference(model, loaded, inputs) < 1e-6
    if train:
        targets = [np.zeros_like(output, dtype="float32") for output in outputs_of(loaded, inputs)]
        loaded.compile("sgd", ["mse"] * len(targets) if len(targets) > 1 else "mse", run_eagerly=True)
        loss = loaded.train_on_batch(inputs, targets if len(targets) > 1 else targets[0])
        assert np.isfinite(np.asarray(loss)).all()
        assert all(np.isfinite(weight).all() for weight in loaded.get_weights())


def decaying(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A kernel whose channel modes have spectra that decay."""
    *sizes, inputs, outputs = shape
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (inputs, outputs))
    scale = np.outer(np.arange(1, inputs + 1) ** -0.8, np.arange(1, outputs + 1) ** -0.8)
    kernel = left @ (rng.standard_normal((*sizes, inputs, outputs)) * scale) @ right
    return np.asarray(kernel / np.linalg.norm(kernel) * np.sqrt(2 * outputs), "float32")
