"""Networks of kimm, keras-tcn and keras_cv_attention_models ("kecam"), with small inputs and random weights.

kecam was written for what came before Keras 3. Its way for keras_core, which became Keras 3, is the one that is taken.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

KIMM = {
    "kimm RegNetY002": {},
    "kimm MobileNetV3W050Small": {},
    "kimm GhostNet050": {},
    "kimm EfficientNetLiteB0": {},
    "kimm VisionTransformerTiny16": {},
    "kimm ConvNeXtAtto": {},
    "kimm RepVGGA0": {},
    "kimm MobileViTS": {},
    "kimm InceptionNeXtTiny": {},
    "kimm HGNetV2B0": {},
}  # fmt: skip
KECAM: dict[str, dict[str, Any]] = {
    "kecam resnet_family.ResNest50": {},
}


def networks() -> dict[str, Callable[[], keras.Model]]:
    """What is tried."""
    found: dict[str, Callable[[], keras.Model]] = {
        name: _kimm(name.split()[1], options) for name, options in KIMM.items()
    }
    found |= {"keras-tcn TCN": _tcn}
    return found | {name: _kecam(name.split()[1], options) for name, options in KECAM.items()}


def _kimm(name: str, options: Any) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        cls = getattr(importlib.import_module("kimm.models"), name)
        return cls(**{"input_shape": (32, 32, 3), "weights": None, "classes": 10, **options})

    return build


def _kecam(name: str, options: Any) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        os.environ["KECAM_BACKEND"] = "keras_core"
        for part in ("", ".layers", ".models", ".initializers", ".callbacks", ".metrics", ".utils", ".ops", ".backend"):
            sys.modules.setdefault(f"keras_core{part}", importlib.import_module(f"keras{part}"))
        module, _, function = name.partition(".")
        make = getattr(importlib.import_module(f"keras_cv_attention_models.{module}"), function)
        return make(**{"input_shape": (32, 32, 3), "pretrained": None, "num_classes": 10, **options})

    return build


def _tcn() -> keras.Model:
    tcn = importlib.import_module("tcn")
    inputs = keras.Input((24, 3))
    x = tcn.TCN(32, dilations=(1, 2, 4), return_sequences=True, use_layer_norm=False)(inputs)
    x = tcn.TCN(32, dilations=(1, 2), use_skip_connections=False, use_batch_norm=True, dropout_rate=0.1)(x)
    return keras.Model(inputs, layers.Dense(2)(x))
