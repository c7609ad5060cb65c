"""Structures of zeros: which entries of a kernel are zeroed together, and which of these groups go.

Kernels are seen as ``(*positions, in, out)``. A group's score is the mean importance of its entries; the groups with
the lowest scores are zeroed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError

Array = np.ndarray[Any, Any]

STRUCTURES = ("unstructured", "filter", "channel", "block", "output_channel", "input_channel")
_N_OF_M = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Structure:
    """Which entries of a kernel are zeroed together.

    ``"unstructured"``: each by itself. ``"channel"``: all input channels of one output channel at one position.
    ``"filter"``: all output channels of one input channel at one position. ``"block"``: ``a`` input channels by ``b``
    output channels at one position. ``"output_channel"``, ``"input_channel"``: all entries of one output or input
    channel. ``"n:m"``: of every ``m`` input channels in a row, at one position and for one output channel, the ``n``
    with the largest importance stay: with ``"2:4"`` what sparse tensor cores run, which ask for it along the axis that
    is summed over.

    Attributes:
        name: As above.
        block: ``(a, b)`` of ``"block"``.
        pattern: ``(n, m)`` of ``"n:m"``.
    """

    name: str
    block: tuple[int, int] | None = None
    pattern: tuple[int, int] | None = None

    @classmethod
    def parse(cls, name: str, block_size: Sequence[int] | None = None) -> Structure:
        """The structure of a name.

        Raises:
            OptionError: There is no such structure, or ``block_size`` does not go with it.
        """
        found = _N_OF_M.fullmatch(name) if isinstance(name, str) else None
        if found and 0 < int(found[1]) < int(found[2]):
            _require_no_block(name, block_size)
            return cls(name, pattern=(int(found[1]), int(found[2])))
        if name not in STRUCTURES:
            expected = ", ".join(map(repr, STRUCTURES)) + ' or n of m as "2:4"'
            raise OptionError(f"structure={name!r} is no structure of zeros.", expected=expected)
        if name != "block":
            _require_no_block(name, block_size)
            return cls(name)
        sizes = tuple(block_size) if isinstance(block_size, Sequence) and not isinstance(block_size, str) else ()
        if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise OptionError(
                "structure='block' needs the size of a block.",
                expected="block_size=(input channels, output channels)",
                got=repr(block_size),
            )
        return cls(name, block=(sizes[0], sizes[1]))

    def refusal(self, shape: Sequence[int]) -> str:
        """Why a kernel of a shape ``(*positions, in, out)`` cannot have it; empty if it can."""
        inputs, outputs = shape[-2:]
        if self.block is not None and (inputs % self.block[0] or outputs % self.block[1]):
            return f"blocks of {self.block[0]} x {self.block[1]} do not divide its {inputs} x {outputs} channels"
        if self.pattern is not None and inputs % self.pattern[1]:
            return f"its {inputs} input channels are no multiple of {self.pattern[1]}"
        if self.name == "output_channel" and outputs == 1:
            return "it has one output channel"
        if self.name == "input_channel" and inputs == 1:
            return "it has one input channel"
        return ""

    def scores(self, importance: Array) -> Array:
        """The mean importance of every group: ``(*positions, in, out)`` with the axes of a group gone or as blocks."""
        rank = importance.ndim
        if self.block is not None:
            return np.asarray(self._blocks(importance).mean(axis=(-3, -1)))
        axes: tuple[int, ...] = {
            "channel": (rank - 2,),
            "filter": (rank - 1,),
            "output_channel": tuple(range(rank - 1)),
            "input_channel": (*range(rank - 2), rank - 1),
        }.get(self.name, ())
        return np.asarray(importance.mean(axis=axes, keepdims=True)) if axes else importance

    def expand(self, groups: Array, shape: Sequence[int]) -> Array:
        """Values per group as values per entry."""
        if self.block is not None:
            groups = groups.repeat(self.block[0], axis=-2).repeat(self.block[1], axis=-1)
        return np.broadcast_to(groups, tuple(shape))

    def _blocks(self, array: Array) -> Array:
        assert self.block is not None
        high, wide = self.block
        return array.reshape(*array.shape[:-2], array.shape[-2] // high, high, array.shape[-1] // wide, wide)


def _require_no_block(name: str, block_size: Any) -> None:
    if block_size is not None:
        raise OptionError(f"structure={name!r} has no blocks.", expected="no block_size", got=repr(block_size))


def kept_masks(importances: Sequence[Array], structure: Structure, sparsity: float, *, together: bool) -> list[Array]:
    """Which entries of some kernels stay.

    Args:
        importances: Of every kernel, an importance per entry ``(*positions, in, out)``.
        structure: What is zeroed together. ``n:m`` says by itself how much.
        sparsity: Share of entries to zero, in [0, 1]. Of whole channels at least one of every kernel stays.
        together: Rank the groups of all kernels in one list (each score is a mean over the group's entries); else those
            of each kernel by itself.

    Returns:
        For every kernel an array of its shape, ``True`` where entries stay.
    """
    if structure.pattern is not None:
        return [_n_of_m(importance, *structure.pattern) for importance in importances]
    scores = [structure.scores(importance) for importance in importances]
    if structure.name in ("output_channel", "input_channel"):
        for array in scores:
            array[np.unravel_index(array.argmax(), array.shape)] = np.inf
    if together:
        kept = _lowest_together(scores, [importance.size for importance in importances], sparsity)
    else:
        kept = [_lowest(array, round(sparsity * array.size)) for array in scores]
    return [structure.expand(mask, importance.shape) for mask, importance in zip(kept, importances, strict=True)]


def _n_of_m(importance: Array, kept: int, of: int) -> Array:
    rows = np.moveaxis(importance, -2, -1)
    grouped = rows.reshape(*rows.shape[:-1], -1, of)
    ranks = (-grouped).argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return np.moveaxis((ranks < kept).reshape(rows.shape), -1, -2)


def _lowest(scores: Array, count: int) -> Array:
    mask = np.ones(scores.size, bool)
    order = scores.ravel().argsort(kind="stable")[:count]
    mask[order[np.isfinite(scores.ravel()[order])]] = False
    return mask.reshape(scores.shape)


def _lowest_together(scores: list[Array], entries: list[int], sparsity: float) -> list[Array]:
    flat = np.concatenate([array.ravel() for array in scores])
    sizes = np.concatenate(
        [np.full(array.size, size / array.size) for array, size in zip(scores, entries, strict=True)]
    )
    order = flat.argsort(kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(sizes[order])])
    count = int(np.abs(reached - sparsity * sum(entries)).argmin())
    mask = _lowest(flat, count)
    ends = np.cumsum([prod(array.shape) for array in scores])[:-1]
    return [part.reshape(array.shape) for part, array in zip(np.split(mask, ends), scores, strict=True)]
