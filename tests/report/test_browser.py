"""The page in headless Chromium: it opens, folds, searches, says why, fetches nothing and complains of nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

import kerasurgeon as ks
from kerasurgeon.passes import FoldBatchNorm, PruneChannels, TuckerSplit
from kerasurgeon.report.drawing import assemble, mark
from kerasurgeon.report.page import page, table
from tests.cli.conftest import small_model
from tests.report.chromium import BROWSER, Page, browser
from tests.report.test_page import HOSTILE

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH, and CHROMIUM names none"),
    pytest.mark.xdist_group("chromium"),
]

BOXES = "document.querySelectorAll('.pane:nth-of-type({pane}) .box').length"
CLICK = "document.querySelector({what}).dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
DRAWN = "document.documentElement.dataset.drawn"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def opened(chromium: Page, folder: Path, text: str) -> Page:
    chromium.complaints.clear()
    chromium.requests.clear()
    (folder / "run.html").write_text(text, encoding="utf-8")
    chromium.open(folder / "run.html")
    return chromium


def boxes(chromium: Page, pane: int = 1) -> int:
    return int(chromium.look(BOXES.format(pane=pane)))


def click(chromium: Page, what: str) -> None:
    chromium.look(CLICK.format(what=json.dumps(what)))
    chromium.wait(DRAWN)


def search(chromium: Page, text: str) -> str:
    chromium.look(
        f"(() => {{ const e = document.querySelector('#search'); e.value = {json.dumps(text)};"
        "e.dispatchEvent(new Event('input')); })()"
    )
    return str(chromium.look("document.querySelector('.found').textContent"))


def quiet(chromium: Page) -> None:
    """Nothing was complained of, and nothing fetched but the file and the worker inside it."""
    assert chromium.complaints == []
    assert {url.partition(":")[0] for url in chromium.requests} <= {"file", "blob"}


def node(name: str, **more: Any) -> dict[str, Any]:
    costs = {"macs": 1000, "parameters": 10, "weight_bytes": 40, "activation_bytes": 4}
    return {"name": name, "kind": "Dense", "shape": [1, 4], "options": {}, "weights": {}, **costs, **more}


def large(blocks: int, *, changed: bool) -> dict[str, Any]:
    """Residual blocks of ten nodes each."""
    reads: dict[str, list[str]] = {"in": []}
    for block in range(blocks):
        entry = list(reads)[-1]
        for place in range(9):
            reads[f"stage{block // 10}_block{block}_{place}"] = [list(reads)[-1]]
        reads[f"stage{block // 10}_block{block}_sum"] = [list(reads)[-1], entry]
    nodes = [node(name, options={"units": int(changed and name.endswith("_3"))}) for name in reads]
    totals = {"macs": 1, "parameters": 1, "weight_bytes": 1, "peak_activation_bytes": 1}
    return assemble("large", nodes, reads, totals, dict.fromkeys(reads, ""))


def test_a_run_is_shown_with_its_reasons(chromium: Page, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = small_model()
    passes = [FoldBatchNorm(), PruneChannels(ratio=0.5, compensate="none"), TuckerSplit(energy=0.5)]
    result = ks.Pipeline(passes).run(model)
    accuracy = table("Accuracy", ("model", "accuracy"), [("before", "99 %"), ("after", "98 %")])
    opened(chromium, tmp_path, page(result.report.to_page([accuracy])))
    assert boxes(chromium, 1) == len(model.layers)
    assert boxes(chromium, 2) == len(result.model.layers)
    assert chromium.look("document.querySelectorAll('.pane:nth-of-type(1) .box.gone').length") == len(
        {layer.name for layer in model.layers} - {layer.name for layer in result.model.layers}
    )
    site = next(site for site in result.report.passes[2].left if site.node in result.graph)
    click(chromium, f'.pane .box[data-name="{site.node}"]')
    assert f"left alone: {site.what}" in chromium.look("document.querySelector('.details').textContent")
    assert chromium.look("document.querySelectorAll('.box.chosen').length") == 2
    shown = chromium.look("document.querySelector('.tables').textContent")
    for part in ("Cost per layer", "Passes", "PruneChannels", "Groups of channels", "Accuracy", "98 %"):
        assert part in shown
    assert chromium.look("document.querySelectorAll('#groups .spark').length") > 0
    chromium.look("document.querySelectorAll('details.pass').forEach((e) => { e.open = true; })")
    chromium.wait(f"document.querySelector('#passes').textContent.includes({json.dumps(site.what)})")
    quiet(chromium)


def test_a_thousand_layers_are_folded_searched_and_opened(chromium: Page, tmp_path: Path) -> None:
    before, after = large(100, changed=False), large(100, changed=True)
    mark(before, after)
    passes: list[Any] = []
    text = page({"title": "large", "before": before, "after": after, "passes": passes, "notes": [], "tables": []})
    opened(chromium, tmp_path, text)
    count = len(before["nodes"])
    assert count == 1001
    assert boxes(chromium) < 30
    click(chromium, '.pane .box[data-name="stage3"]')
    assert boxes(chromium, 1) == boxes(chromium, 2) > 10
    click(chromium, "#fold-all")
    folded = boxes(chromium)
    assert search(chromium, "block57_3") == "1 found"
    chromium.look("document.querySelector('.hits button').click()")
    chromium.wait("document.querySelectorAll('.box.chosen').length === 2")
    assert chromium.look("document.querySelector('.details h2').textContent") == "stage5_block57_3"
    assert boxes(chromium) == folded - 1 + 9 + 10  # its stage and its block are open
    assert search(chromium, "nowhere") == "0 found"
    search(chromium, "")
    click(chromium, "#open-all")
    chromium.wait(f"{BOXES.format(pane=2)} === {count}")
    click(chromium, "#fold-all")
    chromium.wait(f"{BOXES.format(pane=1)} === {folded}")
    quiet(chromium)


def test_it_is_walked_through_with_keys(chromium: Page, tmp_path: Path) -> None:
    before = large(20, changed=False)
    data: dict[str, Any] = {"title": "keys", "before": None, "after": before, "passes": [], "notes": [], "tables": []}
    opened(chromium, tmp_path, page(data))
    folded = boxes(chromium)
    chromium.look("document.querySelector('.box').focus()")
    focus = "document.activeElement.getAttribute('data-name')"
    assert chromium.look(focus) == "in"
    chromium.press("ArrowDown")
    assert chromium.look(focus) == "stage0"
    chromium.press("Enter")
    chromium.wait(f"{BOXES.format(pane=1)} > {folded}")
    chromium.wait(f"({focus} ?? '').startsWith('stage0_block0')")
    chromium.press("Escape")
    chromium.wait(f"{BOXES.format(pane=1)} === {folded}")
    quiet(chromium)


def test_hostile_names_are_shown_as_they_are(chromium: Page, tmp_path: Path) -> None:
    names = [name for name in HOSTILE if "\ud800" not in name]
    nodes = [node(name, kind=name, options={name: name}) for name in names]
    reads = {name: names[max(place - 1, 0) : place] for place, name in enumerate(names)}
    totals = {"macs": 1, "parameters": 1, "weight_bytes": 1, "peak_activation_bytes": None}
    drawn = assemble(names[0], nodes, reads, totals, dict.fromkeys(names, "a<b>"))
    rows = table(names[0], names, [names])
    data = {"title": names[0], "before": None, "after": drawn, "passes": [], "notes": names, "tables": [rows]}
    opened(chromium, tmp_path, page(data))
    assert chromium.look("[...document.querySelectorAll('.box')].map((e) => e.dataset.name)") == names
    assert chromium.look("document.querySelector('h1').textContent") == names[0]
    for place in range(len(names)):
        chromium.look(f"document.querySelectorAll('.box')[{place}].dispatchEvent(new MouseEvent('click'))")
        assert chromium.look("document.querySelector('.details h2').textContent") == names[place]
    assert chromium.look("document.querySelectorAll('img').length + (window.pwned ?? 0)") == 0
    quiet(chromium)
