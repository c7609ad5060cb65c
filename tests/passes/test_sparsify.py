"""Sparsify: the zeros of each structure, what is left alone and why, and what RemoveDeadChannels makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import RemoveDeadChannels, Sparsify
from kerasurgeon.testing import assert_pass
from tests.passes.checking import assert_lives, changed, difference, model_of, reasons, run

layers = keras.layers


def net() -> keras.Model:
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="one")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
    x = layers.Conv2D(12, 1, activation="relu", name="point")(x)
    x = layers.Conv2DTranspose(8, 3, name="up")(x)
    x = layers.Dense(16, activation="relu", name="wide")(layers.GlobalAveragePooling2D()(x))
    return model_of(inputs, layers.Dense(5, name="scores")(x))


def kernel(model: keras.Model, name: str) -> Any:
    return keras.ops.convert_to_numpy(model.get_layer(name).kernel)


@pytest.mark.parametrize("criterion", ["l1", "l2", lambda name, array: abs(array)])
def test_the_smallest_entries_go(criterion: Any) -> None:
    model = net()
    result = assert_pass(Sparsify(0.25, criterion=criterion), model, changes=4)
    for name in ("one", "up", "wide", "scores"):
        before, after = kernel(model, name), kernel(result.model, name)
        assert (after == 0).mean() == pytest.approx(0.25, abs=0.5 / before.size)
        assert abs(before[after == 0]).max() <= abs(before[after != 0]).min()
        assert (before[after != 0] == after[after != 0]).all()
    assert "72 of 288 entries are zero (25.0%)" in changed(result)["one"]
    assert "1x1" in reasons(result)["point"]
    assert "depthwise" in reasons(result)["depth"]
    biases = [np.asarray(weight) for weight in result.model.weights if "bias" in weight.path]
    assert all(array.all() for array in biases)


def test_transposed_kernels_are_seen_from_their_inputs() -> None:
    model = net()
    result = run(Sparsify(0.5, structure="output_channel", where="up"), model).model
    array = kernel(result, "up")  # (3, 3, out, in)
    assert (array == 0).all(axis=(0, 1, 3)).sum() == 4
    array = kernel(run(Sparsify(structure="2:4", where="up"), model).model, "up")
    assert ((array == 0).reshape(3, 3, 8, 3, 4).sum(axis=-1) == 2).all()


def test_one_share_for_all_kernels() -> None:
    model = net()
    result = run(Sparsify(0.5, scope="global", pointwise=True, depthwise=True), model).model
    kernels = [kernel(result, name) for name in ("one", "depth", "point", "up", "wide", "scores")]
    whole, zeros = sum(array.size for array in kernels), sum(int((array == 0).sum()) for array in kernels)
    assert abs(zeros - 0.5 * whole) <= 1
    assert len({round(float((array == 0).mean()), 2) for array in kernels}) > 2
    kept = [abs(array[array != 0]).min() for array in kernels]
    gone = [abs(kernel(model, name)[kernel(result, name) == 0]).max() for name in ("one", "up", "wide")]
    assert max(gone) <= min(kept)


def test_zeroed_filters_make_a_smaller_net(tmp_path: Path) -> None:
    model = net()
    sparse = run(Sparsify(0.5, structure="output_channel", pointwise=True), model)
    small = assert_pass(RemoveDeadChannels(), sparse.model, rtol=1e-5).model
    assert [small.get_layer(name).kernel.shape[-1] for name in ("one", "point", "wide")] == [4, 6, 8]
    assert small.get_layer("up").kernel.shape == (3, 3, 4, 6)
    assert difference(sparse.model, small) < 1e-5
    assert "an output of the model" in reasons(sparse)["scores"]
    assert_lives(small, tmp_path)


def test_zeroed_inputs_make_a_smaller_net() -> None:
    sparse = run(Sparsify(0.5, structure="input_channel", pointwise=True), net())
    small = assert_pass(RemoveDeadChannels(), sparse.model, rtol=1e-5).model
    assert [small.get_layer(name).kernel.shape[-1] for name in ("one", "point", "wide")] == [4, 6, 8]


def test_layers_are_chosen_by_name_and_kind() -> None:
    result = run(Sparsify(0.5, where=("*", "!wide"), kinds=("Dense", "Conv2D")), net())
    assert set(changed(result)) == {"one", "scores"}
    assert "'!wide'" in reasons(result)["wide"]
    assert "kinds= leaves out Conv2DTranspose" in reasons(result)["up"]
    result = run(Sparsify(0.5, structure="block", block_size=(4, 4)), net())
    assert set(changed(result)) == {"one", "up", "wide"}
    assert "do not divide its 16 x 5 channels" in reasons(result)["scores"]
    with pytest.raises(PassError, match=r"(?s)Sparsify: where= names no layer.*did you mean 'wide'"):
        run(Sparsify(0.5, where=("one", "!wied")), net())


@pytest.mark.parametrize(
    "options",
    [
        {}, {"sparsity": 1.0}, {"sparsity": -0.1}, {"sparsity": True}, {"sparsity": 0.5, "structure": "rows"},
        {"sparsity": 0.4, "structure": "2:4"}, {"sparsity": 0.5, "structure": "block"},
        {"sparsity": 0.5, "block_size": (2, 2)}, {"sparsity": 0.5, "scope": "all"},
        {"sparsity": 0.5, "criterion": "l3"}, {"sparsity": 0.5, "where": 3}, {"sparsity": 0.5, "kinds": "LSTM"},
    ],
)  # fmt: skip
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Sparsify(**options)


@pytest.mark.parametrize("criterion", [lambda name, array: array[0], lambda name, array: array * np.nan])
def test_bad_criteria(criterion: Any) -> None:
    with pytest.raises(PassError, match="cannot be ranked for 'one'"):
        run(Sparsify(0.5, criterion=criterion), net())


def test_recipe(tmp_path: Path) -> None:
    model = net()
    pipeline = ks.Pipeline([Sparsify(0.5, structure="block", block_size=(2, 2), where="!up"), RemoveDeadChannels()])
    path = tmp_path / "recipe.json"
    pipeline.to_recipe().save(path)
    assert json.loads(path.read_text())["pass"][0]["structure"] == "block"
    again = ks.Pipeline.from_recipe(path).run(model).model
    for one, other in zip(pipeline.run(model).model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
