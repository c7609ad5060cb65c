"""Models that Keras 2 has saved: HDF5 files, and configs in JSON with weights beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from kerasurgeon.errors import ModelFileError
from kerasurgeon.keras_io.foreign import said
from kerasurgeon.keras_io.internals import training_arguments
from kerasurgeon.keras_io.keras2_changed import scale_hard_sigmoids
from kerasurgeon.keras_io.keras2_model import Reader
from kerasurgeon.keras_io.keras2_options import constructor_options
from kerasurgeon.keras_io.keras2_weights import load_weights
from kerasurgeon.keras_io.model_config import check_config


def is_keras2(config: Any, version: Any = None) -> bool:
    """Whether a config was written by Keras 1 or 2.

    Args:
        config: Of a model.
        version: What the file says of the Keras that wrote it, if anything.
    """
    if isinstance(version, bytes):
        version = version.decode("utf-8", "replace")
    if isinstance(version, str) and version[:1].isdigit():
        return version.split(".")[0] in ("1", "2")
    text = json.dumps(config)
    return '"batch_input_shape"' in text and '"registered_name"' not in text


def read_keras2(
    config: Any,
    weights: str | Path | None,
    *,
    where: str,
    training: Any = None,
    custom_objects: Mapping[str, Any] | None = None,
    unsafe: bool = False,
    how: str = "unsafe=True",
) -> tuple[Any, tuple[str, ...]]:
    """A model from what Keras 2 has saved.

    Args:
        config: The config of the model.
        weights: The HDF5 file with its weights.
        where: The file of the config, for errors.
        training: How it was compiled, if it is to be compiled again.
        custom_objects: Classes and functions by name; functions also by the name of the Lambda layer they are for.
        unsafe: Whether code in the file may run.
        how: How the user says so, for errors.

    Returns:
        The model, and what in it is not as the file says, one phrase each.

    Raises:
        ModelFileError: It cannot be made; the layer is named.
    """
    reader = Reader(dict(custom_objects or {}), unsafe, how, where)
    model = reader.model(config)
    if not model.built:
        raise ModelFileError(
            "The file does not say what shape its network takes.", where=where, hint="save it after it was built"
        )
    if weights is not None:
        inner = config["config"]
        layers = inner if isinstance(inner, list) else inner["layers"]
        names = [each["config"].get("name", "") if isinstance(each["config"], dict) else "" for each in layers]
        with h5py.File(weights, "r") as file:
            group = file.get("model_weights", file)
            load_weights(group, model, names, reader.cudnn, str(weights))
        scale_hard_sigmoids(model, where, reader.changes)
    if training is not None:
        compile_as(model, training, custom_objects or {}, where, how, unsafe)
    return model, tuple(dict.fromkeys(reader.changes))


def compile_as(
    model: Any, training: Any, custom_objects: Mapping[str, Any], where: str, how: str, unsafe: bool
) -> None:
    """Compile a model as it was; the optimizer begins anew."""
    if not unsafe:
        check_config(training, where, how)
    try:
        arguments = {key: _plain(value) for key, value in training.items()}
        arguments["optimizer_config"] = _optimizer(training.get("optimizer_config", {}))
        model.compile(**training_arguments(arguments, dict(custom_objects)))
    except Exception as error:
        raise ModelFileError(
            "The optimizer, loss or metrics of the model cannot be made as the file says.",
            where=where,
            got=said(error),
            hint="load it with compile=False, and compile it",
        ) from error


def _optimizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an optimizer with what the optimizer of Keras 3 takes."""
    name = str(config.get("class_name", "")).rpartition(">")[2]
    cls = getattr(keras.optimizers, name, None)
    if not isinstance(cls, type):
        return dict(config)
    options = {{"lr": "learning_rate"}.get(key, key): value for key, value in config.get("config", {}).items()}
    known = constructor_options(cls)
    return {"class_name": name, "config": {key: value for key, value in options.items() if key in known}}


def _plain(value: Any) -> Any:
    """Losses and metrics as Keras 3 knows them."""
    if isinstance(value, list):
        found = [_plain(each) for each in value]
        return found[0] if len(found) == 1 and isinstance(found[0], list) else found  # one list per output
    if not isinstance(value, Mapping):
        return value
    config = value.get("config")
    if not isinstance(config, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if "Wrapper" in str(value.get("class_name")) and isinstance(config.get("fn"), str):
        return config["fn"]
    name = str(value.get("class_name"))
    cls = getattr(keras.losses, name, None) or getattr(keras.metrics, name, None)
    known = constructor_options(cls) if isinstance(cls, type) else config
    config = {key: each for key, each in config.items() if key in known and key != "dtype"}
    if config.get("reduction") == "auto":
        config["reduction"] = "sum_over_batch_size"
    return {"class_name": name, "config": config}


__all__ = ["is_keras2", "read_keras2"]
