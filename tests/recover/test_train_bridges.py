"""Bridges learn to make the original's features; nothing else moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from tests.recover.networks import assert_same_weights, bridged, images, residual, weights

layers = keras.layers
Array = np.ndarray[Any, Any]


def features(model: keras.Model, name: str, data: Array) -> Array:
    inner = keras.Model(model.input, model.get_layer(name).output)
    return np.asarray(keras.ops.convert_to_numpy(inner(data, training=False)), np.float64)


def linear() -> tuple[keras.Model, keras.Model, ks.Bridge]:
    """A network whose bridge, a pointwise convolution, could make the features exactly."""
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization(name="norm")(inputs)
    x = layers.Dropout(0.5, name="drop")(layers.Conv2D(4, 1, name="first")(x))
    x = layers.Conv2D(5, 1, name="second")(x)
    model = keras.Model(inputs, layers.Dense(3, name="end")(layers.GlobalAveragePooling2D()(x)))
    graph = ks.lift(model)
    ks.replace_region(graph, "norm", "second", layers.Conv2D(5, 1, name="bridge"))
    return model, ks.emit(graph), ks.Bridge("bridge", "norm", "second", ("second",))


def test_one_step_is_gradient_descent_on_the_mean_square() -> None:
    model, student, bridge = linear()
    data, _ = images(8)
    x, wanted = features(model, "norm", data).reshape(-1, 3), features(model, "second", data).reshape(-1, 5)
    kernel, bias = (np.asarray(array, np.float64) for array in student.get_layer("second").get_weights())
    error = x @ kernel.reshape(3, 5) + bias - wanted
    kernel = kernel.reshape(3, 5) - 0.1 * 2 * x.T @ error / error.size
    bias = bias - 0.1 * 2 * error.sum(axis=0) / error.size
    for cache in ("memory", None):
        result = ks.train_bridges(
            model, student, bridge, data, epochs=1, batch_size=8, optimizer=keras.optimizers.SGD(0.1), cache=cache,
            verbose=0,
        )  # fmt: skip
        got = result.model.get_layer("second").get_weights()
        np.testing.assert_allclose(got[0].reshape(3, 5), kernel, atol=1e-5)
        np.testing.assert_allclose(got[1], bias, atol=1e-5)
        np.testing.assert_allclose(result.history["bridge/loss"], [np.square(error).mean()], rtol=1e-4)


@pytest.mark.usefixtures("untraced")
def test_a_bridge_that_can_make_the_features_does() -> None:
    model, student, bridge = linear()
    before, original = weights(student), weights(model)
    data, held_out = images(64)[0], images(32, seed=1)[0]
    result = ks.train_bridges(
        model, student, bridge, data, held_out, epochs=40, optimizer=keras.optimizers.Adam(0.03), verbose=0
    )
    losses = result.history["bridge/val_loss"]
    assert losses[-1] < 1e-3 * losses[0]
    np.testing.assert_allclose(result.model(held_out), model(held_out), atol=0.05)
    assert_same_weights(before, weights(student))
    assert_same_weights(original, weights(model))
    for path, array in weights(result.model).items():
        assert (array == before[path]).all() == (not path.startswith("second")), path


@pytest.mark.usefixtures("untraced")
@pytest.mark.spread(3)
@pytest.mark.parametrize("cache", ["memory", "disk", None])
def test_two_bridges_are_trained_and_nothing_else(cache: str | None, tmp_path: Path) -> None:
    model = residual(4, drop=0.5)
    student, first = bridged(model)
    graph = ks.lift(student)
    ks.replace_region(graph, "b1_add", "b2_add", layers.Conv2D(4, 1, name="second_conv"))
    student, second = ks.emit(graph), ks.Bridge("second", "b1_add", "b2_add", ("b2_add",))
    before, data = weights(student), images(32)
    result = ks.train_bridges(
        model, student, [first, second], data, images(16, seed=1), epochs=2, cache=cache, verbose=0,
        folder=tmp_path, recalibrate=None,
    )  # fmt: skip
    moved = {path for path, array in weights(result.model).items() if (array != before[path]).any()}
    assert moved == {path for path in before if path.split("/")[0] in (*first.layers, "b2_add")}
    assert set(result.history) == {
        f"{name}/{what}" for name in ("bridge", "second") for what in ("loss", "val_loss", "learning_rate")
    }
    assert {path.name for path in (tmp_path / "second").iterdir()} >= {"history.csv", "state.npz", "best.weights.h5"}
    if cache == "disk":
        array = np.load(tmp_path / "second" / "features" / "training_entry.npy")
        np.testing.assert_allclose(array, features(model, "b1_add", data[0]), atol=1e-5)


@pytest.mark.usefixtures("untraced")
def test_the_weights_are_those_of_the_best_epoch() -> None:
    model = residual(2)
    student, bridge = bridged(model, norm=False)
    data, held_out = images(16)[0], images(16, seed=1)[0]
    result = ks.train_bridges(
        model, student, bridge, data, held_out, epochs=6, optimizer=keras.optimizers.Adam(1.0), schedule=None,
        verbose=0,
    )  # fmt: skip
    losses = list(result.history["bridge/val_loss"])
    assert result.best_epoch == {"bridge": int(np.argmin(losses))}
    error = features(result.model, "b0_add", held_out) - features(model, "b0_add", held_out)
    np.testing.assert_allclose(np.square(error).mean(), min(losses), rtol=1e-4)


@pytest.mark.usefixtures("untraced")
def test_statistics_of_batch_norms_are_estimated_anew_where_that_helps() -> None:
    model = residual(2)
    student, bridge = bridged(model)  # momentum 0.99: after a few steps its averages are nowhere
    data, held_out = images(64)[0], images(32, seed=1)[0]
    errors = {}
    for batches in (None, 2):
        result = ks.train_bridges(
            model, student, bridge, data, held_out, epochs=3, optimizer=keras.optimizers.Adam(0.01),
            recalibrate=batches, restore_best=False, verbose=0,
        )  # fmt: skip
        error = features(result.model, "b0_add", held_out) - features(model, "b0_add", held_out)
        errors[batches] = float(np.square(error).mean())
        assert bool(result.notes) == (batches is not None)
    assert errors[2] < errors[None]


@pytest.mark.sweep
def test_data_in_any_form_gives_the_same() -> None:
    tf = pytest.importorskip("tensorflow")
    model = residual(1)
    student, bridge = bridged(model, norm=False)
    x, y = images(24)
    batches = [(x[start : start + 8], y[start : start + 8]) for start in (0, 8, 16)]

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return batches[index]

    forms: list[Any] = [x, (x, y), tf.data.Dataset.from_tensor_slices((x, y)).batch(8), Batches(), iter(batches)]
    found = [
        ks.train_bridges(model, student, bridge, form, epochs=1, batch_size=8, verbose=0).model.get_weights()
        for form in forms
    ]
    for other in found[1:]:
        for one, another in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, another)
    streamed = [
        ks.train_bridges(model, student, bridge, form, epochs=1, cache=None, verbose=0).model.get_weights()
        for form in (forms[2], forms[3], batches)
    ]
    for other in streamed[1:]:
        for one, another in zip(streamed[0], other, strict=True):
            np.testing.assert_allclose(one, another, atol=1e-6)


def test_a_bridge_from_the_input_of_a_nested_model() -> None:
    backbone = residual(2)
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Dense(2)(backbone(inputs)))
    graph = ks.lift(model)
    entry = next(node.name for node in graph.nodes() if graph.kind(node) == "InputLayer")
    ks.replace_region(graph, entry, "residual/b0_add", layers.Conv2D(4, 1, name="bridge"))
    student = ks.emit(graph)
    bridge = ks.Bridge("a/b", entry, "residual/b0_add", ("residual/b0_add",))
    for cache in ("memory", None):
        result = ks.train_bridges(model, student, bridge, images(16)[0], epochs=2, cache=cache, verbose=0)
        losses = result.history["a/b/loss"]
        assert losses[1] < losses[0]
        assert (result.model.get_layer("residual").get_layer("b1_conv").get_weights()[0]
                == student.get_layer("residual").get_layer("b1_conv").get_weights()[0]).all()  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entry": "stem_bm"}, "The entry of bridge 'bridge' is not in the original model"),
        ({"exit": "b0_ad", "new_exit": "b0_add"}, "The exit of bridge 'bridge' is not in the original model"),
        ({"layers": ("bridge_cony",)}, "names a layer that the new model has not"),
        ({"entry": "image", "new_entry": "stem_bn"}, "The entry of bridge 'bridge' differs"),
    ],
)
def test_bridges_that_are_not_there(change: dict[str, Any], message: str) -> None:
    model = residual(1)
    student, bridge = bridged(model)
    fields = {"name": "bridge", "entry": "stem_bn", "exit": "b0_add", "layers": bridge.layers, **change}
    with pytest.raises(OptionError, match=message) as caught:
        ks.train_bridges(model, student, ks.Bridge(**fields), images(8)[0], epochs=1, verbose=0)
    assert "expected" in str(caught.value) or "did you mean" in str(caught.value)


def test_bad_input() -> None:
    model = residual(1)
    student, bridge = bridged(model)
    x, y = images(8)
    for data, message in ((x[:, :5], "does not fit"), (None, "data is needed"), (x[:0], "is empty"), ([], "is empty")):
        with pytest.raises(OptionError, match=message):
            ks.train_bridges(model, student, bridge, data, epochs=1, verbose=0)
    options: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 0}, "'epochs'"), ({"cache": "tape"}, "'cache'"), ({"cache": "disk"}, "needs a folder"),
        ({"schedule": 0.1}, "'schedule'"), ({"optimizer": "adamm"}, "'optimizer'"), ({"callbacks": [1]}, "'callbacks'"),
    ]  # fmt: skip
    for given, message in options:
        with pytest.raises(OptionError, match=message):
            ks.train_bridges(model, student, bridge, (x, y), verbose=0, **given)
    with pytest.raises(OptionError, match="'bridges'"):
        ks.train_bridges(model, student, [], x)
