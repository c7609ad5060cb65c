"""Small repairs of what tf2onnx writes: names, shapes, scales after convolutions, padding before pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.exporting.onnx_weights import drop_unused_initialisers, use_counts
from kerasurgeon.exporting.tensors import Array, TensorInfo

# The smallest padding value that ONNX Runtime does not take for zero and that is no denormal number.
_ALMOST_ZERO = 1e-37


def rename_border(proto: Any, names: Mapping[str, str]) -> None:
    """Rename inputs and outputs throughout a graph.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.
        names: New name by present name.
    """
    # tf2onnx's own names hold a colon or a slash, which Keras names may not, but be sure.
    inner = {name: f"{name}__inner" for name in names.values()}
    mapping = {old: new for old, new in inner.items() if old not in names} | dict(names)
    _rename(proto.graph, mapping)


def _rename(graph: Any, mapping: Mapping[str, str]) -> None:
    for info in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        info.name = mapping.get(info.name, info.name)
    for node in graph.node:
        node.input[:] = [mapping.get(name, name) for name in node.input]
        node.output[:] = [mapping.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                _rename(body, mapping)


def declare_shapes(proto: Any, infos: Sequence[TensorInfo], batch_size: int | None) -> None:
    """Write Keras' shapes on the inputs and outputs, the free batch axis being called ``batch``.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.
        infos: Inputs and outputs, by the names they have in the graph.
        batch_size: The batch size that is built in; None where it is free.
    """
    by_name = {info.name: info for info in infos}
    for value in [*proto.graph.input, *proto.graph.output]:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for axis, size in enumerate(by_name[value.name].shape):
            if axis == 0 and size is None:
                size = batch_size
            if size is not None:
                shape.dim.add(dim_value=size)
            elif axis == 0:
                shape.dim.add(dim_param="batch")
            else:
                shape.dim.add(dim_param=f"{value.name}_{axis}")


def protect_pooling_pads(proto: Any) -> int:
    """Keep ONNX Runtime from folding zero padding into a pooling: a maximum pads with minus infinity.

    Its Pad_Fusion (1.31 still) does that, and where the pooling's input may be negative the result is wrong
    (ResNet50V2: by 5 to 17 % of the logits' deviation); a pooling with more padding than its window is wide, also one
    that averages, is then refused by ONNX Runtime itself. Padding with 1e-37 instead of 0 is not folded, and differs
    from 0 by less than any float32 sum can show.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.

    Returns:
        How many pads were changed.
    """
    import onnx

    graph = proto.graph
    pooled = {node.input[0] for node in graph.node if node.op_type in ("MaxPool", "AveragePool")}
    pads = [node for node in graph.node if node.op_type == "Pad" and node.output[0] in pooled]
    initial = {tensor.name: tensor for tensor in graph.initializer}
    changed = 0
    for node in pads:
        if any(a.name == "mode" and a.s not in (b"", b"constant") for a in node.attribute):
            continue
        attributes = [a for a in node.attribute if a.name == "value"]
        named = node.input[2] if len(node.input) > 2 else ""
        if named and (named not in initial or onnx.numpy_helper.to_array(initial[named]).item() != 0):
            continue
        if len(node.input) < 2:  # before opset 11 the value is an attribute
            for attribute in attributes:
                node.attribute.remove(attribute)
            node.attribute.append(onnx.helper.make_attribute("value", _ALMOST_ZERO))
        else:
            name = f"{node.output[0]}__almost_zero"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(_ALMOST_ZERO, np.float32), name))
            operands = [*node.input, ""]
            operands[2] = name
            node.input[:] = [*operands[:3], *node.input[3:]]
        changed += 1
    if changed:
        drop_unused_initialisers(proto)
    return changed


def fold_scales(proto: Any) -> int:
    """Fold the multiplications and additions of batch normalisation after a convolution into its weights.

    tf2onnx leaves them after depthwise convolutions and after those whose kernel was a placeholder. ONNX
    Runtime folds them when it loads the file; quantisation and other runtimes need them folded in it.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.

    Returns:
        How many operations were folded.
    """
    graph = proto.graph
    initial = {tensor.name: tensor for tensor in graph.initializer}
    counts = use_counts(graph)
    readers = {name: node for node in graph.node for name in node.input if counts[name] == 1}
    folded = 0
    for convolution in [node for node in graph.node if node.op_type == "Conv"]:
        while (step := readers.get(convolution.output[0])) is not None and step.op_type in ("Mul", "Add"):
            if not _fold_step(graph, convolution, step, initial, counts):
                break
            convolution.output[0] = step.output[0]
            graph.node.remove(step)
            folded += 1
    if folded:
        drop_unused_initialisers(proto)
    return folded


def _fold_step(graph: Any, convolution: Any, step: Any, initial: dict[str, Any], counts: Mapping[str, int]) -> bool:
    import onnx

    other = step.input[1] if step.input[0] == convolution.output[0] else step.input[0]
    kernel_name = convolution.input[1]
    bias_name = convolution.input[2] if len(convolution.input) > 2 else ""
    if any(name and (name not in initial) for name in (other, kernel_name, bias_name)):
        return False
    kernel = onnx.numpy_helper.to_array(initial[kernel_name])
    vector = _per_channel(onnx.numpy_helper.to_array(initial[other]), kernel)
    if vector is None or kernel.dtype != np.float32:
        return False
    bias = onnx.numpy_helper.to_array(initial[bias_name]) if bias_name else np.zeros(len(kernel), np.float32)
    if step.op_type == "Mul":
        if counts[kernel_name] > 1:
            return False
        kernel = kernel * vector.reshape(-1, *[1] * (kernel.ndim - 1))
        initial[kernel_name].CopyFrom(onnx.numpy_helper.from_array(kernel, kernel_name))
    bias = bias * vector if step.op_type == "Mul" else bias + vector
    # A name of its own: another convolution may share the old bias.
    new = f"{step.output[0]}__bias"
    graph.initializer.append(onnx.numpy_helper.from_array(bias.astype(np.float32), new))
    initial[new] = graph.initializer[-1]
    convolution.input[:] = [convolution.input[0], kernel_name, new]
    return True


def _per_channel(values: Array, kernel: Array) -> Array | None:
    """Values that vary along the channel axis of an NC... tensor only, as one vector; None if they do not."""
    rank, channels = kernel.ndim, kernel.shape[0]
    if values.size == 1 and values.ndim <= rank:
        return np.full(channels, values.reshape(()), np.float32)
    shape = (1,) * (rank - values.ndim) + values.shape
    return values.reshape(-1) if shape == (1, channels, *[1] * (rank - 2)) else None
