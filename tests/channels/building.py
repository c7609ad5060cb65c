"""Small models around one layer or op, and what a case asserts of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.utils import naming

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.samples import sample_inputs
from kerasurgeon.rules.reasons import Reason
from tests.channels.oracle import assert_cut_is_exact, outputs, random_cut

Tensor: Any = keras.KerasTensor
Tail = Callable[..., Any]
Case = tuple[Callable[[], keras.Model], Mapping[str, int]]
"""A model, and how many channels (or what goes as one) of each source may go."""


def dense(units: int, name: str | None = None, **options: Any) -> Any:
    return layers.Dense(units, bias_initializer="random_normal", name=name, **options)


def conv(filters: int, size: int = 3, name: str | None = None, **options: Any) -> Any:
    options = {"padding": "same", "bias_initializer": "random_normal", **options}
    return layers.Conv2D(filters, size, name=name, **options)


def array(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def image(tail: Tail, *, one: int = 8, two: int = 0, size: int | None = 6) -> keras.Model:
    """One or two convolutions, something of them, and a dense head over the last axis."""
    inputs = keras.Input((size, size, 3))
    made = [
        conv(filters, 1, name, activation="tanh")(inputs) for filters, name in ((one, "one"), (two, "two")) if filters
    ]
    return keras.Model(inputs, keras.tree.map_structure(lambda value: dense(2)(value), tail(*made)))


def steps(tail: Tail, *, one: int = 8, two: int = 0, length: int | None = 6) -> keras.Model:
    """One or two dense layers over a sequence, something of them, and a dense head over the last axis."""
    inputs = keras.Input((length, 3))
    made = [dense(units, name, activation="tanh")(inputs) for units, name in ((one, "one"), (two, "two")) if units]
    return keras.Model(inputs, keras.tree.map_structure(lambda value: dense(2)(value), tail(*made)))


def free(channels: Channels, source: str) -> int:
    """How many units of a source may go."""
    units = set(channels.unit[channels.sources[source].ids].ravel().tolist())
    return len(units - set(channels.frozen))


def reasons(channels: Channels, source: str) -> set[Reason]:
    """Why units of a source may not go."""
    units = set(channels.unit[channels.sources[source].ids].ravel().tolist())
    return {channels.frozen[unit][0] for unit in units if unit in channels.frozen}


def doubts(channels: Channels, source: str) -> set[Reason]:
    """Why a cut of a source is not exact."""
    units = set(channels.unit[channels.sources[source].ids].ravel().tolist())
    return {channels.inexact[unit][0] for unit in units if unit in channels.inexact}


def assert_units_go(case: Case, *, seeds: tuple[int, ...] = (0, 1), ratio: float = 0.4) -> keras.Model:
    """What may go is as expected, some of it goes, and random cuts are exact. Returns the model."""
    build, expected = case
    model = build()
    channels = analyse(lift(model))
    assert not channels.barriers
    assert {source: free(channels, source) for source in expected} == dict(expected)
    gone = assert_cut_is_exact(model, seeds=seeds, ratio=ratio)
    assert gone or not any(count > 1 for count in expected.values())
    return model


def assert_case(case: Case) -> None:
    """As ``assert_units_go``, and the masked twin sees nothing of what went."""
    naming.reset_uids()  # so that ops have names without numbers
    assert_masked_is_blind(assert_units_go(case, ratio=0.5))


def assert_masked_is_blind(model: keras.Model, seed: int = 3) -> None:
    """Weights that make the cut channels may be anything: the masked twin gives the same.

    Unlike the comparison of cut and twin this does not rely on both having been told the same by the rules.
    """
    channels = analyse(lift(model))
    gone = random_cut(channels, seed, 0.5)
    masked = channels.graph.copy()
    mask_units(masked, channels, gone)
    data = sample_inputs(channels.graph, batch_size=2, seed=seed)
    before = outputs(emit(masked), data)
    rng = np.random.default_rng(seed)
    for (layer, key), several in channels.weights.items():
        array = masked.layers[layer].weights[key].array
        noise = np.abs(rng.normal(3.0, 2.0, array.shape)).astype(array.dtype)
        for held in several:
            if not held.contracted:
                shape = [1] * array.ndim
                for axis, length in zip(held.axes, held.ids.shape, strict=True):
                    shape[axis] = length
                array = np.where(gone[channels.unit[held.ids]].reshape(shape), noise, array)
        # What is contracted stays zero, whoever made it.
        zeros = np.ones(array.shape, bool)
        for held in several:
            if held.contracted:
                shape = [1] * array.ndim
                for axis, length in zip(held.axes, held.ids.shape, strict=True):
                    shape[axis] = length
                zeros &= ~gone[channels.unit[held.ids]].reshape(shape)
        masked.set_weight(layer, key, np.where(zeros, array, 0).astype(array.dtype))
    for one, other in zip(before, outputs(emit(masked), data), strict=True):
        assert np.abs(one - other).max() <= 1e-5 * max(1.0, float(np.abs(one).max()))
