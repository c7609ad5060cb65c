"""Folds of networks, by names, by nested models and by narrow places."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kerasurgeon.report.folding import MANY, Folds, folds_of

Network = tuple[list[str], dict[str, list[str]]]


def residual(names: Sequence[str], inner: int = 5) -> Network:
    """Blocks with a shortcut, each node called as its block and its place say."""
    order = ["in"]
    reads: dict[str, list[str]] = {"in": []}
    for block in names:
        entry = order[-1]
        for place in range(inner):
            node = block.format(place=place)
            reads[node] = [order[-1]]
            order.append(node)
        end = block.format(place="sum")
        reads[end] = [order[-1], entry]
        order.append(end)
    return order, reads


def fold(network: Network, scopes: dict[str, str] | None = None) -> Folds:
    names, reads = network
    return folds_of(names, reads, scopes or dict.fromkeys(names, ""))


def top(found: Folds) -> list[str]:
    """What is seen while all is folded."""
    return list(dict.fromkeys(folds[0] if folds else name for name, folds in found.items()))


def test_a_small_network_is_not_folded() -> None:
    found = fold(residual([f"block{number}_{{place}}" for number in range(3)]))
    assert set(found.values()) == {()}


def test_blocks_by_names() -> None:
    found = fold(residual([f"stage{number // 6}_block{number}_{{place}}" for number in range(12)]))
    assert found["stage1_block7_3"] == ("stage1", "stage1_block7")
    assert found["in"] == ()
    assert top(found) == ["in", "stage0", "stage1"]


def test_names_without_numbers_fold_between_narrow_places() -> None:
    # Names are of letters alone; a block of five and its sum is what lies between two places where one tensor passes.
    words = [f"{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(14)]
    names, reads = residual([f"{word}x{{place}}y" for word in words])
    letters = str.maketrans("0123456789", "ghijklmnop")
    network = (
        [name.translate(letters) for name in names],
        {name.translate(letters): [each.translate(letters) for each in read] for name, read in reads.items()},
    )
    found = fold(network)
    assert len(top(found)) <= MANY
    folded = [folds[0] for folds in found.values() if folds]
    assert len(folded) > 0.8 * len(network[0])
    for word in words[1:]:  # no block is torn
        assert len({found[name] for name in network[0] if name.startswith(f"{word}x")}) == 1


def test_nested_models_are_folds_of_any_size() -> None:
    names = ["in", "backbone/a", "backbone/b", "head"]
    reads = {"in": [], "backbone/a": ["in"], "backbone/b": ["backbone/a"], "head": ["backbone/b"]}
    scopes = {"in": "", "backbone/a": "backbone", "backbone/b": "backbone/inner", "head": ""}
    found = folds_of(names, reads, scopes)
    assert found == {"in": (), "backbone/a": ("backbone",), "backbone/b": ("backbone", "inner"), "head": ()}


@pytest.mark.parametrize("count", [61, 200, 1000])
def test_a_chain_of_any_length_is_seen_at_once(count: int) -> None:
    names = [f"layer_{number}" for number in range(count)]
    found = fold((names, {name: names[max(place - 1, 0) : place] for place, name in enumerate(names)}))
    assert list(found) == names
    assert len(top(found)) <= MANY


def test_two_sides_of_equal_width_all_along_end() -> None:
    """Two long branches: no place is narrower than the others, and folding ends all the same."""
    reads: dict[str, list[str]] = {"in": []}
    for side in "ab":
        for place in range(70):
            reads[f"{side}{chr(97 + place % 26)}{'x' * (place // 26)}"] = [list(reads)[-1] if place else "in"]
    reads["sum"] = ["arxx", "brxx"]
    names = list(reads)
    assert set(fold((names, reads))) == set(names)
