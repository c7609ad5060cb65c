"""The checks of options that passes share."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kerasurgeon.authoring import (
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_patterns,
    check_several,
    is_count,
    is_number,
    wrong_option,
)
from kerasurgeon.errors import OptionError, RecipeError

pytestmark = pytest.mark.usefixtures("own_names")


def test_numbers_and_counts() -> None:
    assert all(map(is_number, [0, -1, 0.5, 10**400]))
    assert not any(map(is_number, [True, "1", None, math.nan, math.inf, -math.inf, 1j, [1]]))
    assert all(map(is_count, [0, 1, 7], [0, 1, 7]))
    assert not any(map(is_count, [0, -1, True, 1.0, "1", None]))


def test_the_error_names_owner_option_and_value() -> None:
    assert str(wrong_option("Own", "size", 3, "a word", "try one")).splitlines() == [
        "Own: option 'size' cannot be used.",
        "  expected: a word",
        "  got: 3",
        "  what to do: try one",
    ]
    assert str(wrong_option("", "size", 3, "a word")).startswith("option 'size' cannot be used.")


REFUSED: list[tuple[Any, str]] = [
    (lambda: check_count("Own", "size", 1, 2), "a whole number from 2"),
    (lambda: check_count("Own", "size", True), "a whole number from 1"),
    (lambda: check_flag("Own", "size", 1), "True or False"),
    (lambda: check_choice("Own", "size", "larg", ("large", "small")), "(?s)'large' or 'small'.*did you mean 'large'"),
    (lambda: check_choice("Own", "size", 3, (1, 2)), "1 or 2"),
    (lambda: check_several("Own", "size", ("large", "smal"), ("large", "small")), "did you mean 'small'"),
    (lambda: check_several("Own", "size", 3, ("large", "small")), "some of large, small"),
    (lambda: check_patterns("Own", "size", 3), "name patterns"),
    (lambda: check_patterns("Own", "size", ("a", "")), "name patterns"),
    (lambda: check_patterns("Own", "size", "!", excluding=True), '"!'),
    (lambda: check_function("Own", "size", 3), "a function"),
    (lambda: check_function("Own", "size", "math:pi"), "a function"),
]


@pytest.mark.parametrize(("check", "message"), REFUSED)
def test_what_is_refused(check: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        check()
    assert "Own: option 'size' cannot be used." in str(caught.value)


def test_what_is_taken() -> None:
    check_count("Own", "size", 3, 3)
    check_flag("Own", "size", False)
    check_choice("Own", "size", "a", ("a", "b"))
    assert check_several("Own", "size", "a", ("a", "b")) == ("a",)
    assert check_several("Own", "size", [], ("a", "b")) == ()
    assert check_patterns("Own", "size", "stem*") == ("stem*",)
    assert check_patterns("Own", "size", ["a", "!b"], excluding=True) == ("a", "!b")
    assert check_function("Own", "size", None) is None
    assert check_function("Own", "size", "math:sqrt") is math.sqrt
    with pytest.raises(RecipeError, match=r"Own\.size"):
        check_function("Own", "size", "math:nothing")
