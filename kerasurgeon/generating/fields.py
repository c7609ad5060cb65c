"""Random fields to begin with: noise, smoothed along the axes between batch and channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage

Array = np.ndarray[Any, Any]


def smooth_noise(shape: Sequence[int], generator: np.random.Generator, width: float | None, *, alike: bool) -> Array:
    """Gaussian noise of mean 0 and variance 1.

    Args:
        shape: Batch, then positions, then channels.
        generator: Where the numbers come from.
        width: Standard deviation of the Gaussian that smooths, in positions; ``None``: each sample has its own, from
            one position to an eighth of the first axis.
        alike: Whether all channels of a sample are the same.
    """
    noise = generator.standard_normal((*shape[:-1], 1) if alike else tuple(shape))
    spatial = len(shape) - 2
    if spatial:
        widest = max(shape[1] / 8, 1.0)
        for place in range(len(noise)):
            own = float(np.exp(generator.uniform(0.0, np.log(widest)))) if width is None else width
            if own > 0:
                noise[place] = scipy.ndimage.gaussian_filter(noise[place], (*[own] * spatial, 0.0), mode="wrap")
        if width is None:  # each sample by itself: a wide Gaussian leaves little of the noise
            axes = tuple(range(1, noise.ndim))
            noise = (noise - noise.mean(axis=axes, keepdims=True)) / (noise.std(axis=axes, keepdims=True) + 1e-12)
        else:
            noise /= noise.std() + 1e-12
    return np.broadcast_to(noise, tuple(shape))
