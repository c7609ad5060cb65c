"""The layers that a Tucker-2 decomposition of a convolution becomes, and what they cost.

One convolution becomes ``1x1 -> k x k -> 1x1``: the input basis, the core, the transposed output basis. Where a mode
was left whole its 1x1 is left out. With a residual, a second ``k x k`` convolution stands beside all of them and is
added to what they give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.authoring import Call, Graph, Layer, Node, TensorSpec, Value, call, infer, rule_for, substitute
from kerasurgeon.passes.tucker import Array, Tucker2

DEFAULT_INITIALIZER = "glorot_uniform"


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
    """All that takes the place of one convolution.

    Attributes:
        chain: The factors in order.
        residual: The convolution beside them, if there is one.
        behind: What follows: nothing without a residual, else the sum, and the activation where there is one.
    """

    chain: tuple[Part, ...]
    residual: Part | None = None
    behind: tuple[Part, ...] = ()


def split_layers(conv: Layer, factors: Sequence[Tucker2], residual: Array | None = None) -> SplitLayers:
    """The layers for the factors of a convolution.

    Stride, padding and dilation stay with the core: a 1x1 convolution without bias commutes with all three (it maps the
    zeros of the padding to zeros), so that it may come before. The residual reads the same input with the geometry of
    the original, and so its outputs stand where those of the chain do.

    Bias and bias constraint go to the end of the chain; activation and activity regulariser behind all. The kernel
    regulariser goes to every factor, as weight decay is meant to reach all weights; a kernel constraint does not: what
    it says of the kernel means nothing for a factor. Factors have other shapes than the kernel, so that they get
    Keras' default initialiser (a residual zeros).

    Args:
        conv: The convolution.
        factors: The decomposition of each group's kernel, all of the same ranks.
        residual: The kernel of the residual convolution, shaped as the original's.
    """
    kernels = {"core": np.concatenate([group.core for group in factors], axis=-1)}
    bases_in = [group.u_in for group in factors if group.u_in is not None]
    bases_out = [group.u_out.T for group in factors if group.u_out is not None]
    for role, bases in (("in", bases_in), ("out", bases_out)):
        if bases:
            kernels[role] = _as_pointwise(conv, np.concatenate(bases, axis=-1))
    ranks = (bases_in[0].shape[-1] if bases_in else None, bases_out[0].shape[0] if bases_out else None)
    chain = [Part(role, layer, {"kernel": kernels[role]}) for role, layer in chain_layers(conv, *ranks).items()]
    ending = {"activation": conv.config["activation"], "activity_regularizer": conv.config.get("activity_regularizer")}
    bias = {key: conv.config[key] for key in conv.config if "bias" in key}
    if residual is None:
        return SplitLayers((*chain[:-1], _ended(conv, chain[-1], bias | ending)))
    sparse = _factor(conv, conv.config["filters"], kernel_initializer="zeros")
    beside = Part("residual", sparse, {"kernel": residual})
    return SplitLayers((*chain[:-1], _ended(conv, chain[-1], bias)), beside, _behind(conv, ending))


def put(graph: Graph, key: str, parts: SplitLayers) -> None:
    """Let the layers take the place of all calls of a convolution.

    Args:
        graph: The graph.
        key: Key of the convolution's layer.
        parts: The layers.
    """
    made: dict[str, Node] = {}
    base, names = graph.layers[key].name, [node.name for node in graph.calls(key)]
    for name in names:
        node = graph[name]  # as it is now: a later call may read an earlier one

        def run(part: Part, *operands: Any, node: Node = node) -> Value:
            first = made.get(part.role)
            if first is None:
                role = f"{base}_{part.role}"
                value = call(graph, part.layer, *operands, weights=part.weights or None, name=role, like=node)
                made[part.role] = graph[value.node]
                return value
            return _call_again(graph, first, operands, node)

        value = source = node.inputs[0]
        for part in parts.chain:
            value = run(part, value)
        if parts.residual is not None:
            value = run(parts.behind[0], [value, run(parts.residual, source)])
        for part in parts.behind[1:]:
            value = run(part, value)
        substitute(graph, node, value)
    if len(names) > 1:
        infer(graph)


def chain_layers(conv: Layer, rank_in: int | None, rank_out: int | None) -> dict[str, Layer]:
    """The factors of a convolution by role, linear and without weights.

    Args:
        conv: The convolution.
        rank_in: Rank of each group's input mode; ``None`` leaves it whole.
        rank_out: Rank of each group's output mode, likewise.
    """
    groups, filters = conv.config["groups"], conv.config["filters"]
    layers = {} if rank_in is None else {"in": _pointwise(conv, groups * rank_in)}
    layers["core"] = _factor(conv, filters if rank_out is None else groups * rank_out)
    return layers if rank_out is None else {**layers, "out": _pointwise(conv, filters)}


def chain_macs(chain: Mapping[str, Layer], source: TensorSpec, result: TensorSpec) -> int:
    """MACs of the factors in one call of the convolution, for specs without unknown sizes."""
    total, spec = 0, source
    for role, layer in chain.items():
        axis = 1 if layer.config["data_format"] == "channels_first" else -1
        shape = list((source if role == "in" else result).shape)  # what comes before the core is not strided yet
        shape[axis] = layer.config["filters"]
        after = replace(spec, shape=tuple(shape))
        total += conv_macs(layer, spec, after)
        spec = after
    return total


def conv_macs(layer: Layer, source: TensorSpec, result: TensorSpec) -> int:
    """MACs of one call of a convolution, for specs without unknown sizes."""
    return rule_for(layer.kind).macs(Call(layer.name, layer, (source,), outputs=(result,)))


def _call_again(graph: Graph, first: Node, operands: tuple[Any, ...], like: Node) -> Value:
    """Another call of a layer that was made for the first call of a shared convolution."""
    name = None
    if first.scope != like.scope:
        own = first.layer.rpartition("/")[2]
        name = graph.unique_name(f"{like.scope}/{own}" if like.scope else own)
    # The specs of the first call are a stand-in: its input may be of another size. put() derives them in the end.
    again = graph.add_node(
        first.layer,
        operands,
        outputs=first.outputs,
        name=name,
        scope=like.scope,
        origin=like.origin,
        near=like.name,
    )
    return again.value


def _factor(conv: Layer, filters: int, **changes: Any) -> Layer:
    """The convolution's own definition, linear and without bias, with another number of filters."""
    changes.setdefault("kernel_initializer", DEFAULT_INITIALIZER)
    return conv.with_config(
        filters=filters,
        activation="linear",
        use_bias=False,
        bias_regularizer=None,
        bias_constraint=None,
        activity_regularizer=None,
        kernel_constraint=None,
        **changes,
    )


def _pointwise(conv: Layer, filters: int) -> Layer:
    ones = (1,) * len(conv.config["kernel_size"])
    return _factor(conv, filters, kernel_size=ones, strides=ones, dilation_rate=ones, padding="valid")


def _ended(conv: Layer, part: Part, changes: Mapping[str, Any]) -> Part:
    weights = dict(part.weights)
    bias = conv.array("bias")
    if bias is not None:
        weights["bias"] = bias
    return Part(part.role, part.layer.with_config(**changes), weights)


def _behind(conv: Layer, ending: Mapping[str, Any]) -> tuple[Part, ...]:
    """The sum of chain and residual, and the activation, which must not come before it."""
    shared = {key: conv.config[key] for key in ("trainable", "dtype")}
    regulariser = {key: value for key, value in ending.items() if key != "activation" and value is not None}
    linear = is_linear(conv)
    add = {"name": "sum", **shared, **(regulariser if linear else {})}
    total = Part("sum", Layer("sum", keras.layers.Add, add, custom_objects=conv.custom_objects))
    if linear:
        return (total,)
    config = {"name": "activation", **shared, "activation": conv.config["activation"], **regulariser}
    layer = Layer("activation", keras.layers.Activation, config, custom_objects=conv.custom_objects)
    return total, Part("activation", layer)


def is_linear(conv: Layer) -> bool:
    """Whether a convolution has no activation."""
    return conv.config["activation"] in (None, "linear")


def _as_pointwise(conv: Layer, matrix: Array) -> Array:
    return matrix.reshape((1,) * len(conv.config["kernel_size"]) + matrix.shape)


__all__ = ["Part", "SplitLayers", "chain_layers", "chain_macs", "conv_macs", "is_linear", "put", "split_layers"]
