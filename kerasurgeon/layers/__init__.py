"""What is known of each family of layers and ops: one file per family, one object per kind of answer.

Each file ends in calls of ``kerasurgeon.rules.register_rule``, as a user's would.
"""

from kerasurgeon.rules.registry import built_in

with built_in():
    from kerasurgeon.layers import (
        activation_layers,
        applications,
        arithmetic,
        attention,
        contraction,
        convolution,
        convolution_ops,
        dense,
        depth_to_space,
        embedding,
        images,
        joining,
        longer_axes,
        norm_ops,
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
    "activation_layers",
    "applications",
    "arithmetic",
    "attention",
    "contraction",
    "convolution",
    "convolution_ops",
    "dense",
    "depth_to_space",
    "embedding",
    "images",
    "joining",
    "longer_axes",
    "norm_ops",
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
