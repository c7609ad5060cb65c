"""Every keras.applications architecture with weights that make it compute something, and no download.

Fresh weights are no test: batch norm is then an identity, and most outputs vanish (MobileNet's are 1e-21).
``build_application`` randomises all weights by seed and sets the batch-norm statistics from a random batch.
"""

from __future__ import annotations

import copy
import gc
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.utils import naming

from tests.zoo.sampling import flatten_layers, randomise

CLASSES = 10
# The smallest legal inputs; three architectures pool too often for 32 pixels.
SMALLEST = 32
SMALLEST_OTHERWISE = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def _builds_a_model(name: str) -> bool:
    candidate = getattr(keras.applications, name)
    return callable(candidate) and "weights" in inspect.signature(candidate).parameters


ARCHITECTURES: tuple[str, ...] = tuple(sorted(filter(_builds_a_model, dir(keras.applications))))

FAMILIES: dict[str, str] = {
    "ConvNeXt": "ConvNeXtTiny",
    "DenseNet": "DenseNet121",
    "EfficientNet": "EfficientNetB0",
    "EfficientNetV2": "EfficientNetV2B0",
    "Inception": "InceptionV3",
    "InceptionResNet": "InceptionResNetV2",
    "MobileNet": "MobileNet",
    "MobileNetV2": "MobileNetV2",
    "MobileNetV3": "MobileNetV3Small",
    "NASNet": "NASNetMobile",
    "ResNet": "ResNet50",
    "ResNetV2": "ResNet50V2",
    "VGG": "VGG16",
    "Xception": "Xception",
}

# For every test run: small ones that differ most. In order: layer norm and layer scale; dense concatenation;
# squeeze-excite; parallel branches; inverted residuals; hard-swish by ops; cells with two predecessors;
# pre-activation.
SPREAD: tuple[str, ...] = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetV2B0",
    "InceptionV3",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50V2",
)

# For tests that compute with them, and there are dozens: quick ones of SPREAD with its awkward features between them.
# The others are deep; for what they are made of, the networks of the zoo stand.
COMPUTED: tuple[str, ...] = ("ConvNeXtTiny", "MobileNetV2", "MobileNetV3Small")


def build_application(name: str, seed: int = 0, full_size: bool = False) -> keras.Model:
    """Build one architecture with calibrated random weights and no activation after its classifier.

    The largest take up to 1.4 GB and seconds; Keras models are reference cycles, so that memory returns only
    with ``gc.collect()``.

    Args:
        name: One of ``ARCHITECTURES``.
        seed: The same seed, the same weights.
        full_size: Use the published input size and 1000 classes instead of the smallest input and 10.
    """
    naming.reset_uids()
    keras.utils.set_random_seed(seed)
    options: dict[str, Any] = {"weights": None, "classifier_activation": None}
    if not full_size:
        size = SMALLEST_OTHERWISE.get(name, SMALLEST)
        options |= {"input_shape": (size, size, 3), "classes": CLASSES}
    model = getattr(keras.applications, name)(**options)
    randomise(model, seed, gain=float(np.sqrt(2)), shift=0.1)
    _calibrate(model, application_inputs(model, seed=seed + 1, batch=2 if full_size else 16), seed)
    return model


_SHARED: dict[str, tuple[keras.Model, Any, Any]] = {}


def shared_application(name: str) -> keras.Model:
    """What ``build_application`` builds, one for all tests of a process, which must leave it as it is.

    Those outside ``SPREAD`` few tests share, and at another precision none: they are built anew.
    """
    if name not in SPREAD or {keras.config.floatx(), keras.config.dtype_policy().name} != {"float32"}:
        return build_application(name)
    if name not in _SHARED:
        built = build_application(name)
        names = global_state.get_global_attribute("object_name_uids")
        _SHARED[name] = built, _state(built), copy.copy(names)
        gc.collect()
        gc.freeze()  # it stays; no later collection has to look for what may go
    model, state, names = _SHARED[name]
    assert _state(model) == state, f"a test has changed the {name} that it shares with others"
    # What is made next is named, and drawn, as behind a build.
    global_state.set_global_attribute("object_name_uids", copy.copy(names))
    keras.utils.set_random_seed(0)
    return model


def _state(model: keras.Model) -> Any:
    """What a test may change by accident: weights (as sums), what trains, whether it is compiled."""
    sums = [float(np.sum(keras.ops.convert_to_numpy(weight), dtype="float64")) for weight in model.weights]
    return sums, len(model.trainable_weights), model.compiled, len(model.losses)


def application_inputs(model: keras.Model, seed: int = 0, batch: int = 2) -> np.ndarray:
    """Random images in the range that ``model`` expects: 0..255 where it rescales them itself.

    Each has a colour, patches and noise: images of noise alone look alike to a deep network.
    """
    rng = np.random.default_rng(seed)
    _, height, width, channels = model.input.shape
    patches = rng.normal(size=(batch, 4, 4, channels))
    patches = patches.repeat(-(-height // 4), axis=1).repeat(-(-width // 4), axis=2)[:, :height, :width]
    images = rng.normal(size=(batch, 1, 1, channels)) + patches + 0.5 * rng.normal(size=patches.shape)
    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        images = np.clip(127.5 + 60.0 * images, 0.0, 255.0)
    return images.astype("float32")


def _calibrate(model: keras.Model, images: np.ndarray, seed: int) -> None:
    """Set batch-norm statistics from ``images``, then move them off: no test should see perfect ones."""
    norms = [layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        if norm.scale:
            # With scales around 1 the deep EfficientNets are unstable: one image in ten runs off to 1e4.
            norm.gamma.assign(0.4 * norm.gamma)
    if norms:
        with _statistics_only(model, norms):
            model(images, training=True)
    rng = np.random.default_rng(seed)
    for norm in norms:
        mean, variance = (keras.ops.convert_to_numpy(w) for w in (norm.moving_mean, norm.moving_variance))
        # A channel that is constant over so few images would amplify every other image without bound.
        variance = 0.7 * variance + 0.3 * variance.mean() + 1e-3
        norm.moving_mean.assign(mean + rng.normal(0.0, 0.1, mean.shape) * np.sqrt(variance))
        norm.moving_variance.assign(variance * rng.uniform(0.7, 1.4, variance.shape))


@contextmanager
def _statistics_only(model: keras.Model, norms: list[keras.Layer]) -> Iterator[None]:
    """Within it, a training call stores the batch statistics as they are and drops nothing."""
    dropouts = [layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.Dropout)]
    before = [(norm, "momentum", norm.momentum) for norm in norms]
    before += [(dropout, "rate", dropout.rate) for dropout in dropouts]
    try:
        for layer, attribute, _ in before:
            setattr(layer, attribute, 0.0)
        yield
    finally:
        for layer, attribute, value in before:
            setattr(layer, attribute, value)
