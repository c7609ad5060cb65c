"""All cases that ONNX is tested with, for tests of all kinds and of TFLite."""

from __future__ import annotations

from tests.export import (
    test_onnx_functions,
    test_onnx_images,
    test_onnx_moving,
    test_onnx_preprocessing,
    test_onnx_reductions,
    test_onnx_sequences,
)
from tests.export.single_layers import Case

MODULES = (
    test_onnx_functions,
    test_onnx_images,
    test_onnx_moving,
    test_onnx_preprocessing,
    test_onnx_reductions,
    test_onnx_sequences,
)
CASES: tuple[Case, ...] = tuple(case for module in MODULES for case in module.CASES)
