"""The demo, in short: in a process of its own, as it makes TensorFlow deterministic for good."""

from __future__ import annotations

from pathlib import Path

import pytest

import kerasurgeon.passes
from tests.cli.conftest import Run

MODELS = ("original.keras", "compressed.keras", "tuned.keras", "tuned.tflite", "tuned_int8.tflite", "tuned.onnx")

PLANS = {"ApplyBlocks", "ApplyFactors", "ApplyPlan"}
"""These only carry out what another pass has planned."""

SHOWN_ELSEWHERE = {
    "Compress",
    *("ChangeClasses", "ChangeInput", "PruneEmbedding"),
    *("DropBlock", "InsertBlock", "MergeBlocks", "ReplaceWithShunt", "ReplaceWithTranslator", "SetOutputStride"),
    *("Expand", "MorphNetShrink", "ReconstructWidths", "SliceStream"),
}
"""One budget, blocks, learned widths, streams and other inputs and classes have commands and examples of their own."""


@pytest.mark.example
def test_the_demo_runs_and_tells_the_truth(script: Run, folder: Path) -> None:
    pytest.importorskip("sklearn")
    done = script("demo", "--quick", "-o", "out", "--json")
    assert done.code == 0, done.err
    assert done.err == ""
    rows = {row["file"]: row for row in done.json["rows"]}
    assert set(MODELS) <= set(rows)
    assert [item.name for item in folder.iterdir()] == ["out"]
    for name, row in rows.items():
        assert (folder / "out" / name).stat().st_size == row["bytes"]
        assert row["latency_ms"] > 0
    original, tuned = rows["original.keras"], rows["tuned.keras"]
    assert tuned["macs"] < 0.25 * original["macs"]
    assert tuned["parameters"] < 0.25 * original["parameters"]
    assert original["accuracy"] > 0.9
    assert tuned["accuracy"] > 0.9
    assert rows["tuned.tflite"]["accuracy"] == rows["tuned.onnx"]["accuracy"] == tuned["accuracy"]
    assert rows["tuned_int8.tflite"]["accuracy"] > tuned["accuracy"] - 0.05
    passes = [item for report in done.json["reports"] for item in report["passes"]]
    assert {item["name"] for item in passes} == set(kerasurgeon.passes.__all__) - PLANS - SHOWN_ELSEWHERE
    assert all(item["changed"] for item in passes)
