"""Labels through a contraction: a product of operands whose axes are named by letters, summed over some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kerasurgeon.layers.einsum import sizes_of
from kerasurgeon.layers.elementwise import Side, agreed
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.labels import NO_CHANNELS, Factor, Ids, Labels, placed
from kerasurgeon.rules.reasons import Reason

Shape: TypeAlias = tuple[int | None, ...]
Axes: TypeAlias = Mapping[int | tuple[int, ...], Ids | None]
Hold: TypeAlias = Callable[[Axes, Sequence[int | tuple[int, ...]]], None]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that takes part.

    Attributes:
        position: Which of the call's operands it is.
        labels: Its labels.
        letters: A letter per axis.
    """

    position: int
    labels: Labels
    letters: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """A weight or constant that takes part: it has no labels of its own.

    Attributes:
        letters: A letter per axis.
        shape: Its sizes.
        hold: Told which of its axes carry which labels, and which of these are summed over.
        zeroed: Whether the masked twin zeroes it where it is summed over, so that no operand needs it.
    """

    letters: str
    shape: Shape
    hold: Hold
    zeroed: bool = False


def constant(call: ChannelCall, labels: Labels, letters: str) -> Kernel:
    """A constant array, or weight, among the operands."""
    return Kernel(letters, labels.shape, lambda axes, _: call.constant(labels, axes))


def contract(
    call: ChannelCall, tensors: Sequence[Tensor], kernels: Sequence[Kernel], result: str, shape: Shape | None = None
) -> Labels:
    """The labels of a contraction.

    A letter of several operands ties their labels; where one of them cannot shrink, none can. A letter of the result
    that only kernels have gets new labels. Labels over several axes of which some are summed over and some stay (heads
    and their width) are tied so that they vary over those that stay.

    Args:
        call: The call; it is told of all ties, of what the kernels hold, and where sums are masked.
        tensors: Operands with labels.
        kernels: Operands without.
        result: The letters of the result; all others are summed over.
        shape: Sizes of the result, by default those of the first output.
    """
    shape = call.shape if shape is None else shape
    terms = [tensor.letters for tensor in tensors] + [kernel.letters for kernel in kernels]
    shapes = [tensor.labels.shape for tensor in tensors] + [kernel.shape for kernel in kernels]
    sizes = sizes_of(terms, shapes)
    letters = result + "".join(sorted(letter for letter in sizes if letter not in result))
    places = {letter: place for place, letter in enumerate(letters)}
    whole = tuple(sizes.get(letter) for letter in letters)
    sides = [_side(call, tensor, result, places, whole) for tensor in tensors]
    factors = _split(call, agreed(call, sides, whole), kernels, places)
    factors += _made(call, tensors, kernels, result, sizes, places)
    zeroed = _told(factors, kernels, letters, len(result))
    for factor in factors:
        if factor.axes[0] >= len(result) and not any(letters[axis] in zeroed for axis in factor.axes):
            _mask(call, tensors, [letters[axis] for axis in factor.axes], sizes)
    why = tensors[0].labels.why if tensors else NO_CHANNELS
    return Labels(shape, tuple(factor for factor in factors if factor.axes[0] < len(result)), why)


def _side(call: ChannelCall, tensor: Tensor, result: str, places: Mapping[str, int], whole: Shape) -> Side:
    """An operand seen from the axes of the whole contraction: those of the result, then those summed over."""
    labels, letters = tensor.labels, tensor.letters
    sizes: list[int | None] = [1] * len(whole)
    for letter, size in zip(letters, labels.shape, strict=True):
        sizes[places[letter]] = size
    side = Side(Labels(tuple(sizes), (), labels.why), 0, [])
    for factor in labels.factors:
        if any(letters.count(letters[axis]) > 1 for axis in factor.axes):
            call.freeze(factor.ids, Reason.MIXED)
            continue
        spread = [axis for axis in factor.axes if labels.shape[axis] == 1 and whole[places[letters[axis]]] != 1]
        staying = [axis for axis in factor.axes if letters[axis] in result and axis not in spread]
        inside = staying or [axis for axis in factor.axes if axis not in spread]
        if not inside:
            call.freeze(factor.ids, Reason.SPREAD)
            continue
        if len(inside) < len(factor.axes):
            factor = call.collapse(factor, inside)
        side.factors.append(placed(factor.ids, [places[letters[axis]] for axis in factor.axes]))
    return side


def _split(
    call: ChannelCall, factors: Iterable[Factor], kernels: Sequence[Kernel], places: Mapping[str, int]
) -> list[Factor]:
    """Factors cut down to the axes that all kernels which share any of them share."""
    split = []
    for factor in factors:
        for kernel in kernels:
            own = [places[letter] for letter, _ in _spanned(kernel) if places[letter] in factor.axes]
            if own and len(own) < len(factor.axes):
                factor = call.collapse(factor, own)
        split.append(factor)
    return split


def _spanned(kernel: Kernel) -> list[tuple[str, int]]:
    """Letters and axes of a kernel that it has the whole of."""
    return [
        (letter, axis)
        for axis, (letter, size) in enumerate(zip(kernel.letters, kernel.shape, strict=True))
        if size != 1 and kernel.letters.count(letter) == 1
    ]


def _made(
    call: ChannelCall,
    tensors: Sequence[Tensor],
    kernels: Sequence[Kernel],
    result: str,
    sizes: Mapping[str, int | None],
    places: Mapping[str, int],
) -> list[Factor]:
    """New labels for letters of the result that only kernels span."""
    spanned = {
        letter
        for tensor in tensors
        for letter, size in zip(tensor.letters, tensor.labels.shape, strict=True)
        if size != 1 or sizes[letter] == 1
    }
    own = {letter for kernel in kernels for letter, _ in _spanned(kernel)}
    repeated = {letter for kernel in kernels for letter in kernel.letters if kernel.letters.count(letter) > 1}
    new = [letter for letter in result if letter in own - spanned - repeated]
    made = []
    for letter in new:
        size = sizes[letter]
        assert size is not None  # kernels have known sizes
        made.append(Factor((places[letter],), call.fresh(size, "" if len(new) == 1 else letter)))
    return made


def _told(factors: Iterable[Factor], kernels: Sequence[Kernel], letters: str, kept: int) -> set[str]:
    """Tell kernels what they hold; returns the summed letters that the masked twin zeroes in one of them."""
    zeroed: set[str] = set()
    for kernel in kernels:
        axes = dict(_spanned(kernel))
        held: dict[int | tuple[int, ...], Ids | None] = {}
        summed: list[int | tuple[int, ...]] = []
        for factor in factors:
            if all(letters[axis] in axes for axis in factor.axes):
                own = placed(factor.ids, [axes[letters[axis]] for axis in factor.axes])
                held[own.axes] = own.ids
                if factor.axes[0] >= kept:
                    summed.append(own.axes)
                    zeroed.update(letters[axis] for axis in factor.axes if kernel.zeroed)
        kernel.hold(held, summed)
    return zeroed


def _mask(
    call: ChannelCall, tensors: Sequence[Tensor], letters: Sequence[str], sizes: Mapping[str, int | None]
) -> None:
    """Mask one operand that has the whole of these axes: the product is then zero."""
    for tensor in tensors:
        for letter in letters:
            axis = tensor.letters.find(letter)
            if axis >= 0 and tensor.labels.factor(axis) is not None and tensor.labels.shape[axis] == sizes[letter]:
                call.mask(tensor.labels, axis, tensor.position)
                return
