"""Cut a model at random and compare it with its masked twin."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.avoided import kept_for_numbers
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.keras_io.samples import sample_inputs


def random_cut(channels: Channels, seed: int, ratio: float = 0.4, *, inexact: bool = False) -> np.ndarray[Any, Any]:
    """Units to take out: a share of those that may go, drawn by seed, so that something stays of every axis."""
    rng = np.random.default_rng(seed)
    allowed = np.ones(channels.units, bool)
    allowed[list(channels.frozen)] = False
    if not inexact:
        allowed[list(channels.inexact)] = False
    gone = allowed & (rng.random(channels.units) < ratio)
    for several in channels.labels.values():
        for labels in several:
            for factor in labels.factors:
                units = channels.unit[factor.ids].ravel()
                if gone[units].all():
                    gone[units[int(rng.integers(len(units)))]] = False
    for call in channels.calls.values():
        for held in call.held:
            units = channels.unit[held.ids].ravel()
            if gone[units].all():
                gone[units[0]] = False
    kept_for_numbers(channels, gone)
    return gone


def cut_and_masked(model: Any, gone: Any, channels: Channels) -> tuple[Graph, Graph]:
    """The graph with units cut, and the graph with their contribution masked."""
    small, masked = channels.graph.copy(), channels.graph.copy()
    cut_units(small, channels, gone)
    mask_units(masked, channels, gone)
    return small, masked


def assert_cut_is_exact(
    model: keras.Model, *, seeds: tuple[int, ...] = (0, 1), ratio: float = 0.4, inputs: Any = None, rtol: float = 1e-4
) -> int:
    """Cut at random; the result must equal the masked twin. Returns how many units went in all."""
    total = 0
    for seed in seeds:
        channels = analyse(lift(model))
        gone = random_cut(channels, seed, ratio)
        total += int(gone.sum())
        small, masked = cut_and_masked(model, gone, channels)
        check_types(small, everything=True)
        data = sample_inputs(channels.graph, batch_size=3, seed=seed) if inputs is None else inputs
        expected, got = outputs(emit(masked), data), outputs(emit(small), data)
        assert len(expected) == len(got)
        for one, other in zip(expected, got, strict=True):
            scale = max(float(np.abs(one).max()), 1e-6)
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= rtol * scale, f"seed {seed}: {np.abs(one - other).max() / scale}"
    return total


def outputs(model: keras.Model, data: Any) -> list[np.ndarray[Any, Any]]:
    """Flattened outputs as arrays."""
    return [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(model(data, training=False))]


__all__ = ["assert_cut_is_exact", "cut_and_masked", "outputs", "random_cut"]
