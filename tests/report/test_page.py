"""The page of a report as data and text: what is drawn against the model itself, and what hostile names may not do."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import FileError, OptionError
from kerasurgeon.passes import FoldBatchNorm, PruneChannels
from kerasurgeon.report.page import page, table
from tests.cli.conftest import small_model

HOSTILE = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<!--<script>",
    "\"quoted\" & 'single' \\ back",
    "中文 и кириллица עברית 🦷",
    "line\u2028separator\u2029\x00\x1b",
    "half of a pair \ud800",
)


class Scripts(HTMLParser):
    """The elements of a page, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.scripts: list[str] = []
        self.title = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data
        elif self.lasttag == "title":
            self.title += data


@pytest.fixture(scope="module")
def pruned() -> tuple[Any, Any]:
    keras.utils.set_random_seed(0)
    model = small_model()
    passes = [FoldBatchNorm(), PruneChannels(ratio=0.5, compensate="none")]
    return model, ks.Pipeline(passes).run(model)


def data_in(text: str) -> Any:
    return json.loads(Scripts(text).scripts[0])


def test_the_page_shows_the_model_before_and_after(pruned: tuple[Any, Any], tmp_path: Path) -> None:
    model, result = pruned
    result.report.save(tmp_path / "run.html")
    data = data_in((tmp_path / "run.html").read_text(encoding="utf-8"))
    for side, of in (("before", model), ("after", result.model)):
        drawing, cost = data[side], ks.cost(of)
        nodes = {node["name"]: node for node in drawing["nodes"]}
        assert list(nodes) == [layer.name for layer in of.layers]
        assert {name: node["kind"] for name, node in nodes.items()} == {
            layer.name: type(layer).__name__ for layer in of.layers
        }
        for layer in of.layers:
            assert tuple(nodes[layer.name]["shape"][1:]) == tuple(layer.output.shape[1:])
            assert nodes[layer.name]["parameters"] == layer.count_params()
            assert {key: tuple(shape) for key, (shape, _) in nodes[layer.name]["weights"].items()} == {
                weight.name: tuple(weight.shape) for weight in layer.weights
            }
        assert {row.name: row.macs for row in cost.rows} == {name: node["macs"] for name, node in nodes.items()}
        assert drawing["totals"]["macs"] == cost.macs
        # Edges as Keras' own config of the model has them.
        names = list(nodes)
        wanted = {
            (history[0], entry["name"])
            for entry in of.get_config()["layers"]
            for call in entry["inbound_nodes"]
            for history in re.findall(r"'keras_history': \['([^']+)', (\d+), (\d+)\]", str(call))
        }
        assert {(names[one], names[other]) for one, other in drawing["edges"]} == wanted


def test_what_became_of_each_layer(pruned: tuple[Any, Any]) -> None:
    model, result = pruned
    found = {node["name"]: node["status"] for node in result.report.before["nodes"]}
    left = {layer.name: layer for layer in result.model.layers}
    for layer in model.layers:
        if layer.name not in left:
            assert found[layer.name] == "gone"
            continue
        other = left[layer.name]
        same = [
            a.shape == b.shape and np.array_equal(a, b)
            for a, b in zip(layer.get_weights(), other.get_weights(), strict=False)
        ]
        if len(layer.weights) != len(other.weights) or not all(same):
            assert found[layer.name] == "changed"
        elif layer.output.shape != other.output.shape:
            assert found[layer.name] == "resized"
    assert found["image"] == "same"
    assert set(found.values()) >= {"gone", "changed", "resized", "same"}


def test_passes_groups_and_reasons_are_on_the_page(pruned: tuple[Any, Any]) -> None:
    _, result = pruned
    data = data_in(page(result.report.to_page([table("Accuracy", ("model", "accuracy"), [("before", 0.5)])])))
    fold, prune = data["passes"]
    assert [site["node"] for site in fold["changed"]]
    assert data["tables"][0]["rows"] == [["before", 0.5]]
    widths = {layer.name: layer.output.shape[-1] for layer in result.model.layers}
    for group in prune["groups"]:
        kept = [widths[name] for name in group["layers"] if name in widths]
        assert set(kept) <= {group["kept"]}
        assert group["scores"] == sorted(group["scores"])
    assert any(group["kept"] < group["channels"] for group in prune["groups"])


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_data_whatever_they_are_made_of(name: str) -> None:
    node = {"name": name, "kind": name, "folds": [name], "options": {name: name}}
    text = page({"title": name, "before": None, "after": {"nodes": [node]}, "notes": [name]})
    assert text.isascii()
    read = Scripts(text)
    assert read.tags["script"] == 2
    assert read.tags["img"] == 0
    data = json.loads(read.scripts[0])
    assert data["after"]["nodes"] == [node]
    assert data["title"] == name
    plain = page({"title": "plain", "after": {"nodes": []}})
    assert read.scripts[1] == Scripts(plain).scripts[1]  # the script stays what it is


def test_the_bundle_names_what_it_holds() -> None:
    folder = files("kerasurgeon.report")
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    notice = folder.joinpath("page.NOTICE.txt").read_text(encoding="utf-8")
    assert script.isascii()
    assert "</script" not in script.lower()
    root = Path(__file__).resolve().parents[2] / "report_page"
    lock = json.loads((root / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    bundled = {path.removeprefix("node_modules/"): item for path, item in lock.items() if path and not item.get("dev")}
    assert set(json.loads((root / "package.json").read_text(encoding="utf-8"))["dependencies"]) <= set(bundled)
    for name, item in bundled.items():
        assert f"\n{name} {item['version']}: {item['license']}\n" in notice


def test_a_report_is_saved_by_its_suffix(pruned: tuple[Any, Any], tmp_path: Path) -> None:
    report = pruned[1].report
    report.save(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == json.loads(report.to_json())
    report.save(tmp_path / "run.txt")
    assert (tmp_path / "run.txt").read_text(encoding="utf-8") == f"{report}\n"
    with pytest.raises(OptionError, match=r"\.html, \.json or \.txt"):
        report.save(tmp_path / "run.pdf")
    with pytest.raises(FileError):
        report.save(tmp_path / "run.json", overwrite=False)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("run.pdf")]


def test_notebooks_show_the_page_in_a_frame_of_its_own(pruned: tuple[Any, Any]) -> None:
    html = pruned[1].report._repr_html_()
    assert html.startswith("<table>")
    assert html.count('<iframe sandbox="allow-scripts"') == 1
    assert "<script" not in html  # all of the page is an attribute


def test_nothing_is_drawn_where_no_pass_has_run() -> None:
    report = ks.Pipeline([]).run(small_model()).report
    assert report.before is report.after is None
    assert Scripts(page(report.to_page())).tags["script"] == 2
