"""Recipes: a run as data, in TOML and JSON; errors name the line, the key and what is allowed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon
from kerasurgeon.errors import FileError, RecipeError
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.rewrite.recipe import Recipe, read_recipe
from kerasurgeon.trust import import_object, import_path
from tests.keras_io.facts import values
from tests.rewrite.own_passes import AddRandom, HoldsFunction, LookOnly, Needs, ScaleKernels, some_function
from tests.zoo import build

pytestmark = pytest.mark.usefixtures("own_names")

OWN = "tests.rewrite.own_passes"


def written(tmp_path: Path, text: str, suffix: str = ".toml") -> Path:
    path = tmp_path / f"recipe{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


PASSES = [
    ScaleKernels(factor=0.5, kinds=("Dense",), table={"a": (1, 2)}),
    Needs(units=4),
    HoldsFunction(function=some_function),
    LookOnly(),
]


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_there_and_back(tmp_path: Path, suffix: str) -> None:
    recipe = Pipeline(PASSES).to_recipe(seed=3, verify="types")
    path = tmp_path / f"r{suffix}"
    recipe.save(path)
    assert os.listdir(tmp_path) == [path.name], "nothing is left beside it"
    again = Pipeline.from_recipe(path)
    assert again.passes[0] == PASSES[0]
    assert again.passes[1] == PASSES[1]
    assert again.passes[3] == PASSES[3]
    assert read_recipe(path).seed == 3
    assert read_recipe(path).verify == "types"
    assert again.to_recipe().to_dict() == recipe.to_dict()


def test_options_at_their_default_are_left_out() -> None:
    recipe = Recipe.of([ScaleKernels(), ScaleKernels(only="x"), Needs(0)])
    assert recipe.steps == (
        (f"{OWN}:ScaleKernels", {}),
        (f"{OWN}:ScaleKernels", {"only": "x"}),
        (f"{OWN}:Needs", {"units": 0}),
    )


def test_versions_are_recorded() -> None:
    versions = Recipe.of([]).versions
    assert versions["keras"] == keras.__version__
    assert versions["kerasurgeon"] == kerasurgeon.__version__
    assert versions["numpy"] == np.__version__


def test_a_built_in_pass_goes_by_its_name() -> None:
    from kerasurgeon.passes import FoldBatchNorm

    assert Recipe.of([FoldBatchNorm()]).steps == (("FoldBatchNorm", {}),)
    assert isinstance(Pipeline.from_recipe({"pass": [{"name": "FoldBatchNorm"}]}).passes[0], FoldBatchNorm)


def test_a_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    model = build("plain_chain")
    first = Pipeline([AddRandom(), ScaleKernels(0.5)]).run(model, seed=7)
    first.recipe.save(tmp_path / "r.toml")
    second = Pipeline.from_recipe(tmp_path / "r.toml").run(model)
    for one, other in zip(values(first.model.weights), values(second.model.weights), strict=True):
        assert one.tobytes() == other.tobytes()


def test_options_of_numpy(tmp_path: Path) -> None:
    Recipe.of([ScaleKernels(np.float64(0.5), only=None, table={"v": np.arange(3)})]).save(tmp_path / "r.toml")
    assert Pipeline.from_recipe(tmp_path / "r.toml").passes == (ScaleKernels(0.5, table={"v": (0, 1, 2)}),)


def test_none_is_written_to_json_and_refused_in_toml(tmp_path: Path) -> None:
    """Left out, it would come back as the option's default."""
    recipe = Recipe.of([ScaleKernels(table={"n": [1, None]})])
    recipe.save(tmp_path / "r.json")
    assert Pipeline.from_recipe(tmp_path / "r.json").passes == (ScaleKernels(table={"n": (1, None)}),)
    with pytest.raises(RecipeError, match=r"ScaleKernels.table.n.1 is None, which TOML cannot say(.|\n)*\.json"):
        recipe.save(tmp_path / "r.toml")
    assert os.listdir(tmp_path) == ["r.json"]


def test_sources_of_a_pipeline(tmp_path: Path) -> None:
    content: dict[str, Any] = {"seed": 2, "pass": [{"name": f"{OWN}:LookOnly"}]}
    path = written(tmp_path, json.dumps(content), ".json")
    for source in (content, path, str(path), read_recipe(path)):
        pipeline = Pipeline.from_recipe(source)
        assert pipeline.passes == (LookOnly(),)
        assert pipeline.to_recipe().seed == 2


# Errors

TOML_ERRORS: dict[str, tuple[str, list[str]]] = {
    "not TOML": ("seed = = 1\n", ["is not valid TOML", "line 1"]),
    "unknown key": ("seed = 1\n\npases = 3\n", ["no key 'pases'", "line 3", "did you mean 'pass'"]),
    "bad seed": ('verify = "types"\nseed = -1\n', ["whole number", "key 'seed', line 2", "got: -1"]),
    "true is no seed": ("seed = true\n", ["whole number", "got: True"]),
    "bad level": ('verify = "all"\n', ["no such level", "line 1", "structure or types", "'all'"]),
    "level of a wrong type": ("verify = [1]\n", ["no such level", "line 1"]),
    "one table": ('[pass]\nname = "LookOnly"\n', ["[[pass]] tables", "line 1"]),
    "list of strings": ('pass = ["LookOnly"]\n', ["[[pass]] tables", "line 1"]),
    "no name": ("seed = 1\n\n[[pass]]\nfactor = 1\n", ["Pass number 1 has no name", "FoldBatchNorm"]),
    "unknown pass": ('[[pass]]\nname = "FoldBatchNrom"\n', ["no pass 'FoldBatchNrom'", "did you mean 'FoldBatchNorm'"]),
    "no module": ('[[pass]]\nname = "no.such:Thing"\n', ["'no.such:Thing' may not be imported"]),
    "no class": (f'[[pass]]\nname = "{OWN}:Nope"\n', ["cannot be imported", "Nope"]),
    "no pass": (f'[[pass]]\nname = "{OWN}:some_function"\n', ["is not a pass"]),
    "misspelt option": (
        f'[[pass]]\nname = "{OWN}:LookOnly"\n\n[[pass]]\nname = "{OWN}:ScaleKernels"\nfactr = 2.0\n',
        ["has no option 'factr'", "did you mean 'factor'", "line 6, pass number 2, key 'factr'"],
    ),
    "no options": (f'[[pass]]\nname = "{OWN}:NotADataclass"\nx = 1\n', ["no option 'x'", "takes no options"]),
    "missing option": (f'[[pass]]\nname = "{OWN}:Needs"\n', ["Needs needs the option 'units'", "pass number 1"]),
    "refused value": (
        f'[[pass]]\nname = "{OWN}:ScaleKernels"\nfactor = 0\n',
        ["must not be 0", "line 3, pass number 1"],
    ),
    "versions of a wrong type": ("versions = 3\n", ["versions", "line 1"]),
}


@pytest.mark.parametrize("case", TOML_ERRORS)
def test_errors_say_where_and_what(tmp_path: Path, case: str) -> None:
    text, parts = TOML_ERRORS[case]
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        Pipeline.from_recipe(path)
    for part in parts:
        assert part in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_errors_in_json_name_the_line_too(tmp_path: Path) -> None:
    path = written(tmp_path, '{\n  "seed": 1,\n  "pases": []\n}', ".json")
    with pytest.raises(RecipeError, match=r"no key 'pases'(.|\n)*line 3"):
        read_recipe(path)
    with pytest.raises(RecipeError, match=r"is not valid JSON(.|\n)*line 1 column 2"):
        read_recipe(written(tmp_path, "{,}", ".json"))
    with pytest.raises(RecipeError, match=r"a table of keys(.|\n)*got: list"):
        read_recipe(written(tmp_path, "[]", ".json"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot be read(.|\n)*No such file"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"cannot be read(.|\n)*utf-8"):
        read_recipe(tmp_path / "binary.toml")


def test_a_recipe_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"HoldsFunction.function(.|\n)*a recipe cannot name"):
        Recipe.of([HoldsFunction(lambda x: x)]).to_toml()
    with pytest.raises(RecipeError, match=r"HoldsFunction.function cannot be written(.|\n)*object object"):
        Recipe.of([HoldsFunction(object())]).to_toml()

    class Local(LookOnly):
        pass

    with pytest.raises(RecipeError, match="Local cannot be written to a recipe"):
        Recipe.of([Local()]).save(tmp_path / "r.toml")
    with pytest.raises(FileError, match=r"recipe cannot be written(.|\n)*no[/\\]such"):
        Recipe.of([]).save(tmp_path / "no" / "such.toml")
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.toml"
    Recipe.of([], seed=1).save(path)
    before = path.read_text()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(FileError, match="No space left"):
        Recipe.of([], seed=2).save(path)
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["r.toml"]


# Names of Python objects


def test_import_paths() -> None:
    assert import_path(some_function) == f"{OWN}:some_function"
    assert import_object(f"{OWN}:ScaleKernels.run") is ScaleKernels.run
    with pytest.raises(RecipeError, match="cannot name"):
        import_path(lambda: None)
    for path in ("no_colon", "math:", ":name", "math:no.such", "tests.such:x", "", "a b:c", "math:pi:e"):
        with pytest.raises(RecipeError, match="cannot be imported"):
            import_object(path)
