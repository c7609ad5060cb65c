"""The lists in pyproject.toml that nothing keeps in step but these tests, and installs without symbolic links."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import kerasurgeon.passes
from kerasurgeon.authoring import Pass

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_wheel_lists_every_package() -> None:
    on_disk = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for path in (ROOT / "kerasurgeon").rglob("__init__.py")
        if "passes" not in path.parts
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk | {"kerasurgeon.passes"}


def test_passes_holds_no_folders() -> None:
    assert not [path for path in (ROOT / "passes").iterdir() if path.is_dir() and path.name != "__pycache__"]


@pytest.fixture(scope="module")
def without_links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the source tree as git writes them where there are no symbolic links."""
    tree = tmp_path_factory.mktemp("without_links")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("kerasurgeon", "passes"):
        shutil.copytree(ROOT / name, tree / name, ignore=lambda folder, _: {"__pycache__"} | _the_link(folder))
    (tree / "kerasurgeon" / "passes").write_text("../passes", encoding="utf-8")
    return tree


def _the_link(folder: str) -> set[str]:
    return {"passes"} if Path(folder) == ROOT / "kerasurgeon" else set()


def _build(hook: str, tree: Path, into: Path) -> zipfile.ZipFile:
    """Build a wheel as pip does, by the hook of the build backend, in a process of its own."""
    code = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", code, str(into)], cwd=tree, env=environment, check=True, capture_output=True)
    (wheel,) = into.glob("*.whl")
    return zipfile.ZipFile(wheel)


def _where(package: str, *folders: Path, alone: bool = False) -> Path:
    """The file that ``package`` comes from with these site folders first; ``alone`` without what is installed."""
    code = "import sys, site; [site.addsitedir(folder) for folder in sys.argv[2:]]; sys.path[:0] = sys.argv[2:]"
    code += "; from importlib.util import find_spec; print(find_spec(sys.argv[1]).origin)"
    command = [sys.executable, *(["-S"] if alone else []), "-c", code, package, *map(str, folders)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=ROOT.anchor)
    return Path(done.stdout.strip())


def test_a_wheel_built_without_links_holds_the_passes(without_links: Path, tmp_path: Path) -> None:
    with _build("build_wheel", without_links, tmp_path) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("kerasurgeon/passes")}
        assert packed == {f"kerasurgeon/passes/{path.name}" for path in (ROOT / "passes").glob("*.py")}
        assert wheel.read("kerasurgeon/passes/__init__.py") == (ROOT / "passes" / "__init__.py").read_bytes()


def test_an_editable_install_without_links_finds_the_passes_of_its_tree(without_links: Path, tmp_path: Path) -> None:
    with _build("build_editable", without_links, tmp_path) as wheel:
        wheel.extractall(tmp_path / "site")
    site = tmp_path / "site"
    assert _where("kerasurgeon", site, alone=True) == without_links / "kerasurgeon" / "__init__.py"
    assert _where("kerasurgeon.passes", site, alone=True) == without_links / "passes" / "__init__.py"


@pytest.mark.parametrize("name", ["kerasurgeon", "kerasurgeon.passes"])
def test_the_tree_that_is_on_the_path_is_imported_whatever_is_installed(without_links: Path, name: str) -> None:
    for tree in (ROOT, without_links):
        found = _where(name, tree).resolve()
        assert found == tree / name.rpartition(".")[2] / "__init__.py"


def test_every_public_pass_is_an_entry_point() -> None:
    public = {
        name
        for name in kerasurgeon.passes.__all__
        if isinstance(getattr(kerasurgeon.passes, name), type) and issubclass(getattr(kerasurgeon.passes, name), Pass)
    }
    written = PROJECT["project"]["entry-points"]["kerasurgeon.passes"]
    assert set(written) == public
    for name, target in written.items():
        assert target == f"kerasurgeon.passes:{name}"


def test_the_installed_entry_points_are_those_of_the_tree() -> None:
    written = PROJECT["project"]["entry-points"]["kerasurgeon.passes"]
    installed = {
        point.name: point.value
        for point in entry_points(group="kerasurgeon.passes")
        if point.value.startswith("kerasurgeon.")
    }
    assert installed == written, "run `uv sync` again: the installed metadata is older than pyproject.toml"


def test_versions_agree() -> None:
    assert kerasurgeon.__version__ == PROJECT["project"]["version"]
    assert f"## {kerasurgeon.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_extra_all_is_all_extras() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(everything.removeprefix("kerasurgeon[").removesuffix("]").split(",")) == set(extras) - {"all"}
