"""acc_comp against its formula in numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.tuner import CompressedAccuracy, compression_score

CLASSES = 4


def predictions(samples: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(samples, CLASSES)).astype("float32")
    return rng.integers(0, CLASSES, samples), scores, rng.uniform(0.1, 2.0, samples).astype("float32")


def expected(
    ids: np.ndarray, scores: np.ndarray, weights: np.ndarray | None, cost: float, most: float, tau: float
) -> float:
    right = (scores.argmax(axis=-1) == ids).astype("float64")
    accuracy = right.mean() if weights is None else (right * weights).sum() / weights.sum()
    return float(tau * accuracy + (1.0 - tau) * (1.0 - cost / most))


@pytest.mark.spread(2)
@pytest.mark.parametrize("tau", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("cost", [0.0, 250.0, 1000.0, 2500.0])
def test_the_metric_is_the_formula(tau: float, cost: float) -> None:
    ids, scores, weights = predictions()
    one_hot = np.eye(CLASSES, dtype="float32")[ids]
    for labels, kind in ((ids, "sparse"), (ids[:, None], "sparse"), (one_hot, "one_hot")):
        for asked in (kind, "auto"):
            metric = CompressedAccuracy(cost, 1000.0, tau, labels=asked)
            for part in (slice(0, 20), slice(20, None)):
                metric.update_state(labels[part], scores[part])
            assert float(metric.result()) == pytest.approx(expected(ids, scores, None, cost, 1000.0, tau), abs=1e-6)
            metric.reset_state()
            metric.update_state(labels, scores, sample_weight=weights)
            assert float(metric.result()) == pytest.approx(expected(ids, scores, weights, cost, 1000.0, tau), abs=1e-5)


def test_a_model_that_costs_more_than_the_most_scores_below_zero() -> None:
    assert compression_score(0.0, 3.0, 1.0, 0.5) == pytest.approx(-1.0)
    assert compression_score(1.0, 0.0, 1.0, 0.5) == pytest.approx(1.0)


def test_in_the_logs_of_fit() -> None:
    ids, scores, _ = predictions()
    model = keras.Sequential([keras.Input((CLASSES,)), keras.layers.Softmax()])
    model.compile(loss="sparse_categorical_crossentropy", metrics=[CompressedAccuracy(1.0, 4.0)])
    logs = model.evaluate(scores, ids, verbose=0, return_dict=True)
    assert logs["acc_comp"] == pytest.approx(expected(ids, scores, None, 1.0, 4.0, 0.8), abs=1e-6)


def test_it_is_made_again_from_its_config() -> None:
    metric = CompressedAccuracy(12.0, 34.0, 0.6, labels="one_hot", name="score")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert isinstance(again, CompressedAccuracy)
    assert again.get_config() == metric.get_config()
    assert (again.cost, again.max_cost, again.tau, again.labels, again.name) == (12.0, 34.0, 0.6, "one_hot", "score")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 1.2}, r"a number in \[0, 1\]"),
        ({"tau": "0.5"}, r"a number in \[0, 1\]"),
        ({"cost": -1}, "a number from 0"),
        ({"max_cost": 0}, "a number above 0"),
        ({"labels": "one-hot"}, "did you mean 'one_hot'"),
    ],
)
def test_options_out_of_range(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        CompressedAccuracy(**{"cost": 1.0, "max_cost": 2.0, **options})  # type: ignore[arg-type]


def test_labels_of_another_shape() -> None:
    with pytest.raises(OptionError, match="cannot be told from their shape"):
        CompressedAccuracy(1.0, 2.0).update_state(np.zeros((5, 3)), np.zeros((5, CLASSES)))


def test_what_cannot_be_told_is_no_number() -> None:
    ids, scores, _ = predictions()
    broken = scores.copy()
    broken[7, 1] = np.nan
    endless = scores.copy()
    endless[7] = np.inf
    for labels, given in ((ids, broken), (np.eye(CLASSES)[ids], endless), (ids + 1, scores), (ids - 1, scores)):
        metric = CompressedAccuracy(500.0, 1000.0, 0.8)
        metric.update_state(labels, given)
        assert np.isnan(float(metric.result()))
        metric.reset_state()
        metric.update_state(ids, scores)
        assert float(metric.result()) == pytest.approx(expected(ids, scores, None, 500.0, 1000.0, 0.8), abs=1e-6)
