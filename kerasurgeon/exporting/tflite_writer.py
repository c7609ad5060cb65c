"""Write a model to TFLite from its graph: every call by its layer's rule, without another framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from kerasurgeon.exporting.graph_writing import CannotWrite, written
from kerasurgeon.exporting.onnx_simplify import simplified
from kerasurgeon.exporting.origin import origin
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.exporting.tflite_packing import packed
from kerasurgeon.exporting.tflite_storing import halve, narrow_masks, store_as_int8
from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io import lift
from kerasurgeon.layers.tflite_operators import BY_ELEMENT, TRANSLATIONS
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_parts import Operator, Tensor
from kerasurgeon.rules.onnx_unsaid import preparation
from kerasurgeon.rules.tflite_call import TfliteCall, TfliteParts

FUSED = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""Activations that other operators end in, by the schema's numbers."""
_FUSING = frozenset(
    ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D")
)
_BIASED = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
_REDUCING = frozenset(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"))


def write_tflite(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    batch_size: int | None,
    weights: Literal["float32", "float16", "int8"] = "float32",
    scores: tuple[float, float] | None = None,
) -> memoryview:
    """Write a model from its graph.

    Args:
        model: A model.
        inputs: Its inputs.
        outputs: Its outputs.
        batch_size: The batch size to build in; None leaves it free.
        weights: How large weights are stored.
        scores: Between what values lies what masks hide: they hide it by numbers just below, which int8 can hold, and
            not by huge ones.

    Returns:
        The file's content.

    Raises:
        CannotWrite: Some calls have no rule that knows how.
    """
    graph = simplified(lift(model))
    parts = TfliteParts(TRANSLATIONS, BY_ELEMENT)
    tensors = written(graph, parts, inputs, batch_size, preparation(model), TfliteCall)
    values = list(leaves(graph.outputs))
    results: list[str] = []
    for value, info in zip(values, outputs, strict=True):
        try:
            results.append(_result(tensors[value.node][value.index], parts, info, results))
        except CannotTell as reason:
            raise CannotWrite({info.name: str(reason)}) from reason
    parts.drop_unused(results)
    parts.merge_equal(results)
    fuse(parts, results)
    if weights == "float16":
        halve(parts)
    elif weights == "int8":
        store_as_int8(parts)
    if scores is not None:
        narrow_masks(parts, *scores)
    titles = _titles(tensors, parts) | dict(zip(results, (info.name for info in outputs), strict=True))
    return packed(model.name, parts, inputs, outputs, results, titles, origin(model))


def _result(tensor: Tensor, parts: TfliteParts, info: TensorInfo, others: Sequence[str]) -> str:
    """The tensor that an output is: one that an operator makes, and no other output is."""
    call = TfliteCall(info.name, None, (), parts=parts)  # type: ignore[arg-type]  # there is no layer: nothing asks
    name = call.read(tensor, dtype=tensor.dtype)
    if name in others or not any(name in operator.outputs for operator in parts.operators):
        sizes = call.sizes(name)
        if sizes.count(None) > 1:
            name = call.native("TRANSPOSE", name, call.index(*range(len(sizes))), sizes=sizes)
        else:
            target = call.index(*(-1 if size is None else size for size in sizes))
            name = call.native("RESHAPE", name, target, sizes=sizes)
    return call.cast(name, tensor.dtype)


def fuse(parts: TfliteParts, results: Sequence[str]) -> None:
    """Let operators end in what is done to their results, where nothing else reads these.

    Convolutions and their like take up sums with constants and end in activations, reductions keep the axes that a
    reshape would put back.
    """
    readers = Counter([*(name for operator in parts.operators for name in operator.inputs), *results])
    makers = {name: operator for operator in parts.operators for name in operator.outputs}
    kept: list[Operator] = []
    for operator in parts.operators:
        own = next((name for name in operator.inputs if name in makers), None)
        maker = None if own is None or readers[own] > 1 else makers[own]
        more = None if maker is None else _ending(maker, operator, parts)
        if maker is None or more is None:
            kept.append(operator)
            continue
        maker.attributes |= more
        maker.outputs = operator.outputs
        makers[operator.outputs[0]] = maker
    parts.operators = kept


def _ending(maker: Operator, operator: Operator, parts: TfliteParts) -> dict[str, Any] | None:
    """The settings by which an operator does what another would do to its result; ``None`` if there are none."""
    if operator.kind == "ADD" and maker.kind in _BIASED:
        return _biased(maker, operator, parts)
    own = operator.inputs[0]
    if own not in maker.outputs:
        return None
    if operator.kind in FUSED:
        if (
            maker.kind in _FUSING
            and "fusedActivationFunction" not in maker.attributes
            and parts.types[own] == "float32"
        ):
            return {"fusedActivationFunction": FUSED[operator.kind]}
        return None
    if operator.kind != "RESHAPE" or maker.kind not in _REDUCING or maker.attributes["keepDims"]:
        return None
    sizes, axes = parts.shapes[maker.inputs[0]], parts.constants[maker.inputs[1]]
    whole = tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
    return {"keepDims": True} if parts.shapes[operator.outputs[0]] == whole else None


def _biased(maker: Operator, operator: Operator, parts: TfliteParts) -> dict[str, Any] | None:
    """Let a linear operator's bias take up a constant that is added to its result."""
    constants = [parts.constants[name] for name in operator.inputs if name in parts.constants]
    made, shape = maker.outputs[0], parts.shapes[operator.outputs[0]]
    if len(constants) != 1 or shape != parts.shapes[made] or parts.types[made] != "float32":
        return None
    if operator.attributes or maker.attributes.get("fusedActivationFunction"):
        return None
    (constant,) = constants
    bias = maker.inputs[2] if len(maker.inputs) > 2 else ""
    channels = shape[-1]
    if channels is None or constant.size not in (1, channels) or constant.size != (constant.shape or (1,))[-1]:
        return None
    before = parts.constants.get(bias)
    if bias and before is None:
        return None
    total = np.broadcast_to(constant.reshape(-1), (channels,)) + (0 if before is None else before)
    maker.inputs = [*maker.inputs[:2], parts.constant(np.asarray(total, np.float32), f"{maker.name}/bias")]
    return {}


def _titles(tensors: dict[str, dict[int, Tensor]], parts: TfliteParts) -> dict[str, str]:
    """What tensors are called: as the layer that gives them, and as the weight that they were made of."""
    made = {name for operator in parts.operators for name in operator.outputs}
    found: dict[str, str] = {}
    taken: set[str] = set()
    for node, several in tensors.items():
        for tensor in several.values():
            for name in tensor.forms.values():
                if len(several) == 1 and name in made and name not in found and node not in taken:
                    found[name] = node
                    taken.add(node)
    for name in parts.constants:
        origin = parts.origins.get(name, name)
        if origin != name and origin not in taken and origin not in parts.constants:
            found[name] = origin
            taken.add(origin)
    return found
