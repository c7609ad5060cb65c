"""Seeded inputs to compare models on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasurgeon.exporting.tensors import Feeds, TensorInfo
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.samples import draw_array


def random_inputs(inputs: Sequence[TensorInfo], *, seed: int, samples: int) -> Feeds:
    """Draw inputs that any model of this signature can take.

    Reals are uniform in [0, 1), integers uniform below the vocabulary that reads them (below 2 if none is
    known), booleans fair.

    Args:
        inputs: The model's inputs; a fixed batch size overrules ``samples``' remainder only inside the runner.
        seed: Same seed, same arrays.
        samples: Size of the batch axis.
    """
    generator = np.random.default_rng(seed)
    return {
        info.name: draw_array(_real_spec(info, samples), generator, below=info.limit or 2, low=0.0) for info in inputs
    }


def _real_spec(info: TensorInfo, samples: int) -> TensorSpec:
    """What to draw: reals where the file's integers stand for reals."""
    return TensorSpec((samples, *info.shape[1:]), "float32" if info.quantization is not None else info.dtype)
