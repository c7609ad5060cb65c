"""Layers around other layers, and convolutional recurrences, written to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import keras

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io import lift
from kerasurgeon.layers.onnx_activations import write_activation
from kerasurgeon.layers.onnx_loops import Recurrence, Shape, write_steps
from kerasurgeon.layers.onnx_recurrent import check_stateless
from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.layers.onnx_windows import padding, spatial_order
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.layout import per_axis
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_graph import Tensors, write_nodes
from kerasurgeon.rules.onnx_parts import Array, Size, Tensor, natural
from kerasurgeon.rules.onnx_unsaid import preparation
from kerasurgeon.rules.positions import Window
from kerasurgeon.rules.registry import rule_for
from kerasurgeon.rules.sizes import resolve


def inner_call(
    call: OnnxCall, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], outputs: tuple[TensorSpec, ...]
) -> list[Tensor]:
    """Write a call of a layer inside another; what it gives.

    Args:
        call: The call of the layer around it.
        layer: The layer inside.
        args: Its operands.
        kwargs: Those by name.
        outputs: The specs of what it gives.
    """
    named = replace(layer, name=f"{call.layer.name}/{layer.name}")
    inner = type(call)(f"{call.name}/{layer.name}", named, args, kwargs, outputs, call.parts)
    inner.write_by(rule_for(layer.kind))
    return [inner.given[index] for index in range(len(outputs))]


def write_each_step(call: OnnxCall, layer: Layer) -> None:
    """Write TimeDistributed: the layer inside on every step, as if steps were further samples."""
    if call.operand(2, "mask") is not None and "mask" in layer.call_parameters:
        raise CannotTell("its mask reaches the layer inside")
    operand = call.input
    batch, steps, *sizes = call.shape_of(operand)
    flat = term(call, operand).reshape([-1, *sizes])
    spec = TensorSpec((_merged(operand.spec), *operand.shape[2:]), operand.dtype)
    made = tuple(TensorSpec((_merged(each), *each.shape[2:]), each.dtype) for each in call.outputs)
    found = inner_call(call, layer, (Tensor(spec, forms={natural(len(spec.shape)): flat.name}),), {}, made)
    for index, (tensor, each) in enumerate(zip(found, call.outputs, strict=True)):
        inside: list[Size] = [call.size(tensor, axis) for axis in range(1, tensor.rank)]
        give(call, term(call, tensor).reshape([batch, steps, *inside]).to(each.dtype), index=index)


def write_model(call: OnnxCall, model: Any) -> None:
    """Write a call of a model that is a layer.

    Args:
        call: The call.
        model: The model itself.
    """
    graph = lift(model)
    operands = [leaf for leaf in leaves(call.args[0]) if isinstance(leaf, Tensor)]
    if len(call.inputs) > len(operands) or len(call.args) > 1:
        raise CannotTell("it is given more than its inputs")
    values = list(leaves(graph.inputs))
    specs = resolve(graph, shapes={value.node: each.shape for value, each in zip(values, operands, strict=True)})
    tensors: Tensors = {value.node: {0: each} for value, each in zip(values, operands, strict=True)}
    reasons = write_nodes(
        graph, specs, tensors, call.parts, prefix=f"{call.name}/", prepare=preparation(model), call_type=type(call)
    )
    if reasons:
        raise CannotTell("; ".join(f"{name} inside: {reason}" for name, reason in reasons.items()))
    for index, value in enumerate(leaves(graph.outputs)):
        call.given[index] = tensors[value.node][value.index]


def _merged(spec: TensorSpec) -> int | None:
    sizes = spec.shape[:2]
    return None if None in sizes else prod(int(size or 0) for size in sizes)


def write_convolutional(call: OnnxCall) -> None:
    """Write ConvLSTM1D, ConvLSTM2D and ConvLSTM3D: the convolution of all steps at once, then every step."""
    config, operand, layer = call.config, call.input, call.layer
    batch, axes = operand.shape[0], operand.rank - 3
    arrays = {key.rpartition("/")[2]: weight.array for key, weight in layer.weights.items()}
    if not set(arrays) <= {"kernel", "recurrent_kernel", "bias"} or len(arrays) != len(layer.weights):
        raise CannotTell(f"it computes with {', '.join(sorted(layer.weights))}")
    inner = spatial_order(config, axes + 2)
    order = (0, 1, *(axis + 1 for axis in inner[1:]))
    if None in operand.shape[2:]:
        raise CannotTell("the size of its images is unknown")
    sizes = [int(operand.shape[axis] or 0) for axis in order[2:]]
    x = term(call, operand, order, call.float).reshape([-1, *sizes])
    window = Window(
        per_axis(config["kernel_size"], axes),
        per_axis(config["strides"], axes),
        per_axis(config["dilation_rate"], axes),
        str(config["padding"]),
    )
    read = _convolved(x, arrays["kernel"], arrays.get("bias"), window, sizes[1:])
    image = _output_image(call, axes, inner)
    filters = int(config["filters"])
    first = natural(axes + 2)  # between the steps, tensors lie as the format's convolutions want them
    lies = (0, *first[2:], 1) if call.channels_last else first
    back_turn = [lies.index(axis) for axis in first]
    state_order = tuple(inner[axis] for axis in lies)

    def shape(channels: int) -> Shape:
        return tuple((batch, channels, *image)[axis] for axis in lies)

    wide = [int(size or 0) for size in shape(4 * filters)[1:]]
    read = read.transpose(lies).reshape([call.size(operand, 0), call.size(operand, 1), *wide])
    same = Window(window.size, (1,) * axes, (1,) * axes, "same")
    given = [leaf for leaf in leaves(call.operand(1, "initial_state")) if isinstance(leaf, Tensor)]
    states = [term(call, leaf, state_order, call.float) for leaf in given] or None
    if states is None:
        check_stateless(call)

    def act(value: Term, key: str) -> Term:
        return value.named(write_activation(call, config[key], value.name, inner))

    def step(at: list[Term], before: list[Term]) -> list[Term]:
        read, hidden, carried = (each.transpose(back_turn) for each in (*at, *before))
        both = read + _convolved(hidden, arrays["recurrent_kernel"], None, same, image)
        enter, forget, candidate, leave = both.split(1, [filters] * 4)
        kept = act(forget, "recurrent_activation") * carried
        carry = kept + act(enter, "recurrent_activation") * act(candidate, "activation")
        made = act(leave, "recurrent_activation") * act(carry, "activation")
        return [made.transpose(lies), carry.transpose(lies)]

    mask = call.as_tensor(call.operand(2, "mask"))
    if mask is not None and not config.get("unroll") and keras.backend.backend() == "jax":
        # Keras 3.15: where(mask of (batch, 1), images) spreads the samples of the mask over the width of the images.
        raise CannotTell("Keras' loop under JAX masks places of it instead of samples; make the layer with unroll=True")
    kept = None if mask is None else term(call, mask, None, "bool")
    back, zeros = bool(config.get("go_backwards")), bool(config.get("zero_output_for_mask"))
    whole = bool(config["return_sequences"])
    recurrence = Recurrence(step, [(read, shape(4 * filters))], [shape(filters)] * 2, 0)
    course = write_steps(call, recurrence, states, kept, back=back, zeros=zeros, whole=whole)
    if whole:
        give(call, course.ordered(back=back), (0, 1, *(axis + 1 for axis in state_order[1:])))
    else:
        give(call, course.last, state_order)
    if config["return_state"]:
        for index, state in enumerate(course.states, 1):
            give(call, state, state_order, index)


def _output_image(call: OnnxCall, axes: int, inner: Sequence[int]) -> list[int]:
    shape = call.output.shape[1:] if call.config["return_sequences"] else call.output.shape
    sizes = [shape[axis] for axis in inner[2 : 2 + axes]]
    if None in sizes:
        raise CannotTell("the size of its images is unknown")
    return [int(size or 0) for size in sizes]


def _convolved(x: Term, kernel: Array, bias: Array | None, window: Window, sizes: Sequence[int]) -> Term:
    axes = len(window.size)
    turned = x.made_of(kernel, "filters first", lambda source: source.transpose(axes + 1, axes, *range(axes)), "kernel")
    around = padding(window, list(sizes), [(0, 0)] * axes)
    more = () if bias is None else (bias,)
    return x.op("Conv", turned, *more, strides=window.strides, dilations=window.dilation, **around)
