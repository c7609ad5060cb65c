"""What a contraction written as an einsum equation costs, and what its sizes are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_letters

import numpy as np

from kerasurgeon.rules.call import CannotTell, elements

Sizes = dict[str, int | None]


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Split an equation into one string of letters per operand and one for the result.

    ``...`` is written out with letters that the equation does not use; a missing result is what numpy takes
    for it.

    Args:
        equation: Such as ``"...ab,bc->...ac"``.
        ranks: Number of axes of each operand.

    Raises:
        CannotTell: The equation does not fit the operands.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise CannotTell(f"the equation {equation!r} does not have {len(ranks)} operands")
    spare = [letter for letter in reversed(ascii_letters) if letter not in equation]
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(count < 0 or (count and "..." not in term) for term, count in zip(terms, hidden, strict=True)):
        raise CannotTell(f"the equation {equation!r} does not fit operands with {list(ranks)} axes")
    # Hidden axes are aligned from the right, as in broadcasting.
    written = [term.replace("...", "".join(reversed(spare[:count]))) for term, count in zip(terms, hidden, strict=True)]
    ellipsis = "".join(reversed(spare[: max(hidden, default=0)]))
    if not arrow:
        letters = "".join(term.replace("...", "") for term in terms)
        result = "..." * bool(ellipsis) + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    return written, result.replace("...", ellipsis)


def sizes_of(terms: Iterable[str], shapes: Iterable[Sequence[int | None]]) -> Sizes:
    """The size of every letter: where operands differ, the known one, and rather another than 1."""
    sizes: Sizes = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if sizes.get(letter) in (None, 1):
                sizes[letter] = size if size is not None else sizes.get(letter)
    return sizes


def contraction_macs(equation: str, shapes: Sequence[Sequence[int | None]]) -> int:
    """Multiply-accumulates of an einsum.

    Two operands: the product of the sizes of all indices that they contract or keep. An index of one operand
    alone that is not in the result is summed first, by additions only. Without an index to contract, the
    product is element-wise and counts as 0. More than two operands are contracted two at a time, in numpy's
    greedy order.

    Args:
        equation: The equation.
        shapes: Shapes of the operands.

    Raises:
        CannotTell: A size is unknown, or the equation does not fit.
    """
    terms, result = parse(equation, [len(shape) for shape in shapes])
    sizes = sizes_of(terms, shapes)
    if len(terms) == 1:
        return 0
    if len(terms) == 2:
        return _pair_macs(terms[0], terms[1], set(result), sizes)[0]
    total = 0
    for step in _greedy_path(terms, result, sizes):
        pair = [terms[index] for index in step]
        terms = [term for index, term in enumerate(terms) if index not in step]
        needed = set(result).union(*terms)
        while len(pair) > 1:
            macs, kept = _pair_macs(pair[0], pair[1], needed.union(*pair[2:]), sizes)
            total += macs
            pair = [kept, *pair[2:]]
        terms.append(pair[0])
    return total


def _pair_macs(first: str, second: str, needed: set[str], sizes: Sizes) -> tuple[int, str]:
    both = set(first) & set(second)
    contracted = both - needed
    kept = (set(first) | set(second)) & needed
    result = "".join(sorted(kept))
    if not contracted:
        return 0, result
    return elements(sizes[letter] for letter in contracted | kept), result


def _greedy_path(terms: list[str], result: str, sizes: Sizes) -> list[tuple[int, ...]]:
    # numpy wants operands but only looks at their shapes: views of one number take no memory.
    operands = [np.broadcast_to(np.int8(0), [elements([sizes[letter]]) for letter in term]) for term in terms]
    path, _ = np.einsum_path(f"{','.join(terms)}->{result}", *operands, optimize="greedy")
    return [tuple(step) for step in path[1:]]
