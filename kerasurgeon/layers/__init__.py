"""What is known of each family of layers and ops: one file per family, one object per kind of answer.

Each file ends in calls of ``kerasurgeon.rules.register_rule``, as a user's would.
"""

from kerasurgeon.rules.registry import built_in

with built_in():
    from kerasurgeon.layers import (
        activations,
        applications,
        arithmetic,
        attention,
        contraction,
        convolution,
        dense,
        depth_to_space,
        embedding,
        fourier,
        images,
        joining,
        longer_axes,
        norms,
        only_in_training,
        others,
        pooling,
        recurrent,
        reducing,
        selecting,
        shapes,
        splitting,
        wrappers,
    )

__all__ = [
    "activations",
    "applications",
    "arithmetic",
    "attention",
    "contraction",
    "convolution",
    "dense",
    "depth_to_space",
    "embedding",
    "fourier",
    "images",
    "joining",
    "longer_axes",
    "norms",
    "only_in_training",
    "others",
    "pooling",
    "recurrent",
    "reducing",
    "selecting",
    "shapes",
    "splitting",
    "wrappers",
]
