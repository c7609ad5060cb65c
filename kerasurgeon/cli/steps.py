"""What a command is asked to do to a model: a recipe file, or passes and options on the command line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasurgeon.cli.errors import UsageError

if TYPE_CHECKING:
    from kerasurgeon.rewrite.passes import Pass
    from kerasurgeon.rewrite.recipe import Recipe

_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")


def parse_settings(passes: list[str], settings: list[str]) -> dict[str, dict[str, Any]]:
    """The options of passes from ``NAME.option=value``, or ``option=value`` if there is one pass.

    Args:
        passes: The passes by name.
        settings: The texts. Values are TOML (``0.5``, ``true``, ``"text"``, ``[1, 2]``) or numbers like ``.5``; other
            text stands for itself.

    Raises:
        UsageError: A text is of another form, or names another pass.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in passes}
    for text in settings:
        key, equals, value = text.partition("=")
        name, _, option = key.strip().rpartition(".")
        name = name or (passes[0] if len(set(passes)) == 1 else "")
        if not equals or not option or not name:
            raise UsageError(
                "--set is not of the right form.", expected="NAME.option=value", got=text, hint=_example(passes)
            )
        if name not in found:
            raise UsageError(
                f"--set is for the pass {name!r}, which is not run.", got=text, expected=" or ".join(found)
            )
        found[name][option] = _value(value.strip())
    return found


def typed_values(settings: list[str] | None) -> list[Any]:
    """The values that ``--set`` gives, of whichever pass."""
    return [_value(text.partition("=")[2].strip()) for text in settings or ()]


def recipe_of(
    recipe: Path | None,
    passes: list[str],
    settings: list[str],
    *,
    seed: int | None,
    verify: str | None,
    sizes: Any = None,
) -> Recipe:
    """The recipe that a command line describes, checked. Keras must have been started.

    Args:
        recipe: A recipe file.
        passes: Or passes by name.
        settings: And their options.
        seed: Overrules the recipe's.
        verify: Overrules the recipe's.
        sizes: Overrule the recipe's.

    Raises:
        RecipeError: A pass or an option does not exist or has a value that it may not have.
    """
    import dataclasses

    from kerasurgeon.rewrite.recipe import Recipe, read_recipe

    if recipe is not None:
        found = read_recipe(recipe)
    else:
        options = parse_settings(passes, settings)
        found = Recipe(tuple((name, options[name]) for name in passes))
    return dataclasses.replace(
        found,
        seed=found.seed if seed is None else seed,
        verify=found.verify if verify is None else verify,
        sizes=found.sizes if sizes is None else sizes,
    )


def made_passes(recipe: Recipe) -> list[Pass]:
    """The passes of a recipe, made.

    Raises:
        RecipeError: A pass or an option does not exist or has a value that it may not have.
        UsageError: There are none, or one is asked for nothing.
    """
    passes = recipe.make_passes()
    refuse_idle(recipe, passes)
    return passes


def refuse_idle(recipe: Recipe, passes: list[Pass]) -> None:
    """Refuse a recipe that asks for nothing.

    Args:
        recipe: The recipe.
        passes: Its passes, as far as they were made.

    Raises:
        UsageError: There are none, or one is asked for nothing.
    """
    if not recipe.steps:
        raise UsageError(
            "Nothing to do: the recipe has no passes.",
            where=recipe.source,
            expected='[[pass]]\nname = "FoldBatchNorm"',
            hint="`kerasurgeon recipe new NAME` begins a recipe",
        )
    for item in passes:
        why = item.idle()
        if why is not None:
            raise UsageError(f"Nothing to do: {why}.", where=f"pass {item.name}", hint="name what is to be done there")


def with_budget(
    macs: float | None, unreachable: str, recipe: Path | None, passes: list[str], settings: list[str]
) -> tuple[list[str], list[str]]:
    """The passes and settings that a budget alone stands for: pruning and factorising, and what is dead after it.

    Raises:
        UsageError: A recipe or passes are given too, or what becomes of a budget without one.
    """
    if macs is None:
        if unreachable != "refuse":
            hint = "add --macs, or --set PASS.unreachable=nearest"
            raise UsageError("--unreachable goes with --macs.", got=f"--unreachable {unreachable}", hint=hint)
        return passes, settings
    if recipe is not None or passes:
        raise UsageError("--macs stands for passes of its own.", hint="give --macs, --recipe or --pass")
    return ["Compress", "RemoveDeadChannels"], [
        f"Compress.macs={macs!r}",
        *([f"Compress.unreachable={unreachable}"] if unreachable != "refuse" else ()),
        *(text if "." in text.partition("=")[0] else f"Compress.{text}" for text in settings),
    ]


def check_steps(recipe: Path | None, passes: list[str], settings: list[str]) -> None:
    """Check, without starting Keras, what can be checked of what is to be done.

    Raises:
        UsageError: There is nothing to do, too much is said, or there is no such pass or recipe.
    """
    from kerasurgeon.cli.files import check_input
    from kerasurgeon.cli.pass_source import check_pass_name

    if recipe is not None and (passes or settings):
        raise UsageError("A recipe already says which passes to run.", hint="give --recipe, or --pass with --set")
    if recipe is not None:
        check_input(recipe, (".toml", ".json"), "recipe")
        return
    if not passes:
        raise UsageError(
            "Nothing to do.", hint="give --macs 0.5, --recipe FILE, or --pass NAME (`kerasurgeon passes` lists them)"
        )
    for name in passes:
        check_pass_name(name)
    parse_settings(passes, settings)


def _value(text: str) -> Any:
    """A value as TOML reads it; what is no TOML is text. Lists become tuples, as options are immutable.

    TOML wants digits on both sides of a point; people do not.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _example(passes: list[str]) -> str:
    return f"for example {passes[0] if passes else 'TuckerSplit'}.energy=0.9"
