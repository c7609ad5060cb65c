"""A call as a rule writes it to ONNX: what goes in, in whatever order of axes is wanted, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import Called, CannotTell, array_spec
from kerasurgeon.rules.onnx_parts import Array, Order, Padded, Parts, Shuffled, Size, Tensor, natural


class Writes(Protocol):
    """What a rule does that writes calls."""

    def onnx(self, call: Any) -> None:
        """Write with ONNX's operators."""

    def tflite(self, call: Any) -> None:
        """Write with TFLite's operators."""


@dataclass(slots=True)
class OnnxCall(Called[Tensor]):
    """One call of a layer or op, to be written with ONNX's operators.

    ``read`` gives the name of an operand's ONNX tensor, ``op`` adds an operator, ``give`` says what the result is.

    Attributes:
        name: The node's name; for a call inside a wrapper, the inner layer's name.
        layer: The definition that is called.
        args: Positional operands as they were nested. Tensors, weights and constant arrays are ``Tensor`` leaves, other
            values stand as they are.
        kwargs: Keyword operands likewise.
        outputs: The specs of the flattened outputs.
        parts: Where operators and constants go.
        given: The results so far.
    """

    leaf: ClassVar[type] = Tensor
    recurs: ClassVar[bool] = True
    """Whether there are operators that compute a whole recurrence; without, its steps are written."""
    channels_last: ClassVar[bool] = False
    """Whether convolutions have the channels last."""

    name: str
    layer: Layer
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    outputs: tuple[TensorSpec, ...] = ()
    parts: Parts = field(default_factory=lambda: Parts(17))
    given: dict[int, Tensor] = field(default_factory=dict)

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    @property
    def opset(self) -> int:
        """The version of ONNX's operators."""
        return self.parts.opset

    @property
    def float(self) -> str:
        """The type of real numbers that it computes with."""
        own = next((spec.dtype for spec in self.outputs if "float" in spec.dtype), None)
        if own is not None:  # as nearly always: operands are not looked for then
            return own
        return next((tensor.dtype for tensor in self.inputs if "float" in tensor.dtype), "float32")

    def write_by(self, rule: Writes) -> None:
        """Let a rule write it."""
        rule.onnx(self)

    # What goes in

    def tensor(self, position: int, name: str, dtype: str | None = None) -> Tensor:
        """An operand that must be a tensor; a Python number or a nested list of them counts as a constant.

        Raises:
            CannotTell: It is none.
        """
        found = self.as_tensor(self.operand(position, name), dtype)
        if found is None:
            raise CannotTell(f"its operand {name!r} is no tensor")
        return found

    def as_tensor(self, operand: Any, dtype: str | None = None) -> Tensor | None:
        """An operand as a tensor: itself, or a constant for numbers; ``None`` for anything else."""
        if isinstance(operand, Tensor):
            return operand
        if operand is None or isinstance(operand, str):
            return None
        try:
            array = np.asarray(operand)
        except ValueError:
            return None
        if array.dtype.kind not in "biufV":
            return None
        if dtype is None:
            dtype = {"b": "bool", "i": "int32", "u": "int32", "f": self.float}.get(array.dtype.kind, "float32")
        array = array.astype(np_type(dtype))
        return Tensor(array_spec(array), array)

    def read(self, operand: Tensor, order: Order | None = None, dtype: str | None = None) -> str:
        """The name of an operand's ONNX tensor.

        Args:
            operand: The operand.
            order: The order of axes that is wanted; Keras' own by default.
            dtype: The dtype that is wanted; by default its own, and for a layer that gives real numbers those that it
                computes with.
        """
        order = natural(operand.rank) if order is None else order
        if dtype is None:
            casts = not self.kind.startswith("ops.") and (
                "float" in operand.dtype or all("float" in spec.dtype for spec in self.outputs)
            )
            dtype = self.float if casts else operand.dtype
        if operand.array is not None:
            return self._constant_form(operand.array, order, dtype)
        name = self._form(operand, order)
        return name if dtype == operand.dtype else self.cast(name, dtype)

    def aligned(self, operand: Tensor, order: Order, dtype: str | None = None) -> str:
        """An operand of a function of the elements at one place, as it broadcasts against a result in some order."""
        lacking = len(order) - operand.rank
        if not lacking or order == natural(len(order)):
            return self.read(operand, order if not lacking else None, dtype)
        if operand.array is not None:
            array = operand.array.reshape((1,) * lacking + operand.array.shape) if operand.rank else operand.array
            return self.read(Tensor(array_spec(array), array), order if operand.rank else (), dtype)
        name = self.read(operand, None, dtype)
        if not operand.rank:
            return name
        return self.transpose(self.unsqueeze(name, range(lacking)), order)

    def best_order(self, *operands: Tensor) -> Order:
        """The order of the result in which least must be turned: that of the largest operand of its rank."""
        rank = len(self.output.shape)
        whole = [each for each in operands if each.array is None and each.rank == rank]
        turned = [each for each in whole if each.order != natural(rank)]
        return max(turned or whole, key=lambda each: each.spec.elements()).order if whole else natural(rank)

    def without_padding(self, operand: Tensor) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
        """An operand before zeros were put around it, and how many were, per axis."""
        if isinstance(operand.instead, Padded) and not operand.forms:
            return operand.instead.inner, operand.instead.sides
        return operand, ((0, 0),) * operand.rank

    def as_it_lies(self, operand: Tensor) -> tuple[str, Array | None]:
        """An operand with its last axis in any order of positions: its name and, if not Keras' own, that order."""
        if isinstance(operand.instead, Shuffled) and not operand.forms:
            return operand.instead.name, operand.instead.positions
        return self.read(operand), None

    def size(self, operand: Tensor, axis: int) -> Size:
        """The size of an axis of an operand: a number, or the name of a tensor that holds it."""
        axis %= operand.rank
        known = operand.shape[axis]
        if known is not None:
            return known
        if axis not in operand.sizes:
            order = operand.order if operand.forms else natural(operand.rank)
            shape = self.op("Shape", self._form(operand, order))
            operand.sizes[axis] = self.op("Gather", shape, self.integers(order.index(axis)), axis=0)
        return operand.sizes[axis]

    def shape_of(self, operand: Tensor) -> list[Size]:
        """The sizes of all axes of an operand, in Keras' order."""
        return [self.size(operand, axis) for axis in range(operand.rank)]

    # Constants

    def constant(self, array: Any, dtype: str | None = None, called: str = "constant") -> str:
        """A constant: numbers in ``dtype``, by default the type of real numbers that the call computes with."""
        own, wanted = np.asarray(array), np_type(dtype or self.float)
        return self.parts.derived(
            own, str(wanted), lambda source: source.astype(wanted, copy=False), f"{self.name}/{called}"
        )

    def integers(self, *values: int) -> str:
        """A constant of one axis, of int64."""
        return self.constant(values, "int64", "sizes")

    def weight(self, key: str, how: str = "", make: Callable[[Array], Array] | None = None) -> str | None:
        """A weight as a constant, in the type of real numbers that the call computes with; ``None`` if there is none.

        Args:
            key: The weight's path.
            how: A word for what ``make`` makes of it: where a weight is used twice in one way, it is written once.
            make: What to make of the array, such as another order of axes.
        """
        array = self.layer.array(key)
        if array is None:
            return None
        dtype = self.float if array.dtype.kind in "fV" else str(array.dtype)

        def made(source: Array) -> Array:
            result = source if make is None else make(source)
            return np.asarray(result.astype(np_type(dtype), copy=False))

        return self.parts.derived(array, f"{how} {dtype}", made, f"{self.layer.name}/{key}")

    # Operators

    def op(self, kind: str, *inputs: str | None, **attributes: Any) -> str:
        """An operator with one output; returns its name. Inputs that are left out are ``None``."""
        return self.parts.add(kind, inputs, f"{self.name}/{kind}", **attributes)[0]

    def ops(self, kind: str, *inputs: str | None, outputs: int, **attributes: Any) -> list[str]:
        """An operator with several outputs; returns their names."""
        return self.parts.add(kind, inputs, f"{self.name}/{kind}", outputs=outputs, **attributes)

    def cast(self, name: str, dtype: str) -> str:
        """A tensor in another dtype."""
        return self.op("Cast", name, to=onnx_type(dtype))

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """A tensor with its axes in another order."""
        return name if tuple(order) == natural(len(order)) else self.op("Transpose", name, perm=list(order))

    def unsqueeze(self, name: str, axes: Sequence[int]) -> str:
        """A tensor with axes of size 1 put in, at these places of the result."""
        return self._regrouped(self.op("Unsqueeze", name, self.integers(*axes)), name) if len(axes) else name

    def squeeze(self, name: str, axes: Sequence[int]) -> str:
        """A tensor without these axes, which have size 1."""
        return self._regrouped(self.op("Squeeze", name, self.integers(*axes)), name) if len(axes) else name

    def reshape(self, name: str, sizes: Sequence[Size]) -> str:
        """A tensor with other sizes. One of them may be -1."""
        root = self.parts.roots.get(name, name)
        wanted = tuple(None if size == -1 or isinstance(size, str) else size for size in sizes)
        if self.parts.shapes.get(root) == wanted and wanted.count(None) <= 1:
            return root
        return self._regrouped(self.op("Reshape", root, self.shape(sizes)), root)

    def _regrouped(self, name: str, source: str) -> str:
        self.parts.roots[name] = self.parts.roots.get(source, source)
        return name

    def shape(self, sizes: Sequence[Size]) -> str:
        """Sizes as a tensor of int64. Where only one is unknown and none is -1, that one is."""
        open_ones = [place for place, size in enumerate(sizes) if isinstance(size, str)]
        if len(open_ones) == 1 and -1 not in sizes and 0 not in sizes:
            sizes = [-1 if isinstance(size, str) else size for size in sizes]
        return self.exact_shape(sizes)

    def exact_shape(self, sizes: Sequence[Size]) -> str:
        """Sizes as a tensor of int64, unknown ones looked up: for operators that do not take -1."""
        if all(isinstance(size, int) for size in sizes):
            return self.integers(*(int(size) for size in sizes))
        pieces = [size if isinstance(size, str) else self.integers(size) for size in sizes]
        return self.op("Concat", *pieces, axis=0) if len(pieces) > 1 else pieces[0]

    def reduce(self, kind: str, name: str, axes: Sequence[int], *, keepdims: bool) -> str:
        """A reduction over axes: ``"ReduceMean"`` and its like, as the opset wants it."""
        if kind == "ReduceSum" or self.opset >= 18:
            return self.op(kind, name, self.integers(*axes), keepdims=int(keepdims))
        return self.op(kind, name, axes=list(axes), keepdims=int(keepdims))

    # What comes out

    def give(self, name: str, order: Order | None = None, index: int = 0) -> None:
        """Say what an output is.

        Args:
            name: The ONNX tensor.
            order: Its order of axes; Keras' own by default.
            index: Which of the flattened outputs.
        """
        spec = self.outputs[index]
        order = natural(len(spec.shape)) if order is None else order
        self.parts.shapes[name] = tuple(spec.shape[axis] for axis in order)
        self.given[index] = Tensor(spec, forms={order: name})

    def give_operand(self, operand: Tensor, index: int = 0) -> None:
        """Say that an output is an operand as it is."""
        if operand.dtype == self.outputs[index].dtype:
            self.given[index] = operand
        else:
            order = operand.order
            self.give(self.read(operand, order, self.outputs[index].dtype), order, index)

    def give_later(
        self, later: Callable[[], tuple[str, Order]], instead: Padded | Shuffled | None = None, index: int = 0
    ) -> None:
        """Say how an output is written if it is read, and what its readers may read instead."""
        self.given[index] = Tensor(self.outputs[index], later=later, instead=instead)

    # How

    def _form(self, operand: Tensor, order: Order) -> str:
        forms = operand.forms
        if not forms:
            assert operand.later is not None
            name, own = operand.later()
            forms[own] = name
        if order not in forms:
            own, name = next(iter(forms.items()))
            forms[order] = self._turned(operand, name, [own.index(axis) for axis in order], order)
        return forms[order]

    def _turned(self, operand: Tensor, name: str, perm: Sequence[int], order: Order) -> str:
        """A tensor with its axes in another order, by a reshape where only axes of size 1 change their place."""
        sizes = [operand.shape[axis] for axis in order]
        moved = [place for place, size in zip(perm, sizes, strict=True) if size != 1]
        if moved == sorted(moved) and sizes.count(None) <= 1:
            return self.reshape(name, [-1 if size is None else size for size in sizes])
        return self.transpose(name, perm)

    def _constant_form(self, array: Array, order: Order, dtype: str) -> str:
        def make(source: Array) -> Array:
            turned = source.transpose(order) if len(order) == source.ndim else source
            return np.asarray(turned.astype(np_type(dtype), copy=False))

        return self.parts.derived(array, f"{order} {dtype}", make, f"{self.name}/constant")


_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "string": 8,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
    "bfloat16": 16,
}


def onnx_type(dtype: str) -> int:
    """ONNX's number for a Keras dtype.

    Raises:
        CannotTell: It has none.
    """
    if dtype not in _TYPES:
        raise CannotTell(f"ONNX has no numbers of type {dtype}")
    return _TYPES[dtype]


def np_type(dtype: str) -> Any:
    """The numpy dtype for a Keras dtype; bfloat16 is that of ml_dtypes, which Keras' backends bring along."""
    if dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(dtype)
