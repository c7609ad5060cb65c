"""What is known of a layer stands in kerasurgeon/layers/: no other module lists kinds of layers and ops."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path
    for path in [*(ROOT / "kerasurgeon").rglob("*.py"), *(ROOT / "passes").glob("*.py")]
    if "layers" not in path.relative_to(ROOT).parts[:2] and "passes" not in path.relative_to(ROOT).parts[1:-1]
)
# Found by looking into Keras, not by asking the rules.
KINDS = frozenset(name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type)) | frozenset(
    f"ops.{name}" for name in dir(keras.ops) if not name.startswith("_")
)
APPLICATIONS = frozenset(module.name for module in pkgutil.iter_modules(keras.applications.__path__)) | frozenset(
    name for name in dir(keras.applications) if not name.startswith("_")
)


def strings_of(path: Path) -> Iterator[tuple[str, int]]:
    """String constants of a module with their lines, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value, node.lineno


def kinds_in(path: Path) -> set[str]:
    """Kinds that a module names, one string each or many in one."""
    found = set()
    for text, _ in strings_of(path):
        words = text.split()
        if words and set(words) <= KINDS:
            found |= set(words)
    # What a Layer or a Dense is called as a class of this library is no kind: "Layer" is in __all__ of the root.
    return found - {"Layer"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_lists_kinds(path: Path) -> None:
    found = kinds_in(path)
    assert len(found) < 3, f"{path.relative_to(ROOT)} names {sorted(found)}: ask the rules instead (rules/asking.py)"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_none_branches_on_the_name_of_an_application(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Compare, ast.Dict, ast.Set)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    assert "keras.src.applications" not in inner.value, f"{path.relative_to(ROOT)}:{inner.lineno}"
                    assert inner.value not in APPLICATIONS, f"{path.relative_to(ROOT)}:{inner.lineno}"


def test_the_layers_room_does_list_them() -> None:
    """The test above sees what it looks for."""
    families = sorted((ROOT / "kerasurgeon" / "layers").glob("*.py"))
    listed = {path.stem: len(kinds_in(path)) for path in families}
    assert listed["convolution"] == 14
    assert sum(listed.values()) > 150
