"""Rooms and files import each other in one direction only, and passes see the library through its fronts."""

from __future__ import annotations

import importlib
import inspect
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import kerasurgeon.passes
from kerasurgeon import authoring
from kerasurgeon.rewrite.passes import Pass
from tests.sources import LIBRARY, PASSES, ROOT, Call, read, source

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
    "streams",
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


def imports_of(path: Path) -> set[tuple[str, int]]:
    """Names of the modules that a file imports, with the line; imports for type checkers excepted."""
    return {
        (f"kerasurgeon.{each.name}" if each.module == "kerasurgeon" and each.name else each.module, each.line)
        for each in source(path).imports
        if not each.for_types
    }


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "kerasurgeon":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else "root"


def test_every_room_has_its_place() -> None:
    found = {path.relative_to(ROOT / "kerasurgeon").parts[0].removesuffix(".py") for path in LIBRARY}
    assert found - set(ORDER) == {"__init__", "__main__"}


def test_rooms_import_downwards() -> None:
    wrong = []
    for path in LIBRARY:
        own = room_of("kerasurgeon." + path.relative_to(ROOT / "kerasurgeon").parts[0].removesuffix(".py"))
        if own is not None and own != "root":
            found = sorted(imports_of(path))
            wrong += [
                f"{path.relative_to(ROOT)}:{line} imports {module}" for module, line in found if is_up(own, module)
            ]
    assert wrong == []


def is_up(own: str, module: str) -> bool:
    """Whether a file of a room may not import the module."""
    other = room_of(module)
    if other is None or other == own:
        return False
    if other == "root" or module.startswith("kerasurgeon.passes"):
        return own not in MAY_IMPORT_ROOT
    return ORDER.index(other) >= ORDER.index(own)


def test_what_is_up() -> None:
    assert not is_up("rewrite", "kerasurgeon.ir.graph")
    assert is_up("ir", "kerasurgeon.rewrite.passes")
    assert is_up("rewrite", "kerasurgeon.lift")
    assert is_up("rewrite", "kerasurgeon.passes.simplify")
    assert not is_up("cli", "kerasurgeon.passes.simplify")


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
    "streams",
)
PUBLIC = {f"kerasurgeon.{name}": importlib.import_module(f"kerasurgeon.{name}") for name in ("authoring", *FRONTS)}
PASS_FILES = [path for path in PASSES if path.name != "__init__.py"]
FILES = [*LIBRARY, *PASSES]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_passes_use_only_public_names() -> None:
    for path in PASS_FILES:
        for each in source(path).imports:
            where = f"{path.name}:{each.line} imports {each.name} of {each.module}"
            if each.module.startswith("kerasurgeon.passes."):
                assert each.name in kerasurgeon.passes.__all__, where
            elif each.module.split(".")[0] == "kerasurgeon":
                assert each.module in PUBLIC, where
                assert each.name in PUBLIC[each.module].__all__, where


def test_a_file_of_passes_holds_one_pass() -> None:
    for path in PASS_FILES:
        (name,) = source(path).classes
        assert issubclass(getattr(kerasurgeon.passes, name), Pass)
        assert name in kerasurgeon.passes.__all__
        assert path.stem.replace("_", "") == name.lower()


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
    lengths = {path: source(path).lines for path in FILES}
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
        # Gradients, kernels and memory are the backend's; these files import it where they are asked for, or are
        # themselves imported under TensorFlow alone.
        its_own = [("channels", "gradients.py"), ("generating", "matching.py")]
        its_own += [("keras_io", name) for name in ("kernels.py", "equal_calls.py", "quick_variables.py", "tensors.py")]
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


def test_what_is_read_becomes_code_in_few_places() -> None:
    wrong = []
    for path in FILES:
        where = str(path.relative_to(ROOT))
        for call in source(path).calls:
            called = call.name.removeprefix("importlib.")
            if called in LOADERS and where not in LOADERS[called] and not (called == "import_module" and call.fixed):
                wrong.append(f"{where}:{call.line} calls {called}: see kerasurgeon/trust")
    assert wrong == []


def test_what_the_test_above_finds() -> None:
    text = "importlib.import_module('a')\nnp.load(name)"
    assert read(text).calls == [Call("importlib.import_module", True, 1), Call("np.load", False, 2)]
