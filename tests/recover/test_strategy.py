"""Training on two devices gives what training on one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Devices are split before TensorFlow starts, so that this runs in a process of its own.
SCRIPT = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
import kerasurgeon as ks
from kerasurgeon.recover import ACE, DarkKnowledge, SegmentationCrossEntropy
from tests.recover.networks import bridged, images, residual

keras.utils.set_random_seed(0)
model = residual(2)
student, bridge = bridged(model, norm=False)
for layer in student.layers:  # each device takes the statistics of its own part of a batch
    layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
data, held_out = images(16), images(8, seed=1)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def trained(cache):
    result = ks.train_bridges(
        model, student, bridge, data, held_out, epochs=2, batch_size=8, cache=cache, verbose=0
    )
    tuned = ks.fine_tune(
        result.model, data, held_out, epochs=2, batch_size=8, verbose=0, optimizer=keras.optimizers.SGD(0.01),
        teacher=model, distillation=[DarkKnowledge(), ACE()], loss=SegmentationCrossEntropy(),
    )
    return result, tuned


for cache in ("memory", None):
    alone = trained(cache)
    with strategy.scope():
        together = trained(cache)
    assert together[-1].model.distribute_strategy is strategy
    for one, other in zip(alone, together):
        assert one.history.keys() == other.history.keys()
        for name, values in one.history.items():
            np.testing.assert_allclose(values, other.history[name], rtol=1e-3, err_msg=name)
        for first, second in zip(one.model.get_weights(), other.model.get_weights()):
            np.testing.assert_allclose(first, second, atol=1e-4)
print("the same")
"""


@pytest.mark.sweep  # 40 s; MorphNet's own test trains on two devices in every run
def test_two_devices() -> None:
    pytest.importorskip("tensorflow")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("the same")
