"""Passes by name: built-in ones, those of other packages, and their options."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerasurgeon.errors import RecipeError
from kerasurgeon.rewrite.catalogue import catalogue, find_pass, make_pass, name_of, options_of
from kerasurgeon.rewrite.passes import Pass
from kerasurgeon.rewrite.pipeline import Pipeline
from tests.rewrite.own_passes import LookOnly, Needs, NotADataclass, ScaleKernels
from tests.zoo import build

pytestmark = pytest.mark.usefixtures("own_names")

PLUGIN = '''
from dataclasses import dataclass
from kerasurgeon.authoring import Context, Graph, Pass

@dataclass(frozen=True)
class Outside(Pass):
    """From another package."""
    level: int = 1

    def run(self, graph: Graph, context: Context) -> None:
        context.left(graph.nodes()[0].name, f"level {self.level}")

class FoldBatchNorm(Outside):
    """Takes a name that is taken."""
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that publishes two passes, as pip would have installed it."""
    (tmp_path / "surgery_plugin.py").write_text(PLUGIN)
    info = tmp_path / "surgery_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: surgery-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kerasurgeon.passes]\n"
        "Outside = surgery_plugin:Outside\n"
        "FoldBatchNorm = surgery_plugin:FoldBatchNorm\n"
        "Gone = surgery_plugin:Gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    catalogue.cache_clear()
    yield
    monkeypatch.undo()
    sys.modules.pop("surgery_plugin", None)
    importlib.invalidate_caches()
    catalogue.cache_clear()


def test_the_built_in_passes_are_found() -> None:
    for name in catalogue():
        cls = find_pass(name)
        assert issubclass(cls, Pass)
        assert cls.__name__ == name == name_of(cls)
        assert cls.summary().endswith(".")


def test_the_passes_of_other_packages(plugin: None) -> None:
    assert catalogue()["Outside"] == "surgery_plugin:Outside"
    cls = find_pass("Outside")
    assert name_of(cls) == "Outside"
    pipeline = Pipeline.from_recipe({"pass": [{"name": "Outside", "level": 3}]})
    (report,) = pipeline.run(build("no_weights")).report.passes
    assert [site.what for site in report.left] == ["level 3"]
    assert pipeline.to_recipe().steps == (("Outside", {"level": 3}),)


def test_names_of_kerasurgeon_cannot_be_taken(plugin: None) -> None:
    assert catalogue()["FoldBatchNorm"] == "kerasurgeon.passes:FoldBatchNorm"
    taken = importlib.import_module("surgery_plugin").FoldBatchNorm
    assert name_of(taken) == "surgery_plugin:FoldBatchNorm"


def test_a_published_pass_that_is_not_there(plugin: None) -> None:
    with pytest.raises(RecipeError, match=r"pass 'Gone': 'surgery_plugin:Gone' cannot be imported"):
        find_pass("Gone")
    with pytest.raises(RecipeError, match="did you mean 'Outside'"):
        find_pass("Outsid")


def test_a_pass_by_path() -> None:
    assert find_pass("tests.rewrite.own_passes:LookOnly") is LookOnly
    assert name_of(LookOnly) == "tests.rewrite.own_passes:LookOnly"
    with pytest.raises(RecipeError, match=r"is not a pass(.|\n)*a subclass of kerasurgeon.authoring.Pass"):
        find_pass("tests.rewrite.own_passes:some_function")
    with pytest.raises(RecipeError, match=r"no pass 'LookOnly'(.|\n)*'module:Class'"):
        find_pass("LookOnly")


def test_an_abstract_pass_cannot_be_made() -> None:
    with pytest.raises(RecipeError, match=r"cannot be made(.|\n)*abstract"):
        make_pass("tests.rewrite.own_passes:Abstract", {})


def test_options() -> None:
    rows = {name: (kind, default, text) for name, kind, default, text in options_of(ScaleKernels)}
    assert rows["factor"] == ("float", 2.0, "What to multiply by.")
    assert rows["only"][2] == "Name of the one layer to change. By default all."
    assert rows["table"] == ("dict[str, Any]", {}, "")
    assert options_of(Needs)[0][2] is dataclasses.MISSING
    assert options_of(NotADataclass) == []


def test_every_built_in_option_is_documented() -> None:
    for name in catalogue():
        for option, _, _, text in options_of(find_pass(name)):
            assert text, f"{name}.{option} has no line under Args:"
