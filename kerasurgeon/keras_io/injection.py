"""Hand a layer its weights while it builds, in place of its initialisers.

Keras creates every weight through ``Layer.add_weight``. While a layer builds, that method is replaced by one that looks
the weight up by its path and passes the array on as the initial value.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import ModelFileError
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.keras_io.internals import current_path, name_scope
from kerasurgeon.keras_io.replaced import Replaced
from kerasurgeon.keras_io.tensors import tensor_of, unfilled_initializer

# Variables, held weakly: a layer that shares another's variable lets go of its own.
Made = list[weakref.ref[Any]]


_LARGE = 1 << 20
"""Numbers in a weight from which on it is worth not to draw them in vain."""


class _Given(keras.initializers.Initializer):
    """An initialiser that returns an array it was given."""

    def __init__(self, weight: Weight) -> None:
        self.weight = weight

    def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
        return tensor_of(self.weight, dtype)


class _Building(threading.local):
    """What the layer that this thread builds takes its weights from: its root, definition and how often each path.

    How many bytes weights may take yet, whether they are filled afterwards anyway, and the variables that were made,
    where somebody asks for them.
    """

    now: tuple[Any, Layer, dict[str, int]] | None = None
    room: int | None = None
    unfilled: bool = False
    made: Made | None = None


_BUILDING = _Building()


@contextlib.contextmanager
def injected(layer: Any, definition: Layer) -> Iterator[None]:
    """While active, weights that ``layer`` or its sublayers create take their values from ``definition``.

    ``layer`` is ``None`` while it is being constructed: wrappers build what they wrap then, under a shorter path.
    """
    if not definition.weights:
        yield
        return
    outer, _BUILDING.now = _BUILDING.now, (layer, definition, {})
    try:
        with ADD_WEIGHT:
            yield
    finally:
        _BUILDING.now = outer


def limited(most: int | None) -> contextlib.AbstractContextManager[None]:
    """While active, the weights that layers create in this thread may take so many bytes together.

    Raises:
        ModelFileError: In Keras' calls within the block: they take more.
    """
    return _with("room", most)


@contextlib.contextmanager
def _with(attribute: str, value: Any) -> Iterator[None]:
    outer = getattr(_BUILDING, attribute)
    setattr(_BUILDING, attribute, value)
    try:
        with ADD_WEIGHT:
            yield
    finally:
        setattr(_BUILDING, attribute, outer)


def _take_room(owner: Any, shape: Any, dtype: Any) -> None:
    if _BUILDING.room is None or not isinstance(shape, (tuple, list)):
        return
    try:
        size = np.dtype(str(dtype or owner.variable_dtype)).itemsize
    except TypeError:  # bfloat16, float8
        size = 2
    _BUILDING.room -= math.prod(shape) * size
    if _BUILDING.room < 0:
        raise ModelFileError(
            "The model asks for more memory than is free.",
            where=f"layer {owner.name!r}, a weight of shape {tuple(shape)}",
            hint="it may be damaged, or made to do harm; if it is neither, load it where there is more memory",
        )


def unfilled() -> contextlib.AbstractContextManager[None]:
    """While active, large weights that layers create in this thread hold no values: all are filled afterwards."""
    return _with("unfilled", True)


@contextlib.contextmanager
def variables_made() -> Iterator[Made]:
    """The variables that layers make when they are built, in this thread, while this is active."""
    outer, _BUILDING.made = _BUILDING.made, []
    try:
        yield _BUILDING.made
    finally:
        _BUILDING.made = outer


def release(variables: Made) -> None:
    """Take the values from variables whose layers are done with.

    Keras layers hold themselves in reference cycles, and would hold their weights until Python looks for such.
    """
    for reference in variables:
        variable = reference()
        if variable is not None:
            variable._value = None


@contextlib.contextmanager
def brief_variables() -> Iterator[None]:
    """Layers that are built within are done with at the end: their weights are given back."""
    with variables_made() as made:
        try:
            yield
        finally:
            release(made)


def _is_large(shape: Any) -> bool:
    return isinstance(shape, (tuple, list)) and math.prod(shape) >= _LARGE


def _add_weight(self: Any, *args: Any, **kwargs: Any) -> Any:
    weight = None if _BUILDING.now is None else _lookup(self, kwargs.get("name"), *_BUILDING.now)
    shape = kwargs.get("shape", args[0] if args else ())
    _take_room(self, shape, kwargs.get("dtype", args[2] if len(args) > 2 else None))
    if weight is not None and tuple(shape or ()) != weight.shape:
        weight = None
    initializer = None if weight is None else _Given(weight)
    if _BUILDING.unfilled and weight is None and _is_large(shape):
        initializer = unfilled_initializer()
    if initializer is not None and len(args) > 1:
        args = (args[0], initializer, *args[2:])
    elif initializer is not None:
        kwargs["initializer"] = initializer
    variable = ADD_WEIGHT.original(self, *args, **kwargs)
    if weight is not None:
        variable._kerasurgeon_source = weight
    if _BUILDING.made is not None:
        _BUILDING.made.append(weakref.ref(variable))
    return variable


ADD_WEIGHT = Replaced(keras.Layer, "add_weight", _add_weight)


def _lookup(owner: Any, name: str | None, root: Any, definition: Layer, taken: dict[str, int]) -> Weight | None:
    with name_scope(owner.name, caller=owner):
        path = f"{current_path()}/{name or 'variable'}"
    relative = path
    if root is not None:
        parent = f"{root._parent_path}/" if getattr(root, "_parent_path", None) else ""
        relative = path.removeprefix(f"{parent}{root.name}/")
    count = taken.get(relative, 0)
    taken[relative] = count + 1
    return definition.weights.get(relative if not count else f"{relative}#{count}")
