"""The library's own source, for the tests that look into it: each file is parsed once in a process.

Trees are not kept, half a million nodes; what the tests ask for is.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted(path for path in (ROOT / "kerasurgeon").rglob("*.py") if "passes" not in path.parts)
PASSES = sorted((ROOT / "passes").glob("*.py"))


@dataclass(frozen=True)
class Import:
    """``from module import name``, or ``import module``, whose name is empty."""

    module: str
    name: str
    line: int
    for_types: bool
    """Whether it is imported for type checkers only."""


@dataclass(frozen=True)
class Call:
    """What is called, as it is written."""

    name: str
    fixed: bool
    """Whether its first argument is a constant."""
    line: int


@dataclass(frozen=True)
class Source:
    """What a file says."""

    lines: int
    imports: list[Import]
    calls: list[Call]
    strings: list[tuple[str, int]]
    """String constants with their lines, docstrings left out."""
    compared: list[tuple[str, int]]
    """String constants within comparisons, dicts and sets."""
    classes: list[str]
    """Those at the top of the file."""
    private: list[tuple[str, int]]
    """Private attributes that are read, by a dot or through getattr, setattr and hasattr."""
    own: frozenset[str]
    """Names that the file gives to something of its own."""
    recursive: list[str]
    """Functions inside functions that call themselves."""


@functools.cache
def source(path: Path) -> Source:
    """What the file says."""
    return read(path.read_text(encoding="utf-8"))


def read(text: str) -> Source:
    """What a text of Python says."""
    tree = ast.parse(text)
    nodes, ends = _in_order(tree)
    docstrings = _ids(
        node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )
    compared = _ids(_below(nodes, ends, lambda node: isinstance(node, (ast.Compare, ast.Dict, ast.Set))))
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return Source(
        lines=len(text.splitlines()),
        imports=list(_imports(nodes, ends)),
        calls=[
            Call(_written(node.func), bool(node.args) and isinstance(node.args[0], ast.Constant), node.lineno)
            for node in nodes
            if isinstance(node, ast.Call)
        ],
        strings=[(str(node.value), node.lineno) for node in strings if id(node) not in docstrings],
        compared=[(str(node.value), node.lineno) for node in strings if id(node) in compared],
        classes=[node.name for node in tree.body if isinstance(node, ast.ClassDef)],
        private=list(_private(nodes)),
        own=frozenset(_own(nodes)),
        recursive=list(_recursive(nodes, ends)),
    )


def _ids(nodes: Iterator[ast.AST]) -> set[int]:
    return {id(node) for node in nodes}


def _in_order(tree: ast.AST) -> tuple[list[ast.AST], list[int]]:
    """All nodes, each in front of what is in it, and where in this list what is in each of them ends."""
    nodes: list[ast.AST] = []
    ends: list[int] = []

    def visit(node: ast.AST) -> None:
        place = len(nodes)
        nodes.append(node)
        ends.append(0)
        for name in node._fields:
            inside = getattr(node, name, None)
            for each in inside if type(inside) is list else (inside,):
                if isinstance(each, ast.AST) and not isinstance(each, ast.expr_context):
                    visit(each)
        ends[place] = len(nodes)

    visit(tree)
    return nodes, ends


def _below(nodes: list[ast.AST], ends: list[int], wanted: Callable[[ast.AST], bool]) -> Iterator[ast.AST]:
    """All that stands within the nodes that are wanted, and these."""
    reached = 0
    for place, node in enumerate(nodes):
        if ends[place] > reached and wanted(node):
            yield from nodes[max(place, reached) : ends[place]]
            reached = ends[place]


def _written(node: ast.expr) -> str:
    """An expression as it is written. Of names with dots this is quicker than ``ast.unparse`` alone."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
        return f"{_written(node.value)}.{node.attr}"
    return ast.unparse(node)


def _imports(nodes: list[ast.AST], ends: list[int]) -> Iterator[Import]:
    types = _ids(_below(nodes, ends, _is_for_types))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (Import(node.module, alias.name, node.lineno, id(node) in types) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno, id(node) in types) for alias in node.names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.isidentifier() and name.strip("_") != ""


def _private(nodes: list[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _is_private(node.attr):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            name = node.args[1]
            reads = node.func.id in ("getattr", "setattr", "hasattr", "delattr")
            if reads and isinstance(name, ast.Constant) and _is_private(str(name.value)):
                yield str(name.value), node.lineno


def _own(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _recursive(nodes: list[ast.AST], ends: list[int]) -> Iterator[str]:
    reached = 0
    for place, node in enumerate(nodes):
        if isinstance(node, ast.FunctionDef):
            inside = nodes[place : ends[place]] if place < reached else []
            if any(isinstance(each, ast.Name) and each.id == node.name for each in inside):
                yield node.name
            reached = max(reached, ends[place])
