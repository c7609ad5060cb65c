"""What code that was run on symbolic tensors leaves behind: in the attributes of layers it is undone."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io.internals import flatten_layers
from kerasurgeon.keras_io.open_redirects import Training
from kerasurgeon.keras_io.open_sizes import FreeSize


class Before:
    """A layer, with all layers in it, before its code is run.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Any) -> None:
        self._parts = [(part, dict(vars(part))) for part in flatten_layers(layer)]
        self._held = [
            (part, attributes.get("built"), value, _copied(value))
            for part, attributes in self._parts
            for name, value in attributes.items()
            if name not in _BY_KERAS and isinstance(value, (list, dict, set))
        ]
        self._drawn = _drawn()

    def put_back(self) -> None:
        """Undo what is left in attributes: numbers, symbolic tensors, layers; and what is gone from there."""
        for part, before in self._parts:
            now = vars(part)
            left = _SYMBOLIC if now.get("built") != before.get("built") else (*_SYMBOLIC, keras.Layer)
            for name in [name for name, value in now.items() if value is not before.get(name, now)]:
                value = now[name]
                simple = value is None or isinstance(value, (bool, int, float, str))
                if name in _BY_KERAS or not (simple or any(isinstance(leaf, left) for leaf in leaves(value))):
                    continue
                if name in before:
                    now[name] = before[name]
                else:
                    del now[name]
            now.update({name: value for name, value in before.items() if name not in now})
        for part, built, held, before in self._held:
            left = _SYMBOLIC if part.built != built else (*_SYMBOLIC, keras.Layer)
            known = {id(one) for one in _elements(before)}
            new = [leaf for one in _elements(held) if id(one) not in known for leaf in leaves(one)]
            if any(isinstance(leaf, left) for leaf in new):
                for leaf in new:
                    part._tracker.untrack(leaf)
                _fill(held, before)

    def has_drawn(self) -> bool:
        """Whether random numbers have been drawn since, of Python's or of numpy's."""
        return _drawn() != self._drawn


def _drawn() -> tuple[Any, ...]:
    name, keys, place, *_ = np.random.get_state()  # noqa: NPY002 - what is looked at is what users' code may draw from
    return random.getstate(), name, np.asarray(keys).tobytes(), place


def _copied(held: Any) -> Any:
    return list(held) if isinstance(held, list) else dict(held) if isinstance(held, dict) else set(held)


def _elements(held: Any) -> list[Any]:
    return list(held.values()) if isinstance(held, dict) else list(held)


def _fill(held: Any, before: Any) -> None:
    """Give a container what it had, whatever its class would do on the way."""
    if isinstance(held, list):
        list.__setitem__(held, slice(None), before)
        return
    kind: Any = dict if isinstance(held, dict) else set
    kind.clear(held)
    kind.update(held, before)


_BY_KERAS = frozenset({"built", "_lock", "_parent_path", "_inbound_nodes", "_outbound_nodes"})
_SYMBOLIC = (keras.KerasTensor, FreeSize, Training)

__all__ = ["Before"]
