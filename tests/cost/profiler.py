"""TensorFlow's own counter of multiplications: independent of Keras, of configs and of our rules.

It counts by op of the traced TensorFlow graph, from the shapes that TensorFlow inferred, and counts every
multiply-accumulate as two operations. It knows no grouped convolutions inside compiled functions, no einsums
and no loops:

* Keras puts grouped convolutions into a function of their own (``jit_compile``), where the profiler does not
  look. While tracing, ``tf.function`` is therefore a decorator that does nothing.
* Einsums are counted here, from the equation and the shapes of the traced op.
* Loops must be unrolled by the model.
"""

from __future__ import annotations

from math import prod
from typing import Any

import pytest

LINEAR = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "BatchMatMulV3")
TRANSPOSED = ("Conv2DBackpropInput",)


def profiled_macs(model: Any) -> int:
    """Multiply-accumulates of one sample, as TensorFlow counts them."""
    counts = profiled(model)
    return sum(counts.get(kind, 0) for kind in (*LINEAR, *TRANSPOSED, "Einsum"))


def profiled(model: Any) -> dict[str, int]:
    """MACs by TensorFlow op: half of the profiler's float operations, and einsums as counted here."""
    graph = _traced(model)
    flops = _counted_by_profiler(graph)
    counts: dict[str, int] = {}
    for operation in _needed(graph):
        kind = operation.type
        macs = _einsum_macs(operation) if kind == "Einsum" else flops.get(operation.name, 0) // 2
        counts[kind] = counts.get(kind, 0) + macs
    return counts


def _traced(model: Any) -> Any:
    import tensorflow as tf

    inputs = [tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
    function = tf.function(lambda *tensors: model(list(tensors) if len(tensors) > 1 else tensors[0], training=False))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tf, "function", _no_function)
        return function.get_concrete_function(*inputs).graph


def _no_function(function: Any = None, **_: Any) -> Any:
    return (lambda given: given) if function is None else function


def _needed(graph: Any) -> list[Any]:
    """The operations that the outputs depend on: Keras leaves some behind that nobody reads."""
    found: dict[str, Any] = {}
    waiting = [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return list(found.values())


def _counted_by_profiler(graph: Any) -> dict[str, int]:
    """Float operations by the name of the TensorFlow operation."""
    import tensorflow as tf

    profiler = tf.compat.v1.profiler
    options = {**profiler.ProfileOptionBuilder.float_operation(), "output": "none", "min_float_ops": 0}
    waiting = [profiler.profile(graph, cmd="scope", options=options)]
    counts: dict[str, int] = {}
    while waiting:
        node = waiting.pop()
        waiting.extend(node.children)
        if node.float_ops:
            counts[node.name] = node.float_ops
    return counts


def _einsum_macs(operation: Any) -> int:
    left, result = operation.get_attr("equation").decode().split("->")
    terms = left.split(",")
    shapes = [tensor.shape.as_list() for tensor in operation.inputs]
    assert "." not in left
    if len(terms) == 1:
        return 0
    first, second = terms
    sizes = {
        letter: size
        for term, shape in zip(terms, shapes, strict=True)
        for letter, size in zip(term, shape, strict=True)
    }
    both = set(first) & set(second)
    if both <= set(result):
        return 0
    return prod(sizes[letter] for letter in both | set(result))
