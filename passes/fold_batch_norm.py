"""Fold batch normalisation into the linear layer before or behind it.

In inference a batch norm is ``s * x + t`` per channel, with ``s = gamma / sqrt(variance + epsilon)`` and
``t = beta - s * mean``. Behind a linear layer ``W x + b`` that is ``(s W) x + (s b + t)``; before one,
``W (s x + t) + b = (W s) x + (W t + b)``, where ``W t`` is a bias only if every output sums over the same taps: zero
padding behind the batch norm pads with 0, not with ``t``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from kerasurgeon.authoring import (
    EXACT,
    Context,
    Graph,
    Layer,
    Match,
    Node,
    Pattern,
    Preserves,
    RewritePass,
    Skip,
    Value,
    anything,
    layers,
    substitute,
)
from kerasurgeon.simplify.rules import require_free_name, require_inference

Array = np.ndarray[Any, Any]

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
LINEAR = (*_CONVOLUTIONS, *_TRANSPOSED, *_DEPTHWISE, *_SEPARABLE, "Dense")
# What a linear layer computes with. Adapters and quantised layers have more, and another formula.
_WEIGHTS = frozenset({"kernel", "depthwise_kernel", "pointwise_kernel", "bias"})

# Layers between a batch norm and a Dense that work on each channel alone and keep constants constant.
_CHANNELWISE_MEANS = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")


@final
@dataclass(frozen=True)
class FoldBatchNorm(RewritePass):
    """Fold batch normalisation into the linear layer before it, or behind it where that is exact.

    Matches:
        ``BatchNormalization`` behind Conv1D/2D/3D, their transposed forms, DepthwiseConv1D/2D, SeparableConv1D/2D or
        Dense; and before those, where no zero padding comes between (or the batch norm shifts nothing). A global
        average pooling may stand between a batch norm and the Dense behind it.
    Leaves alone:
        * shared layers, batch norms called in training mode, outputs used elsewhere;
        * an activation, or another axis, between the batch norm and the linear layer.
    Preserves:
        Outputs in inference, up to rounding. In training the folded model has no batch statistics any more.

    Reference:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        CVPR 2018, section 3.2 (the form behind a linear layer).
    """

    preserves: ClassVar[Preserves] = EXACT

    def pattern(self) -> Pattern:
        """Every batch norm; ``check`` looks at what is around it."""
        return layers.BatchNormalization(anything("x"), ...).bind("bn")

    def check(self, match: Match, graph: Graph) -> None:
        """Refuse a batch norm that has no linear layer to go to."""
        _plan(graph, match.node("bn"))

    def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
        """Fold one batch norm."""
        bn = match.node("bn")
        linear, folded, where = _plan(graph, bn)
        graph.update_layer(linear.layer, folded)
        substitute(graph, bn, bn.inputs[0])
        return f"folded into {linear.name!r} {where} it"


def _plan(graph: Graph, bn: Node) -> tuple[Node, Layer, str]:
    """The linear layer that takes a batch norm up, as it is afterwards, and on which side it stands."""
    if graph.layer_of(bn).config.get("trainable", True):  # frozen ones use their statistics in any mode
        require_inference(graph, bn)
    if graph.spec(bn.inputs[0]) != bn.spec:
        raise Skip(f"it turns {graph.spec(bn.inputs[0])} into {bn.spec}")
    require_free_name(graph, bn, bn.inputs[0])
    scale, shift = _affine(graph.layer_of(bn))
    reasons = []
    for side, attempt in (("before", _into_previous), ("behind", _into_next)):
        try:
            linear, folded = attempt(graph, bn, scale, shift)
            return linear, folded, side
        except Skip as skip:
            reasons.append(f"{side} it: {skip.reason}")
    raise Skip("; ".join(reasons))


def _affine(bn: Layer) -> tuple[Array, Array]:
    """``s`` and ``t`` of a batch norm, in float64."""
    mean, variance = _float64(bn, "moving_mean"), _float64(bn, "moving_variance")
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1.0 / np.sqrt(variance + bn.config["epsilon"])
    if bn.array("gamma") is not None:
        scale = scale * _float64(bn, "gamma")
    shift = -mean * scale
    if bn.array("beta") is not None:
        shift = shift + _float64(bn, "beta")
    if not np.all(np.isfinite(scale)):
        raise Skip("it divides by a variance of zero")
    return scale, shift


def _into_previous(graph: Graph, bn: Node, scale: Array, shift: Array) -> tuple[Node, Layer]:
    value = bn.inputs[0]
    linear = graph.producer(value)
    layer = _linear_layer(graph, linear)
    if layer.config.get("activation", "linear") not in (None, "linear"):
        raise Skip(f"{linear.name!r} has an activation of its own")
    if layer.config.get("activity_regularizer") is not None:
        raise Skip(f"{linear.name!r} has an activity regulariser")
    _require_only_use(graph, value, bn)
    _require_axis(graph, bn, layer, value)
    kind, bias = layer.kind, _bias(layer)
    if kind in _TRANSPOSED:
        arrays = {"kernel": _float64(layer, "kernel") * scale[:, None]}
    elif kind in _DEPTHWISE:
        kernel = _float64(layer, "kernel")
        arrays = {"kernel": kernel * scale.reshape(kernel.shape[-2:])}
    elif kind in _SEPARABLE:
        arrays = {"pointwise_kernel": _float64(layer, "pointwise_kernel") * scale}
    else:
        arrays = {"kernel": _float64(layer, "kernel") * scale}
    return linear, _with(layer, arrays, bias * scale + shift)


def _into_next(graph: Graph, bn: Node, scale: Array, shift: Array) -> tuple[Node, Layer]:
    linear = _only_user(graph, bn)
    through = None
    if graph.kind(linear) in _CHANNELWISE_MEANS:
        through, linear = linear, _only_user(graph, linear)
    layer = _linear_layer(graph, linear)
    if through is None:
        _require_axis(graph, bn, layer, bn.value)
    elif layer.kind != "Dense":
        raise Skip(f"{through.name!r} comes between it and {linear.name!r}")
    elif _axis(graph, bn) != _channel_axis(graph.layer_of(through), len(bn.spec.shape)):
        raise Skip(f"{through.name!r} averages over its axis")
    elif _axis(graph, bn) == 1 and len(through.spec.shape) > 2:
        raise Skip(f"{linear.name!r} does not read the channels that {through.name!r} leaves on axis 1")
    if np.any(shift != 0) and _pads(layer):
        raise Skip(f"{linear.name!r} pads with zeros, where the batch norm would give its shift")
    arrays, added = _scale_inputs(layer, scale, shift)
    return linear, _with(layer, arrays, _bias(layer) + added)


def _scale_inputs(layer: Layer, scale: Array, shift: Array) -> tuple[dict[str, Array], Array]:
    """The kernels of a layer for inputs scaled by ``scale``, and what inputs shifted by ``shift`` add to its bias."""
    if layer.kind in _TRANSPOSED:
        kernel = _float64(layer, "kernel")
        return {"kernel": kernel * scale}, np.zeros(kernel.shape[-2])
    if layer.kind in _DEPTHWISE:
        kernel = _float64(layer, "kernel")
        return {"kernel": kernel * scale[:, None]}, _sum_taps(kernel * shift[:, None]).reshape(-1)
    if layer.kind in _SEPARABLE:
        kernel, pointwise = _float64(layer, "depthwise_kernel"), _float64(layer, "pointwise_kernel")
        added = _sum_taps(kernel * shift[:, None]).reshape(-1) @ pointwise.reshape(pointwise.shape[-2:])
        return {"depthwise_kernel": kernel * scale[:, None]}, added
    kernel = _float64(layer, "kernel")
    groups = layer.config.get("groups", 1)
    inputs, outputs = kernel.shape[-2:]

    def per_output(vector: Array) -> Array:
        """The entries of ``vector`` that meet each kernel entry: output o of group g reads inputs of group g only."""
        return np.repeat(vector.reshape(groups, inputs).T, outputs // groups, axis=1)

    return {"kernel": kernel * per_output(scale)}, _sum_taps(kernel * per_output(shift)).sum(axis=0)


def _linear_layer(graph: Graph, node: Node) -> Layer:
    layer = graph.layer_of(node)
    if layer.kind not in LINEAR:
        raise Skip(f"{node.name!r} is {layer.kind}, not a linear layer")
    if len(graph.calls(node.layer)) > 1:
        raise Skip(f"layer {node.layer!r} is shared: it is called {len(graph.calls(node.layer))} times")
    if node.layer in graph.tied_layers():
        raise Skip(f"the weights of {node.layer!r} are used elsewhere too")
    if not _WEIGHTS.issuperset(layer.weights):
        others = ", ".join(sorted(set(layer.weights) - _WEIGHTS))
        raise Skip(f"{node.name!r} computes with more than a kernel and a bias: {others}")
    sizes = node.spec.shape
    if layer.config.get("data_format") == "channels_first" and sizes[1] == sizes[-1] != 1:
        # keras.ops.add takes the bias for one of the last axis then (Keras 3.15, backend/tensorflow/numpy.py).
        raise Skip(f"Keras adds the bias of {node.name!r} along the wrong axis: it has as many channels as columns")
    return layer


def _require_only_use(graph: Graph, value: Value, user: Node) -> None:
    others = [use.node for use in graph.uses(value) if use.node != user.name]
    if others:
        raise Skip(f"{value} is also used by {others[0]!r}")
    if graph.is_output(value):
        raise Skip(f"{value} is also an output of the model")


def _only_user(graph: Graph, node: Node) -> Node:
    users = graph.users(node)
    if graph.is_output(node.value):
        raise Skip(f"{node.name!r} is an output of the model")
    if len(users) != 1 or len(graph.uses(node.value)) != 1:
        raise Skip(f"{node.name!r} is used {len(graph.uses(node.value))} times")
    return users[0]


def _require_axis(graph: Graph, bn: Node, layer: Layer, value: Value) -> None:
    rank = len(graph.spec(value).shape)
    if _axis(graph, bn) != _channel_axis(layer, rank):
        raise Skip(
            f"it normalises axis {_axis(graph, bn)}, {layer.name!r} has its channels on axis "
            f"{_channel_axis(layer, rank)}"
        )


def _axis(graph: Graph, bn: Node) -> int:
    axis = graph.layer_of(bn).config["axis"]
    if isinstance(axis, (list, tuple)):
        axis = axis[0]
    return int(axis) % len(bn.spec.shape)


def _channel_axis(layer: Layer, rank: int) -> int:
    return 1 if layer.config.get("data_format") == "channels_first" else rank - 1


def _pads(layer: Layer) -> bool:
    """Whether a layer puts zeros around its input, or sums over different taps at different outputs."""
    if layer.kind in _TRANSPOSED:
        return True
    if layer.kind == "Dense" or layer.config["padding"] == "valid":
        return False
    return any(size > 1 for size in layer.config["kernel_size"])


def _sum_taps(kernel: Array) -> Array:
    """A kernel summed over its spatial axes."""
    summed: Array = kernel.sum(axis=tuple(range(kernel.ndim - 2)))
    return summed


def _bias(layer: Layer) -> Array | float:
    return 0.0 if layer.array("bias") is None else _float64(layer, "bias")


def _with(layer: Layer, arrays: dict[str, Array], bias: Array) -> Layer:
    dtype = next(iter(layer.weights.values())).array.dtype
    if layer.array("bias") is None:
        layer = layer.with_config(use_bias=True)
    return layer.with_weights(**arrays, bias=bias.astype(dtype))


def _float64(layer: Layer, key: str) -> Array:
    return layer.weights[key].array.astype("float64")


__all__ = ["LINEAR", "FoldBatchNorm"]
