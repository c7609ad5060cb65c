"""Rooms and files import each other in one direction only, and passes see the library through its fronts."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kerasurgeon.passes
from kerasurgeon import authoring
from kerasurgeon.rewrite.passes import Pass

ROOT = Path(__file__).resolve().parent.parent

# A room may import itself and what stands before it.
ORDER = (
    "errors",
    "file_errors",
    "hidden",
    "trust",
    "atomic",
    "array_files",
    "source_tree",
    "plan_files",
    "quiet",
    "ir",
    "report",
    "keras_io",
    "rules",
    "layers",
    "costs",
    "rewrite",
    "generating",
    "simplify",
    "replacing",
    "channels",
    "adapting",
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
    assert found - set(ORDER) == {"__init__", "__main__"}


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


# What passes may import beside authoring: packages, of which they may use the names in __all__.
FRONTS = (
    "adapting",
    "blocks",
    "channels",
    "costs",
    "factors",
    "generating",
    "morphnet",
    "recover",
    "replacing",
    "report",
    "rules",
    "simplify",
    "sparsity",
)
PUBLIC = {f"kerasurgeon.{name}": importlib.import_module(f"kerasurgeon.{name}") for name in ("authoring", *FRONTS)}
PASS_FILES = [path for path in PASSES if path.name != "__init__.py"]
FILES = [*LIBRARY, *PASSES]


def names_of(path: Path) -> Iterator[tuple[str, str, int]]:
    """What a file imports of the project, wherever it does: module, name (empty for the module itself) and line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "kerasurgeon":
            yield from ((node.module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, "", node.lineno) for a in node.names if a.name.split(".")[0] == "kerasurgeon")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", PASS_FILES, ids=lambda path: path.name)
def test_passes_use_only_public_names(path: Path) -> None:
    for module, name, line in names_of(path):
        where = f"{path.name}:{line} imports {name} of {module}"
        if module.startswith("kerasurgeon.passes."):
            assert name in kerasurgeon.passes.__all__, where
        else:
            assert module in PUBLIC, where
            assert name in PUBLIC[module].__all__, where


@pytest.mark.parametrize("path", PASS_FILES, ids=lambda path: path.name)
def test_a_file_of_passes_holds_one_pass(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) == 1
    assert issubclass(getattr(kerasurgeon.passes, classes[0]), Pass)
    assert classes[0] in kerasurgeon.passes.__all__
    assert path.stem.replace("_", "") == classes[0].lower()


@pytest.mark.parametrize("name", PUBLIC)
def test_fronts_show_what_they_say(name: str) -> None:
    front = PUBLIC[name]
    assert len((front.__doc__ or "").splitlines()) > 1
    for each in front.__all__:
        thing = getattr(front, each)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), each
            assert not (thing.__doc__ or "").startswith(f"{each}("), f"{each} has the docstring of a bare dataclass"
    if name == "kerasurgeon.authoring":
        return  # grouped by what they are for
    # As isort has it: constants, classes, functions.
    order = sorted(front.__all__, key=lambda each: (not each.isupper(), not each[0].isupper(), each))
    assert front.__all__ == order


def test_authoring_is_one_page() -> None:
    source = inspect.getsource(authoring)
    groups: dict[str, list[str]] = {}
    for title, name in re.findall(r'^    (?:# (.+)|"(\w+)",)$', source[source.index("__all__") :], re.MULTILINE):
        if title:
            groups[title] = []
        else:
            groups[next(reversed(groups))].append(name)
    assert [name for names in groups.values() for name in names] == authoring.__all__
    assert len(authoring.__all__) <= 80
    page = (ROOT / "docs" / "authoring.md").read_text(encoding="utf-8")
    sections = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    shown = {
        title: re.findall(r"^\| `(\S+)` \|", text, re.MULTILINE)
        for title, text in zip(sections[::2], sections[1::2], strict=True)
    }
    assert sorted(shown.pop("Fronts")) == sorted(f"kerasurgeon.{name}" for name in FRONTS)
    assert shown == groups
    assert list(shown) == list(groups)


def test_the_core_of_factors_is_numpy_only() -> None:
    core = sorted((ROOT / "kerasurgeon" / "factors" / "kernels").glob("*.py"))
    # The structures of zeros are numpy alone, too.
    structures = ROOT / "kerasurgeon" / "sparsity" / "structures.py"
    for path in (*core, structures):
        for module, line in imports_of(path):
            top = module.split(".")[0]
            allowed = (
                top in sys.stdlib_module_names - {"keras"}
                or top in ("numpy", "scipy", "tensorly", "threadpoolctl")
                or module in ("kerasurgeon.errors", module_of(structures))
                or module.startswith("kerasurgeon.factors.kernels")
            )
            assert allowed, f"{path.relative_to(ROOT)}:{line} imports {module}"


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 400} == {}
    assert statistics.median(lengths.values()) <= 200


def test_only_keras_io_touches_keras_internals() -> None:
    for path in [*LIBRARY, *PASSES]:
        if "keras_io" in path.parts:
            continue
        for module, line in imports_of(path):
            assert not module.startswith("keras.src"), f"{path.relative_to(ROOT)}:{line} imports {module}"


def test_core_does_not_import_tensorflow() -> None:
    heavy = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")
    for path in [*LIBRARY, *PASSES]:
        # Gradients, kernels and memory are the backend's; these files import it where they are asked for.
        its_own = [("channels", "gradients.py"), ("generating", "matching.py")]
        its_own += [("keras_io", name) for name in ("kernels.py", "equal_calls.py", "tensors.py")]
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


# Calls that make code, or objects, of what is read: where each may stand.
LOADERS = {
    "import_module": {
        "kerasurgeon/trust/names.py",  # by names from files, checked
        "kerasurgeon/cli/models.py",  # --custom-objects
        "kerasurgeon/quiet.py",  # optional packages, named by the library
        "kerasurgeon/keras_io/known_keras.py",
        "kerasurgeon/__init__.py",
        "kerasurgeon/exporting/__init__.py",
    },
    "np.load": {"kerasurgeon/array_files.py", "kerasurgeon/recover/features.py"},
    "keras.saving.load_model": {"kerasurgeon/keras_io/loading.py", "kerasurgeon/testing/passes.py"},
    "keras.models.model_from_json": {"kerasurgeon/blocks/networks.py"},
    **{
        name: set() for name in ("eval", "exec", "__import__", "pickle.load", "pickle.loads", "keras.models.load_model")
    },
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_read_becomes_code_in_few_places(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).removeprefix("importlib.")
        fixed = bool(node.args) and isinstance(node.args[0], ast.Constant)
        if called in LOADERS and not (called == "import_module" and fixed):
            where = str(path.relative_to(ROOT))
            assert where in LOADERS[called], f"{where}:{node.lineno} calls {called}: see kerasurgeon/trust"
