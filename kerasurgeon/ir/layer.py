"""A layer: the definition that calls share, with its weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.ir.values import dtype_bytes


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@cache
def _call_parameters(cls: Any) -> frozenset[str]:
    return frozenset(inspect.signature(cls.call).parameters)


def read_only(array: Any) -> np.ndarray[Any, Any]:
    """``array`` as a numpy array that cannot be written into; copied only if it could still be written."""
    result = np.asarray(array)
    if result.flags.writeable:
        result = result.copy()
        result.flags.writeable = False
    return result


def sealed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array that was just made and that nobody else holds, made read-only in place: a weight takes it uncopied."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One variable of a layer. Equal only to itself, as arrays have no one equality.

    Attributes:
        array: The values; read-only, so that copies of a graph can share them.
        trainable: Whether an optimizer may change it; ``None`` leaves it as Keras makes it.
        tie: A number, where several layers hold the variable: weights of one number are one variable.
    """

    array: np.ndarray[Any, Any]
    trainable: bool | None = True
    tie: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", read_only(self.array))

    def move(self, array: np.ndarray[Any, Any]) -> None:
        """Hold the same values in other memory, which somebody else has to hold anyway.

        Args:
            array: Equal values, read-only.
        """
        object.__setattr__(self, "array", array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def bytes(self) -> int:
        """Bytes the values take."""
        return round(self.array.size * dtype_bytes(str(self.array.dtype)))


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A definition of a layer or op: what ``cls.from_config(config)`` plus ``weights`` rebuilds.

    Attributes:
        name: The Keras name.
        cls: The class itself, so that a custom layer needs no registration.
        config: What ``get_config`` returned. Never changed in place: see ``with_config``.
        weights: Variables by their path relative to the layer (``"kernel"``, ``"query/kernel"``).
        state: Random seed states by path: not weights, but what makes training repeatable.
        custom_objects: Unregistered classes and functions that the config names.
        assets: What the layer stores beside weights (vocabularies), by relative file name.
        parent_path: The name scope it was built in: part of its variables' paths.
        paths: Full paths of the variables, by key; lost when the layer is renamed.
        build_config: The shapes it was built with, as Keras records them; lost when config or weight shapes change.
        trainable_flags: Trainable flags of the layer and the layers inside it, where they differ from one another.
        attributes: Attributes that Keras keeps outside the config, where they are not as ``from_config`` leaves them.
        prototype: The op itself, where no config can say how it was made; copies of it stand in for it.
        parts: Attributes that hold a layer which is in the graph by itself too, by that layer's key.
        idle: Whether its code, of a class from outside Keras, returns what it reads when the model does not train.
    """

    name: str
    cls: type[Any]
    config: Mapping[str, Any]
    weights: Mapping[str, Weight] = field(default_factory=_nothing)
    state: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=_nothing)
    custom_objects: Mapping[str, Any] = field(default_factory=_nothing)
    assets: Mapping[str, bytes] = field(default_factory=_nothing)
    parent_path: str = ""
    paths: Mapping[str, str] = field(default_factory=_nothing)
    build_config: Mapping[str, Any] | None = None
    trainable_flags: tuple[bool, ...] = ()
    parts: Mapping[str, str] = field(default_factory=_nothing)
    attributes: Mapping[str, Any] = field(default_factory=_nothing)
    prototype: Any = None
    idle: bool = False

    def __post_init__(self) -> None:
        for attribute in ("config", "weights", "state", "custom_objects", "assets", "paths", "parts", "attributes"):
            mapping = getattr(self, attribute)
            if not isinstance(mapping, MappingProxyType):
                object.__setattr__(self, attribute, MappingProxyType(dict(mapping)))

    @property
    def kind(self) -> str:
        """What it is: ``"Conv2D"``, ``"ops.add"``, ``"custom:package.module.Class"``."""
        cls: Any = self.cls  # mypy does not take type[Any] for hashable, as a cache needs
        return kind_of(cls)

    @property
    def call_parameters(self) -> frozenset[str]:
        """Names of the parameters of its ``call``."""
        cls: Any = self.cls
        return _call_parameters(cls)

    @property
    def parameters(self) -> int:
        """Number of elements over all weights."""
        return sum(prod(weight.shape) for weight in self.weights.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes over all weights."""
        return sum(weight.bytes for weight in self.weights.values())

    def array(self, key: str) -> np.ndarray[Any, Any] | None:
        """The values of one weight, or ``None`` where the layer has no such weight (no bias, no gamma)."""
        weight = self.weights.get(key)
        return None if weight is None else weight.array

    def with_config(self, **changes: Any) -> Layer:
        """A copy with some entries of the config replaced."""
        renamed = changes.get("name", self.name) != self.name
        return replace(
            self,
            config={**self.config, **changes},
            name=changes.get("name", self.name),
            paths={} if renamed else self.paths,
            build_config=self.build_config if set(changes) <= {"name", "trainable"} else None,
        )

    def with_weights(self, **arrays: Any) -> Layer:
        """A copy with some weights set: an array sets the values, ``None`` removes the weight.

        Keys with a slash are given as ``**{"query/kernel": array}``. The values are cast to the dtype of the weight
        that they replace and take over its flag and tie; a new weight keeps the dtype of its array, and is trainable
        if Keras makes it so.
        """
        weights = dict(self.weights)
        for key, array in arrays.items():
            if array is None:
                weights.pop(key, None)
            elif isinstance(array, Weight):
                weights[key] = array
            else:
                old = weights.get(key)
                if old is not None:
                    given = np.asarray(array)
                    array = given.astype(old.array.dtype, copy=False)
                    if array is not given:
                        array = sealed(array)
                weights[key] = Weight(array, trainable=None) if old is None else replace(old, array=array)
        same = {key: weight.shape for key, weight in weights.items()} == {
            key: weight.shape for key, weight in self.weights.items()
        }
        return replace(self, weights=weights, build_config=self.build_config if same else None)

    def with_name(self, name: str) -> Layer:
        """A copy that Keras will know by another name."""
        return self.with_config(name=name)
