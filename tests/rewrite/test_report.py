"""Reports by hand: what they count, shorten and show."""

from __future__ import annotations

import json

import pytest

from kerasurgeon.rewrite.context import Site
from kerasurgeon.rewrite.report import PassReport, Report, Size

BEFORE = Size(nodes=10, parameters=2000, macs=5_000_000, weight_bytes=8000, peak_activation_bytes=64)
AFTER = Size(nodes=8, parameters=1000, macs=5_000_000, weight_bytes=4000, peak_activation_bytes=64)


def one(*sites: Site, difference: float | None = None, **options: object) -> PassReport:
    return PassReport("Shrink", dict(options), "exact", BEFORE, AFTER, 0.5, 0.25, difference, sites)


def test_changed_and_left() -> None:
    done, left = Site("a", changed=True, what="cut"), Site("b", changed=False, what="shared")
    report = one(done, left)
    assert report.changed == (done,)
    assert report.left == (left,)


def test_reasons_are_counted_most_frequent_first_and_cut_off() -> None:
    sites = [Site(f"n{i}", changed=False, what="shared") for i in range(3)]
    sites += [Site(f"m{i}", changed=False, what=f"reason {i}") for i in range(9)]
    lines = Report("m", (one(*sites),)).reasons()
    assert lines[0] == "Shrink: left 3 alone (n0, ...): shared"
    assert lines[1] == "Shrink: left 1 alone (m0): reason 0"
    assert lines[-1] == "Shrink: and 2 more reasons, see report.to_dict()"
    assert len(lines) == 9


def test_no_silent_no_op() -> None:
    assert Report("m", (one(),)).reasons() == ["Shrink: changed nothing; it found no site to look at"]
    assert Report("m", (one(Site("a", changed=True, what="cut")),)).reasons() == []


def test_text() -> None:
    text = str(Report("net", (one(Site("a", changed=True, what="cut"), difference=2.5e-7),), 1.25, ("a [note]",)))
    assert "net: 1.2 s" in text
    assert "50%" in text
    assert "2.5e-07" in text
    assert text.endswith("a [note]"), "brackets are no markup"
    assert "10 -> 8 (80%)" in text


@pytest.mark.parametrize("value", [len, {"f": (1, len)}, [None, 2.5]])
def test_json_holds_any_option(value: object) -> None:
    content = json.loads(Report("m", (one(option=value),)).to_json())
    assert content["passes"][0]["options"]["option"] in ("len", {"f": [1, "len"]}, [None, 2.5])
    assert content["passes"][0]["before"]["macs"] == 5_000_000
