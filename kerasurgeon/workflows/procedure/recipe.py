"""A procedure as data: one table for each step, every key checked before anything runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w

from kerasurgeon.costs import check_unreachable
from kerasurgeon.errors import OptionError, RecipeError, did_you_mean
from kerasurgeon.rewrite.option_checks import check_budget
from kerasurgeon.rewrite.recipe import read_content
from kerasurgeon.trust import allow_imports, as_names, check_import, import_object, is_name, is_own, names_in
from kerasurgeon.workflows.procedure.keys import CHOICE, NAMING, OPEN, STEPS, TABLES, TOP
from kerasurgeon.workflows.procedure.sources import DATA_SETS, NETWORKS


@dataclass(frozen=True)
class ProcedureRecipe:
    """What a procedure does.

    Attributes:
        tables: The step's keys with all their values, by step; arguments of the data set and of the network stand in
            ``arguments``.
        arguments: Of the data set and of the network, by step.
        seed: All random choices follow from it.
        name: What the procedure is called.
        given: What was written, to be written again.
        source: The file it was read from.
        allow: What its names may be imported from, beside kerasurgeon and installed packages of passes. Not part of the
            file.
    """

    tables: Mapping[str, Mapping[str, Any]]
    arguments: Mapping[str, Mapping[str, Any]]
    seed: int
    name: str
    given: Mapping[str, Any]
    source: str | None = field(default=None, compare=False)
    allow: tuple[str, ...] = field(default=(), compare=False)
    _text: str = field(default="", compare=False, repr=False)

    def __getitem__(self, step: str) -> Mapping[str, Any]:
        """The keys of a step."""
        return self.tables[step]

    def runs(self, step: str) -> bool:
        """Whether a step is done."""
        return bool(self.tables[step].get("run", True))

    def to_toml(self) -> str:
        """What was written, as TOML."""
        return tomli_w.dumps(_plain(self.given))

    def check_names(self, steps: Iterable[str] = STEPS) -> None:
        """Check that all that these steps name may be imported. Nothing is imported.

        Raises:
            RecipeError: Something may not.
        """
        with allow_imports(*self.allow):
            for step in steps:
                for key, value in self.tables[step].items():
                    if key in NAMING:
                        for name in names_in(value):
                            check_import(name, f"{step}.{key}")

    def check_functions(self, steps: Iterable[str] = STEPS) -> None:
        """Import what these steps name, and check that it takes the arguments that the recipe has for it.

        Raises:
            RecipeError: It cannot be imported, or takes others.
        """
        with allow_imports(*self.allow):
            reader = _Reader(self.given, self.source, self._text, importing=True)
            for step in steps:
                reader.check_function(step, self.tables, self.arguments)


def read_procedure(
    source: str | Path | Mapping[str, Any],
    *,
    changes: Mapping[str, Any] | None = None,
    allow: str | Sequence[str] = (),
) -> ProcedureRecipe:
    """Read a recipe, and check every key and value. Nothing is imported: see ``ProcedureRecipe.check_functions``.

    Args:
        source: Path of a ``.toml`` or ``.json`` file, or the contents as a mapping.
        changes: Values that take the place of those in the recipe, by dotted key: ``{"train_final.epochs": 3}``.
        allow: What its names may be imported from, see ``ProcedureRecipe``.

    Raises:
        RecipeError: The file cannot be read, a key does not exist, or a value is not one that may stand there; the
            message names line and key, and what is near or allowed.
    """
    text, path, content = "", None, source
    if not isinstance(source, Mapping):
        content, path, text = read_content(Path(source))
    if not isinstance(content, Mapping):
        raise RecipeError("A recipe is a table of keys.", where=path, got=type(content).__name__)
    given = _plain(content)
    for key, value in (changes or {}).items():
        _change(given, key, value)
    return replace(_Reader(given, path, text).recipe(), allow=as_names(allow))


def _change(given: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    place = given
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            raise RecipeError(f"{key!r} cannot be set: {table!r} is no table.", got=repr(place))
    place[last] = value


class _Reader:
    def __init__(self, given: Mapping[str, Any], path: str | None, text: str, *, importing: bool = False) -> None:
        self.given, self.path, self.text, self.importing = given, path, text, importing

    def recipe(self) -> ProcedureRecipe:
        for key, value in self.given.items():
            if key not in TABLES and key not in TOP:
                raise self.fail(f"A recipe has no key {key!r}.", key, hint=did_you_mean(key, [*TABLES, *TOP]))
            if key in TABLES and not isinstance(value, Mapping):
                raise self.fail(f"{key!r} is a table.", key, expected=f"[{key}]", got=repr(value))
            if key in TOP and not TOP[key].allows(value):
                raise self.fail(f"{key!r} cannot be {value!r}.", key, expected=TOP[key].expected)
        tables: dict[str, dict[str, Any]] = {}
        arguments: dict[str, dict[str, Any]] = {}
        for step in STEPS:
            tables[step], arguments[step] = self._table(step, self.given.get(step, {}))
        self._check_together(tables, arguments)
        top = {key: self.given.get(key, entry.default) for key, entry in TOP.items()}
        return ProcedureRecipe(tables, arguments, top["seed"], top["name"], self.given, self.path, (), self.text)

    def _table(self, step: str, table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        keys, own, others = TABLES[step], {}, {}
        for key, value in table.items():
            if key in keys:
                if not keys[key].allows(value):
                    raise self.fail(f"{step}.{key} cannot be {value!r}.", key, step=step, expected=keys[key].expected)
                own[key] = value
            elif step in OPEN or "function" in table:
                others[key] = value
            else:
                raise self.fail(f"[{step}] has no key {key!r}.", key, step=step, hint=did_you_mean(key, keys))
        return {**{key: entry.default for key, entry in keys.items()}, **own}, others

    def _check_together(self, tables: Any, arguments: Any) -> None:
        for step in STEPS:
            self.check_function(step, tables, arguments)
        shunt = tables["shunt"]
        if shunt["function"] is None:
            if shunt["regions"] is not None and shunt["choose"] is not None:
                raise self.fail(
                    "[shunt] says twice where shunts go.", "choose", step="shunt", expected="regions, or choose"
                )
            if shunt["regions"] is None:
                if shunt["choose"] is None:
                    shunt["choose"] = dict(CHOICE)
                self._check_choose(shunt["choose"], tables)
        for step in ("train_original", "train_final", "train_shunt"):
            if tables[step]["schedule"] == "two_cycles" and None in (
                tables[step]["second_at"],
                tables[step]["second_rate"],
            ):
                raise self.fail(f"[{step}]: two cycles need second_at and second_rate.", "schedule", step=step)

    def _check_choose(self, choose: Mapping[str, Any], tables: Any) -> None:
        budgets = ("macs", "params")
        known = (*budgets, "unreachable")
        for key, value in choose.items():
            if key not in known:
                raise self.fail(f"shunt.choose has no key {key!r}.", key, step="shunt", hint=did_you_mean(key, known))
            try:
                if key in budgets:
                    check_budget("shunt.choose", key, value)
                else:
                    check_unreachable("shunt.choose", value)
            except OptionError as error:
                raise self.fail(error.what, key, step="shunt", expected=error.expected, got=error.got) from error
        if len([key for key in choose if key in budgets]) != 1:
            raise self.fail("shunt.choose needs one budget.", "choose", step="shunt", expected=" or ".join(budgets))
        if "run" not in self.given.get("quotients", {}):
            tables["quotients"]["run"] = True
        if not tables["quotients"]["run"]:
            raise self.fail(
                "Regions are chosen by their quotients, which are not measured.",
                "choose",
                step="shunt",
                hint="take run = false out of [quotients], or name regions",
            )

    def check_function(self, step: str, tables: Any, arguments: Any) -> None:
        """Check what does a step, or makes its data set or network, as far as it may be imported."""
        table = tables[step]
        if table["function"] is not None:
            self._check_named(step, "function", table["function"], arguments[step], skip=1)
        elif step == "data":
            self._check_source(step, "name", table["name"], arguments[step], DATA_SETS)
        elif step == "original" and table["file"] is None:
            self._check_source(step, "network", table["network"], arguments[step], NETWORKS)

    def _check_source(self, step: str, key: str, name: str, arguments: Any, known: Mapping[str, Any]) -> None:
        if name in known:
            self._check_arguments(step, known[name].function, arguments, skip=0, reserved=known[name].reserved)
        elif ":" in name:
            self._check_named(step, key, name, arguments, skip=0)
        else:
            raise self.fail(f"There is no {step} {name!r}.", key, step=step, hint=did_you_mean(name, known))

    def _check_named(self, step: str, key: str, name: str, arguments: Any, *, skip: int) -> None:
        if not is_name(name):
            raise self.fail(f"{step}.{key} cannot be {name!r}.", key, step=step, expected="'module:function'")
        if self.importing or is_own(name):
            function = import_object(name, f"{step}.{key}")
            self._check_arguments(step, function, arguments, skip=skip, reserved=())

    def _check_arguments(
        self, step: str, function: Callable[..., Any], arguments: Mapping[str, Any], *, skip: int, reserved: Any
    ) -> None:
        try:
            parameters = list(inspect.signature(function).parameters.values())[skip:]
        except (TypeError, ValueError):
            return
        if any(item.kind is item.VAR_KEYWORD for item in parameters):
            return
        names = [item.name for item in parameters if item.name not in reserved]
        for key in arguments:
            if key not in names:
                raise self.fail(
                    f"[{step}] has no key {key!r}.", key, step=step, hint=did_you_mean(key, [*names, *TABLES[step]])
                )

    def fail(self, what: str, key: str, *, step: str | None = None, **parts: Any) -> RecipeError:
        line = self._line(key, step)
        where = f"key {key!r}" + (f" of [{step}]" if step else "") + (f", line {line}" if line else "")
        return RecipeError(what, where=where + (f" of {self.path}" if self.path else ""), **parts)

    def _line(self, key: str, step: str | None) -> int | None:
        start = 0
        if step is not None:
            table = re.search(rf"^[ \t]*\[{re.escape(step)}[\].]", self.text, re.MULTILINE)
            start = table.end() if table else 0
        pattern = rf"^[ \t]*(\[[\w.]*)?\"?{re.escape(key)}\"?[ \t]*[\]=:]"
        found = re.compile(pattern, re.MULTILINE).search(self.text, start)
        return None if found is None else self.text.count("\n", 0, found.start()) + 1


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
