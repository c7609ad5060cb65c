"""The rooms import each other in one direction only, and passes see the library through one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A room may import itself and what stands before it.
ORDER = (
    "errors",
    "atomic",
    "plan_files",
    "quiet",
    "ir",
    "report",
    "keras_io",
    "rules",
    "layers",
    "costs",
    "rewrite",
    "simplify",
    "replacing",
    "channels",
    "sparsity",
    "recover",
    "factors",
    "blocks",
    "morphnet",
    "exporting",
    "authoring",
    "testing",
    "workflows",
    "cli",
)
# The root gathers the public names, so that only the outermost rooms may import it.
MAY_IMPORT_ROOT = {"workflows", "cli"}


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Names of the project's modules that a file imports, with the line; imports for type checkers excepted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "kerasurgeon":
                for alias in node.names:
                    yield f"kerasurgeon.{alias.name}", node.lineno
            else:
                yield node.module, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "kerasurgeon":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else "root"


LIBRARY = sorted(path for path in (ROOT / "kerasurgeon").rglob("*.py") if "passes" not in path.parts)
PASSES = sorted((ROOT / "passes").glob("*.py"))


def test_every_room_has_its_place() -> None:
    found = {path.relative_to(ROOT / "kerasurgeon").parts[0].removesuffix(".py") for path in LIBRARY}
    assert found - set(ORDER) == {"__init__"}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_downwards(path: Path) -> None:
    own = room_of("kerasurgeon." + path.relative_to(ROOT / "kerasurgeon").parts[0].removesuffix(".py"))
    if own in (None, "root"):
        return
    for module, line in imports_of(path):
        other = room_of(module)
        if other is None or other == own:
            continue
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        assert not module.startswith("kerasurgeon.passes") or own in MAY_IMPORT_ROOT, where
        if other == "root":
            assert own in MAY_IMPORT_ROOT, where
        else:
            assert ORDER.index(other) < ORDER.index(own), where


@pytest.mark.parametrize("path", PASSES, ids=lambda path: path.name)
def test_passes_use_only_authoring(path: Path) -> None:
    for module, line in imports_of(path):
        if module.startswith("kerasurgeon"):
            allowed = module == "kerasurgeon.authoring" or module.startswith("kerasurgeon.passes")
            assert allowed, f"{path.name}:{line} imports {module}"


def test_only_keras_io_touches_keras_internals() -> None:
    for path in [*LIBRARY, *PASSES]:
        if "keras_io" in path.parts:
            continue
        for module, line in imports_of(path):
            assert not module.startswith("keras.src"), f"{path.relative_to(ROOT)}:{line} imports {module}"


def test_core_does_not_import_tensorflow() -> None:
    heavy = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")
    for path in [*LIBRARY, *PASSES]:
        # Gradients and kernels are the backend's; these files import it where they are asked for.
        its_own = [("channels", "gradients.py"), ("keras_io", "kernels.py"), ("keras_io", "equal_calls.py")]
        if {"exporting", "workflows", "cli"} & set(path.parts) or path.parts[-2:] in its_own:
            continue
        for module, line in imports_of(path):
            assert module.split(".")[0] not in heavy, f"{path.relative_to(ROOT)}:{line} imports {module}"


def test_the_package_does_not_import_the_passes() -> None:
    code = "import sys, kerasurgeon; sys.exit(any(name.startswith('kerasurgeon.passes') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_guard_of_the_passes_folder() -> None:
    code = "import passes"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "import kerasurgeon.passes, not passes" in done.stderr
