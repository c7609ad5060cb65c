"""A call as a rule writes it to TFLite: the same words as for ONNX, each of which is put into TFLite's own operators.

A rule's ``onnx`` method speaks of operators by ONNX's names. ``TfliteCall.op`` takes the same names and adds what
TFLite has for them, so that such a method writes both formats; where TFLite has an operator of its own for a layer, the
rule's ``tflite`` method adds that with ``native``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall, Writes
from kerasurgeon.rules.onnx_parts import Array, Operator, Order, Parts, Size, natural

Sizes: TypeAlias = tuple[int | None, ...]
Translation: TypeAlias = Callable[..., list[str]]
"""Adds TFLite's operators for one of ONNX's: from the call, the names of its inputs and its attributes."""

OPSET = 23
"""The version of ONNX's operators whose names are understood."""

LONGEST = 64
"""How many steps of a recurrence are written one by one.

LSTM of 16 and 64 units, one thread: 16 steps take half the time of a loop, 64 between 0.7 and 1.4 times as much, 512
three times as much, and are loaded in 80 ms and not in 2.
"""

RUNS = ("float32", "int64", "int32", "int16", "int8", "uint8", "bool")
"""Types that TFLite's kernels compute with, or can at least be cast from."""

STAND_INS = {"float64": "float32", "uint32": "int64", "uint16": "int32"}
"""Types that TFLite does nothing with but cast them: what is computed with in their place."""


class TfliteParts(Parts):
    """Operators and constants of a TFLite file, with the shape and the type of every tensor.

    Args:
        translations: What TFLite has for ONNX's operators, by their names.
        by_element: Those among them that compute every element from the elements at its place.
        longest: How many steps of a recurrence are written one by one at most.
    """

    def __init__(
        self,
        translations: Mapping[str, Translation],
        by_element: Collection[str] = frozenset(),
        longest: int = LONGEST,
    ) -> None:
        super().__init__(OPSET, longest)
        self.translations = translations
        self.by_element = by_element
        self.origins: dict[str, str] = {}
        """Of constants that are others with their axes in another order: which."""
        self.types: dict[str, str] = {}
        self.scales: dict[str, tuple[Array, int]] = {}
        """Of integers that stand for reals: what to multiply them by, along which axis."""
        self.turned: dict[str, tuple[str, Order]] = {}
        """Of tensors that are others with their axes in another order: which, and the order."""

    def known(self, name: str, spec: TensorSpec) -> str:
        """Note what a tensor is like that no operator makes. Returns its name."""
        self.types[name] = spec.dtype
        return Parts.known(self, name, spec)


@dataclass(slots=True)
class TfliteCall(OnnxCall):
    """One call of a layer or op, to be written with TFLite's operators. The natural order of axes is channels last."""

    recurs: ClassVar[bool] = False
    channels_last: ClassVar[bool] = True

    parts: TfliteParts = field(default_factory=lambda: TfliteParts({}))

    def write_by(self, rule: Writes) -> None:
        """Let a rule write it."""
        rule.tflite(self)

    # What is known of tensors

    def sizes(self, name: str) -> Sizes:
        """The sizes of a tensor, in its own order of axes; unknown ones are ``None``."""
        array = self.parts.constants.get(name)
        return self.parts.shapes[name] if array is None else tuple(array.shape)

    def type_of(self, name: str) -> str:
        """The type of a tensor, as Keras names it."""
        array = self.parts.constants.get(name)
        return self.parts.types[name] if array is None else str(array.dtype.name)

    def value(self, name: str | None, what: str = "an operand") -> Array:
        """The values of a constant.

        Raises:
            CannotTell: It is none.
        """
        if name is None or name not in self.parts.constants:
            raise CannotTell(f"TFLite wants {what} of it to be a constant")
        return self.parts.constants[name]

    def is_constant(self, name: str | None) -> bool:
        """Whether a tensor is one."""
        return name in self.parts.constants

    # Operators

    def op(self, kind: str, *inputs: str | None, **attributes: Any) -> str:
        """What TFLite has for one of ONNX's operators with one output; returns the output's name."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str | None, outputs: int, **attributes: Any) -> list[str]:
        """What TFLite has for one of ONNX's operators; returns the names of the outputs.

        Raises:
            CannotTell: It has nothing for it.
        """
        if kind not in self.parts.translations:
            raise CannotTell(f"TFLite has nothing for {kind}")
        given = {key: value for key, value in attributes.items() if value is not None}
        turn = self._common_turn(inputs) if kind in self.parts.by_element else None
        if turn is None:
            return self.parts.translations[kind](self, *inputs, outputs=outputs, **given)
        straight = [None if name is None else self._straight(name, turn) for name in inputs]
        made = self.parts.translations[kind](self, *straight, outputs=outputs, **given)
        return [self.transpose(name, turn) for name in made]

    def _common_turn(self, names: Sequence[str | None]) -> Order | None:
        """How all of some tensors are turned, constants aside; ``None`` if they are not, or not alike."""
        several = [name for name in names if name is not None and not self.is_constant(name)]
        turns = {self.parts.turned[name][1] if name in self.parts.turned else None for name in several}
        return turns.pop() if len(turns) == 1 else None

    def _straight(self, name: str, turn: Order) -> str:
        """A tensor as it was before it was turned; a constant as it broadcasts against such."""
        if name in self.parts.turned:
            return self.parts.turned[name][0]
        rank = len(self.sizes(name))
        if self.value(name).size == 1 and rank <= 1:
            return name
        full = self.unsqueeze(name, range(len(turn) - rank))
        return self.transpose(full, [turn.index(axis) for axis in range(len(turn))])

    def natives(
        self, kind: str, inputs: Sequence[str | None], results: Sequence[tuple[Sizes, str]], **options: Any
    ) -> list[str]:
        """One of TFLite's own operators with several outputs.

        Args:
            kind: The operator, as the schema calls it.
            inputs: Names of tensors; ``None`` for what is left out.
            results: Sizes and type of every output.
            **options: What the schema's options of this operator are set to.
        """
        if kind != "CAST":
            inputs = [None if name is None else self._computable(name) for name in inputs]
            results = [(sizes, STAND_INS.get(dtype, dtype)) for sizes, dtype in results]
        made = [self.parts.fresh(f"{self.name}/{kind}") for _ in results]
        for name, (sizes, dtype) in zip(made, results, strict=True):
            self.parts.shapes[name], self.parts.types[name] = tuple(sizes), dtype
        names = ["" if name is None else name for name in inputs]
        self.parts.operators.append(Operator(kind, made[0], names, made, options))
        return made

    def _computable(self, name: str) -> str:
        """A tensor in a type that kernels compute with.

        Raises:
            CannotTell: There is none.
        """
        own = self.type_of(name)
        if own in STAND_INS:
            return self.cast(name, STAND_INS[own])
        if own not in RUNS:
            raise CannotTell(f"TFLite does not compute with {own}")
        return name

    def native(self, kind: str, *inputs: str | None, sizes: Sizes, dtype: str | None = None, **options: Any) -> str:
        """One of TFLite's own operators; its type is that of the first input unless told."""
        dtype = dtype or self.type_of(next(name for name in inputs if name is not None))
        return self.natives(kind, inputs, [(sizes, dtype)], **options)[0]

    def index(self, *values: int) -> str:
        """A constant of one axis, of int32, as TFLite wants axes and sizes."""
        return self.constant(np.asarray(values, np.int32).reshape(-1), "int32", "sizes")

    def cast(self, name: str, dtype: str) -> str:
        """A tensor in another dtype."""
        if self.is_constant(name):
            return self.constant(self.value(name), dtype)
        own = self.type_of(name)
        if dtype == own:
            return name
        if dtype not in (*RUNS, *STAND_INS) or own not in (*RUNS, *STAND_INS):
            raise CannotTell(f"TFLite does not compute with {dtype}")
        return self.native("CAST", name, sizes=self.sizes(name), dtype=dtype, inDataType=own, outDataType=dtype)

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """A tensor with its axes in another order; by a reshape where only axes of size 1 change their place."""
        if tuple(order) == natural(len(order)):
            return name
        if self.is_constant(name):
            made = self.parts.derived(
                self.value(name), f"turned {tuple(order)}", lambda source: source.transpose(order), name
            )
            self.parts.origins.setdefault(made, self.parts.origins.get(name, name))
            return made
        if name in self.parts.turned:
            source, before = self.parts.turned[name]
            return self.transpose(source, [before[axis] for axis in order])
        own = self.sizes(name)
        sizes = tuple(own[axis] for axis in order)
        count = len(self.parts.operators)
        made = self._turn(name, order, own, sizes)
        if len(self.parts.operators) > count:
            self.parts.turned[made] = (name, tuple(order))
        return made

    def _turn(self, name: str, order: Sequence[int], own: Sizes, sizes: Sizes) -> str:
        moved = [axis for axis in order if own[axis] != 1]
        if moved == sorted(moved) and sizes.count(None) <= 1:
            return self.reshape(name, [-1 if size is None else size for size in sizes])
        return self.native("TRANSPOSE", name, self.index(*order), sizes=sizes)

    def unsqueeze(self, name: str, axes: Sequence[int]) -> str:
        """A tensor with axes of size 1 put in, at these places of the result."""
        sizes = list(self.sizes(name))
        places = sorted(axis % (len(sizes) + len(axes)) for axis in axes)
        for axis in places:
            sizes.insert(axis, 1)
        return self._with_sizes(name, tuple(sizes), [(axis, "EXPAND_DIMS") for axis in places])

    def squeeze(self, name: str, axes: Sequence[int]) -> str:
        """A tensor without these axes, which have size 1."""
        own = self.sizes(name)
        gone = sorted({axis % len(own) for axis in axes}, reverse=True)
        sizes = tuple(size for axis, size in enumerate(own) if axis not in gone)
        return self._with_sizes(name, sizes, [(axis, "SQUEEZE") for axis in gone])

    def _with_sizes(self, name: str, sizes: Sizes, steps: Sequence[tuple[int, str]]) -> str:
        if not steps:
            return name
        if sizes.count(None) <= 1:
            return self.reshape(name, [-1 if size is None else size for size in sizes])
        for axis, kind in steps:
            own = self.sizes(name)
            if kind == "EXPAND_DIMS":
                name = self.native(kind, name, self.index(axis), sizes=(*own[:axis], 1, *own[axis:]))
            else:
                name = self.native(kind, name, sizes=(*own[:axis], *own[axis + 1 :]), squeezeDims=[axis])
        return name

    def reshape(self, name: str, sizes: Sequence[Size]) -> str:
        """A tensor with other sizes. One of them may be -1; a 0 is the size that it has there."""
        own = self.sizes(name)
        wanted: list[Size] = list(sizes)
        for place, size in enumerate(wanted):
            if size == 0 and place < len(own):
                known = own[place]
                wanted[place] = known if known is not None else -1 if -1 not in wanted else self.size_at(name, place)
        known_sizes = self._resolved(own, wanted)
        if self.is_constant(name) and None not in known_sizes:
            return self.constant(self.value(name).reshape([size or 0 for size in known_sizes]), self.type_of(name))
        root = self.parts.roots.get(name, name)
        if known_sizes.count(None) <= 1 and self.sizes(root) == known_sizes:
            return root
        if known_sizes.count(None) <= 1:
            target = self.index(*(-1 if size is None else size for size in known_sizes))
        else:
            target = self.cast(self.exact_shape(wanted), "int32")
        made = self.native("RESHAPE", root, target, sizes=known_sizes)
        self.parts.roots[made] = root
        return made

    def size_at(self, name: str, place: int) -> str:
        """The size of a tensor at one place, as a tensor of one int64."""
        shape = self.native("SHAPE", name, sizes=(len(self.sizes(name)),), dtype="int64", outType="int64")
        return self.op("Gather", shape, self.integers(place), axis=0)

    @staticmethod
    def _resolved(own: Sizes, wanted: Sequence[Size]) -> Sizes:
        """The sizes after a reshape, an open one worked out where it can be."""
        sizes = tuple(None if isinstance(size, str) or size == -1 else int(size) for size in wanted)
        if sizes.count(None) == 1 and None not in own:
            rest = int(np.prod([size for size in sizes if size is not None], dtype=np.int64))
            total = int(np.prod([size or 0 for size in own], dtype=np.int64))
            return tuple((total // rest if rest else 0) if size is None else size for size in sizes)
        return sizes

    def reduce(self, kind: str, name: str, axes: Sequence[int], *, keepdims: bool) -> str:
        """A reduction over axes: ``"ReduceMean"`` and its like."""
        return self.op(kind, name, self.integers(*axes), keepdims=int(keepdims))

    # What comes out

    def give(self, name: str, order: Order | None = None, index: int = 0) -> None:
        """Say what an output is; see `OnnxCall.give`. Of a tensor that is another one turned, that other one."""
        if name in self.parts.turned:
            name, turn = self.parts.turned[name]
            order = natural(len(turn)) if order is None else order
            order = tuple(order[turn.index(axis)] for axis in range(len(turn)))
        before = self.parts.shapes.get(name, ())
        OnnxCall.give(self, name, order, index)
        if before:
            said = self.parts.shapes[name]
            self.parts.shapes[name] = tuple(
                one if one is not None else two for one, two in zip(before, said, strict=True)
            )
