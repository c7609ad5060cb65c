"""Which nodes of a network fold into one box: nested models, blocks by their names, blocks between narrow places.

Names and edges are all that is looked at, so that graphs of any origin fold the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MANY = 60
"""So many boxes are looked at with ease: where there are more, blocks are looked for."""
_FEW = 3
_PIECE = 25
_MOST = 0.8  # of a level that a fold may hold
_DIMENSIONS = re.compile(r"[A-Za-z_]*[123]d")

Folds = dict[str, tuple[str, ...]]
"""For every node the labels of the folds around it, the outermost first."""


def folds_of(names: Sequence[str], operands: Mapping[str, Sequence[str]], scopes: Mapping[str, str]) -> Folds:
    """The folds of a graph.

    Args:
        names: The nodes, each after those that it reads.
        operands: For every node those that it reads.
        scopes: For every node the path of the nested model that it belongs to; empty at top level.

    Returns:
        For every node the folds around it. Two folds of one label in one fold are one fold.
    """
    found: Folds = {name: tuple(part for part in scopes[name].split("/") if part) for name in names}
    if len(names) <= MANY:
        return found
    order = _depth_first(names, operands)
    for scope in dict.fromkeys(found.values()):
        own = [name for name in order if found[name] == scope]
        if len(own) > MANY / 2:
            _fold_level(own, operands, found, len("/".join(scope)) + 1 if scope else 0)
    return found


def _depth_first(names: Sequence[str], operands: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes in an order that goes through one branch after the other, each after those that it reads."""
    known, order, done = set(names), [], set()
    read = {operand for name in names for operand in operands[name]}
    for root in [name for name in names if name not in read] + list(names):
        stack = [(root, False)]
        while stack:
            name, ready = stack.pop()
            if ready:
                order.append(name)
            elif name not in done:
                done.add(name)
                stack.append((name, True))
                stack += [(each, False) for each in reversed(operands[name]) if each in known]
    return order


def _fold_level(own: list[str], operands: Mapping[str, Sequence[str]], found: Folds, start: int) -> None:
    """Find folds among the nodes of one level, add them to ``found``."""
    stems = _stems(own, start)
    loose = [name for name in own if not stems[name]]
    blocks: dict[str, tuple[str, ...]] = {name: stems[name] for name in own}
    if len(loose) > MANY / 2:
        blocks |= _narrow(own, set(loose), operands, start)
    top = list(dict.fromkeys(blocks[name][0] if blocks[name] else name for name in own))
    if len(top) > MANY:
        pieces = [top[place : place + _PIECE] for place in range(0, len(top), _PIECE)]
        piece_of = {item: f"{piece[0]} … {piece[-1]}" for piece in pieces for item in piece}
        blocks = {
            name: (piece_of[folds[0] if folds else name], *folds) for name, folds in ((n, blocks[n]) for n in own)
        }
    for name in own:
        found[name] = (*found[name], *blocks[name])


def _stems(own: Sequence[str], start: int) -> dict[str, tuple[str, ...]]:
    """Folds by names: ``conv2_block1_out`` lies in ``conv2``, ``conv2_block1``, where these hold a run of nodes."""
    paths = {name: _stems_of(name[start:]) for name in own}
    places: dict[str, list[int]] = {}
    for place, name in enumerate(own):
        for stem in paths[name]:
            places.setdefault(stem, []).append(place)
    good = {
        stem
        for stem, found in places.items()
        if _FEW <= len(found) < _MOST * len(own) and found[-1] - found[0] + 1 == len(found)
    }
    folds = {name: [stem for stem in paths[name] if stem in good] for name in own}
    # A fold with nothing but another one in it is one fold too many.
    sizes = {stem: len(found) for stem, found in places.items()}
    for stems in folds.values():
        stems[:] = [s for s, inner in zip(stems, [*stems[1:], ""], strict=False) if sizes[s] != sizes.get(inner)]
    return {name: tuple(stems) for name, stems in folds.items()}


def _stems_of(name: str) -> list[str]:
    """What a name begins with, up to each part that has a number: ``conv2``, ``conv2_block1``."""
    parts = re.split(r"([_./-])", name)
    numbered = [any(c.isdigit() for c in part) and not _DIMENSIONS.fullmatch(part) for part in parts]
    return ["".join(parts[: place + 1]) for place in range(0, len(parts) - 1, 2) if numbered[place]]


def _narrow(
    own: Sequence[str], loose: set[str], operands: Mapping[str, Sequence[str]], start: int
) -> dict[str, tuple[str, ...]]:
    """Folds between the places where the fewest tensors pass: named for the node that they end in."""
    crossing = _crossing(own, operands)
    folds: dict[str, tuple[str, ...]] = {}
    # Stretches of nodes, the last one left out, with the folds around them and the width above which places are sought.
    stretches: list[tuple[int, int, tuple[str, ...], int]] = [(0, len(own), (), -1)]
    while stretches:
        low, high, around, above = stretches.pop()
        widths = [width for width in crossing[low : high - 1] if width > above]
        if high - low <= _PIECE or not widths:
            continue
        width, begin = min(widths), low
        for end in range(low + 1, high + 1):
            # A few nodes in a row, with narrow places between all of them, go with the block that follows.
            if end != high and (crossing[end - 1] > width or end - begin < 2 * _FEW):
                continue
            if end - begin == high - low:
                stretches.append((low, high, around, width))
            elif end - begin >= _FEW:
                # What holds nearly all of a level is no fold: what is in it stands in its place.
                inside = (*around, own[end - 1][start:]) if end - begin < _MOST * (high - low) else around
                folds.update({name: inside for name in own[begin:end] if name in loose})
                stretches.append((begin, end, inside, -1))
            begin = end
    return folds


def _crossing(own: Sequence[str], operands: Mapping[str, Sequence[str]]) -> list[int]:
    """For every place between two nodes how many tensors are made before and read behind it."""
    places = {name: place for place, name in enumerate(own)}
    last = dict(places)
    for name in own:
        for operand in operands[name]:
            if operand in places:
                last[operand] = max(last[operand], places[name])
    change = [0] * (len(own) + 1)
    for name, place in places.items():
        change[place] += 1
        change[last[name]] -= 1
    counts, count = [], 0
    for step in change[: len(own)]:
        count += step
        counts.append(count)
    return counts


__all__ = ["Folds", "folds_of"]
