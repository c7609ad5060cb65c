"""Classes that are not Keras': what their own code raises is told as theirs, with what to do about it.

A layer is made again by its class, from what its ``get_config`` returned. Where that loses something, or the class
cannot be made from it, ``keras.models.clone_model`` and loading a saved file fail for the same reason.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kerasurgeon.errors import EmitError, KerasurgeonError
from kerasurgeon.ir.layer import Layer
from kerasurgeon.keras_io.custom_objects import foreign_names

_MOST = 300
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def is_foreign(cls: Any) -> bool:
    """Whether a class or function comes from outside Keras."""
    return str(cls.__module__).partition(".")[0] != "keras"


def foreign_in(layer: Layer) -> str:
    """The classes from outside Keras that make a layer, with their modules; empty if there are none."""
    if is_foreign(layer.cls):
        return _with_module(layer.cls)
    found = sorted(foreign_names(layer.config))
    return ", ".join(
        _with_module(layer.custom_objects[name]) if name in layer.custom_objects else name for name in found
    )


def _with_module(thing: Any) -> str:
    return f"{thing.__qualname__} of {thing.__module__}"


def remedy(layer: Layer, otherwise: str) -> str:
    """What to do where a layer cannot be made again as it was.

    Args:
        layer: The layer.
        otherwise: What to do if all of it is Keras' own.
    """
    foreign = foreign_in(layer)
    if not foreign:
        return otherwise
    return (
        f"this is the code of {foreign}, on what its own get_config() returned; keras.models.clone_model and loading "
        "the saved model fail alike. Let get_config() return every argument of the constructor, from_config() accept "
        "them, and build() make what call() uses; or take the layer out of the model first"
    )


def said(error: BaseException) -> str:
    """An error as one line: its type and its message, without the middle of a long one (Keras ends with the reason)."""
    text, given = str(error), str(error.args[0]) if error.args else ""
    if _BOLD in given:  # as Keras quotes what code has raised, before the arguments of the call
        text = given.partition(_BOLD)[2].partition(_PLAIN)[0]
    text = " ".join(text.split())
    if len(text) > _MOST:
        text = f"{text[: _MOST // 3]} ... {text[-(_MOST - _MOST // 3) :]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def line_of(error: BaseException) -> str | None:
    """The last line of a user's code that an error went through."""
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            found = frame.f_code.co_filename, number
    if found is None:
        return None
    path, number = found
    return f"{path}, line {number}: {linecache.getline(path, number).strip()}"


_LIBRARIES = frozenset({"keras", "kerasurgeon", "tensorflow", "numpy", "jax", "torch", "optree", "inspect"})


@contextmanager
def told(layer: Layer, what: str, otherwise: str = "") -> Iterator[None]:
    """Do something by which code of a layer's class runs.

    Args:
        layer: What the class makes.
        what: What could not be done, to stand behind the layer's name.
        otherwise: What to do if all of it is Keras' own. Without it, what that raises is left as it is.

    Raises:
        EmitError: The code raised anything.
    """
    try:
        yield
    except KerasurgeonError:
        raise
    except Exception as error:
        foreign = foreign_in(layer)
        if not foreign and not otherwise:
            raise
        raise EmitError(
            f"Layer {layer.name!r} ({layer.kind}) {what}.",
            where=foreign or None,
            got=said(error),
            hint=remedy(layer, otherwise),
        ) from error
