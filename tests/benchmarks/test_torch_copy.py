"""Networks that go to torch and come back: calls against a run in numpy, and narrowed networks against masked ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from tasks import networks
from torch_copy import arrays, described, rebuilt

Array = np.ndarray[Any, Any]


def randomised(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    for weight in model.weights:
        positive = weight.name in ("gamma", "moving_variance")
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.3, weight.shape))
    return model


def convolved(x: Array, kernel: Array, strides: list[int], depthwise: bool) -> Array:
    """With equal padding, position by position."""
    sizes = kernel.shape[:-2]
    pads, outs = [(0, 0)], []
    for length, size, stride in zip(x.shape[1:-1], sizes, strides, strict=True):
        out = -(-length // stride)
        total = max((out - 1) * stride + size - length, 0)
        pads.append((total // 2, total - total // 2))
        outs.append(out)
    x = np.pad(x, [*pads, (0, 0)])
    y: Any = 0.0
    for place in np.ndindex(*sizes):
        windows = tuple(
            slice(at, at + (out - 1) * stride + 1, stride) for at, out, stride in zip(place, outs, strides, strict=True)
        )
        seen = x[(slice(None), *windows)]
        y = y + (seen * kernel[place][:, 0] if depthwise else seen @ kernel[place])
    return np.asarray(y)


def run(calls: list[dict[str, Any]], weights: dict[str, Array], x: Array) -> Array:
    found: dict[str, Array] = {}
    y = x
    for call in calls:
        name, kind = call["name"], call["kind"]
        inputs = [found[other] for other in call["inputs"]] or [x]
        y = inputs[0]
        own = {key.removeprefix(f"{name}/"): value for key, value in weights.items() if key.startswith(f"{name}/")}
        if "Conv" in kind:
            y = convolved(y, own["kernel"], call["strides"], kind.startswith("Depthwise"))
        elif kind == "Dense":
            y = y @ own["kernel"] + own["bias"]
        elif kind == "BatchNormalization":
            scale = own["gamma"] / np.sqrt(own["moving_variance"] + call["epsilon"])
            y = (y - own["moving_mean"]) * scale + own["beta"]
        elif kind == "Add":
            y = inputs[0] + inputs[1]
        elif kind.startswith("Global"):
            y = y.reshape(len(y), -1, y.shape[-1]).mean(axis=1)
        if call.get("activation") in ("relu", "relu6"):
            y = np.clip(y, 0, 6 if call["activation"] == "relu6" else np.inf)
        found[name] = y
    return y


@pytest.mark.parametrize("kind", ["series", "residual", "inverted"])
def test_calls_say_what_the_network_does(kind: str) -> None:
    makers: dict[str, Callable[[], keras.Model]] = {
        "series": lambda: networks.resnet((11, 2), 3, widths=(4, 6), size=5),
        "residual": lambda: networks.resnet((9, 8, 2), 3, widths=(4, 6), strides=2),
        "inverted": lambda: networks.mobilenet((9, 8, 2), 3, stem=(4, 2), blocks=((4, 1), (6, 2)), head=8),
    }
    model = randomised(makers[kind]())
    x = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(run(described(model), arrays(model), x), np.asarray(model(x)), rtol=1e-4, atol=1e-5)


def test_a_narrowed_network_comes_back() -> None:
    """Channels that end in zeros at their readers make no difference when they go."""
    model = randomised(networks.resnet((8, 8, 2), 3, widths=(6,)))
    gone = [1, 4]
    reader = model.get_layer("stage0_0_b")
    kernel = reader.kernel.numpy()
    kernel[:, :, gone] = 0
    reader.kernel.assign(kernel)
    weights = arrays(model)
    for name, axis in {"stage0_0_a/kernel": 3, "stage0_0_b/kernel": 2}.items():
        weights[name] = np.delete(weights[name], gone, axis)
    for name in [name for name in weights if name.startswith("stage0_0_a_bn/")]:
        weights[name] = np.delete(weights[name], gone, 0)
    small = rebuilt(model, weights)
    assert small.get_layer("stage0_0_a").filters == 4
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(small(x)), np.asarray(model(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (layers.GRU(3, name="odd"), "odd: GRU has no copy"),
        (layers.Conv1D(3, 3, dilation_rate=2, name="odd"), "odd: dilation_rate=.* has no copy"),
        (layers.Dense(3, activation="tanh", name="odd"), "odd: tanh has no copy"),
    ],
)
def test_what_has_no_copy_is_named(layer: Any, said: str) -> None:
    inputs = keras.Input((8, 2))
    with pytest.raises(ValueError, match=said):
        described(keras.Model(inputs, layer(inputs)))
