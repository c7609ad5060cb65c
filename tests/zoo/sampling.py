"""Seeded weights and inputs for any Keras model."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import keras
import ml_dtypes
import numpy as np

FREE_DIM = 8  # what a None dimension other than the batch becomes: divisible by 2 and 4, for down- and upsampling
DEFAULT_VOCABULARY = 10


def randomise(model: keras.Model, seed: int = 0, gain: float = 1.2, shift: float = 0.3) -> None:
    """Give every weight of ``model`` a value that matters: no zero biases, no unit variances.

    Each weight draws from its own stream, keyed by position, so that changing one layer of a builder leaves
    the values before it alone. Integer weights (seeds, quantised kernels) and the statistics of
    ``Normalization`` (it computes with a copy that ``assign`` does not reach) stay as they are.

    Args:
        model: The model to write into.
        seed: The same seed, the same values.
        gain: Standard deviation of a kernel times the root of its fan-in; with 1.2 activations neither vanish
            nor saturate in a small network, sqrt(2) keeps their variance through any depth of ReLU.
        shift: Standard deviation of biases, batch-norm means and betas.
    """
    fixed: set[int] = set()
    depthwise: set[int] = set()
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            fixed |= {id(weight) for weight in layer.weights}
        elif isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
            depthwise.add(id(layer.kernel))
        elif isinstance(layer, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D):
            depthwise.add(id(layer.depthwise_kernel))
    for position, weight in enumerate(model.weights):
        if id(weight) in fixed or "int" in weight.dtype or weight.dtype == "bool":
            continue
        rng = np.random.default_rng(zlib.crc32(f"{seed}/{position}".encode()))
        weight.assign(_values(weight, rng, gain, shift, is_depthwise=id(weight) in depthwise))


def _values(weight: Any, rng: np.random.Generator, gain: float, shift: float, *, is_depthwise: bool) -> np.ndarray:
    role = weight.path.rsplit("/", 1)[-1]
    shape = tuple(weight.shape)
    if "variance" in role or "gamma" in role or role == "scale":
        return rng.uniform(0.5, 1.5, shape)
    if role == "alpha":
        return rng.uniform(0.05, 0.4, shape)
    if len(shape) < 2 or "bias" in role or "mean" in role or "beta" in role:
        return rng.normal(0.0, shift, shape)
    # A depthwise kernel sums over its window only: its channel axis is no fan-in.
    fan_in = float(np.prod(shape[:-2] if is_depthwise else shape[:-1]))
    return rng.standard_normal(shape, dtype="float32") * np.float32(gain / np.sqrt(max(fan_in, 1.0)))


def flatten_layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """``layer`` and every layer inside it, wrappers and cells included, each once."""
    seen: set[int] = set()
    stack = [layer]
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # `_layers` is what Keras tracks; `layers` exists on models only and leaves out wrapped layers.
        stack.extend(current._layers)


def sample_inputs(model: keras.Model, seed: int = 0, batch: int = 2) -> Any:
    """Random inputs for ``model``, in its own input structure.

    Integers stay below the smallest vocabulary in the model and end in a zero (the usual padding token);
    where the model has a ``Masking`` layer, the last step of every sequence is zero. A fixed batch size wins
    over ``batch``. Optional inputs get a value.
    """
    rng = np.random.default_rng(seed)
    vocabulary = min(_vocabularies(model), default=DEFAULT_VOCABULARY)
    masked = any(isinstance(layer, keras.layers.Masking) for layer in flatten_layers(model))
    # A Sequential that was never called has no `input`, though it has `inputs`.
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda spec: _sample(spec, rng, batch, vocabulary, masked), structure)


def _vocabularies(model: keras.Model) -> Iterator[int]:
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.Embedding):
            yield int(layer.input_dim)
        elif isinstance(layer, keras.layers.CategoryEncoding):
            yield int(layer.num_tokens)


def _sample(spec: Any, rng: np.random.Generator, batch: int, vocabulary: int, masked: bool) -> np.ndarray:
    leading, *rest = spec.shape
    shape = (batch if leading is None else leading, *(FREE_DIM if dim is None else dim for dim in rest))
    if "int" in spec.dtype:
        codes = rng.integers(1, vocabulary, shape)
        if shape[-1] > 1:
            codes[..., -1] = 0
        return codes.astype(spec.dtype)
    if spec.dtype == "bool":
        flags = rng.random(shape) < 0.6
        flags[..., 0] = True  # an attention row that masks everything would be NaN
        return flags
    values = rng.normal(size=shape)
    if masked and len(shape) > 2:
        values[:, -1] = 0.0
    return values.astype(ml_dtypes.bfloat16 if spec.dtype == "bfloat16" else spec.dtype)
