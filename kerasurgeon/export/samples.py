"""Seeded inputs to compare models on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasurgeon.export.tensors import Array, Feeds, TensorInfo

# Sizes for axes that a model leaves free, by rank: large enough for networks that halve an image five times,
# small enough to be quick.
_FREE_SIZE = {4: 96, 5: 16}
_FREE_SIZE_ELSE = 16


def random_inputs(inputs: Sequence[TensorInfo], *, seed: int, samples: int) -> Feeds:
    """Draw inputs that any model of this signature can take.

    Reals are uniform in [0, 1), integers uniform below the vocabulary that reads them (below 2 if none is
    known), booleans fair.

    Args:
        inputs: The model's inputs; a fixed batch size overrules ``samples``' remainder only inside the
            runner.
        seed: Same seed, same arrays.
        samples: Size of the batch axis.
    """
    generator = np.random.default_rng(seed)
    return {info.name: _draw(info, (samples, *concrete_shape(info)), generator) for info in inputs}


def concrete_shape(info: TensorInfo) -> tuple[int, ...]:
    """The shape of one sample, with a sensible size on every free axis.

    Args:
        info: The input.
    """
    free = _FREE_SIZE.get(len(info.shape), _FREE_SIZE_ELSE)
    return tuple(free if size is None else size for size in info.shape[1:])


def _draw(info: TensorInfo, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if info.dtype == "bool":
        return generator.random(shape) < 0.5
    if info.quantization is None and np.dtype(info.dtype if info.dtype != "bfloat16" else "float32").kind in "iu":
        return generator.integers(0, info.limit or 2, shape).astype(info.dtype)
    return generator.random(shape, dtype=np.float32)
