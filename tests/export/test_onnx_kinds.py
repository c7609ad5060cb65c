"""Every kind that the library knows is written to ONNX and compared with Keras, or stands here with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kerasurgeon.keras_io import lift
from kerasurgeon.rules.registry import known_kinds
from tests.export.cases import CASES
from tests.export.single_layers import Case, model_of

COMPLEX = "ONNX has no complex numbers"
BY_DATA = "the shape of the result depends on the data"
NO_OPERATOR = "ONNX has no operator for it"
SHAPE = "Keras tells another shape or dtype of its result than the result has"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(["ops.polar", "ops.view_as_complex", "ops.view_as_real"], COMPLEX),
    **dict.fromkeys(["ops.arange", "ops.bincount", "ops.nonzero", "ops.unique", "ops.histogram"], BY_DATA),
    **dict.fromkeys(["ops.gcd", "ops.lcm", "ops.nextafter", "ops.view"], NO_OPERATOR),
    **dict.fromkeys(["ops.nanmedian", "ops.nanpercentile", "ops.nanquantile", "ops.argpartition"], NO_OPERATOR),
    **dict.fromkeys(["ops.affine_transform", "ops.perspective_transform", "ops.map_coordinates"], NO_OPERATOR),
    **dict.fromkeys(["ops.scale_and_translate", "ops.fold", "ops.unfold"], NO_OPERATOR),
    **dict.fromkeys(["Hashing", "HashedCrossing", "ContrastLimitedAdaptiveHistogramEqualization"], NO_OPERATOR),
    **dict.fromkeys(["StringLookup", "TextVectorization"], "they read strings"),
    **dict.fromkeys(["ops.adaptive_average_pool", "ops.adaptive_max_pool", "ops.unravel_index"], SHAPE),
    **dict.fromkeys(["ops.conv_transpose", "Equalization"], "Keras cannot run it in a model"),
    "ops.istft": NO_OPERATOR,
    "ops.elastic_transform": "it draws random numbers",
    "ops.rearrange": "it is computed by other ops",
    "ops.ndim": "Keras gives a number in its place",
}
"""Kinds that cannot be written, and why. Those of keras.applications are written in test_onnx_writer.py."""


def kinds_inside(config: Any) -> Iterator[str]:
    """Classes that a config names: those of layers inside a layer among them."""
    if isinstance(config, Mapping):
        if isinstance(config.get("class_name"), str):
            yield config["class_name"]
        for value in config.values():
            yield from kinds_inside(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from kinds_inside(value)


@pytest.fixture(scope="module")
def written_kinds() -> set[str]:
    found: set[str] = set()
    for case in CASES:
        assert isinstance(case, Case)
        if case.turned:
            continue
        graph = lift(model_of(case))
        for node in graph.nodes():
            found.add(graph.kind(node))
            found.update(kinds_inside(graph.layer_of(node).config))
    return found


@pytest.mark.sweep  # builds all cases anew
def test_every_kind_is_written_or_refused_with_a_reason(written_kinds: set[str]) -> None:
    own = {kind for kind in known_kinds() if not kind.startswith("custom:")}  # others may be registered by now
    left = own - written_kinds - set(REFUSED) - {"ops.abs", "ops.conj"}  # Keras calls them absolute and conjugate
    assert not left, f"neither written by a test nor refused: {' '.join(sorted(left))}"


@pytest.mark.sweep
def test_what_is_refused_is_not_written(written_kinds: set[str]) -> None:
    assert not written_kinds & set(REFUSED)
