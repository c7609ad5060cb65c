"""Which recipes a model came out of: known of every model that a pipeline gave, for as long as it is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from kerasurgeon.errors import RecipeError
from kerasurgeon.rewrite.recipe import Recipe

_KNOWN: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()


def recipes_of(model: Any) -> tuple[str, ...]:
    """The recipes that were carried out one after the other until a model was there, each as JSON."""
    return _KNOWN.get(model, ())


def came_of(model: Any, recipes: Sequence[str]) -> None:
    """Note which recipes a model came out of."""
    if recipes:
        _KNOWN[model] = tuple(recipes)


def in_json(recipe: Recipe) -> str:
    """A recipe as JSON; the passes alone, and why, where their options cannot be written."""
    try:
        return json.dumps(recipe.to_dict())
    except RecipeError as error:
        passes = [{"name": name} for name, _ in recipe.steps]
        reason = str(error).splitlines()[0]
        return json.dumps(
            {"seed": recipe.seed, "pass": passes, "versions": dict(recipe.versions), "not written": reason}
        )
