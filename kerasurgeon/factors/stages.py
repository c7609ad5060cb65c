"""One stage of a factorised kernel as a Keras layer: linear, without bias and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from kerasurgeon.factors.kernels.shape import Stage
from kerasurgeon.factors.sites import Site
from kerasurgeon.ir.layer import Layer

INITIALIZER = "glorot_uniform"

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)

_PLAIN: Mapping[str, Any] = {
    "activation": "linear",
    "use_bias": False,
    "bias_axes": None,
    "bias_regularizer": None,
    "bias_constraint": None,
    "activity_regularizer": None,
    "kernel_constraint": None,
}


def stage_layer(site: Site, stage: Stage) -> Layer:
    """The layer of a stage.

    The kernel regulariser is the original's, as weight decay is meant to reach all weights; the kernel constraint is
    dropped: what it says of the kernel means nothing for a factor. Factors have other shapes than the kernel, so that
    they get Keras' default initialiser.

    Args:
        site: The layer that is factorised.
        stage: The stage.
    """
    if not site.shape.sizes:
        return with_outputs(plain(site.layer), stage.outputs)
    geometry = geometry_along(site, stage)
    groups, config = site.shape.groups, site.layer.config
    if stage.depthwise:
        multiplier = stage.outputs // stage.inputs
        layer = _other(site, _DEPTHWISE, geometry, depth_multiplier=multiplier)
        return layer.with_config(**_kernel_options("depthwise", config))
    if is_transposed(site, stage):
        output_padding = config["output_padding"]
        if output_padding is not None:
            output_padding = along(site, stage, "output_padding", 0)
        return plain(site.layer).with_config(filters=stage.outputs, output_padding=output_padding, **geometry)
    layer = _other(site, _CONVOLUTIONS, geometry, filters=groups * stage.outputs, groups=groups)
    return layer.with_config(**_kernel_options("kernel", config))


def separable_layer(site: Site, depthwise: Stage, pointwise: Stage) -> Layer:
    """A depthwise stage and the pointwise one behind it as one layer."""
    multiplier = depthwise.outputs // depthwise.inputs
    counts = {"filters": pointwise.outputs, "depth_multiplier": multiplier}
    layer = _other(site, _SEPARABLE, geometry_along(site, depthwise), **counts)
    config = site.layer.config
    return layer.with_config(**_kernel_options("depthwise", config), **_kernel_options("pointwise", config))


def plain(layer: Layer, initializer: str = INITIALIZER) -> Layer:
    """A layer without bias, activation, activity regulariser and kernel constraint, of the same geometry."""
    changes = {key: value for key, value in _PLAIN.items() if key in layer.config}
    return replace(layer.with_config(**changes, kernel_initializer=initializer), weights={})


def with_outputs(layer: Layer, outputs: int) -> Layer:
    """A Dense or EinsumDense with another number of outputs."""
    if "units" in layer.config:
        return layer.with_config(units=outputs)
    shape = layer.config["output_shape"]
    return layer.with_config(output_shape=outputs if isinstance(shape, int) else (*shape[:-1], outputs))


def geometry_along(site: Site, stage: Stage) -> dict[str, Any]:
    """Sizes, strides, dilation and padding of a stage: the original's along its own axes."""
    one = {key: along(site, stage, key, 1) for key in ("kernel_size", "strides", "dilation_rate")}
    return {**one, "padding": site.layer.config["padding"] if stage.axes else "valid"}


def along(site: Site, stage: Stage, key: str, otherwise: int) -> tuple[int, ...]:
    """An entry of the original's config along a stage's own axes, and another along the others."""
    entry = site.layer.config[key]
    return tuple(entry[axis] if axis in stage.axes else otherwise for axis in site.shape.axes)


def is_transposed(site: Site, stage: Stage) -> bool:
    """Whether a stage is a transposed convolution: one that moves nothing is better off as a plain one."""
    if not site.shape.transposed:
        return False
    return any(size > 1 for key in ("kernel_size", "strides") for size in along(site, stage, key, 1))


def _other(site: Site, classes: tuple[Any, ...], geometry: Mapping[str, Any], **counts: int) -> Layer:
    """A layer of another class in the place of the original."""
    cls: type[Any] = classes[len(site.shape.sizes) - 1]
    config = {key: site.layer.config[key] for key in ("trainable", "dtype", "data_format")}
    config |= {"name": site.layer.name, "activation": "linear", "use_bias": False, **geometry, **counts}
    own = site.layer
    return Layer(own.name, cls, config, custom_objects=own.custom_objects, attributes=own.attributes)


def _kernel_options(prefix: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_initializer": INITIALIZER, f"{prefix}_regularizer": config["kernel_regularizer"]}


__all__ = [
    "along",
    "geometry_along",
    "is_transposed",
    "plain",
    "separable_layer",
    "stage_layer",
    "with_outputs",
]
