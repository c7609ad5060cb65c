"""The registry behind the zoo: what a case is, and how a builder becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

Builder = Callable[[], keras.Model]
Tensor = Any  # a KerasTensor; Keras ships no types


@dataclass(frozen=True)
class ZooCase:
    """A small model with one feature that a graph representation easily gets wrong.

    ``custom_objects`` is what ``keras.saving.load_model`` must be given for the case: unregistered classes
    and functions. Tags:

    * ``unsaveable``: Keras itself cannot save or load it, with custom objects or without.
    * ``saves_differently``: Keras loads a model that computes something else.
    * ``lambda``: has a Python lambda; loading needs ``safe_mode=False``.
    * ``unregistered``: needs ``custom_objects``.
    * ``stateful``: running it in inference changes its state.
    * ``own_weights``: ``build`` leaves the weights as the builder made them.
    * ``low_precision``: computes in float16 or bfloat16, or with quantised weights.
    * ``random``: has layers that draw random numbers in training; with ``always_random``, also when called
      without ``training``.
    * ``mask``: a Keras mask changes the outputs.
    * ``compiled``: carries compile state.
    * ``shared``: a layer is called more than once, in this model or beyond it.
    * ``tied``: a variable is an operand.
    * ``nested``: has a model inside.
    * ``custom``: has classes or functions that are not Keras'.
    """

    name: str
    build: Builder
    feature: str
    tags: frozenset[str]
    custom_objects: Mapping[str, Any] = field(default_factory=dict)


ZOO: dict[str, ZooCase] = {}


def case(feature: str, *tags: str, custom_objects: Mapping[str, Any] | None = None) -> Callable[[Builder], Builder]:
    """Enter the decorated builder in ``ZOO`` under its own name."""

    def register(builder: Builder) -> Builder:
        name = builder.__name__
        if name in ZOO:
            raise ValueError(f"two zoo cases are called {name!r}")
        ZOO[name] = ZooCase(name, builder, feature, frozenset(tags), dict(custom_objects or {}))
        return builder

    return register


def image(size: int | None = 8, channels: int = 3, name: str = "image", **kwargs: Any) -> Tensor:
    """A channels-last image input."""
    return keras.Input((size, size, channels), name=name, **kwargs)


def vector(units: int = 6, name: str = "features", **kwargs: Any) -> Tensor:
    """A feature-vector input."""
    return keras.Input((units,), name=name, **kwargs)


def sequence(steps: int | None = 6, units: int = 4, name: str = "steps", **kwargs: Any) -> Tensor:
    """A (steps, features) input."""
    return keras.Input((steps, units), name=name, **kwargs)


def tokens(steps: int | None = 6, name: str = "tokens") -> Tensor:
    """An integer-token input; ``sample_inputs`` keeps it below the smallest vocabulary in the model."""
    return keras.Input((steps,), dtype="int32", name=name)
