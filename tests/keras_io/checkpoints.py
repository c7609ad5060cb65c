"""Checkpoints as TensorFlow writes them, of arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def write_checkpoint(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by TensorFlow's own op for it, as ``path.index`` and ``path.data-...``.

    Args:
        path: What the files are called.
        arrays: The arrays by the names that they have in the checkpoint.
    """
    tensors = [tf.constant(np.asarray(array)) for array in arrays.values()]
    tf.raw_ops.SaveV2(prefix=str(path), tensor_names=list(arrays), shape_and_slices=[""] * len(arrays), tensors=tensors)
