"""The layers that a factorised kernel becomes.

A chain of layers, one per stage. Strides, dilation and padding stay with the stages along whose axes they work: a stage
that has one position along an axis and takes every one commutes with them, as it maps the zeros of the padding to
zeros. With a residual, a layer with the original's geometry stands beside the chain and is added to what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.factors.kernels.method import Factors
from kerasurgeon.factors.kernels.shape import Stage
from kerasurgeon.factors.left_alone import is_linear
from kerasurgeon.factors.sites import Site
from kerasurgeon.factors.stages import along, is_transposed, plain, separable_layer, stage_layer
from kerasurgeon.factors.stored_kernels import stored, stored_depthwise
from kerasurgeon.ir.layer import Layer

Array = np.ndarray[Any, Any]

SEPARABLE = "separable"
"""Role of the layer that a depthwise and a pointwise stage become together."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """A layer to be made, and its weights.

    Attributes:
        role: What its name ends in.
        layer: Its definition.
        weights: Its weights by path.
    """

    role: str
    layer: Layer
    weights: Mapping[str, Array] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class SplitLayers:
    """All that takes the place of one layer.

    Attributes:
        chain: The factors in order.
        residual: The layer beside them, if there is one.
        behind: What follows: nothing without a residual, else the sum, and the activation where there is one.
    """

    chain: tuple[Part, ...]
    residual: Part | None = None
    behind: tuple[Part, ...] = ()


def refusal(site: Site, stages: Sequence[Stage]) -> str:
    """Why a chain cannot be built in the place of a layer, whatever its kernels; empty if it can.

    Args:
        site: The layer.
        stages: The chain; only axes and kinds of its stages count.
    """
    depthwise = [stage for stage in stages if stage.depthwise]
    if not depthwise:
        return ""
    if site.shape.transposed:
        return "Keras has no transposed depthwise convolution"
    if len(site.shape.sizes) not in (1, 2):
        return f"Keras has no depthwise layer to put in the place of a {site.layer.kind}"
    if site.layer.config["padding"] == "causal":
        return "Keras has no causal depthwise convolution"
    for stage in depthwise:
        strides = along(site, stage, "strides", 1)
        if len(set(strides)) > 1:
            # A GPU refuses them, and so does a CPU without oneDNN, or in float64.
            return f"TensorFlow computes depthwise convolutions with equal strides only; here they would be {strides}"
    return ""


def build_layers(site: Site, factors: Factors) -> SplitLayers:
    """The layers for a factorised kernel.

    Bias, its regulariser and its constraint go to the end of the chain; activation and activity regulariser behind all.
    A depthwise and a pointwise stage by themselves become one SeparableConv.

    Args:
        site: The layer.
        factors: What its kernel was factorised to.

    Raises:
        ValueError: The factors are not those of this layer, or ``refusal`` says why they cannot be built.
    """
    _check(site, factors)
    chain = _chain(site, factors)
    config = site.layer.config
    ending = {key: config[key] for key in ("activation", "activity_regularizer") if key in config}
    bias, changes = _bias(site, factors)
    if factors.residual is None:
        return SplitLayers((*chain[:-1], _ended(chain[-1], bias, changes | ending)))
    weights = {"kernel": stored(factors.residual, transposed=site.shape.transposed)}
    beside = Part("residual", plain(site.layer, "zeros"), weights)
    return SplitLayers((*chain[:-1], _ended(chain[-1], bias, changes)), beside, _behind(site.layer, ending))


def _check(site: Site, factors: Factors) -> None:
    if factors.shape != site.shape:
        raise ValueError(f"the factors are those of {factors.shape}; {site.name!r} has {site.shape}")
    why = refusal(site, factors.stages)
    if why:
        raise ValueError(f"{site.name!r} cannot be built by {factors.method!r}: {why}")
    covered = sorted(axis for stage in factors.stages for axis in stage.axes)
    if covered != list(site.shape.axes):
        raise ValueError(
            f"each axis of {site.name!r} must belong to one stage; {factors.method!r} has stages along {covered}"
        )


def _chain(site: Site, factors: Factors) -> tuple[Part, ...]:
    stages, kernels = factors.stages, factors.kernels
    if len(stages) == 2 and stages[0].depthwise and _mixes_channels(site, stages[1]):
        layer = separable_layer(site, *stages)
        weights = {"depthwise_kernel": stored_depthwise(kernels[0]), "pointwise_kernel": stored(kernels[1])}
        return (Part(SEPARABLE, layer, weights),)
    return tuple(_part(site, stage, kernel) for stage, kernel in zip(stages, kernels, strict=True))


def _mixes_channels(site: Site, stage: Stage) -> bool:
    return not stage.axes and not stage.depthwise and site.shape.groups == 1


def _part(site: Site, stage: Stage, kernel: Array) -> Part:
    weight = stored_depthwise(kernel) if stage.depthwise else stored(kernel, transposed=is_transposed(site, stage))
    return Part(stage.role, stage_layer(site, stage), {"kernel": weight})


def _bias(site: Site, factors: Factors) -> tuple[Array | None, dict[str, Any]]:
    """The bias at the end of the chain, and what the config there says of it."""
    config, bias = site.layer.config, site.layer.array("bias")
    if factors.bias is not None:
        bias = factors.bias if bias is None else bias.astype(factors.bias.dtype) + factors.bias
    if bias is None:
        return None, {}
    changes = {key: config[key] for key in ("bias_initializer", "bias_regularizer", "bias_constraint")}
    if "equation" in config:
        return bias, {**changes, "bias_axes": config["equation"].strip()[-1]}
    return bias, {**changes, "use_bias": True}


def _ended(part: Part, bias: Array | None, changes: Mapping[str, Any]) -> Part:
    weights = {**part.weights} if bias is None else {**part.weights, "bias": bias}
    return Part(part.role, part.layer.with_config(**changes), weights)


def _behind(layer: Layer, ending: Mapping[str, Any]) -> tuple[Part, ...]:
    """The sum of chain and residual, and the activation, which must not come before it."""
    shared = {key: layer.config[key] for key in ("trainable", "dtype")}
    regulariser = {key: value for key, value in ending.items() if key != "activation" and value is not None}
    linear = is_linear(layer)
    add = {"name": "sum", **shared, **(regulariser if linear else {})}
    total = Part("sum", Layer("sum", keras.layers.Add, add, custom_objects=layer.custom_objects))
    if linear:
        return (total,)
    config = {"name": "activation", **shared, "activation": layer.config["activation"], **regulariser}
    behind = Layer("activation", keras.layers.Activation, config, custom_objects=layer.custom_objects)
    return total, Part("activation", behind)


__all__ = ["SEPARABLE", "Part", "SplitLayers", "build_layers", "refusal"]
