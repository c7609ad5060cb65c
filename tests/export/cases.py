"""All cases that ONNX is tested with, for tests of all kinds and of TFLite."""

from __future__ import annotations

from importlib import import_module

from tests.export.single_layers import Case


def _cases(name: str) -> list[Case]:
    found: list[Case] = import_module(f"tests.export.test_onnx_{name}").CASES
    return found


CASES: tuple[Case, ...] = tuple(
    case
    for name in ("fourier", "functions", "images", "moving", "preprocessing", "reductions", "sequences")
    for case in _cases(name)
)
