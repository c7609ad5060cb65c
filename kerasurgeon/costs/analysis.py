"""Count what a model costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasurgeon.costs.left_out import estimated_macs
from kerasurgeon.costs.liveness import live_bytes
from kerasurgeon.costs.result import Cost, CostRow, Unknown
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io import lift
from kerasurgeon.rules import OPEN_SIZE, CannotTell, Sizes, call_of, input_shapes, resolve, rule_for


def cost(model: Any, *, batch_size: int = 1, sizes: Sizes | None = None) -> Cost:
    """Count MACs, parameters, bytes of weights and bytes of activations, per call and in total.

    The model is only read; nothing is run. What the numbers mean is written in ``kerasurgeon.costs``.

    Args:
        model: A Keras model or a graph.
        batch_size: Samples at once, for the activations. MACs are for one sample, whatever it is. An input
            with a fixed batch keeps it, for the MACs too.
        sizes: Sizes of the inputs without the batch axis, where the model leaves sizes open or other ones are
            wanted: one shape for a model with one input, or shapes by the names of the inputs.

    Returns:
        The cost. Calls that no rule can tell are listed in ``unknown`` and left out of the totals.

    Raises:
        LiftError: The model has no graph.
        OptionError: An option does not fit the model.

    Example:
        >>> print(cost(keras.applications.MobileNetV2(weights=None)))
    """
    graph = model if isinstance(model, Graph) else lift(model)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise OptionError("batch_size cannot be used.", expected="a whole number from 1", got=repr(batch_size))
    specs = resolve(graph, sizes=sizes)
    batch_specs = specs if batch_size == 1 else resolve(graph, sizes=sizes, batch_size=batch_size)
    nodes = [graph[name] for name in specs]
    sizes_of = {name: [_bytes(spec) for spec in outputs] for name, outputs in batch_specs.items()}
    live = live_bytes(nodes, sizes_of, inputs=values_in(graph.inputs), outputs=values_in(graph.outputs))
    rows: list[CostRow] = []
    unknown: list[Unknown] = []
    seen: set[str] = set()
    elsewhere = graph.counted_elsewhere()
    for node, alive in zip(nodes, live, strict=True):
        layer = graph.layers[node.layer]
        macs = _macs(graph, node, specs, unknown)
        outputs = batch_specs[node.name]
        size: int | None = sum(sizes_of[node.name])
        if any(None in spec.shape for spec in outputs):
            size = None
            unknown.append(Unknown(node.name, layer.kind, "activations", OPEN_SIZE))
        counted = (0, 0, 0) if node.layer in seen else _weights(graph, node, layer, elsewhere)
        seen.add(node.layer)
        rows.append(CostRow(node.name, layer.kind, outputs[0].shape, macs, *counted, size, alive))
    asked = {} if sizes is None else {name: shape[1:] for name, shape in input_shapes(graph, sizes).items()}
    return Cost(graph.name, batch_size, tuple(rows), tuple(unknown), asked)


def _bytes(spec: TensorSpec) -> int:
    return 0 if None in spec.shape else spec.bytes()


def _macs(graph: Graph, node: Node, specs: Mapping[str, tuple[TensorSpec, ...]], unknown: list[Unknown]) -> int | None:
    call = call_of(graph, node, specs)
    try:
        return rule_for(call.kind).macs(call)
    except CannotTell as reason:
        unknown.append(Unknown(node.name, call.kind, "macs", str(reason), estimated_macs(call, str(reason))))
        return None


def _weights(graph: Graph, node: Node, layer: Layer, elsewhere: frozenset[tuple[str, str]]) -> tuple[int, int, int]:
    """Parameters, trainable parameters and bytes of a layer, without variables that another layer counts."""
    trainable = graph.model.trainable and bool(layer.config.get("trainable", True))
    path = node.scope
    while path and trainable:
        trainable = graph.scopes[path].trainable
        path = graph.scopes[path].parent
    weights = [weight for path, weight in layer.weights.items() if (node.layer, path) not in elsewhere]
    # A weight that says nothing (None) is as Keras makes it, which is trainable.
    changing = sum(weight.array.size for weight in weights if weight.trainable is not False)
    return (
        sum(weight.array.size for weight in weights),
        changing if trainable else 0,
        sum(weight.array.nbytes for weight in weights),
    )
