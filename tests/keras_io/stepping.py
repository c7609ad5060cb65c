"""One step of training, without Keras' own loop."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.keras_io.facts import values


def training_step(model: Any, inputs: Any) -> tuple[float, list[np.ndarray[Any, Any]]]:
    """One step of gradient descent on the mean square of all outputs. Returns the loss and all variables after it."""
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(inputs, training=True))
        real = [tf.cast(output, "float32") for output in outputs if "float" in str(output.dtype)]
        loss = tf.add_n([tf.reduce_mean(tf.square(output)) for output in real] or [tf.zeros(())])
        loss += sum(tf.cast(extra, "float32") for extra in model.losses)
    trained = model.trainable_variables
    for variable, gradient in zip(trained, tape.gradient(loss, [v.value for v in trained]), strict=True):
        if gradient is not None:
            variable.assign_sub(0.05 * tf.cast(tf.convert_to_tensor(gradient), variable.dtype))
    return float(loss), values(model.variables)
