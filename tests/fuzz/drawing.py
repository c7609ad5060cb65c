"""Random descriptions: what there is to draw from, and how a drawn step is tried before it stays."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tests.fuzz.building import Construction, sample_of
from tests.fuzz.description import Array, Description, Ref, Step

LARGEST = 700
"""Elements of a tensor, for one sample, beyond which a step is taken back."""

POLICIES = ("float32",) * 9 + ("float64",) * 6 + ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


class Refused(Exception):  # noqa: N818 - it ends an attempt, and is no error
    """A drawn step that Keras refuses, or that gives what says nothing: all alike, infinite, too large."""


@dataclass(frozen=True)
class Live:
    """A tensor that steps may read."""

    ref: Ref
    shape: tuple[int, ...]
    dtype: str

    @property
    def rank(self) -> int:
        """With the batch."""
        return len(self.shape) + 1

    @property
    def real(self) -> bool:
        """Whether it holds numbers that are trained on."""
        return "float" in self.dtype


class Draw:
    """A description in the making.

    Args:
        seed: What weights and inputs follow from.
        policy: The dtype policy of all layers.
        layout: Whether channels come first or last.
        inside: Whether it is of a model inside another.
        chosen: What choices follow from; the seed by default.
    """

    def __init__(
        self,
        seed: int,
        policy: str | None = None,
        layout: str | None = None,
        inside: bool = False,
        chosen: random.Random | None = None,
    ) -> None:
        self.random = random.Random(seed) if chosen is None else chosen
        self.seed = seed
        self.policy = policy or self.pick(*POLICIES)
        self.layout = layout or self.pick(*["channels_last"] * 5, "channels_first")
        self.inside = inside
        self.steps: dict[int, Step] = {}
        self.lives: list[Live] = []
        self.values: dict[int, Any] = {}
        self.construction = Construction(self.policy, seed)

    def pick(self, *choices: Any) -> Any:
        return choices[self.random.randrange(len(choices))]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def whole(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    @property
    def floats(self) -> str:
        """What tensors are computed in."""
        return str(keras.dtype_policies.get(self.policy).compute_dtype)

    @property
    def first(self) -> bool:
        """Whether channels come first."""
        return self.layout == "channels_first"

    @property
    def axis(self) -> int:
        """Of channels."""
        return 1 if self.first else -1

    def array(self, *shape: int, dtype: str | None = None) -> Array:
        return Array(shape, self.whole(0, 999), dtype or self.floats)

    # Tensors

    def input(self, shape: Sequence[int], dtype: str | None = None) -> Live:
        """A new input."""
        return self.add(Step("InputLayer", options={"shape": tuple(shape), "dtype": dtype or self.floats}))

    def some(self, rank: int, where: Callable[[Live], bool] | None = None) -> Live:
        """A tensor of numbers of this rank: one that is there, one made of another, or a new input."""
        there = [x for x in self.lives if x.real and x.rank == rank and (where is None or where(x))]
        found: Live
        if there and self.chance(0.9):
            found = self.pick(*there[-3:])
            return found
        shape = self.shape(rank)
        if self.lives and (len(self.inputs) > 2 or self.inside or self.chance(0.5)):
            return self.made_of(self.pick(*[x for x in self.lives if x.real][-3:]), shape)
        return self.input(shape)

    @property
    def inputs(self) -> list[int]:
        return [number for number, step in self.steps.items() if step.kind == "InputLayer"]

    def shape(self, rank: int) -> tuple[int, ...]:
        """Sizes of a tensor of this rank, without the batch."""
        channels = self.pick(2, 3, 4, 6)
        sizes: tuple[int, ...] = ((), (self.whole(3, 5),), (self.pick(4, 4, 6), 4), (self.whole(3, 4), 4, 4))[rank - 2]
        if rank == 4 and self.first:
            return (channels, *sizes)
        return (*sizes, min(channels, 3) if rank == 5 else channels)

    def made_of(self, x: Live, shape: tuple[int, ...]) -> Live:
        """A tensor of some shape that depends on another one."""
        if x.rank > 2:
            x = self.layer("Flatten", x)
        x = self.layer("Dense", x, units=int(np.prod(shape)), activation=self.pick(None, "tanh"))
        return x if len(shape) == 1 else self.layer("Reshape", x, target_shape=shape)

    def tokens(self, length: int = 5) -> Live:
        """Small integers: batch by steps."""
        there = [x for x in self.lives if x.dtype == "int32" and x.rank == 2]
        found: Live
        if there and (self.inside or self.chance(0.8)):
            found = self.pick(*there)
            return found
        if self.inside:
            x = self.some(2)
            return self.op("cast", self.op("clip", self.op("floor", self.op("multiply", x, 2)), 0, 3), "int32")
        return self.input((length,), "int32")

    def like(self, x: Live) -> Live:
        """A tensor of the same shape, another one where that can be had."""
        there = [y for y in self.lives if y.shape == x.shape and y.dtype == x.dtype and y.ref != x.ref]
        found: Live
        if there and self.chance(0.7):
            found = self.pick(*there)
            return found
        if x.rank >= 3 and self.chance(0.5) and not self.first:
            return self.layer("Dense", x, units=x.shape[-1], activation=self.pick(None, "tanh", "sigmoid"))
        return self.op(self.pick("tanh", "sin", "square", "negative"), x)

    # Steps

    def layer(self, kind: str, *args: Any, call: dict[str, Any] | None = None, **options: Any) -> Live:
        return self.add(Step(kind, args, call or {}, options))

    def op(self, name: str, *args: Any, **kwargs: Any) -> Live:
        return self.add(Step(f"ops.{name}", args, kwargs))

    def add(self, step: Step) -> Live:
        """Try a step, and keep it; of several results the first one is returned, and all can be read.

        Raises:
            Refused: Keras refuses it, or its result is of no use.
        """
        slow = "3D" in step.kind and step.options.get("data_format") == "channels_first"
        if slow and (step.kind == "ConvLSTM3D" or self.chance(0.9)):
            raise Refused("TensorFlow compiles it anew in every call, for a second each time")
        step = Step(step.kind, _refs(step.args), _refs(dict(step.kwargs)), step.options, step.shares)
        number = max(self.steps, default=-1) + 1
        try:
            symbolic = self.construction.add(number, step)
            value = (
                sample_of(step.options, self.seed + len(self.inputs))
                if step.kind == "InputLayer"
                else self.construction.call(number, step, self.values)
            )
        except Exception as error:
            raise Refused(f"{step.kind}: {type(error).__name__}: {error}") from error
        if any(symbolic is tensor for other, tensor in self.construction.tensors.items() if other != number):
            raise AssertionError(f"leave out {step.kind}: Keras returns its operand, and makes a cycle of it")
        found = list(_results(number, symbolic, value))
        self.steps[number] = step
        self.values[number] = value
        self.lives += found
        return found[0]

    def finished(self, outputs: Any, dict_inputs: bool = False) -> Description:
        """The description, without what no output needs."""
        return Description(dict(self.steps), outputs, self.policy, self.seed, dict_inputs).needed()


def _refs(structure: Any) -> Any:
    if isinstance(structure, Live):
        return structure.ref
    if isinstance(structure, dict):
        return {key: _refs(item) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(_refs(item) for item in structure)
    return structure


def _results(number: int, symbolic: Any, value: Any) -> Iterator[Live]:
    several = isinstance(symbolic, list | tuple)
    pairs = list(zip(symbolic, value, strict=True)) if several else [(symbolic, value)]
    for index, (tensor, array) in enumerate(pairs):
        if isinstance(tensor, list | tuple):  # the states of one of several cells
            continue
        if not isinstance(tensor, keras.KerasTensor):
            raise Refused(f"gives {type(tensor).__name__}")
        shape = tuple(tensor.shape)
        if len(shape) < 1 or shape[0] is not None or None in shape[1:]:
            raise Refused(f"gives {shape}")
        if int(np.prod(shape[1:])) > LARGEST or 0 in shape[1:] or len(shape) < 2:
            raise Refused(f"gives {shape}")
        if tuple(getattr(array, "shape", ()))[1:] != shape[1:]:
            raise Refused(f"Keras says {shape}, and gives something else")
        if "float" in str(tensor.dtype):
            numbers = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(array, "float64")))
            if not np.isfinite(numbers).all() or np.abs(numbers).max() > 300 or np.abs(numbers).max() < 1e-3:
                raise Refused("gives numbers of no use")
        elif str(tensor.dtype).startswith("complex"):
            raise Refused("gives complex numbers")
        yield Live(Ref(number, index if several else None), shape[1:], str(tensor.dtype))


__all__ = ["Draw", "Live", "Refused"]
