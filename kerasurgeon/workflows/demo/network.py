"""The demo's network, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from kerasurgeon.workflows.data import Digits

_BATCH = 64
# More than digits need, as most networks that somebody wants to compress have.
_WIDTHS = (64, 128)


def build_network() -> keras.Model:
    """A small residual network as one would write it: batch norms, swish, dropout, 3x3 and depthwise convolutions."""
    image = keras.Input((8, 8, 1), name="image")
    x = _conv(image, _WIDTHS[0], "stem")
    x = _residual(x, "block1")
    x = _conv(x, _WIDTHS[1], "down", strides=2)
    x = _residual(x, "block2")
    x = _separable(x, "block3")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(10, name="digit")(x), name="digits")


def _conv(x: Any, filters: int, name: str, *, strides: int = 1, activate: bool = True) -> Any:
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = _norm(x, f"{name}_bn")
    return layers.Activation("swish", name=f"{name}_act")(x) if activate else x


def _norm(x: Any, name: str) -> Any:
    # Keras' momentum of 0.99 is for thousands of steps; here are a few hundred.
    return layers.BatchNormalization(momentum=0.8, name=name)(x)


def _residual(x: Any, name: str) -> Any:
    width = x.shape[-1]
    y = _conv(x, width, f"{name}_a")
    y = _conv(y, width, f"{name}_b", activate=False)
    return layers.Activation("swish", name=f"{name}_act")(layers.Add(name=f"{name}_add")([x, y]))


def _separable(x: Any, name: str) -> Any:
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    y = _norm(y, f"{name}_depthwise_bn")
    y = layers.Activation("swish", name=f"{name}_depthwise_act")(y)
    y = layers.Conv2D(x.shape[-1], 1, use_bias=False, name=f"{name}_pointwise")(y)
    y = _norm(y, f"{name}_pointwise_bn")
    return layers.Activation("swish", name=f"{name}_act")(layers.Add(name=f"{name}_add")([x, y]))


def train(
    model: keras.Model,
    digits: Digits,
    *,
    epochs: int,
    rate: float,
    tell: Callable[[float, str], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train a model in place, and keep the epoch that is best on the validation data.

    Args:
        model: The model; it is compiled here.
        digits: The data.
        epochs: How many epochs.
        rate: The learning rate at the start; it falls to nothing along a half cosine.
        tell: Told after each epoch.
        callbacks: What else watches the training, as ``KeepZeros``.
    """
    steps = -(-len(digits.train) // _BATCH) * epochs
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    def told(epoch: int, logs: dict[str, float]) -> None:
        tell((epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}, validation {logs['val_accuracy']:.1%}")

    model.fit(
        digits.train.images,
        digits.train.labels,
        batch_size=_BATCH,
        epochs=epochs,
        validation_data=(digits.validation.images, digits.validation.labels),
        callbacks=[
            *callbacks,
            keras.callbacks.LambdaCallback(on_epoch_end=told),
            keras.callbacks.EarlyStopping("val_loss", patience=epochs, restore_best_weights=True),
        ],
        verbose=0,
    )
