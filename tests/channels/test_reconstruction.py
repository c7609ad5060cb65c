"""Backward elimination on Gram matrices against least squares that is solved anew for every channel at every step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.channels import Evidence, analyse, criterion_for, groups, score
from kerasurgeon.channels.importance_reconstruction import Reader, eliminated, unread
from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.passes import Skip

layers = keras.layers
Array = np.ndarray[Any, Any]


def left_over(rows: Array, kernel: Array, gone: Array) -> float:
    """The share of the variance of the output that the best kernel on the columns that stay does not give."""
    rows = rows - rows.mean(axis=0)
    output = rows @ kernel
    kept = rows[:, ~gone]
    best = np.linalg.lstsq(kept, output, rcond=None)[0] if kept.shape[1] else np.zeros((0, kernel.shape[1]))
    return float(np.square(output - kept @ best).sum() / np.square(output).sum())


def by_brute_force(several: list[tuple[Array, Array, Array]], count: int) -> tuple[list[int], Array]:
    """Units in the order in which each removal leaves least, and what is lost after each, all readers together."""
    gone: list[int] = []
    lost = []
    while len(gone) < count:
        trials = {
            unit: sum(left_over(rows, kernel, np.isin(units, [*gone, unit])) for rows, kernel, units in several)
            for unit in range(count)
            if unit not in gone
        }
        best = min(trials, key=lambda unit: trials[unit])
        gone.append(best)
        lost.append(trials[best])
    return gone, np.array(lost)


def test_against_least_squares_for_every_subset() -> None:
    """Two readers: one of six columns, one of the same channels at three taps and of two channels of another group."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(300, 4))
    first = base @ rng.normal(size=(4, 6)) + 0.1 * rng.normal(size=(300, 6))
    second = np.concatenate([np.roll(first, step, axis=0) for step in range(3)] + [rng.normal(size=(300, 2))], axis=1)
    several = [
        (first, rng.normal(size=(6, 5)), np.arange(6)),
        (second, rng.normal(size=(20, 3)), np.concatenate([np.tile(np.arange(6), 3), [6, 7]])),
    ]
    readers = []
    for rows, kernel, units in several:
        centred = rows - rows.mean(axis=0)
        readers.append(Reader(centred.T @ centred / len(rows), kernel, units))
    order, lost = by_brute_force(several, 6)
    growth = eliminated(readers, np.arange(6), ridge=1e-12)
    assert np.argsort(growth, kind="stable").tolist() == order
    increases = np.maximum.accumulate(np.diff(lost, prepend=0.0))
    np.testing.assert_allclose(growth[order], increases, rtol=1e-5)
    coarse = eliminated(readers, np.arange(6), ridge=1e-12, steps=3)
    assert set(np.argsort(coarse)[:2]) & set(order[:2])


def test_a_layer_of_more_outputs_than_columns() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 5)) + 0.2 * rng.normal(size=(200, 5))
    kernel, units = rng.normal(size=(5, 12)), np.arange(5)
    centred = rows - rows.mean(axis=0)
    growth = eliminated([Reader(centred.T @ centred / len(rows), kernel, units)], units, ridge=1e-12)
    order, lost = by_brute_force([(rows, kernel, units)], 5)
    assert np.argsort(growth, kind="stable").tolist() == order
    np.testing.assert_allclose(growth[order], np.maximum.accumulate(np.diff(lost, prepend=0.0)), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_what_convolutions_read_is_measured(data_format: str) -> None:
    """The growth for a layer between two convolutions, from patches that are cut out here."""
    last = data_format == "channels_last"
    inputs = keras.Input((7, 7, 2) if last else (2, 7, 7))
    x = layers.Conv2D(5, 3, activation="relu", name="makes", data_format=data_format)(inputs)
    x = layers.Conv2D(4, 2, name="reads", data_format=data_format)(x)
    model = keras.Model(inputs, x)
    data = np.random.default_rng(0).normal(size=(24, *inputs.shape[1:])).astype("float32")
    channels = analyse(model)
    group = groups(channels)["makes"]
    found = score(group, criterion_for("reconstruction"), Evidence(channels, data), None)
    kernel, bias = (np.asarray(one, np.float64) for one in model.get_layer("makes").get_weights())
    images = data if last else data.transpose(0, 2, 3, 1)
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    maps = np.maximum(np.tensordot(patches, kernel, 3) + bias, 0)
    windows = np.lib.stride_tricks.sliding_window_view(maps, (2, 2), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    rows = windows.reshape(-1, 20)
    wanted = np.asarray(model.get_layer("reads").kernel, np.float64).reshape(20, 4)
    order, lost = by_brute_force([(rows, wanted, np.tile(np.arange(5), 4))], 5)
    assert np.argsort(found, kind="stable").tolist() == order
    np.testing.assert_allclose(found[order], np.maximum.accumulate(np.diff(lost, prepend=0.0)), rtol=0.02, atol=1e-3)


def test_behind_a_wide_flatten_positions_are_taps() -> None:
    inputs = keras.Input((20, 20, 2))
    x = layers.Conv2D(5, 3, activation="relu", name="makes")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="reads")(layers.Flatten()(x)))
    data = np.random.default_rng(0).normal(size=(24, 20, 20, 2)).astype("float32")
    channels = analyse(model)
    found = score(groups(channels)["makes"], criterion_for("reconstruction"), Evidence(channels, data), None)
    rows = np.asarray(model.layers[1](data), np.float64).reshape(-1, 5)
    wanted = np.asarray(model.get_layer("reads").kernel, np.float64).reshape(18 * 18, 5, 3)
    order, lost = by_brute_force([(rows, wanted.transpose(1, 0, 2).reshape(5, -1), np.arange(5))], 5)
    assert np.argsort(found, kind="stable").tolist() == order
    np.testing.assert_allclose(found[order], np.maximum.accumulate(np.diff(lost, prepend=0.0)), rtol=0.02, atol=1e-3)


def test_growth_is_told_by_what_a_channel_costs() -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, name="makes", activation="relu")(inputs)
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="reads")(x))
    data = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
    channels = analyse(model)
    group = groups(channels)["makes"]
    plain, by_macs = (
        score(group, criterion_for("reconstruction"), Evidence(channels, data, target=target), None)
        for target in ("threshold", "macs")
    )
    assert group.macs
    np.testing.assert_allclose(by_macs * group.macs / group.size, plain, rtol=1e-6)


def test_a_recurrence_reads_features_and_its_own_states() -> None:
    inputs = keras.Input((7, 3))
    x = layers.SimpleRNN(5, return_sequences=True, name="memory")(
        layers.Dense(4, activation="relu", name="makes")(inputs)
    )
    model = keras.Model(inputs, layers.Dense(2, name="reads")(x))
    data = np.random.default_rng(0).normal(size=(40, 7, 3)).astype("float32")
    channels = analyse(model)
    found = groups(channels)
    assert unread(channels, found) == ""
    (first, _), (kernel, recurrent, bias), (last, _) = (
        [np.asarray(one, np.float64) for one in model.get_layer(name).get_weights()]
        for name in ("makes", "memory", "reads")
    )
    features = np.maximum(data @ first, 0)
    states = [np.zeros((40, 5))]
    for step in range(7):
        states.append(np.tanh(features[:, step] @ kernel + states[-1] @ recurrent + bias))
    earlier, later = (np.stack(part, axis=1).reshape(-1, 5) for part in (states[:-1], states[1:]))
    rows, matrix = np.concatenate([features.reshape(-1, 4), earlier], axis=1), np.concatenate([kernel, recurrent])
    nobody = np.full(5, -1)
    cases = {
        "makes": [(rows, matrix, np.concatenate([np.arange(4), nobody]))],
        "memory": [(rows, matrix, np.concatenate([nobody[:4], np.arange(5)])), (later, last, np.arange(5))],
    }
    for name, several in cases.items():
        order, lost = by_brute_force(several, len(several[0][2]) - (several[0][2] < 0).sum())
        growth = score(found[name], criterion_for("reconstruction"), Evidence(channels, data), None)
        assert np.argsort(growth, kind="stable").tolist() == order
        np.testing.assert_allclose(
            growth[order], np.maximum.accumulate(np.diff(lost, prepend=0.0)), rtol=0.03, atol=2e-3
        )


def test_groups_without_readers_are_named() -> None:
    inputs = keras.Input((6, 4))
    x = layers.RNN(layers.LSTMCell(6), name="memory")(layers.Dense(8, name="wide")(inputs))
    channels = analyse(keras.Model(inputs, layers.Dense(3)(x)))
    found = groups(channels)
    assert unread(channels, found) == "wide"
    data = np.zeros((4, 6, 4), "float32")
    with pytest.raises(Skip, match="nothing that could be fitted reads its channels"):
        score(found["wide"], criterion_for("reconstruction"), Evidence(channels, data), None)
    with pytest.raises(OptionError, match="data is needed"):
        score(found["memory"], criterion_for("reconstruction"), Evidence(channels), None)
