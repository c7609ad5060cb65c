"""The catalogue: read from source it says what the classes say."""

from __future__ import annotations

import pytest

from kerasurgeon.cli.pass_source import import_pass, installed_passes, read_pass
from tests.cli.conftest import Run

BUILT_IN = [name for name, path in installed_passes().items() if path.startswith("kerasurgeon.")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_source_and_class_say_the_same(name: str) -> None:
    read, imported = read_pass(name, installed_passes()[name]), import_pass(name)
    assert read is not None
    assert (read.preserves, read.doc) == (imported.preserves, imported.doc)
    assert [(option.name, option.type) for option in read.options] == [
        (option.name, option.type) for option in imported.options
    ]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_option_is_described(name: str) -> None:
    found = read_pass(name, installed_passes()[name])
    assert found is not None
    assert found.summary
    assert [option.name for option in found.options if not option.doc] == []


def test_passes_lists_all(run: Run) -> None:
    done = run("passes", "--json")
    assert done.code == 0, done.err
    assert {item["name"] for item in done.json["passes"]} >= set(BUILT_IN)
    table = run("passes").out
    assert all(name in table for name in BUILT_IN)


def test_one_pass_shows_its_options(run: Run) -> None:
    done = run("passes", "TuckerSplit")
    assert done.code == 0, done.err
    for part in ("energy", "Share of the squared singular values", "Leaves alone"):
        assert part in done.out
    assert run("passes", "FoldBatchNorm", "--json").json["preserves"] == "exact"


def test_a_pass_by_path(run: Run) -> None:
    assert run("passes", "kerasurgeon.passes.simplify:Simplify", "--json").json["summary"]
