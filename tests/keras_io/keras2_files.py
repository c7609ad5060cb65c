"""Files in the layout of Keras 2, written with h5py alone, and what their networks compute, in numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Array = np.ndarray[Any, Any]
Weights = Mapping[str, Sequence[tuple[str, Array]]]

GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}
OLD_GLOROT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "normal", "seed": None, "dtype": "float32"},
}
ZEROS: dict[str, Any] = {"class_name": "Zeros", "config": {}}
NOTHING = dict.fromkeys(
    ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
)


def write_h5(
    path: Path, config: Any, weights: Weights, *, version: str = "2.4.0", training: Any = None, alone: bool = False
) -> Path:
    """A model file, or one of weights alone."""
    with h5py.File(path, "w") as file:
        group = file if alone else file.create_group("model_weights")
        if not alone:
            file.attrs["keras_version"] = version.encode()
            file.attrs["backend"] = b"tensorflow"
            file.attrs["model_config"] = json.dumps(config).encode()
            if training is not None:
                file.attrs["training_config"] = json.dumps(training).encode()
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["backend"] = b"tensorflow"
        group.attrs["keras_version"] = version.encode()
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name, _ in arrays]
            for name, array in arrays:
                inner.create_dataset(name, data=array)
    return path


def layer(kind: str, name: str, *calls: Any, **options: Any) -> dict[str, Any]:
    """An entry of a functional config; each call is a name, several or the entry itself."""

    def node(call: Any) -> Any:
        if isinstance(call, str):
            return [[call, 0, 0, {}]]
        return [[each, 0, 0, {}] for each in call] if isinstance(call, tuple) else call

    config = {"name": name, "trainable": True, "dtype": "float32", **options}
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": [node(call) for call in calls]}


def entry(name: str, *shape: int | None, dtype: str = "float32") -> dict[str, Any]:
    config = {"batch_input_shape": [None, *shape], "dtype": dtype, "sparse": False, "ragged": False, "name": name}
    return {"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []}


def network(
    layers: list[dict[str, Any]], inputs: list[str], outputs: list[Any], kind: str = "Functional", name: str = "model"
) -> dict[str, Any]:
    ends = [each if isinstance(each, list) else [each, 0, 0] for each in outputs]
    return {
        "class_name": kind,
        "config": {
            "name": name,
            "layers": layers,
            "input_layers": [[each, 0, 0] for each in inputs],
            "output_layers": ends,
        },
    }


def stack(*layers: dict[str, Any], name: str = "sequential_1") -> dict[str, Any]:
    """A Sequential config: layers without calls."""
    bare = [{"class_name": each["class_name"], "config": each["config"]} for each in layers]
    return {"class_name": "Sequential", "config": {"name": name, "layers": bare}}


def dense(name: str, *calls: Any, units: int, activation: str = "linear", **options: Any) -> dict[str, Any]:
    return layer(
        "Dense",
        name,
        *calls,
        units=units,
        activation=activation,
        use_bias=True,
        kernel_initializer=GLOROT,
        bias_initializer=ZEROS,
        **NOTHING,
        **options,
    )


def conv(name: str, *calls: Any, filters: int, size: int, kind: str = "Conv2D", **options: Any) -> dict[str, Any]:
    given = {
        "filters": filters,
        "kernel_size": [size, size],
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "linear",
        "use_bias": True,
        "kernel_initializer": GLOROT,
        "bias_initializer": ZEROS,
        **NOTHING,
    }
    return layer(kind, name, *calls, **{**given, **options})


def recurrent(kind: str, name: str, *calls: Any, units: int, **options: Any) -> dict[str, Any]:
    given = {
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "units": units,
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": True,
        "kernel_initializer": OLD_GLOROT,
        "recurrent_initializer": {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
        "bias_initializer": ZEROS,
        "recurrent_regularizer": None,
        "recurrent_constraint": None,
        **NOTHING,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "implementation": 1,
    }
    return layer(kind, name, *calls, **{**given, **options})


# What networks compute.


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def hard_sigmoid(x: Array) -> Array:
    """That of Keras 2."""
    return np.clip(0.2 * x + 0.5, 0.0, 1.0)


def conv_valid(x: Array, kernel: Array, bias: Array) -> Array:
    height, width = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    result = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            patch = x[:, i : i + kernel.shape[0], j : j + kernel.shape[1]]
            result[:, i, j] = np.tensordot(patch, kernel, 3) + bias
    return result


def lstm(x: Array, kernel: Array, recurrent: Array, bias: Array, gate: Any, state: Any = None) -> tuple[Array, Array]:
    """The last output and cell state."""
    h, c = (np.zeros((len(x), len(recurrent))),) * 2 if state is None else state
    for step in range(x.shape[1]):
        i, f, z, o = np.split(x[:, step] @ kernel + h @ recurrent + bias, 4, axis=-1)
        c = gate(f) * c + gate(i) * np.tanh(z)
        h = gate(o) * np.tanh(c)
    return h, c


def gru(x: Array, kernel: Array, recurrent: Array, bias: Array, gate: Any) -> Array:
    """The last output; with a bias of two rows, the reset gate comes after the product."""
    h = np.zeros((len(x), len(recurrent)))
    units = len(recurrent)
    first, second = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    for step in range(x.shape[1]):
        inner = x[:, step] @ kernel + first
        outer = h @ recurrent[:, : 2 * units] + second[: 2 * units]
        z = gate(inner[:, :units] + outer[:, :units])
        r = gate(inner[:, units : 2 * units] + outer[:, units:])
        rest = recurrent[:, 2 * units :]
        reset = r * (h @ rest + second[2 * units :]) if bias.ndim == 2 else (r * h) @ rest
        h = z * h + (1 - z) * np.tanh(inner[:, 2 * units :] + reset)
    return h
