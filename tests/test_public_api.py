"""What is public is documented, and says where it lives."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import pytest

import kerasurgeon.passes
from kerasurgeon.authoring import Pass

NAMES = ("kerasurgeon", "kerasurgeon.authoring", "kerasurgeon.costs", "kerasurgeon.passes", "kerasurgeon.rules")
MODULES = tuple(importlib.import_module(name) for name in NAMES)
PUBLIC = sorted({(module.__name__, name) for module in MODULES for name in module.__all__ if not name.startswith("__")})


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_public_objects_are_documented(module: str, name: str) -> None:
    thing: Any = getattr(next(item for item in MODULES if item.__name__ == module), name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return
    text = inspect.getdoc(thing)
    assert text, f"{module}.{name} has no docstring"
    assert text.splitlines()[0].endswith((".", ":")), f"{module}.{name}: the first line is a sentence"
    if inspect.isfunction(thing):
        documented = [
            parameter for parameter in inspect.signature(thing).parameters if parameter not in ("self", "cls", "_")
        ]
        if len(documented) > 2:
            missing = [parameter for parameter in documented if f"{parameter}:" not in text]
            assert not missing, f"{module}.{name} does not describe {missing}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_sorted_and_exists(module: Any) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), f"{module.__name__}.{name}"


def passes() -> list[type[Pass]]:
    found = [getattr(kerasurgeon.passes, name) for name in kerasurgeon.passes.__all__]
    return [item for item in found if isinstance(item, type) and issubclass(item, Pass)]


@pytest.mark.parametrize("cls", passes(), ids=lambda cls: cls.__name__)
def test_passes_are_frozen_dataclasses_that_describe_every_option(cls: type[Pass]) -> None:
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    docs = [inspect.getdoc(base) or "" for base in cls.__mro__ if dataclasses.is_dataclass(base)]
    assert docs[0] not in docs[1:]
    for option in dataclasses.fields(cls):
        assert any(f"{option.name}:" in text for text in docs), (
            f"{cls.__name__} does not describe its option {option.name}"
        )
