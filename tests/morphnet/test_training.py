"""MorphNet in training: with any optimizer, input and policy, and nothing of it is left on the model."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.morphnet import Hardware, MorphNet, hardware_for, measure_hardware, register_hardware

ROOT = Path(__file__).resolve().parent.parent.parent


def network(width: int = 8, outputs: int = 3) -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="bn0")(layers.Conv2D(width, 3, padding="same", name="stem")(image))
    y = layers.Conv2D(width, 3, padding="same", name="a", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn1")(y))
    y = layers.BatchNormalization(name="bn2")(layers.Conv2D(width, 1, name="b")(y))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(outputs, name="head")(x), name="net")


def data(number: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(number, 8, 8, 3)).astype("float32")
    return images, (images.mean(axis=(1, 2)).argmax(axis=-1)).astype("int32")


def kept(plan: ks.ChannelPlan, name: str) -> tuple[int, ...]:
    found = plan.kept[name]
    assert isinstance(found, tuple)
    return found


def compiled(model: keras.Model, optimizer: Any = "adam") -> keras.Model:
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_outputs_and_saved_form_stay(tmp_path: Path) -> None:
    model = network()
    images, _ = data(4)
    before, config = np.asarray(model(images)), model.to_json()
    model.save(tmp_path / "before.keras")
    with MorphNet(model, strength=5.0):
        assert (np.asarray(model(images)) == before).all()
        assert model.to_json() == config
        model.save(tmp_path / "during.keras")
    loaded = keras.saving.load_model(tmp_path / "during.keras")
    assert len(loaded.losses) == 1  # its own L2, and no more
    assert json.loads(loaded.to_json()) == json.loads(keras.saving.load_model(tmp_path / "before.keras").to_json())


def test_own_regularisers_still_count_and_nothing_is_left() -> None:
    model = network()
    own = float(sum(model.losses))
    regularisers = [weight.regularizer for weight in model.weights]
    morph = MorphNet(model, strength=2.0)
    assert float(sum(model.losses)) == pytest.approx(own + morph.loss(), rel=1e-6)
    assert morph.loss() > 0
    with pytest.raises(OptionError, match="attached to this model already"):
        MorphNet(model)
    morph.detach()
    morph.detach()
    assert float(sum(model.losses)) == own
    assert [weight.regularizer for weight in model.weights] == regularisers
    morph.attach()
    assert float(sum(model.losses)) > own
    morph.detach()


@pytest.mark.spread(6)
@pytest.mark.parametrize("way", ["sgd", "lion", "tf.data", "mixed", "jit", "eager", "nested"])
def test_ways_of_training(way: str) -> None:
    """The same penalty acts whatever trains the model: under a loss that asks for nothing, it falls."""
    keras.config.set_dtype_policy("mixed_float16" if way == "mixed" else "float32")
    model = network()
    if way == "nested":
        image = keras.Input((8, 8, 3))
        model = keras.Sequential([image, network(outputs=5), layers.Dense(3)])
    optimizer = keras.optimizers.AdamW(0.05, clipnorm=1.0)
    if way in ("sgd", "jit"):  # a small step is compiled sooner
        optimizer = keras.optimizers.SGD(0.05)
    elif way == "lion":
        optimizer = keras.optimizers.Lion(0.05)
    jit = way in ("jit", "mixed")
    model.compile(optimizer, NO_LOSS, jit_compile=jit, run_eagerly=way == "eager")
    inputs: Any = data(16)
    if way == "tf.data":
        inputs = (tf.data.Dataset.from_tensor_slices(inputs).batch(8).repeat(2),)
    with MorphNet(model, "gamma", strength=5.0) as morph:
        start, loss = magnitude(morph), morph.loss()
        model.fit(*inputs, verbose=0, shuffle=False)
        assert magnitude(morph) < start * 0.99
        assert morph.loss() < loss


def NO_LOSS(labels: Any, outputs: Any) -> Any:  # noqa: N802 - stands for a constant
    return 0.0 * keras.ops.mean(outputs, axis=-1)


def magnitude(morph: MorphNet) -> float:
    return float(np.nansum(morph.magnitudes()))


def test_attached_after_a_step_was_compiled() -> None:
    """Keras keeps a compiled step, in which a loss that comes later would be missing, and one taken off would stay."""
    model = compiled(network(), keras.optimizers.SGD(0.0))
    images, labels = data(16)

    def loss() -> float:
        return float(model.fit(images, labels, batch_size=16, verbose=0, shuffle=False).history["loss"][0])

    for weight in model.weights:
        if "moving" in weight.path:
            weight.trainable = False
    plain = loss()
    with MorphNet(model, strength=4.0) as morph:
        assert loss() == pytest.approx(plain + morph.loss(), rel=1e-4)
        morph.set_strength(2.0)
        assert loss() == pytest.approx(plain + morph.loss(), rel=1e-4)
    assert loss() == pytest.approx(plain, rel=1e-4)


@pytest.mark.sweep
def test_two_devices_train_as_one() -> None:
    """MirroredStrategy on two logical devices, in a process of its own, as TensorFlow is told of them at its start.

    Under a loss that asks for nothing, a step of gradient descent is the gradient of the penalty, and no multiple.
    """
    script = f"""
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, {str(ROOT)!r})
import keras, numpy as np
from kerasurgeon.morphnet import MorphNet
from tests.morphnet.test_training import NO_LOSS, data, network
from tests.morphnet.test_penalty import gradients
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = network()
    model.compile(keras.optimizers.SGD(0.125), NO_LOSS, jit_compile=False)
morph = MorphNet(model, "group_lasso", strength=1.0)
morph.set_strength(10.0)
before = dict((w.path, keras.ops.convert_to_numpy(w)) for w in model.trainable_weights)
loss, slopes = gradients(model)
images, labels = data(16)
history = model.fit(images, labels, batch_size=16, verbose=0).history
assert len(strategy.extended.worker_devices) == 2
assert abs(history["loss"][0] - loss) < 1e-4 * loss, (history, loss)
for weight in model.trainable_weights:
    moved = (before[weight.path] - keras.ops.convert_to_numpy(weight)) / 0.125
    np.testing.assert_allclose(moved, slopes[weight.path], rtol=1e-3, atol=1e-5)
assert np.abs(slopes["a/kernel"]).max() > 0.01
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-3000:]


@pytest.mark.usefixtures("untraced")
def test_callback_writes_what_is_alive(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = compiled(network())
    images, labels = data()
    with MorphNet(model, "gamma", threshold=0.5) as morph:
        model.get_layer("bn1").gamma.assign([1, 0.1, 0.1, 1, 1, 1, 1, 1])
        history = model.fit(
            images, labels, epochs=2, batch_size=32, verbose=0, callbacks=[morph.callback(tmp_path)]
        ).history
        assert history["morphnet_kept"][-1] == pytest.approx(morph.cost() / morph.initial_cost)
        assert history["morphnet_loss"][-1] == pytest.approx(morph.loss(), rel=1e-5)
        small = morph.shrink()
    files = sorted(path.name for path in (tmp_path / "learned_structure").iterdir())
    assert files == ["alive_0", "alive_2", "alive_4", "plan_0.json", "plan_2.json", "plan_4.json"]
    text = (tmp_path / "learned_structure" / "alive_0").read_text()
    assert text == '{\n  "a": 6,\n  "b": 8,\n  "stem": 8\n}\n'
    plan = ks.ChannelPlan.load(tmp_path / "learned_structure" / "plan_0.json")
    assert plan.kept == {"a": (0, 3, 4, 5, 6, 7)}
    assert small.get_layer("a").filters == 6
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("alive/a")] == [6.0, 6.0, 6.0]
    assert [event.step for event in events.Scalars("morphnet/macs")] == [0, 2, 4]
    assert {"morphnet/RegularizationLoss", "epoch/loss"} <= set(events.Tags()["scalars"])
    assert events.Tags()["histograms"] == ["morphnet/widths", "morphnet/magnitudes"]


def test_collapse_is_noticed() -> None:
    model = compiled(network())
    for name in ("bn0", "bn2"):
        model.get_layer(name).gamma.assign(np.full(8, 1e-4))
    with MorphNet(model, "gamma", strength=1e3) as morph:
        assert morph.vanished() == ("stem", "b")
        assert morph.collapsed() == ("head",)
        callback = morph.callback()
        callback.set_model(model)
        callback.on_train_begin()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            callback.on_epoch_end(0)
            callback.on_epoch_end(1)
        (said,) = [str(one.message) for one in caught if one.category is UserWarning]
        assert "collapsed in epoch 1" in said
        assert "Lower the strength (1000)" in said
        assert model.stop_training
        with pytest.raises(ks.PlanError, match="cuts the network in two"):
            morph.shrink()
    model.get_layer("bn0").gamma.assign([1e-4] * 5 + [5e-3] + [1e-4] * 2)
    with MorphNet(model, "gamma", floors={"stem": 2}) as morph:
        assert not morph.collapsed()
        assert morph.widths()["stem"] == 2
        assert 5 in kept(morph.plan(), "stem")
    with MorphNet(model, "gamma", keep_first_channel_alive=True) as morph:
        assert morph.plan().kept["b"] == (0,)


def test_a_vanished_branch_is_no_collapse() -> None:
    model = network()
    model.get_layer("bn1").gamma.assign(np.zeros(8))
    with MorphNet(model, "gamma") as morph:
        assert morph.vanished() == ("a",)
        assert not morph.collapsed()
        small = morph.shrink()
    assert [layer.name for layer in small.layers if isinstance(layer, layers.Conv2D)] == ["stem"]


def test_down_to_a_budget() -> None:
    model = network(16)
    with MorphNet(model, "gamma") as morph:
        rng = np.random.default_rng(0)
        for name in ("bn0", "bn1", "bn2"):
            model.get_layer(name).gamma.assign(rng.uniform(0.1, 1, 16))
        assert not morph.plan().kept
        small = morph.shrink(kept=0.4)
        share = ks.cost(small).macs / ks.cost(model).macs
        assert 0.3 < share <= 0.4
        stays = kept(morph.plan(kept=0.4), "a")
        scales = [float(abs(model.get_layer("bn1").gamma[i])) for i in range(16)]
        assert max(scales[i] for i in range(16) if i not in stays) <= min(scales[i] for i in stays)
        with pytest.raises(OptionError, match="cannot be reached"):
            morph.plan(kept=1e-4)
        with pytest.raises(OptionError, match="'kept'"):
            morph.plan(kept=1.5)


def test_frozen_layers() -> None:
    model = compiled(network())
    with MorphNet(model) as morph:
        model.get_layer("stem").trainable = False
        assert float(sum(model.losses)) < morph.loss() * 0.1  # what carried it is frozen
        callback = morph.callback()
        callback.set_model(model)
        callback.on_train_begin()
        assert float(sum(model.losses)) > morph.loss() * 0.99
        model.trainable = False
        with pytest.raises(OptionError, match="is trainable"):
            morph.attach()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"target": "flops"}, "no target 'flops'"),
    ({"target": "latency"}, "needs to know the hardware"),
    ({"target": "latency", "hardware": "V1000"}, "did you mean 'V100'"),
    ({"target": "latency", "hardware": 3}, "hardware= cannot be used"),
    ({"algorithm": "grouplasso"}, "did you mean 'group_lasso'"),
    ({"strength": -1}, "'strength'"),
    ({"strength": "high"}, "'strength'"),
    ({"threshold": float("nan")}, "'threshold'"),
    ({"l1_fraction": 2}, "'l1_fraction'"),
    ({"ignore": "stam"}, "did you mean 'stem'"),
    ({"floors": {"stam": 2}}, "did you mean 'stem'"),
    ({"floors": -1}, "floors"),
    ({"batch_size": 0}, "'batch_size'"),
    ({"ignore": ["stem", "a"]}, "no channel to regularise"),
]


@pytest.mark.parametrize(("options", "match"), BAD, ids=[match for _, match in BAD])
def test_bad_options(options: dict[str, Any], match: str) -> None:
    model = network()
    with pytest.raises(OptionError, match=match):
        MorphNet(model, **options)
    assert len(model.losses) == 1  # nothing was left on it


def test_gamma_without_scales() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(4, 3, name="first")(image))
    x = layers.Flatten()(layers.Conv2D(4, 3, name="second")(x))
    model = keras.Model(image, layers.Dense(2)(x))
    with pytest.raises(OptionError) as caught:
        MorphNet(model, "gamma")
    assert "first, second" in str(caught.value)
    assert "with_scales(model)" in str(caught.value)


def test_what_is_left_alone_says_why() -> None:
    with MorphNet(network(), "gamma", ignore="a") as morph:
        assert morph.left["a"] == "ignore= names it"
        assert "output" in morph.left["head"]
        assert "stem" not in morph.left


def test_hardware_of_the_user() -> None:
    register_hardware(Hardware("phone", 20, 10))
    assert hardware_for("Phone").gbps == 10
    with pytest.raises(OptionError, match="gbps"):
        Hardware("none", 1, 0)
    times = {1: 1.0, 5: 5.0}
    found = measure_hardware(lambda model: times[len(model.layers) - 1], size=10, widths=[100])
    assert found.gflops == pytest.approx(2 * 9 * 100 * 10_000 / 1e6)
    assert found.gbps == pytest.approx(8 * 10_000 / 1e6)
