"""Recurrences of open or great length, written as loops: one file for every length. The oracle is Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from onnx.reference import ReferenceEvaluator

from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.outline import draw_one
from kerasurgeon.rules.onnx_parts import Body, Operator, Parts
from tests.export import test_onnx_writer as onnx_file
from tests.export import test_tflite_writer as tflite_file
from tests.export.runtimes import difference, expected
from tests.zoo import randomise

SIZES = ((2, 8), (1, 1), (3, 11))
"""Of batches, and how many steps they have: rounds of a loop have eight, or one."""
WHOLE = {"return_sequences": True}
STATE = {"return_state": True}


def plain(layer: Any) -> keras.Model:
    """A layer on sequences of open length."""
    x = keras.Input((None, 4), name="x")
    return keras.Model(x, layer(x))


def masked(layer: Any) -> keras.Model:
    """A layer on sequences of open length, of which not all steps count."""
    x, mask = keras.Input((None, 4), name="x"), keras.Input((None,), dtype="bool", name="mask")
    return keras.Model([x, mask], layer(x, mask=mask))


def from_states(layer: Any, *units: int) -> keras.Model:
    """A layer that is given its mask and the states that it begins with."""
    x, mask = keras.Input((None, 4), name="x"), keras.Input((None,), dtype="bool", name="mask")
    states = [keras.Input((each,), name=f"state{place}") for place, each in enumerate(units)]
    return keras.Model([x, mask, *states], layer(x, mask=mask, initial_state=states if len(states) > 1 else states[0]))


def films(layer: Any) -> keras.Model:
    """A convolutional recurrence over films of open length, of which not all pictures count."""
    x, mask = keras.Input((None, 5, 4, 2), name="x"), keras.Input((None,), dtype="bool", name="mask")
    return keras.Model([x, mask], layer(x, mask=mask))


def stacked(activation: str) -> list[Any]:
    return [layers.LSTMCell(3, activation=activation), layers.GRUCell(2, activation=activation)]


def models(activation: str) -> dict[str, Any]:
    """What a recurrence can be, with an activation in its cells."""
    own = {"activation": activation}
    return {
        "SimpleRNN": lambda: plain(layers.SimpleRNN(3, **own)),
        "LSTM": lambda: plain(layers.LSTM(3, **WHOLE, **STATE, **own)),
        "GRU, back": lambda: plain(layers.GRU(3, go_backwards=True, **WHOLE, **STATE, **own)),
        "GRU before": lambda: plain(layers.GRU(3, go_backwards=True, reset_after=False, **own)),
        "cells": lambda: plain(layers.RNN(stacked(activation), **WHOLE, **STATE)),
        "both ways": lambda: plain(layers.Bidirectional(layers.LSTM(3, **WHOLE, **own))),
        "both ways, last": lambda: plain(layers.Bidirectional(layers.GRU(3, **STATE, **own), merge_mode="mul")),
        "masked": lambda: masked(layers.LSTM(3, **WHOLE, **own)),
        "masked, last": lambda: masked(layers.GRU(3, go_backwards=True, **STATE, **own)),
        "zeros": lambda: masked(layers.GRU(3, zero_output_for_mask=True, **WHOLE, **STATE, **own)),
        "masked both ways": lambda: masked(layers.Bidirectional(layers.SimpleRNN(3, **WHOLE, **own))),
        "states": lambda: from_states(layers.LSTM(3, **WHOLE, **STATE, **own), 3, 3),
        "state, last": lambda: from_states(layers.SimpleRNN(3, go_backwards=True, **own), 3),
        "films": lambda: films(layers.ConvLSTM2D(3, 2, padding="same", strides=2, **WHOLE, **STATE, **own)),
        "one after the other": lambda: plain(keras.Sequential([layers.LSTM(3, **WHOLE, **own), layers.GRU(2, **own)])),
    }


def feeds_of(model: keras.Model, batch: int, steps: int) -> list[np.ndarray]:
    rng, found = np.random.default_rng(batch + steps), []
    for each in model.inputs:
        open_axes = {0: batch, 1: steps}
        shape = [open_axes[axis] if size is None else size for axis, size in enumerate(each.shape)]
        found.append(rng.random(shape) < 0.6 if each.dtype == "bool" else rng.normal(size=shape).astype("float32"))
    return found


def assert_same(wanted: list[np.ndarray], got: list[np.ndarray]) -> None:
    for one, other in zip(wanted, got, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * max(1, np.abs(one).max()))  # all may be masked


@pytest.mark.spread(5)
@pytest.mark.parametrize("name", models("tanh"))
def test_a_tflite_file_for_every_length(name: str) -> None:
    model = models("tanh")[name]()
    randomise(model, 0)
    data = tflite_file.written(model, batch_size=None)
    runtimes = [tflite_file.interpreter(data, plain=without) for without in (True, False)]
    for batch, steps in SIZES:
        feeds = feeds_of(model, batch, steps)
        wanted = expected(model, *feeds)
        for runtime in runtimes:
            assert_same(wanted, tflite_file.run_on(runtime, *feeds))
    assert tflite_file.operators(data)["WHILE"] >= 1


@pytest.mark.spread(5)
@pytest.mark.parametrize("name", models("gelu"))
def test_an_onnx_file_for_every_length(name: str) -> None:
    """Of cells that ONNX's own recurrent operators do not know."""
    model = models("gelu")[name]()
    randomise(model, 0)
    proto = onnx_file.written(model)
    for batch, steps in SIZES:
        feeds = feeds_of(model, batch, steps)
        wanted = expected(model, *feeds)
        for optimised in (True, False):
            assert_same(wanted, onnx_file.run(proto, *feeds, optimised=optimised))
    assert onnx_file.operators(proto)["Scan"] >= 1


@pytest.mark.parametrize("opset", [13, 24])
def test_onnx_s_own_evaluator_agrees(opset: int) -> None:
    model = models("gelu")["states"]()
    randomise(model, 0)
    proto, feeds = onnx_file.written(model, opset=opset), feeds_of(model, 2, 3)
    named = dict(zip((each.name for each in proto.graph.input), feeds, strict=True))
    assert difference(expected(model, *feeds), ReferenceEvaluator(proto).run(None, named)) < 1e-5
    assert difference(expected(model, *feeds), onnx_file.run(proto, *feeds)) < 1e-5


def test_great_lengths_that_are_known() -> None:
    x = keras.Input((70, 4))
    model = keras.Model(x, layers.SimpleRNN(3, return_sequences=True)(x))
    randomise(model, 0)
    data = np.random.default_rng(0).normal(size=(2, 70, 4)).astype("float32")
    wanted = expected(model, data)
    for batch_size in (2, None):
        content = tflite_file.written(model, batch_size=batch_size)
        assert_same(wanted, tflite_file.run(content, data))
        assert sum(tflite_file.operators(content).values()) < 20


def test_weights_of_fewer_bits() -> None:
    model = plain(layers.LSTM(160, return_sequences=True))
    randomise(model, 0)
    (feeds,) = feeds_of(model, 2, 9)
    whole, files = tflite_file.written(model, batch_size=None), {}
    for weights, far in (("float16", 2e-3), ("int8", 5e-2)):
        files[weights] = tflite_file.written(model, batch_size=None, weights=weights)
        for without in (True, False):
            assert 1e-6 < tflite_file.error(model, files[weights], feeds, plain=without) < far
    assert len(files["float16"]) < 0.6 * len(whole)
    assert len(files["int8"]) < 0.4 * len(whole)


@pytest.mark.parametrize("quantize", ["float16", "dynamic"])
def test_weights_of_fewer_bits_in_onnx(quantize: Any, tmp_path: Path) -> None:
    model = plain(layers.LSTM(64, activation="gelu"))
    feeds = {"x": feeds_of(model, 8, 5)[0]}
    whole = export(model, tmp_path / "whole.onnx", writer="graph", inputs=feeds)
    less = export(model, tmp_path / "less.onnx", writer="graph", inputs=feeds, quantize=quantize)
    assert less.bytes < 0.65 * whole.bytes
    assert less.relative_error < 0.05


def test_int8_says_what_stays_float(tmp_path: Path) -> None:
    x = keras.Input((None, 4), name="x")
    model = keras.Model(x, layers.Dense(3, name="y")(layers.LSTM(8)(x)))
    data = np.random.default_rng(0).normal(size=(32, 7, 4)).astype("float32")
    report = export(model, tmp_path / "m.tflite", quantize="int8", calibration=data, writer="graph")
    assert any("WHILE" in note for note in report.notes)
    assert report.outputs[0].rms_error < 0.2


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_drawings_count_what_is_inside(suffix: str, tmp_path: Path) -> None:
    model = plain(layers.GRU(8, activation="gelu"))
    randomise(model, 0)
    export(model, tmp_path / f"m.{suffix}", writer="graph")
    totals = draw_one(tmp_path / f"m.{suffix}")["totals"]
    assert 0 <= totals["parameters"] - model.count_params() < 100  # small constants besides


def test_nothing_is_dropped_that_a_body_reads() -> None:
    parts = Parts(17)
    parts.constants |= {"one": np.ones(1), "two": np.ones(1), "unread": np.ones(1)}

    def add(*inputs: str, out: str) -> Operator:
        return Operator("Add", out, list(inputs), [out], {})

    inside = [add("x", "b", out="y"), add("x", "b", out="z"), add("y", "z", out="w"), add("x", "two", out="v")]
    body = Body(["x"], ["w"], inside)
    parts.operators = [
        add("in", "one", out="a"),
        add("in", "one", out="b"),
        Operator("Scan", "loop", ["a"], ["out"], {"body": body}),
        Operator("Scan", "other", ["a"], ["nothing"], {"body": Body(["x"], ["x"], [])}),
    ]
    parts.drop_unused(["out"])
    assert set(parts.constants) == {"one"}
    assert [each.name for each in parts.operators] == ["a", "b", "loop"]
    parts.merge_equal(["out"])
    assert [each.name for each in parts.operators] == ["a", "loop"]
    assert [(each.inputs, each.outputs) for each in body.operators] == [(["x", "a"], ["y"]), (["y", "y"], ["w"])]
