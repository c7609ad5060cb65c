"""What writing a model's graph is, whatever the format: every call by its layer's rule, in the order of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_graph import Tensors, write_nodes
from kerasurgeon.rules.onnx_parts import Order, Parts, Tensor, channels_first, natural
from kerasurgeon.rules.sizes import resolve


class CannotWrite(Exception):  # noqa: N818 - an answer: the caller then takes another way
    """Some calls cannot be written.

    Args:
        reasons: Why, by node.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = dict(reasons)


def written(
    graph: Graph,
    parts: Parts,
    inputs: Sequence[TensorInfo],
    batch_size: int | None,
    prepare: Callable[[OnnxCall], None],
    call_type: type[OnnxCall],
    *,
    turned: bool = False,
) -> Tensors:
    """Write every node of a graph; the tensors that stand for its values.

    Args:
        graph: The graph.
        parts: Where operators and constants go.
        inputs: The model's inputs.
        batch_size: The batch size to build in; None leaves it free.
        prepare: Told of every call before it is written; raises ``CannotTell`` for those that are not to be.
        call_type: The class of calls.
        turned: Whether inputs of four axes have their channels at place 1.

    Raises:
        CannotWrite: Some calls have no rule that knows how.
    """
    tensors: Tensors = {}
    nodes = graph.nodes()
    specs = {node.name: node.outputs for node in nodes} if batch_size is None else resolve(graph, batch_size=batch_size)
    for value, info in zip(leaves(graph.inputs), inputs, strict=True):
        (spec,) = specs[value.node]
        order = border_order(len(spec.shape), turned=turned)
        given = replace(spec, shape=tuple(spec.shape[axis] for axis in order))
        tensors[value.node] = {0: Tensor(spec, forms={order: parts.known(parts.fresh(info.name), given)})}
    reasons = write_nodes(graph, specs, tensors, parts, prepare=prepare, call_type=call_type)
    if reasons:
        raise CannotWrite(reasons)
    return tensors


def border_order(rank: int, *, turned: bool) -> Order:
    """The order of axes of a model's input or output: Keras' own, or images with channels at place 1."""
    return channels_first(rank) if turned and rank == 4 else natural(rank)


def shown(reasons: Mapping[str, str]) -> str:
    """The first reasons, one per layer."""
    lines = [f"{name}: {reason}" for name, reason in list(reasons.items())[:3]]
    return "; ".join(lines) + (f"; and {len(reasons) - 3} more calls" if len(reasons) > 3 else "")
