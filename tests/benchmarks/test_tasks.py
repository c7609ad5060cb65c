"""Tasks that are made from a seed: repeatable, balanced, and neither empty nor trivial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tasks import TASKS, Training, accuracy, networks, trained
from tasks.colours import SHAPES, TEXTURES, colours
from tasks.lines import TEMPLATES, lines

from kerasurgeon.workflows.data import DataSet, Split, cifar

SMALL = (400, 100, 200)


@pytest.fixture(scope="module", params=["lines", "colours"])
def made(request: pytest.FixtureRequest) -> tuple[Any, DataSet]:
    make = {"lines": lines, "colours": colours}[request.param]
    return make, make(3, SMALL)


def test_shapes_and_classes(made: tuple[Any, DataSet]) -> None:
    make, data = made
    shape = (40, 1) if make is lines else (32, 32, 3)
    assert data.classes == (len(TEMPLATES) if make is lines else len(SHAPES) * len(TEXTURES))
    for part, count in zip((data.train, data.validation, data.test), SMALL, strict=True):
        assert part.images.shape == (count, *shape)
        assert part.images.dtype == np.float32
        assert np.isfinite(part.images).all()
    counts = np.bincount(np.concatenate([data.train.labels, data.validation.labels, data.test.labels]))
    assert set(counts) == {sum(SMALL) // data.classes}


def test_seeds(made: tuple[Any, DataSet]) -> None:
    make, data = made
    again, other = make(3, SMALL), make(4, SMALL)
    np.testing.assert_array_equal(again.train.images, data.train.images)
    np.testing.assert_array_equal(again.test.labels, data.test.labels)
    assert abs(other.train.images - data.train.images).max() > 0.1
    assert len(np.unique(data.train.images.reshape(SMALL[0], -1), axis=0)) == SMALL[0]


def test_more_than_chance_and_less_than_all_by_a_simple_classifier(made: tuple[Any, DataSet]) -> None:
    """Ridge regression on spectra, which places do not change."""
    _, data = made

    def features(images: Any) -> Any:
        axes = (1,) if images.ndim == 3 else (1, 2)
        spectrum = np.log(abs(np.fft.rfftn(images.mean(axis=-1), axes=axes)) + 1e-2)
        return np.concatenate([spectrum.reshape(len(images), -1), np.ones((len(images), 1))], axis=1)

    x, targets = features(data.train.images), np.eye(data.classes)[data.train.labels]
    kernel = np.linalg.solve(x.T @ x + 30.0 * np.eye(x.shape[1]), x.T @ targets)
    right = float(((features(data.test.images) @ kernel).argmax(axis=1) == data.test.labels).mean())
    assert 2 / data.classes < right < 0.9


@pytest.mark.parametrize("task", ["digits", "lines", "colours", "cifar10"])
def test_networks_are_for_their_tasks(task: str) -> None:
    shape = {"digits": (16, 16, 1), "lines": (40, 1)}.get(task, (32, 32, 3))
    for build, training in TASKS[task].networks.values():
        model = build(shape, 7)
        assert model.output_shape == (None, 7)
        assert training.tuning < training.epochs
        if task == "cifar10":  # 0.85 million parameters: He et al., "Deep Residual Learning", table 6
            assert model.count_params() == pytest.approx(850_000, rel=0.02)


def test_training_keeps_what_is_best_on_held_out_data(untraced: None) -> None:
    data = lines(0, (32, 32, 32))
    model = networks.resnet((40, 1), 10, widths=(4, 6))
    start = model.get_weights()
    found = trained(model, data, Training(1, 1, batch=32), epochs=1, rates=(1e-2, 0.0), seed=0)
    assert list(found) == [1e-2, 0.0]
    assert accuracy(model, data.validation) == max(found.values())
    assert any(abs(a - b).max() > 0 for a, b in zip(start, model.get_weights(), strict=True))


def test_cifar_is_trained_by_sgd_whose_rate_falls(untraced: None) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40).reshape(40, 1) % 10
    data = cifar("cifar10", 0, validation=0.25, arrays=((images, labels), (images, labels)))
    _, training = TASKS["cifar10"].networks["ResNet-56"]
    assert training.falls == (0.6, 0.75, 0.9)
    small = networks.resnet(data.input_shape, data.classes, widths=(4,))
    trained(small, data, training, epochs=1, rates=(training.rate,), seed=0)
    assert float(small.optimizer.learning_rate) == pytest.approx(0.1)
    assert small.optimizer.momentum == 0.9
    assert all(np.isfinite(weight).all() for weight in small.get_weights())


def test_splits_are_what_networks_are_evaluated_on() -> None:
    model = networks.resnet((40, 1), 10, widths=(4,))
    images = np.random.default_rng(0).normal(size=(30, 40, 1)).astype(np.float32)
    labels = np.asarray(model(images)).argmax(axis=1)
    assert accuracy(model, Split(images, labels)) == 1.0
    assert accuracy(model, Split(images, (labels + 1) % 10)) == 0.0
