"""A model as data: steps that call layers and ops, and how it is printed, as Keras code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ref:
    """A tensor: what a step gives, or one of several that it gives."""

    step: int
    index: int | None = None


@dataclass(frozen=True)
class Weight:
    """A variable of another step's layer, given as an operand: a tied weight."""

    step: int
    name: str


@dataclass(frozen=True)
class Array:
    """A constant, by what it is drawn from."""

    shape: tuple[int, ...]
    seed: int
    dtype: str = "float32"

    def values(self) -> np.ndarray[Any, Any]:
        """Normal numbers; of integers small ones, of flags both."""
        rng = np.random.default_rng(self.seed)
        if self.dtype == "bool":
            return rng.random(self.shape) < 0.6
        if "int" in self.dtype:
            return rng.integers(0, 3, self.shape).astype(self.dtype)
        return rng.normal(0.3, 1.0, self.shape).astype(self.dtype)


@dataclass(frozen=True)
class Made:
    """A layer that is an option of another one: what a wrapper wraps, a cell."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        kind: Of the layer, or ``ops.`` and its name.
        args: Operands, in any structure.
        kwargs: Operands by keyword.
        options: What the layer is made with.
        shares: The step whose layer is called once more.
    """

    kind: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    shares: int | None = None

    @property
    def operands(self) -> Any:
        """All operands."""
        return self.args, dict(self.kwargs)


@dataclass(frozen=True)
class Description:
    """A whole model. Steps stand in order; their numbers are names, and need not be consecutive."""

    steps: Mapping[int, Step]
    outputs: Any
    policy: str = "float32"
    seed: int = 0
    dict_inputs: bool = False

    @property
    def inputs(self) -> list[int]:
        """The steps that are inputs."""
        return [number for number, step in self.steps.items() if step.kind == "InputLayer"]

    def needed(self) -> Description:
        """Without the steps that no output needs; every input stays that something reads."""
        wanted = set(reads(self.outputs))
        for number in reversed(list(self.steps)):
            if number in wanted:
                wanted |= set(reads(self.steps[number].operands))
                shares = self.steps[number].shares
                wanted |= set() if shares is None else {shares}
        return replace(self, steps={number: step for number, step in self.steps.items() if number in wanted})

    def kinds(self) -> Iterator[str]:
        """The kinds of all steps, inner ones too."""
        for step in self.steps.values():
            yield step.kind
            for option in step.options.values():
                if isinstance(option, Description):
                    yield from option.kinds()
                for inner in option if isinstance(option, list) else [option]:
                    if isinstance(inner, Made):
                        yield inner.kind

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, indent: str = "") -> Iterator[str]:
        """As Keras code."""
        yield f"{indent}# policy {self.policy}, seed {self.seed}{', inputs as a dict' * self.dict_inputs}"
        for number, step in self.steps.items():
            inner = {key: value for key, value in step.options.items() if isinstance(value, Description)}
            for key, value in inner.items():
                yield f"{indent}# {key} of t{number}:"
                yield from value.lines(indent + "    ")
            options = {key: value for key, value in step.options.items() if key not in inner}
            given = [*map(show, step.args), *(f"{key}={show(value)}" for key, value in step.kwargs.items())]
            if step.kind.startswith("ops."):
                made = step.kind
            elif step.shares is not None:
                made = f"layer_of_t{step.shares}"
            else:
                made = show(Made(step.kind, options))
            yield f"{indent}t{number} = {made}({', '.join(given)})"
        yield f"{indent}outputs = {show(self.outputs)}"


def show(value: Any) -> str:
    """An operand or option as code."""
    if isinstance(value, Ref):
        return f"t{value.step}" if value.index is None else f"t{value.step}[{value.index}]"
    if isinstance(value, Weight):
        return f"layer_of_t{value.step}.{value.name}"
    if isinstance(value, Made):
        return f"layers.{value.kind}({', '.join(f'{key}={show(option)}' for key, option in value.options.items())})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(show, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    return repr(value)


def leaves(structure: Any) -> Iterator[Any]:
    """The leaves of lists, tuples and dicts."""
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        for item in structure:
            yield from leaves(item)
    else:
        yield structure


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """The structure with every leaf replaced."""
    if isinstance(structure, dict):
        return {key: mapped(function, item) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(mapped(function, item) for item in structure)
    return function(structure)


def reads(structure: Any) -> Iterator[int]:
    """The steps that a structure of operands reads."""
    for leaf in leaves(structure):
        if isinstance(leaf, Ref | Weight):
            yield leaf.step
