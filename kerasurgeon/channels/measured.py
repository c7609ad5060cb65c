"""How many samples can be run at once."""

from __future__ import annotations

from kerasurgeon.costs.liveness import live_bytes
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in


def samples_at_once(graph: Graph, memory: int) -> int:
    """How many samples can be run together within some bytes of tensors."""
    order = list(graph.nodes())
    sizes = {node.name: [spec.bytes(1) for spec in node.outputs] for node in order}
    live = live_bytes(order, sizes, inputs=values_in(graph.inputs), outputs=values_in(graph.outputs))
    return max(1, memory // max(*live, 1))
