"""An ONNX file in the making, as plain data: operators, constants, and where the tensors of a graph are to be found.

A tensor is kept in the order of axes in which it was computed: networks of images are channels last in Keras and
channels first in ONNX, and only what must see the other order pays for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from kerasurgeon.ir.values import TensorSpec

Array = np.ndarray[Any, Any]
Order: TypeAlias = tuple[int, ...]
"""Which axis of the Keras tensor each axis of the ONNX tensor is."""
Size: TypeAlias = int | str
"""A size that is known, or the name of a tensor of one int64 that holds it."""

LONGEST = 8
"""How many steps of a recurrence are written one by one.

LSTM cells with gelu, of 16 and 64 units, ONNX Runtime, one thread: 8 steps take 0.95 of the time of a loop, 32 take 1.1
of it, 128 twice as much, and are loaded in 400 ms and not in 4.
"""

_SMALL = 4096  # bytes: constants up to here are compared by what they hold, larger ones by where they come from


def natural(rank: int) -> Order:
    """Keras' own order."""
    return tuple(range(rank))


def channels_first(rank: int) -> Order:
    """The order that brings a last axis of channels to place 1."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else natural(rank)


@dataclass(slots=True)
class Operator:
    """One operator of the file."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    @property
    def bodies(self) -> list[Body]:
        """What it does over and over."""
        return [value for value in self.attributes.values() if isinstance(value, Body)]

    def reads(self) -> list[str]:
        """The tensors that it reads, those among them that only its bodies read."""
        return [*self.inputs, *(name for body in self.bodies for name in body.reads())]


@dataclass(slots=True)
class Body:
    """Operators that another does over and over.

    Attributes:
        inputs: The tensors that it is given.
        outputs: Those that it gives.
        operators: What it does.
        specs: Shapes and dtypes of both.
    """

    inputs: list[str]
    outputs: list[str]
    operators: list[Operator]
    specs: Mapping[str, TensorSpec] = field(default_factory=dict)

    def made(self) -> set[str]:
        """The tensors that are its own."""
        return {*self.inputs, *(name for operator in self.operators for name in operator.outputs)}

    def reads(self) -> list[str]:
        """The tensors around it that it reads, constants among them."""
        own = self.made()
        several = [*(name for operator in self.operators for name in operator.reads()), *self.outputs]
        return [name for name in dict.fromkeys(several) if name and name not in own]


@dataclass(frozen=True, slots=True)
class Padded:
    """A tensor that is another with zeros around it.

    Attributes:
        inner: The tensor without them.
        sides: How many in front and behind, per axis of the Keras tensor.
    """

    inner: Tensor
    sides: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A tensor that is there with the positions of its last axis in another order.

    Attributes:
        name: The tensor that is there.
        positions: Which position of the Keras tensor each of its positions is.
    """

    name: str
    positions: Array


@dataclass(slots=True, eq=False)
class Tensor:
    """What stands for a tensor of the graph.

    Attributes:
        spec: Shape and dtype, in Keras' order of axes.
        array: The values, if it is a constant.
        forms: The ONNX tensors that hold it, by order of axes.
        later: Writes it, as ``(name, order)``, when it is first read. Of a tensor that its readers may not need.
        instead: What a reader may read in its place.
        sizes: The ONNX tensors that hold its unknown sizes, by axis.
    """

    spec: TensorSpec
    array: Array | None = None
    forms: dict[Order, str] = field(default_factory=dict)
    later: Callable[[], tuple[str, Order]] | None = None
    instead: Padded | Shuffled | None = None
    sizes: dict[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes per axis, in Keras' order."""
        return self.spec.shape

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.spec.shape)

    @property
    def dtype(self) -> str:
        """Its dtype, as Keras names it."""
        return self.spec.dtype

    @property
    def order(self) -> Order:
        """The order of axes in which it can be read without being turned."""
        if isinstance(self.instead, Padded) and not self.forms:
            return self.instead.inner.order
        return next(iter(self.forms), natural(self.rank))


class Parts:
    """Operators and constants, with names that are used once.

    Args:
        opset: The version of ONNX's operators.
        longest: How many steps of a recurrence are written one by one at most; more of them become a loop.
    """

    def __init__(self, opset: int, longest: int = LONGEST) -> None:
        self.opset, self.longest = opset, longest
        self.operators: list[Operator] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        """Shapes of tensors where they are known, unknown sizes as ``None``."""
        self.roots: dict[str, str] = {}
        """Of tensors that are others regrouped: which."""
        self._names: set[str] = set()
        self._known: dict[Any, str] = {}
        self._held: list[Array] = []  # so that where an array lies stays its own

    def fresh(self, wanted: str) -> str:
        """A name that nothing has yet: the wanted one, or it with a number."""
        name, number = wanted, 0
        while name in self._names:
            number += 1
            name = f"{wanted}:{number}"
        self._names.add(name)
        return name

    def known(self, name: str, spec: TensorSpec) -> str:
        """Note what a tensor is like that no operator makes. Returns its name."""
        self.shapes[name] = spec.shape
        return name

    def constant(self, array: Array, wanted: str) -> str:
        """A constant, written once where the same is small and needed again."""
        array = np.asarray(array)
        key = (array.dtype.str, str(array.dtype), array.shape, array.tobytes()) if array.nbytes <= _SMALL else None
        if key is not None and key in self._known:
            return self._known[key]
        name = self.fresh(wanted)
        self.constants[name] = array
        if key is not None:
            self._known[key] = name
        return name

    def derived(self, source: Array, how: str, make: Callable[[Array], Array], wanted: str) -> str:
        """A constant made of an array, written once for every way in which it is made of that very array."""
        lies = (source.__array_interface__["data"][0], source.shape, source.strides, str(source.dtype))
        key = (lies, how)
        if key not in self._known:
            self._held.append(source)
            self._known[key] = self.constant(make(source), wanted)
        return self._known[key]

    def add(
        self, kind: str, inputs: Sequence[str | None], wanted: str, *, outputs: int = 1, **attributes: Any
    ) -> list[str]:
        """An operator; what it lacks among its inputs is ``None``. Returns the names of its outputs."""
        name = self.fresh(wanted)
        made = [name, *(self.fresh(f"{wanted}#{index}") for index in range(1, outputs))]
        given = {key: value for key, value in attributes.items() if value is not None}
        names = ["" if each is None else each for each in inputs]
        while names and not names[-1]:
            names.pop()
        self.operators.append(Operator(kind, name, names, made, given))
        return made

    @contextmanager
    def aside(self) -> Iterator[list[Operator]]:
        """Meanwhile operators are added to a list of their own, which is to become a body."""
        before, self.operators = self.operators, []
        try:
            yield self.operators
        finally:
            self.operators = before

    def scopes(self, results: Sequence[str]) -> Iterator[tuple[Parts | Body, Sequence[str]]]:
        """What has operators, with the tensors that it gives: the graph, and the bodies of loops.

        Args:
            results: What the graph gives.
        """
        yield self, results
        yield from ((body, body.outputs) for body in _bodies(self.operators))

    def merge_equal(self, results: Sequence[str]) -> None:
        """Compute once what several operators compute of the same tensors; results stay what they are."""
        self.operators = _merged(self.operators, results, {})

    def drop_unused(self, results: Sequence[str]) -> None:
        """Forget operators and constants that no result needs."""
        self.operators, needed = _needed(self.operators, results)
        self.constants = {name: array for name, array in self.constants.items() if name in needed}


def _bodies(operators: Sequence[Operator]) -> Iterator[Body]:
    for operator in operators:
        for body in operator.bodies:
            yield body
            yield from _bodies(body.operators)


def _merged(operators: Sequence[Operator], results: Sequence[str], same: dict[str, str]) -> list[Operator]:
    """Operators without those that compute what another one does.

    Args:
        operators: The operators.
        results: The tensors that are to stay.
        same: What stands for tensors that are gone; more are put in.
    """
    first: dict[Any, Operator] = {}
    kept: list[Operator] = []
    for operator in operators:
        operator.inputs = [same.get(name, name) for name in operator.inputs]
        for body in operator.bodies:
            own = body.made()
            around = {name: other for name, other in same.items() if name not in own}
            body.operators = _merged(body.operators, body.outputs, around)
            body.outputs = [around.get(name, name) for name in body.outputs]
        settings = tuple(
            (key, value.tobytes() if isinstance(value, np.ndarray) else repr(value))
            for key, value in sorted(operator.attributes.items())
            if not isinstance(value, Body)
        )
        key = (operator.kind, tuple(operator.inputs), len(operator.outputs), settings)
        other = operator if operator.bodies else first.setdefault(key, operator)
        if other is operator or not set(results).isdisjoint(operator.outputs):
            kept.append(operator)
        else:
            same.update(zip(operator.outputs, other.outputs, strict=True))
    return kept


def _needed(operators: Sequence[Operator], results: Sequence[str]) -> tuple[list[Operator], set[str]]:
    """The operators that results need, and the tensors that these read."""
    needed, kept = set(results), []
    for operator in reversed(operators):
        if not needed.isdisjoint(operator.outputs):
            kept.append(operator)
            for body in operator.bodies:
                body.operators, _ = _needed(body.operators, body.outputs)
            needed.update(operator.reads())
    return kept[::-1], needed
