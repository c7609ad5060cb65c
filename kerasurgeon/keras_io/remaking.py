"""Whether layers from outside Keras come back as they were when their classes make them again."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import EmitError, KerasurgeonError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.derive import built_layer, built_parts, symbolic_operands
from kerasurgeon.keras_io.foreign import foreign_in, remedy, told
from kerasurgeon.keras_io.internals import operations
from kerasurgeon.keras_io.running import Runner, call_layer


def has_foreign(graph: Graph) -> bool:
    """Whether a layer of a graph is made by code from outside Keras."""
    return any(foreign_in(layer) for layer in graph.layers.values())


def fault_of_layers(graph: Graph) -> EmitError | None:
    """What is wrong with the first layer from outside Keras that its class cannot make again; ``None`` if all can be.

    Args:
        graph: A graph as it was lifted.
    """
    for key, layer in graph.layers.items():
        if not foreign_in(layer):
            continue
        args, kwargs = symbolic_operands(graph, graph.calls(key)[0])
        try:
            made = built_layer(layer, args, kwargs, parts=built_parts(graph, layer))
            with told(layer, "fails when it is called"):
                made(*args, **kwargs)
        except EmitError as error:
            return error
    return None


def not_as_it_was(model: keras.Model, graph: Graph, inputs: Any, difference: float) -> EmitError:
    """The error for a model whose layers, made again, compute something else.

    Args:
        model: The model.
        graph: What was lifted from it.
        inputs: On what it shows, nested as the model's inputs.
        difference: How far the outputs are apart.
    """
    known = {(type(one), one.name): one for one in operations(model)}
    runner = Runner(graph)
    suspects = [layer for layer in graph.layers.values() if foreign_in(layer)]
    for node, tensors in runner.walk(keras.tree.flatten(inputs)):
        layer = graph.layer_of(node)
        original = known.get((layer.cls, layer.name))
        if original is not None and foreign_in(layer):
            try:
                pair = [call_layer(graph, node, original, tensors), runner.call(node, tensors)]
            except KerasurgeonError:
                break
            if any(not np.array_equal(_array(a), _array(b), equal_nan=True) for a, b in zip(*pair, strict=True)):
                suspects = [layer]
                break
    names = ", ".join(f"{layer.name!r} ({layer.kind})" for layer in suspects[:3])
    return EmitError(
        f"Layer {names} computes something else when it is made again."
        if len(suspects) == 1
        else "The model computes something else when its layers are made again.",
        where=", ".join(dict.fromkeys(foreign_in(layer) for layer in suspects[:3])),
        expected="the same outputs, before any pass has run",
        got=f"a relative difference of {difference:.1e}",
        hint=remedy(suspects[0], "report this as a bug of kerasurgeon"),
    )


def _array(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


__all__ = ["fault_of_layers", "has_foreign", "not_as_it_was"]
