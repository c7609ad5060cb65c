"""Networks of kimm and keras-tcn, with small inputs and random weights.

Not of keras_cv_attention_models: 1.4.3 says that Keras 3 is not supported, and cannot be imported without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

KIMM: dict[str, dict[str, Any]] = {
    "kimm RegNetY002": {},
    "kimm MobileNetV3W050Small": {},
    "kimm GhostNetW050": {},
    "kimm EfficientNetLiteB0": {},
    "kimm VisionTransformerTiny16": {},
    "kimm ConvNeXtAtto": {},
    "kimm RepVGGA0": {},
    "kimm MobileViTS": {},
    "kimm InceptionNeXtTiny": {},
    "kimm HGNetV2B0": {},
}  # fmt: skip


def networks() -> dict[str, Callable[[], keras.Model]]:
    """What is tried."""
    found: dict[str, Callable[[], keras.Model]] = {
        name: _kimm(name.split()[1], options) for name, options in KIMM.items()
    }
    return found | {"keras-tcn TCN": _tcn}


def _kimm(name: str, options: Any) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        cls = getattr(importlib.import_module("kimm.models"), name)
        return cls(**{"input_shape": (32, 32, 3), "weights": None, "classes": 10, **options})

    return build


def _tcn() -> keras.Model:
    tcn = importlib.import_module("tcn")
    inputs = keras.Input((24, 3))
    x = tcn.TCN(32, dilations=(1, 2, 4), return_sequences=True, use_layer_norm=False)(inputs)
    x = tcn.TCN(32, dilations=(1, 2), use_skip_connections=False, use_batch_norm=True, dropout_rate=0.1)(x)
    return keras.Model(inputs, layers.Dense(2)(x))
