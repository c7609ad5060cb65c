"""Quotients on real architectures: each region has one or a reason, equal to those of networks that are really made."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest

from kerasurgeon.blocks.measuring import knowledge_quotients
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import DropBlock
from kerasurgeon.rewrite.regions import regions
from tests.applications import application_inputs, shared_application
from tests.passes.checking import run


def check(name: str, others: int) -> None:
    """Quotients of all regions, and of some the outputs of the emitted network."""
    model = shared_application(name)
    images = application_inputs(model, batch=6)
    labels = np.asarray(model(images, training=False)).argmax(axis=-1)

    def first_scores(labels: np.ndarray, predictions: np.ndarray) -> float:
        return float(np.square(predictions - predictions.mean(axis=-1, keepdims=True)).mean()) + 1.0

    found = knowledge_quotients(model, data=(images, labels), metric=first_scores)
    names = [region.name for region in regions(lift(model))]
    if len(names) == 1:
        check_pieces(model, {row.region for row in found} | set(found.left))
    else:
        assert {row.region for row in found} | set(found.left) == set(names)
    assert len(found) > 3
    rng = np.random.default_rng(0)
    for place in rng.choice(len(found), others, replace=False):
        row = found.rows[place]
        result = run(DropBlock(row.region, correction="none"), model, data=images, verify="structure").model
        made = np.asarray(keras.ops.convert_to_numpy(result(images, training=False)))
        assert row.value == pytest.approx(first_scores(labels, made), rel=1e-3)
        assert model.count_params() - result.count_params() == row.parameters_saved


def check_pieces(model: keras.Model, names: set[str]) -> None:
    """Every layer but those before the first convolution is in one piece, and one of its layers mixes channels."""
    order = [layer.name for layer in model.layers]
    ends = sorted(tuple(map(order.index, name.split(".."))) for name in names)
    assert ends[-1][1] == len(order) - 1
    assert all(last + 1 == first for (_, last), (first, _) in pairwise(ends))
    kinds = [type(layer).__name__ for layer in model.layers]
    mixing = [place for place, kind in enumerate(kinds) if kind in ("Conv2D", "Dense")]
    assert [sum(first <= place <= last for place in mixing) for first, last in ends] == [1] * len(mixing)


@pytest.mark.sweep
def test_a_mobile_network() -> None:
    check("MobileNetV3Small", 2)


@pytest.mark.sweep
def test_applications(application: str) -> None:
    check(application, 4)
