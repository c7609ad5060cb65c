"""Configs of models that Keras 2 has saved, in the words of Keras 3.

Keras 2 wrote every option of a layer. Some of them Keras 3 has dropped; where one stands at the value that means what
Keras 3 does anyway, it is left out, and where it does not, the file is refused with the layer and the option.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerasurgeon.errors import ModelFileError

_ANY: Callable[[Any], bool] = lambda value: True  # noqa: E731 - a word for the table below


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is each or value == each for each in values)


# Options that Keras 3 has not, and at which values they may go.
_DROPPED: dict[str, Callable[[Any], bool]] = {
    "groups": _is(1),
    "time_major": _is(False),
    "implementation": _ANY,  # how it was computed
    "ragged": _is(False, None),
    "fused": _ANY,
    "virtual_batch_size": _is(None),
    "adjustment": _is(None),
    "renorm": _is(False),
    "renorm_clipping": _is(None),
    "renorm_momentum": _ANY,  # means something with renorm only
    "input_length": _ANY,  # a size that the input says anyway
    "go_backwards_state": _is(False),
    "unit_forget_bias_initializer": _is(None),
    "cache_dir": _is(None),
    "experimental_run_tf_function": _ANY,
}


def translated(config: Any, where: str | None = None) -> tuple[Any, tuple[str, ...]]:
    """The config of a model or layer of Keras 2 as Keras 3 reads it.

    Args:
        config: What JSON holds.
        where: The file, for errors.

    Returns:
        The config, and what was changed, one phrase each; the config itself where nothing was.

    Raises:
        ModelFileError: A layer has an option that Keras 3 has not, at a value that means something.
    """
    changes: list[str] = []
    new = _translated(config, where, changes)
    return (new, tuple(changes)) if changes else (config, ())


def _translated(config: Any, where: str | None, changes: list[str]) -> Any:
    if isinstance(config, list):
        return [_translated(part, where, changes) for part in config]
    if not isinstance(config, Mapping):
        return config
    new = {key: _translated(part, where, changes) for key, part in config.items()}
    inner = new.get("config")
    name = new.get("class_name")
    if isinstance(inner, dict) and isinstance(name, str) and "module" not in new:
        cls = getattr(keras.layers, name, None)
        if isinstance(cls, type) and issubclass(cls, keras.Layer):
            new["config"] = _layer(cls, inner, where, changes)
    return new


def _layer(cls: type[Any], config: dict[str, Any], where: str | None, changes: list[str]) -> dict[str, Any]:
    known = _options(cls)
    label = f"layer {config.get('name', '?')!r} ({cls.__name__})"
    kept = {}
    for key, value in config.items():
        if key in known or key not in _DROPPED:
            kept[key] = value
        elif _DROPPED[key](value):
            changes.append(f"{label}: {key}={value!r} left out")
        else:
            raise ModelFileError(
                f"{label[0].upper()}{label[1:]} has an option that Keras 3 has not.",
                where=where,
                got=f"{key}={value!r}",
                hint="make the model again without it in the Keras that it was trained with, or write the layer by hand",
            )
    dtype = kept.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") in ("Policy", "PolicyV1"):
        kept["dtype"] = dtype.get("config", {}).get("name", "float32")
        changes.append(f"{label}: dtype policy {kept['dtype']!r}")
    axis = kept.get("axis")
    if isinstance(axis, list) and len(axis) == 1 and isinstance(_default(cls, "axis"), int):
        if "normalized" not in known:  # one axis, in a list
            kept["axis"] = axis[0]
            changes.append(f"{label}: axis={axis!r} as {axis[0]}")
    return kept


def _options(cls: type[Any]) -> frozenset[str]:
    """The parameters of a class's constructor, and of those that it hands what is left on to."""
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return frozenset(found)


def _default(cls: type[Any], option: str) -> Any:
    parameter = inspect.signature(cls.__init__).parameters.get(option)
    return None if parameter is None else parameter.default


__all__ = ["translated"]
