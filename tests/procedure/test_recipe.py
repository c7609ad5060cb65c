"""Recipes of procedures: every key is checked, with its line and what is near."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kerasurgeon.errors import RecipeError
from kerasurgeon.workflows.procedure import read_procedure
from kerasurgeon.workflows.procedure.keys import TABLES
from kerasurgeon.workflows.procedure.starting import starting_recipe

BASE: dict[str, Any] = {"shunt": {"regions": "a..b"}}

TEXT = """\
seed = 4

[data]
name = "shapes"
size = 64

[original]
network = "lraspp"
output_stride = 16

[shunt]
regions = ["a..b", "c"]
arch = {a = "1", "*" = "4"}

[train_final]
epochs = 3

[train_final.ace]
kappa = 0.3
"""


def test_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(TEXT)
    recipe = read_procedure(path)
    assert recipe.seed == 4
    assert recipe["train_final"]["epochs"] == 3
    assert recipe["train_final"]["learning_rate"] == 1e-2
    assert recipe["train_shunt"]["optimizer"] == "adam"
    assert recipe.arguments["data"] == {"size": 64}
    assert recipe.arguments["original"] == {"output_stride": 16}
    assert not recipe.runs("quotients")
    assert recipe.runs("latency")
    path.write_text(recipe.to_toml())
    assert read_procedure(path) == recipe


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("[train_final]\n", "[train_finale]\n", ["no key 'train_finale'", "line 15", "'train_final'"]),
        ("epochs = 3", "epoch = 3", ["[train_final] has no key 'epoch'", "line 16", "'epochs'"]),
        ("epochs = 3", "epochs = 0", ["train_final.epochs cannot be 0", "line 16", "whole number from 1"]),
        ("epochs = 3", "epochs = true", ["cannot be True"]),
        ("epochs = 3", 'optimizer = "sdg"', ["cannot be 'sdg'", "'sgd'"]),
        ("epochs = 3", 'schedule = "two_cycles"', ["second_at"]),
        ("size = 64", "sizes = 64", ["[data] has no key 'sizes'", "line 5", "'size'"]),
        ("output_stride", "output_strides", ["has no key 'output_strides'", "'output_stride'"]),
        ('"lraspp"', '"lrasp"', ["no original 'lrasp'", "'lraspp'"]),
        ('"shapes"', '"shape"', ["no data 'shape'", "'shapes'"]),
        ('"shapes"', '"nowhere:"', ["data.name cannot be 'nowhere:'", "module:function"]),
        ('"shapes"', '"kerasurgeon.nowhere:shapes"', ["cannot be imported"]),
        ('regions = ["a..b", "c"]', 'regions = "a"\nchoose = {macs = 0.5}', ["says twice where shunts go"]),
        ('regions = ["a..b", "c"]', "choose = {mac = 0.5}", ["shunt.choose has no key 'mac'", "'macs'"]),
        ("regions", "region", ["[shunt] has no key 'region'", "'regions'"]),
        ("seed = 4", "seed = -4", ["'seed' cannot be -4"]),
        ("seed = 4", "seed = [", ["not valid TOML"]),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, messages: list[str]) -> None:
    path = tmp_path / "recipe.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(RecipeError) as caught:
        read_procedure(path)
    for message in messages:
        assert message in str(caught.value)


def test_where_nothing_is_said_of_shunts_regions_are_chosen() -> None:
    recipe = read_procedure({"data": {"name": "digits"}})
    assert recipe["shunt"]["choose"] == {"macs": 0.7}
    assert recipe.runs("quotients")
    assert not read_procedure(BASE).runs("quotients")
    with pytest.raises(RecipeError, match="not measured"):
        read_procedure({"shunt": {"choose": {"macs": 0.5}}, "quotients": {"run": False}})


def test_a_starting_recipe_says_what_is_in_force() -> None:
    text = starting_recipe()
    assert read_procedure(tomllib.loads(text)).tables == read_procedure({"shunt": {"choose": {"macs": 0.7}}}).tables
    # Every key is there, and what is not set but shown may stand there.
    entry = re.compile(r"^# (\w+ = (?!\.\.\.).*)$", re.MULTILINE)
    whole = tomllib.loads(entry.sub(r"\1", text))
    missing = {step: set(keys) - set(whole[step]) for step, keys in TABLES.items()}
    assert set().union(*missing.values()) == {"second_at", "second_rate", "recalibrate", "momentum"}
    assert set(re.findall(r"^# (\w+) = \.\.\.", text, re.MULTILINE)) == {*set().union(*missing.values())}
    for step, keys in TABLES.items():
        for key, value in whole[step].items():
            assert keys[key].allows(value), (step, key, value)


def test_changes_and_mappings(tmp_path: Path) -> None:
    recipe = read_procedure(BASE, changes={"train_final.epochs": 9, "seed": 2})
    assert (recipe["train_final"]["epochs"], recipe.seed) == (9, 2)
    assert BASE == {"shunt": {"regions": "a..b"}}
    with pytest.raises(RecipeError, match="no key 'epoch'"):
        read_procedure(BASE, changes={"train_final.epoch": 9})
    with pytest.raises(RecipeError, match="no table"):
        read_procedure({**BASE, "seed": 1}, changes={"seed.x": 9})
    with pytest.raises(RecipeError, match="cannot be read"):
        read_procedure(tmp_path / "none.toml")


def test_a_function_takes_the_keys_it_knows() -> None:
    table = {"function": "tests.procedure.tiny:small_shunt", "exit": 3}
    recipe = read_procedure({"shunt": table}, allow="tests")
    assert recipe.arguments["shunt"] == {"exit": 3}
    recipe.check_functions()
    wrong = read_procedure({"shunt": {**table, "exits": 3}}, allow="tests")
    with pytest.raises(RecipeError, match="has no key 'exits'"):
        wrong.check_functions()
