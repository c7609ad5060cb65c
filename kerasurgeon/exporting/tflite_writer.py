"""Write a model to TFLite from its graph: every call by its layer's rule, without another framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import keras

from kerasurgeon.exporting.graph_writing import CannotWrite, written
from kerasurgeon.exporting.onnx_simplify import simplified
from kerasurgeon.exporting.origin import origin
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.exporting.tflite_fusing import absorb, fuse
from kerasurgeon.exporting.tflite_packing import packed
from kerasurgeon.exporting.tflite_storing import halve, narrow_masks, store_as_int8
from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io import lift
from kerasurgeon.layers.tflite_operators import BY_ELEMENT, TRANSLATIONS
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_parts import Tensor
from kerasurgeon.rules.onnx_unsaid import preparation
from kerasurgeon.rules.tflite_call import LONGEST, TfliteCall, TfliteParts


def write_tflite(
    model: keras.Model,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    batch_size: int | None,
    weights: Literal["float32", "float16", "int8"] = "float32",
    scores: tuple[float, float] | None = None,
    longest: int = LONGEST,
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
        longest: How many steps of a recurrence are written one by one at most.

    Returns:
        The file's content.

    Raises:
        CannotWrite: Some calls have no rule that knows how.
    """
    graph = simplified(lift(model))
    parts = TfliteParts(TRANSLATIONS, BY_ELEMENT, longest)
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
    absorb(parts, results)
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
