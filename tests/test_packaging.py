"""The lists in pyproject.toml that nothing keeps in step but these tests."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

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


def test_passes_is_a_link_to_the_top_level_folder() -> None:
    link = ROOT / "kerasurgeon" / "passes"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "passes"
    assert not [path for path in (ROOT / "passes").iterdir() if path.is_dir() and path.name != "__pycache__"]


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
