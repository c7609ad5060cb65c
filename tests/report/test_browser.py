"""The page in headless Chromium: it opens, folds, searches, says why, fetches nothing and complains of nothing."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.passes import FoldBatchNorm, PruneChannels, TuckerSplit
from kerasurgeon.report.charts import chart, curve_charts, quotient_charts, series
from kerasurgeon.report.drawing import assemble, mark
from kerasurgeon.report.page import page, table
from kerasurgeon.report.pictures import Curve
from kerasurgeon.report.segmentations import class_pixels, pictures, png
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
    totals = {"macs": 1000 + 91 * changed, "parameters": 4 - changed, "weight_bytes": 1, "peak_activation_bytes": 1}
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
    said = chromium.look("[...document.querySelectorAll('.top .kept')].map((e) => e.textContent.trim())")
    assert said == ["9.1 % more", "75.0 % kept"]
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


def test_curves_bars_and_pictures(chromium: Page, tmp_path: Path) -> None:
    curve = Curve("final", "loss", (1.0, 0.5, float("nan"), 0.25), (1.1, 0.7, 0.6, 0.5))
    rows = [
        {"region": name, "method": "drop", "quotient": worth, "macs_saved": saved}
        for name, worth, saved in (("a", 0.1, 10), ("b", 0.0, 20), ("c", -0.1, 5))
    ]
    ids = np.arange(12).reshape(3, 4)
    uri = "data:image/png;base64," + b64encode(png(class_pixels(ids, 12))).decode()
    data = {
        "title": "run", "before": None, "after": large(2, changed=False), "passes": [], "notes": [], "tables": [],
        "charts": [*curve_charts([curve]), *quotient_charts({"rows": rows, "macs": 40}, {"b"})],
        "pictures": [pictures("Segmentations", ("image", "truth"), [(uri, uri)], names=[("class 0", "#000000")])],
    }  # fmt: skip
    opened(chromium, tmp_path, page(data))
    count = "document.querySelectorAll({what}).length"
    assert chromium.look(count.format(what="'.chart'")) == 3
    assert chromium.look(count.format(what="'.chart:first-of-type circle'")) >= 3 + 4  # what is no number is left out
    assert chromium.look(count.format(what="'.series rect'")) == 3
    heights = chromium.look("[...document.querySelectorAll('.series rect')].map((e) => +e.getAttribute('height'))")
    assert heights[0] == pytest.approx(heights[1], rel=0.01)  # those left in place: a and c, as far above as below 0
    chromium.wait("[...document.querySelectorAll('.pictures img')].every((e) => e.complete)")
    assert chromium.look("[...document.querySelectorAll('.pictures img')].map((e) => e.naturalWidth)") == [4, 4]
    assert chromium.look("document.querySelector('.tables section h2').textContent") == "Learning curves"
    assert chromium.complaints == []
    assert {url.partition(":")[0] for url in chromium.requests} <= {"file", "blob", "data"}


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
    bars = chart(names[0], [series(names[1], [(0, 1.0)], "bars", names)], section=names[2], y=names[3], names=names)
    shown = pictures(names[0], names, [["data:image/png;base64,AA=="]], names=[(name, name) for name in names])
    data = {"title": names[0], "before": None, "after": drawn, "passes": [], "notes": names, "tables": [rows]}
    data |= {"charts": [bars], "pictures": [shown]}
    opened(chromium, tmp_path, page(data))
    assert chromium.look("[...document.querySelectorAll('.box')].map((e) => e.dataset.name)") == names
    assert chromium.look("document.querySelector('h1').textContent") == names[0]
    for place in range(len(names)):
        chromium.look(f"document.querySelectorAll('.box')[{place}].dispatchEvent(new MouseEvent('click'))")
        assert chromium.look("document.querySelector('.details h2').textContent") == names[place]
    assert chromium.look("document.querySelectorAll('img:not(.pictures img)').length + (window.pwned ?? 0)") == 0
    quiet(chromium)
