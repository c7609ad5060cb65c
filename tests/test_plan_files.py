"""Files of plans: every kind says the same of the same fault, and is written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.blocks.plan import BlockPlan, BlockStep
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.channels import ChannelPlan
from kerasurgeon.errors import FileError, PlanError
from kerasurgeon.factors import METHODS, FactorPlan, Shape
from kerasurgeon.factors.picks import Pick
from kerasurgeon.factors.search_log import SearchLog, Trial
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io import lift
from kerasurgeon.morphnet.structure import read_structure, write_structure


def channels() -> ChannelPlan:
    return ChannelPlan({"conv": range(0, 64, 2), "head": 3}, {"conv": 64}, "net", 'a "note"\nof [\n1\n] lines')


def blocks() -> BlockPlan:
    inputs = keras.Input((4, 4, 2))
    network = lift(keras.Model(inputs, layers.Conv2D(3, 1, name="new")(inputs)))
    specs = TensorSpec((None, 4, 4, 2), "float32"), TensorSpec((None, 4, 4, 3), "float32")
    return BlockPlan((BlockStep("shunt", "shunt_1", "a", "b", ("c", "b"), *specs, network, {"arch": 1}),), "net")


def factors() -> FactorPlan:
    kernel = np.random.default_rng(0).normal(size=(1, 6, 5)).astype("float32")
    return FactorPlan.of("net", {"dense": (kernel, METHODS["svd"].prepare(kernel, Shape((), 6, 5)).factors((2,)))})


def quotients() -> Quotients:
    row = Quotient("block", "residual", "drop", "a", "b", ("c", "b"), None, 0, 0.5, 0.25, 100, 10, None, None, (1, 2))
    return Quotients("net", 0.75, 1000, 100, None, (row,), {"other": "it is shared"}, "0f")


def search_log() -> SearchLog:
    trial = Trial("alone", {"conv": Pick("tucker", (2, None), 0.5)}, 10.0, 0.75)
    return SearchLog("macs", "0f", float("inf"), [trial])


def open_log(path: Path) -> SearchLog:
    return SearchLog.open(path, "macs", "0f")


Kind = tuple[Callable[[], Any], Callable[[Path], Any], str]
KINDS: dict[str, Kind] = {
    "channels": (channels, ChannelPlan.load, "plan of channels"),
    "blocks": (blocks, BlockPlan.load, "plan of blocks"),
    "factors": (factors, FactorPlan.load, "plan of factors"),
    "quotients": (quotients, Quotients.load, "table of quotients"),
    "factor-search": (search_log, open_log, "search log"),
}
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "an object": (lambda _: [1], "unknown format", "list"),
    "another format": (lambda data: {**data, "format": "kerasurgeon.else/1"}, "unknown format", "kerasurgeon.else/1"),
    "a newer version": (
        lambda data: {**data, "format": data["format"].replace("/1", "/2")},
        "of a newer version",
        "what to do: install the version",
    ),
    "an unknown key": (lambda data: {**data, "keppt": {}}, "does not have the form of a {what}", "unknown 'keppt'"),
    "a missing key": (
        lambda data: {key: value for key, value in data.items() if key != list(data)[-1]},
        "does not have the form of a {what}",
        "no '",
    ),
    "a wrong type": (
        lambda data: {key: 3 if isinstance(value, (dict, list)) else value for key, value in data.items()},
        "does not have the form of a {what}",
        "got: 3",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def same(one: Any, other: Any) -> bool:
    """Whether two plans are equal; logs know the path that they were read from."""
    if isinstance(one, SearchLog):
        return bool(one.trials == other.trials and one.measure == other.measure)
    return bool(one == other)


def refused(kind: Kind, path: Path, *parts: str) -> None:
    with pytest.raises(PlanError) as caught:
        kind[1](path)
    text = str(caught.value)
    for part in (kind[2], *parts):
        assert part.format(what=kind[2]) in text, text
    assert str(path.parent) in text, "the file is named"


def test_what_is_read_is_what_was_written(kind: Kind, tmp_path: Path) -> None:
    made, path = kind[0](), tmp_path / "plan.json"
    made.save(path)
    assert same(kind[1](path), made)
    again = path.read_text()
    kind[1](path).save(path)
    assert path.read_text() == again


def test_lists_of_numbers_stand_in_one_line() -> None:
    lines = [line.strip() for line in channels().to_json().splitlines()]
    assert f'"conv": {list(range(0, 64, 2))},' in lines
    assert '"head": 3' in lines
    assert r'"note": "a \"note\"\nof [\n1\n] lines",' in lines, "text stays as it is"


@pytest.mark.parametrize("fault", FAULTS)
def test_entries_that_are_wrong(kind: Kind, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    kind[0]().save(path)
    damage, *parts = FAULTS[fault]
    data = json.loads(path.read_text())
    data.pop("arrays", None)
    path.write_text(json.dumps(damage(data)))
    refused(kind, path, *parts)


def test_no_json(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    kind[0]().save(path)
    path.write_text(path.read_text()[:40])
    refused(kind, path, "cannot be read: it is not valid JSON", ", line ")


def test_a_folder_in_its_place(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "plan.json").mkdir()
    refused(kind, tmp_path / "plan.json", "cannot be read")


def test_no_such_file(kind: Kind, tmp_path: Path) -> None:
    if kind[1] is open_log:
        assert not open_log(tmp_path / "plan.json").trials, "a log begins where there is none"
    else:
        refused(kind, tmp_path / "plan.json", "cannot be read", "No such file", "check the path")


def test_no_such_folder(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=f"The {kind[2]} cannot be written"):
        kind[0]().save(tmp_path / "none" / "plan.json")


def test_a_crash_leaves_the_old_file(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    kind[0]().save(path)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(FileError, match=f"The {kind[2]} cannot be written(.|\n)*No space left"):
            kind[0]().save(path)
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


def test_structures_are_read_likewise(tmp_path: Path) -> None:
    path = tmp_path / "alive_7"
    write_structure({"conv": 3}, path)
    assert read_structure(path) == {"conv": 3}
    channels().save(path)
    assert read_structure(path) == {"conv": 32, "head": 3}
    for text, part in (
        ("{", "it is not valid JSON"),
        ("[1]", "an object of layer names"),
        ('{"a": true}', "'a' cannot be"),
    ):
        path.write_text(text)
        with pytest.raises(PlanError, match=part):
            read_structure(path)
    with pytest.raises(PlanError, match="No such file"):
        read_structure(tmp_path / "missing")
    with pytest.raises(FileError, match="structure cannot be written"):
        write_structure({}, tmp_path / "none" / "alive_7")
