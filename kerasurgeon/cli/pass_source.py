"""What passes say of themselves, read from their source: importing them takes seconds, since they import Keras."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from kerasurgeon.cli.errors import UsageError
from kerasurgeon.errors import did_you_mean
from kerasurgeon.rewrite.argument_docs import argument_docs
from kerasurgeon.trust.allowed import GROUP

# Bases that have no options. Of a pass with any other base, the source of its class does not tell them all.
_PLAIN_BASES = {"Pass", "RewritePass"}
_REQUIRED = "required"


@dataclass(frozen=True)
class Option:
    """An option of a pass.

    Attributes:
        name: Its name.
        type: Its annotation.
        default: As in the source; ``required`` if there is none.
        doc: What the docstring says.
    """

    name: str
    type: str
    default: str
    doc: str


@dataclass(frozen=True)
class PassDoc:
    """What a pass says of itself.

    Attributes:
        name: How recipes call it.
        path: Where it is imported from, as ``module:Class``.
        preserves: What it promises about outputs.
        doc: Its docstring.
        options: Its options.
    """

    name: str
    path: str
    preserves: str
    doc: str
    options: tuple[Option, ...]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.split("\n", 1)[0]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "name": self.name,
            "path": self.path,
            "summary": self.summary,
            "preserves": self.preserves,
            "doc": self.doc,
            "options": [vars(option) for option in self.options],
        }


@cache
def installed_passes() -> Mapping[str, str]:
    """Where every installed pass is imported from, by name; built-in names cannot be taken."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.value.startswith("kerasurgeon."))
    return {point.name: point.value for point in points}


def check_pass_name(name: str, others: Sequence[str] = ()) -> None:
    """Check that a pass is installed; of ``module:Class`` only the form.

    Args:
        name: What was given.
        others: What else may have been meant.

    Raises:
        UsageError: It is not.
    """
    if ":" not in name and name not in installed_passes():
        near = did_you_mean(name, [*others, *installed_passes()])
        raise UsageError(
            f"There is no pass {name!r}.", hint=f"{near} A pass of your own can be named as 'module:Class'."
        )


def read_pass(name: str, path: str) -> PassDoc | None:
    """What a pass says of itself, without importing it.

    Args:
        name: Its name.
        path: Where it is, as ``module:Class``.

    Returns:
        None where the source is not to be found, or does not tell everything.
    """
    module, _, cls = path.partition(":")
    lineage = _lineage(module, cls)
    if lineage is None:
        return None
    options: dict[str, Option] = {}  # one that a subclass gives another default stays in its place, as in a dataclass
    doc, preserves = "", "APPROXIMATE"
    described: dict[str, str] = {}
    for node in lineage:
        doc = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
        described |= argument_docs(doc)
        for item in node.body:
            target, value = _assigned(item)
            if target == "preserves" and value is not None:
                preserves = ast.unparse(value)
            elif isinstance(item, ast.AnnAssign) and not ast.unparse(item.annotation).startswith("ClassVar"):
                default = _REQUIRED if value is None else ast.unparse(value)
                options[target] = Option(target, ast.unparse(item.annotation), default, described.get(target, ""))
    return PassDoc(name, path, _promise(preserves), doc, tuple(options.values()))


def import_pass(name: str) -> PassDoc:
    """What a pass says of itself, by importing it. Keras must have been started.

    Args:
        name: Its name, or ``module:Class``.

    Raises:
        RecipeError: There is no such pass.
    """
    import dataclasses

    from kerasurgeon.rewrite.catalogue import catalogue, find_pass, options_of

    cls = find_pass(name)
    options = tuple(
        Option(key, kind, _REQUIRED if default is dataclasses.MISSING else repr(default), doc)
        for key, kind, default, doc in options_of(cls)
    )
    path = catalogue().get(name, name)
    return PassDoc(name, path, cls.preserves.value, inspect.getdoc(cls) or "", options)


def _lineage(module: str, name: str) -> list[ast.ClassDef] | None:
    """The definitions of a class and of the passes that it is a special case of, the most general first."""
    found = _find_class(module, name)
    if found is None:
        return None
    module, node = found
    if not all(isinstance(base, ast.Name) for base in node.bases):
        return None
    others = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id not in _PLAIN_BASES]
    if not others:
        return [node]
    before = _lineage(module, others[0]) if len(node.bases) == 1 else None
    return None if before is None else [*before, node]


def _find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """The definition of a class in a module, or in the module that it imports it from, and where it is."""
    file = _source_of(module)
    if file is None:
        return None
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find_class(node.module, alias.name)
    return None


def _source_of(module: str) -> Path | None:
    """The file of a module. Only its top-level package is looked up, since that imports nothing."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.joinpath(*rest[:-1])
    candidates = [folder / f"{rest[-1]}.py", folder / rest[-1] / "__init__.py"] if rest else [Path(spec.origin)]
    return next((path for path in candidates if path.is_file()), None)


def _assigned(item: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
        return item.target.id, item.value
    if isinstance(item, ast.Assign) and len(item.targets) == 1 and isinstance(item.targets[0], ast.Name):
        return item.targets[0].id, item.value
    return "", None


def _promise(source: str) -> str:
    """``Preserves.MASKED_EXACT`` or ``MASKED_EXACT`` as it is shown: ``masked-exact``."""
    return source.rpartition(".")[2].lower().replace("_", "-")
