"""The options of a layer as Keras 2 wrote them, in the words of Keras 3.

Keras 2 wrote every option. Some of them Keras 3 has dropped; where one stands at the value that means what Keras 3 does
anyway, it is left out, and where it does not, the file is refused with the layer and the option.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import keras

from kerasurgeon.errors import ModelFileError


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is each or value == each for each in values)


def _any(value: Any) -> bool:
    return True


# Options that Keras 3 has not, and at which values they may go; None may always.
_DROPPED: dict[str, Callable[[Any], bool]] = {
    "groups": _is(1),
    "time_major": _is(False),
    "implementation": _any,  # how it was computed
    "ragged": _is(False),
    "fused": _any,
    "renorm": _is(False),
    "renorm_momentum": _any,  # means something with renorm only
    "input_length": _any,  # a size that the input says anyway
    "input_dim": _any,
    "causal": _is(False),
    "kernel_initializer": _any,  # of layers whose kernels have other names
    "query_shape": _any,  # what it was built with
    "key_shape": _any,
    "value_shape": _any,
    "output_shape_type": _any,
    "output_shape_module": _any,
    "experimental_run_tf_function": _any,
    "dynamic": _is(False),
    "legacy": _is(False),
}
_RENAMED = {"lr": "learning_rate", "alpha": "negative_slope", "theta": "threshold"}


def layer_options(cls: Any, config: Mapping[str, Any], where: str | None, changes: list[str]) -> dict[str, Any]:
    """The config of a layer that Keras 2 wrote, as the constructor of Keras 3 takes it.

    Args:
        cls: The class of Keras 3.
        config: What the file says.
        where: The file, for errors.
        changes: What was changed is added to it, one phrase each.

    Raises:
        ModelFileError: There is an option that Keras 3 has not, at a value that means something.
    """
    label = f"layer {config.get('name', '?')!r} ({cls.__name__})"
    config = {key: _plain(value) for key, value in config.items() if key not in ("batch_input_shape", "batch_shape")}
    known = constructor_options(cls)
    own = cls.__module__.partition(".")[0] == "keras"
    kept: dict[str, Any] = {}
    for key, value in config.items():
        renamed = _RENAMED.get(key, key)
        if key in known or not own:
            kept[key] = value
        elif renamed in known and renamed not in config:
            kept[renamed] = value
        elif value is None:
            continue
        elif key in _DROPPED and _DROPPED[key](value):
            if _DROPPED[key] is not _any:
                changes.append(f"{label}: {key}={value!r} left out")
        else:
            raise ModelFileError(
                f"{label[0].upper()}{label[1:]} has an option that Keras 3 has not.",
                where=where,
                got=f"{key}={value!r}",
                hint="make the model again without it in the Keras that it was trained with",
            )
    if "reset_after" in known:
        kept.setdefault("reset_after", False)  # before Keras 2.2 there was no other way
    axis = kept.get("axis")
    if isinstance(axis, (list, tuple)) and len(axis) == 1 and isinstance(_default(cls, "axis"), int):
        kept["axis"] = int(axis[0])
    return kept


def without_dropped(entry: Any) -> Any:
    """A config that Keras 3 wrote, without options of Keras 2 in it that mean nothing where they stand.

    Files that were changed by hand, or by tools, hold such. The entry itself if there are none.
    """
    if isinstance(entry, list):
        items = [without_dropped(item) for item in entry]
        return items if any(new is not old for new, old in zip(items, entry, strict=True)) else entry
    if not isinstance(entry, dict):
        return entry
    found = {key: without_dropped(value) for key, value in entry.items()}
    cls, config = getattr(keras.layers, str(entry.get("class_name")), None), found.get("config")
    if isinstance(cls, type) and isinstance(config, dict):
        known = constructor_options(cls)
        gone = [key for key, may_go in _DROPPED.items() if key in config and key not in known and may_go(config[key])]
        if gone:
            found["config"] = {key: value for key, value in config.items() if key not in gone}
    return found if any(found[key] is not entry[key] for key in entry) else entry


def _plain(value: Any) -> Any:
    """A value without the wrapping of Keras 2."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("type") == "ndarray":
        return value.get("value")
    name, config = value.get("class_name"), value.get("config")
    if name in ("__tuple__", "TensorShape"):
        return tuple(_plain(each) for each in value.get("items", ()))
    if isinstance(name, str) and isinstance(config, Mapping):
        if name in ("Policy", "PolicyV1"):
            return config.get("name", "float32")
        initializer = getattr(keras.initializers, name, None)
        if isinstance(initializer, type):  # what it makes is replaced by the file's weights
            known = constructor_options(initializer)
            config = {key: each for key, each in config.items() if key in known}
            if config.get("distribution") == "normal":
                config["distribution"] = "truncated_normal"
            return {"class_name": name, "config": config}
    return {key: _plain(each) for key, each in value.items() if key != "shared_object_id"}


@cache
def constructor_options(cls: Any) -> frozenset[str]:
    """The parameters of a class's constructor, and of those that it hands what is left on to."""
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
            break
    return frozenset(found)


def _default(cls: type[Any], option: str) -> Any:
    parameter = inspect.signature(cls.__init__).parameters.get(option)
    return None if parameter is None else parameter.default


__all__ = ["constructor_options", "layer_options"]
