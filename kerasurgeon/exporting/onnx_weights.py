"""Put the weights that stayed inputs during the conversion back into an ONNX graph.

tf2onnx copies every constant several times (25 s and 6 GB for ResNet50; it does not survive VGG16 on 24 GB).
So large weights are placeholders while it works. Here they come back as initialisers, and what the converter
wanted to do to them (transposing kernels, mostly) is done in NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kerasurgeon.exporting.tensors import Array


def _axes(node: Any, values: list[Array]) -> tuple[int, ...]:
    """The axes of Squeeze and Unsqueeze: an input since opset 13, an attribute before."""
    if len(values) > 1:
        return tuple(int(axis) for axis in values[1])
    return tuple(_attributes(node).get("axes", ()))


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _reshape(_: Any, values: list[Array]) -> Array:
    # In ONNX a 0 copies the size of the input.
    shape = [values[0].shape[i] if size == 0 else int(size) for i, size in enumerate(values[1])]
    return values[0].reshape(shape)


def _squeeze(node: Any, values: list[Array]) -> Array:
    return np.squeeze(values[0], axis=_axes(node, values) or None)


_FOLDERS: dict[str, Callable[[Any, list[Array]], Array]] = dict(  # noqa: C408 - operators of ONNX by name
    Identity=lambda _, values: values[0],
    Transpose=lambda node, values: np.transpose(values[0], _attributes(node).get("perm")),
    Reshape=_reshape,
    Squeeze=_squeeze,
    Unsqueeze=lambda node, values: np.expand_dims(values[0], _axes(node, values)),
    Add=lambda _, values: values[0] + values[1],
    Sub=lambda _, values: values[0] - values[1],
    Mul=lambda _, values: values[0] * values[1],
    Div=lambda _, values: values[0] / values[1],
)


def restore_weights(proto: Any, weights: Mapping[str, Array]) -> None:
    """Turn graph inputs into initialisers with values, folding the operations on them alone.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.
        weights: For each graph input that is a weight, its value.
    """
    import onnx

    graph = proto.graph
    values = {name: array for name, array in weights.items() if name in {i.name for i in graph.input}}
    initial = {tensor.name: tensor for tensor in graph.initializer}
    # For old opsets tf2onnx lists initialisers as inputs too, which format version 4 made needless.
    kept_inputs = [info for info in graph.input if info.name not in values and info.name not in initial]
    del graph.input[:]
    graph.input.extend(kept_inputs)
    proto.ir_version = max(proto.ir_version, 4)
    remaining = [node for node in graph.node if not _fold(node, values, initial)]
    used = _used_names(graph, remaining)
    del graph.node[:]
    graph.node.extend(remaining)
    for name, array in values.items():
        if name in used:
            # In place: a tensor that is made first and appended then is held twice.
            tensor = graph.initializer.add(name=name, dims=array.shape)
            tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    drop_unused_initialisers(proto)


def _fold(node: Any, values: dict[str, Array], initial: Mapping[str, Any]) -> bool:
    """Compute a node whose operands are all known and at least one of them a restored weight."""
    import onnx

    folder = _FOLDERS.get(node.op_type)
    if folder is None or not any(name in values for name in node.input):
        return False
    if not all(name in values or name in initial for name in node.input):
        return False
    operands = [values[name] if name in values else onnx.numpy_helper.to_array(initial[name]) for name in node.input]
    values[node.output[0]] = folder(node, operands)
    return True


def _used_names(graph: Any, nodes: list[Any]) -> set[str]:
    """Every name that nodes read, those inside loop and branch bodies included, and the graph's outputs."""
    used = {info.name for info in graph.output}
    for node in nodes:
        used.update(node.input)
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                used |= _used_names(body, list(body.node))
    return used


def drop_unused_initialisers(proto: Any) -> None:
    """Remove the initialisers that nothing reads.

    Args:
        proto: An ``onnx.ModelProto``; changed in place.
    """
    used = _used_names(proto.graph, list(proto.graph.node))
    unused = [tensor for tensor in proto.graph.initializer if tensor.name not in used]
    for tensor in unused:
        proto.graph.initializer.remove(tensor)


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph, and those inside loop and branch bodies.

    Args:
        graph: An ``onnx.GraphProto``.
    """
    for node in graph.node:
        yield node
        yield from inner_nodes(node)


def inner_nodes(node: Any) -> Iterator[Any]:
    """The nodes inside the bodies that a node has.

    Args:
        node: An ``onnx.NodeProto``.
    """
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from all_nodes(body)


def use_counts(graph: Any) -> Counter[str]:
    """How often each name is read in a graph, loop bodies and graph outputs included.

    Args:
        graph: An ``onnx.GraphProto``.
    """
    counts: Counter[str] = Counter(info.name for info in graph.output)
    for node in graph.node:
        counts.update(node.input)
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                counts.update(use_counts(body))
    return counts
