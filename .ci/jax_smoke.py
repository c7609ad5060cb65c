"""Run by CI with JAX and without TensorFlow: what needs no backend of its own computes the same numbers there.

Each part is held against numpy, or against what the original network computes; that it runs is not enough.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import kerasurgeon as ks
from kerasurgeon.morphnet import MorphNet
from kerasurgeon.passes import FoldBatchNorm, PruneChannels, TuckerSplit

assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules, "nothing here may import TensorFlow"

rng = np.random.default_rng(0)
images = rng.normal(size=(4, 12, 12, 3)).astype("float32")


def network() -> keras.Model:
    """A residual network whose batch norms have statistics, scales and offsets of their own."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(x))
    y = layers.Conv2D(24, 3, padding="same", name="widen")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="widen_bn")(y))
    x = layers.Add()([x, layers.Conv2D(16, 1, name="narrow")(y)])
    x = layers.Dense(5, name="classes")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x, name="net")
    for variable in model.variables:
        low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.3, 0.3)
        variable.assign(rng.uniform(low, high, variable.shape).astype("float32"))
    return model


def outputs(model: keras.Model) -> np.ndarray:
    """What the network computes of the images, in inference."""
    return np.asarray(model(images, training=False))


def close(got: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-4) -> None:
    """Demand equality up to rounding, measured by the largest number that is wanted."""
    worst = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    assert worst < tolerance, worst


model = network()
before = outputs(model)

# Lift and emit: the same bits, and a name for every layer.
again = ks.emit(ks.lift(model))
np.testing.assert_array_equal(outputs(again), before)
assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]

# Cost: 144 positions of three convolutions, and a dense layer.
macs = 144 * (9 * 3 * 16 + 9 * 16 * 24 + 24 * 16) + 16 * 5
assert ks.cost(model).macs == macs, ks.cost(model).macs
assert ks.cost(model).parameters == model.count_params()

# Channels: the network without them computes what the whole one does where nothing reads them.
kept = [0, 3, 4, 9, 20]
unread = keras.models.clone_model(model)
unread.set_weights(model.get_weights())
kernel = np.zeros((1, 1, 24, 16), "float32")
kernel[:, :, kept] = np.asarray(model.get_layer("narrow").kernel)[:, :, kept]
unread.get_layer("narrow").kernel.assign(kernel)
plan = ks.ChannelPlan({"widen": kept})
small = ks.cut(model, plan)
assert small.get_layer("widen").filters == len(kept)
close(outputs(small), outputs(unread))
close(outputs(ks.masked(model, plan)), outputs(unread))

# Folding and pruning: no batch norm is left, the outputs stay, the budget is met.
folded = ks.apply_passes(model, [FoldBatchNorm()])
assert not [layer for layer in folded.layers if isinstance(layer, layers.BatchNormalization)]
close(outputs(folded), before)
pruned = ks.apply_passes(model, [PruneChannels(macs=0.6)])
assert 0.4 * macs < ks.cost(pruned).macs <= 0.6 * macs, ks.cost(pruned).macs
assert np.isfinite(outputs(pruned)).all()

# Factors: a kernel of ranks 4 and 6 comes back from factors of these ranks, and only that one.
low_rank = keras.models.clone_model(model)
low_rank.set_weights(model.get_weights())
core, first, last = (rng.normal(size=shape) for shape in ((3, 3, 4, 6), (16, 4), (24, 6)))
low_rank.get_layer("widen").kernel.assign(np.einsum("hwab,ia,ob->hwio", core, first, last) / 10)
split = ks.apply_passes(low_rank, [TuckerSplit(ranks={"widen": (4, 6)})])
assert ks.cost(split).macs == macs - 144 * (9 * 16 * 24 - (16 * 4 + 9 * 4 * 6 + 6 * 24))
close(outputs(split), outputs(low_rank))

# MorphNet: what it adds to the loss is the share of each alive channel's scale; what it cuts meets the budget.
labels = rng.integers(0, 5, 4)
model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
plain = model.evaluate(images, labels, verbose=0)
with MorphNet(model, "gamma", target="activation", strength=3.0) as morph:
    added = model.evaluate(images, labels, verbose=0) - plain
    scales = {name: np.abs(np.asarray(model.get_layer(f"{name}_bn").gamma)).sum() for name in ("stem", "widen")}
    # A channel of the residual stream is made by two layers; 61 are made in all.
    wanted = 3.0 * (2 * scales["stem"] + scales["widen"]) / (16 + 24 + 16 + 5)
    assert abs(added - wanted) < 1e-4 * wanted, (added, wanted)
    model.fit(images, labels, epochs=1, verbose=0, callbacks=[morph.callback()])
    learned = morph.shrink(kept=0.5)
    assert model.losses
assert not model.losses
made = sum(learned.get_layer(name).filters for name in ("stem", "widen", "narrow")) + 5
assert 0.4 * 61 < made <= 0.5 * 61, made
assert outputs(learned).shape == before.shape


def shipped() -> keras.Model:
    """A network with what formats differ in: paddings, norms, attention behind a mask, a recurrence, two outputs."""
    inputs = keras.Input((12, 12, 3), name="ein Bild")
    x = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", activation="hard_swish", name="stem")(inputs))
    x = layers.LayerNormalization()(layers.DepthwiseConv2D(3, strides=2, padding="same")(x))
    steps = layers.Reshape((36, 16))(x)
    steps = layers.MultiHeadAttention(2, 8)(steps, steps, use_causal_mask=True)
    return keras.Model(inputs, {"classes": layers.Dense(5)(layers.LSTM(6)(steps)), "mean": x})


# Files: written without a converter, run by their runtimes called directly.
sent = shipped()
wanted = {name: np.asarray(value) for name, value in sent(images, training=False).items()}
with tempfile.TemporaryDirectory() as folder:
    for suffix in ("onnx", "tflite"):
        report = ks.export(sent, Path(folder, f"model.{suffix}"), batch_size=len(images))
        assert report.relative_error < 1e-5, report
        assert not report.notes, report
    session = onnxruntime.InferenceSession(Path(folder, "model.onnx"), providers=["CPUExecutionProvider"])
    got = dict(zip(wanted, session.run(list(wanted), {"ein Bild": images}), strict=True))
    signature = Interpreter(str(Path(folder, "model.tflite"))).get_signature_runner("serving_default")
    for found in (got, signature(**{"ein Bild": images})):
        for name, value in wanted.items():
            close(found[name], value, 1e-5)

assert "tensorflow" not in sys.modules, "something imported TensorFlow"
sys.stdout.write("lift, emit, cost, channels, pruning, factors, MorphNet and files compute the same under JAX\n")
