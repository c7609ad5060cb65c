"""One variable that several layers hold: noted when a model is lifted, made one again when it is emitted.

A layer inside a closed one (a wrapper, a custom layer, a nested model with a constructor of its own) may be called
outside of it too, or held by a second one. Each of the two layers of the graph has the variable among its weights; the
number that both weights carry says that it is one.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import EmitError
from kerasurgeon.ir.layer import Layer, Weight

_NUMBERS = itertools.count(1)
_DEEPEST = 6
_LEAVES = (str, bytes, type, ModuleType, FunctionType, np.ndarray, keras.Variable, keras.KerasTensor)
_OTHERS = frozenset({"keras", "tensorflow", "jax", "torch", "numpy"})


def new_tie() -> int:
    """A number that no variable has yet."""
    return next(_NUMBERS)


def noted_ties(layers: Mapping[str, Layer], variables: Mapping[str, list[Any]]) -> dict[str, Layer]:
    """The layers that hold a variable which another one holds too, with that said at their weights.

    Args:
        layers: The layers of a model by key.
        variables: For each of those with weights its variables, in the order of the weights.
    """
    holders: dict[int, int] = {}
    for several in variables.values():
        for variable in several:
            holders[id(variable)] = holders.get(id(variable), 0) + 1
    tied = {number: next(_NUMBERS) for number, count in holders.items() if count > 1}
    arrays: dict[int, np.ndarray[Any, Any]] = {}
    changed = {}
    for key, several in variables.items():
        weights = dict(layers[key].weights)
        for (path, weight), variable in zip(layers[key].weights.items(), several, strict=True):
            if (number := tied.get(id(variable))) is not None:
                weights[path] = replace(weight, array=arrays.setdefault(number, weight.array), tie=number)
        if any(weight.tie is not None for weight in weights.values()):
            changed[key] = replace(layers[key], weights=weights)
    return changed


def reached_by(function: Any) -> Iterator[Any]:
    """The variables that a Python function reaches by itself: what it closes over, its defaults, globals that it names.

    Args:
        function: Anything; what is no function reaches nothing.
    """
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(function, 0)]
    while waiting:
        item, depth = waiting.pop()
        if id(item) in seen or depth > _DEEPEST:
            continue
        seen.add(id(item))
        found: list[Any] = []
        if isinstance(item, keras.Variable):
            yield item
        elif isinstance(item, keras.Layer):
            yield from item.weights
        elif isinstance(item, functools.partial):
            found = [item.func, *item.args, *item.keywords.values()]
        elif isinstance(item, MethodType):
            found = [item.__func__, item.__self__]
        elif isinstance(item, FunctionType) and item.__module__.partition(".")[0] not in _OTHERS:
            cells = [cell.cell_contents for cell in item.__closure__ or () if _is_filled(cell)]
            names = names_in(item.__code__)
            globals_ = [item.__globals__[name] for name in names if name in item.__globals__]
            found = [*cells, *(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values(), *globals_]
        elif isinstance(item, Mapping):
            found = list(item.values())
        elif isinstance(item, (list, tuple)):
            found = list(item)
        waiting += [(one, depth + 1) for one in found]


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def names_in(code: CodeType) -> set[str]:
    """The names that a function's code looks up, functions inside it included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def renumbered(layer: Layer, numbers: dict[int, int]) -> Layer:
    """A layer for another graph, where its ties are others than here.

    Args:
        layer: The layer.
        numbers: Numbers there by numbers here; it grows.
    """
    if all(weight.tie is None for weight in layer.weights.values()):
        return layer
    return replace(
        layer,
        weights={
            path: weight if weight.tie is None else replace(weight, tie=numbers.setdefault(weight.tie, next(_NUMBERS)))
            for path, weight in layer.weights.items()
        },
    )


def hold_once(definition: Layer, known: dict[int, Weight]) -> None:
    """Let weights that are one variable show one array, so that its values are held once.

    Args:
        definition: A layer whose weights may be moved.
        known: The first weight of ties by number; it grows.
    """
    for weight in definition.weights.values():
        if weight.tie is not None:
            array, own = known.setdefault(weight.tie, weight).array, weight.array
            # In a graph that nobody has verified they may differ, and another graph may have the weight too.
            if array is not own and array.dtype == own.dtype and np.array_equal(array, own):
                weight.move(array)


def tie(definition: Layer, layer: Any, keyed: dict[str, Any], known: dict[int, Any]) -> None:
    """Let a built layer hold the variables that layers made before it share with it, in place of its own.

    Args:
        definition: What the layer was made from.
        layer: The Keras layer, not called yet.
        keyed: Its variables by path; brought up to date.
        known: The variables of ties by number; it grows.

    Raises:
        EmitError: The layer keeps a variable where it cannot be exchanged.
    """
    swaps: dict[int, tuple[Any, Any]] = {}
    for path, weight in definition.weights.items():
        if weight.tie is None:
            continue
        shared = known.setdefault(weight.tie, keyed[path])
        if shared is not keyed[path]:
            swaps[id(keyed[path])] = keyed[path], shared
            keyed[path] = shared
    if not swaps:
        return
    _exchange(layer, swaps)
    left = {old.path: weakref.ref(old) for old, _ in swaps.values()}
    swaps.clear()
    for path, old in left.items():
        if old() is not None:
            raise EmitError(
                f"Variable {path!r} of layer {definition.name!r} ({definition.kind}) is one with that of another "
                "layer, and cannot be exchanged for it.",
                where=f"layer {definition.name!r}",
                expected="variables that are attributes of layers, or members of lists and dicts that are",
                got="a reference that cannot be found, as in a function that closes over the variable",
                hint="let the layer read the variable from its attribute, self.kernel, each time that it is called",
            )


def _swapped(value: Any, swaps: Mapping[int, tuple[Any, Any]]) -> Any:
    if id(value) in swaps:
        return swaps[id(value)][1]
    if isinstance(value, tuple) and any(isinstance(part, (tuple, keras.Variable)) for part in value):
        parts = [_swapped(part, swaps) for part in value]
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _exchange(layer: Any, swaps: Mapping[int, tuple[Any, Any]]) -> None:
    """Put variables in place of others wherever a layer, what is inside it and the calls between those hold them."""
    seen: set[int] = set()
    waiting: list[Any] = [layer]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, _LEAVES):
            continue
        seen.add(id(item))
        # Past the checks that Keras makes where a layer that is built would get another variable.
        if isinstance(item, dict):
            for key, value in list(item.items()):
                new = _swapped(value, swaps)
                if new is not value:
                    dict.__setitem__(item, key, new)
                waiting.append(new)
        elif isinstance(item, list):
            for index, value in enumerate(list(item)):
                new = _swapped(value, swaps)
                if new is not value:
                    list.__setitem__(item, index, new)
                waiting.append(new)
        elif isinstance(item, (tuple, set, frozenset)):
            if isinstance(item, set) and not item.isdisjoint(swaps):  # a tracker keeps ids
                numbers = {id(swaps[number][1]) if number in swaps else number for number in item}
                item.clear()
                item.update(numbers)
            waiting.extend(item)
        if hasattr(item, "__dict__"):
            waiting.append(vars(item))
        for slot in (name for cls in type(item).__mro__ for name in getattr(cls, "__slots__", ())):
            value = getattr(item, slot, None)  # as TensorFlow's references to what belongs in a checkpoint have them
            new = _swapped(value, swaps)
            if new is not value:
                setattr(item, slot, new)
            waiting.append(new)
