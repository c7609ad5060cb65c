"""MorphNet on every network of keras.applications: what the support table is made by. In the sweep only."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.applications import ARCHITECTURES

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "morphnet_support.py"


def support() -> Any:
    spec = importlib.util.spec_from_file_location("morphnet_support", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.sweep
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attach_train_shrink_emit(name: str) -> None:
    module = support()
    row = module.measure(name)
    for algorithm in module.ALGORITHMS:
        for target in module.TARGETS:
            kept = row[f"{algorithm} {target}"]
            assert isinstance(kept, float), f"{algorithm}, {target}: {kept}"
            assert 0 < kept < 1
    assert row["worst"] < module.PARITY
