"""What patterns of names mean."""

from __future__ import annotations

import pytest

from kerasurgeon.ir.name_patterns import names_match, where_refusal


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("conv1", "conv1", True),
        ("conv1", "conv", False),
        ("conv1", "conv?", True),
        ("a/b/conv1", "conv1", True),
        ("a/b/conv1", "conv*", True),
        ("a/b/conv1", "b/conv1", False),
        ("a/b/conv1", "a/b/conv1", True),
        ("a/b/conv1", "*/conv1", True),
        ("conv1", "*/conv1", False),
        ("a/b/conv1", "a", True),
        ("a/b/conv1", "b", True),
        ("a/b/conv1", "a/b", True),
        ("a/b/conv1", "a*", False),
        ("a/b/conv1", "*", True),
        ("Conv1", "conv1", False),
    ],
)
def test_a_pattern_names(name: str, pattern: str, expected: bool) -> None:
    assert names_match([name], pattern) is expected
    assert names_match(["other", name], pattern) is (expected or pattern == "*")
    assert names_match([], pattern) is False


def test_where_names_and_leaves_out() -> None:
    assert where_refusal(["conv1"], ()) == ""
    assert where_refusal(["conv1"], ("conv*", "!conv2")) == ""
    assert where_refusal(["dense", "conv1"], ("conv*",)) == ""
    assert where_refusal(["dense"], ("!conv*",)) == ""
    assert where_refusal(["dense"], ("conv*", "!x")) == "where=('conv*', '!x') does not name it"
    assert where_refusal(["a/conv2"], ("conv*", "!conv2")) == "where= leaves it out: '!conv2'"
    assert where_refusal(["a/conv2"], ("!a",)) == "where= leaves it out: '!a'"
