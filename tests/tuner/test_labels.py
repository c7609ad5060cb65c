"""Labels: of which kind they are, and that those which do not fit are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import OptionError
from kerasurgeon.workflows.tuner.labels import check_labels, labels_of

IDS = np.array([0, 2, 1, 2])
ONE_HOT = np.eye(3)[IDS]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (IDS, "sparse"),
        (IDS[:, None], "sparse"),
        (IDS.astype("float32"), "sparse"),
        (IDS.tolist(), "sparse"),
        (ONE_HOT, "one_hot"),
    ],
)
def test_kinds(labels: Any, kind: str) -> None:
    assert check_labels(labels, 3) == kind
    assert check_labels(keras.ops.convert_to_tensor(labels), 3, kind) == kind


@pytest.mark.parametrize(
    ("labels", "kind", "got"),
    [
        (IDS + 1, None, r"got: 3 \(2 of 4"),
        (IDS - 1, None, r"got: -1 \(1 of 4"),
        (IDS + 0.5, None, r"no class ids[\s\S]*0\.5"),
        (np.array(["a", "b"]), None, r"shape \(2,\)|no class ids[\s\S]*'a'"),
        (np.eye(4)[IDS], None, r"shape \(4, 4\)"),
        (ONE_HOT, "sparse", r"shape \(4, 3\)"),
        (IDS, "one_hot", r"shape \(4,\)"),
        (np.zeros((4, 5, 5)), None, r"shape \(4, 5, 5\)"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, kind: str | None, got: str) -> None:
    with pytest.raises(OptionError, match=got):
        check_labels(labels, 3, kind)


def test_too_few_classes_are_counted() -> None:
    with pytest.raises(OptionError, match="classes=6 would hold them"):
        check_labels(np.array([0, 5]), 3)


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return np.zeros((2, 5)), IDS[2 * index : 2 * index + 2]


def generator() -> Iterator[tuple[Any, Any]]:
    yield np.zeros((4, 5)), IDS


def test_where_they_are_found() -> None:
    x = np.zeros((4, 5))
    assert labels_of((x, IDS), {}) is IDS
    assert labels_of((), {"x": x, "y": IDS}) is IDS
    assert labels_of((Batches(),), {}).tolist() == [0, 2]
    assert labels_of(([(x, IDS), (x, IDS)],), {"y": IDS}) is IDS
    used = generator()
    assert labels_of((used,), {}) is None
    assert next(used)[1] is IDS  # it was not used up


def test_they_are_found_in_a_tensorflow_data_set() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    data = tensorflow.data.Dataset.from_tensor_slices((np.zeros((4, 5)), ONE_HOT)).batch(2)
    assert check_labels(labels_of((data,), {}), 3) == "one_hot"
    with pytest.raises(OptionError, match="batches without labels"):
        labels_of((data.map(lambda x, y: x),), {})


@pytest.mark.parametrize("args", [(), (np.zeros((4, 5)),), ([np.zeros((4, 5))],), (3,)])
def test_no_labels(args: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError, match="There are no labels"):
        labels_of(args, {})
