"""How much memory the tensors take that are alive at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value


def live_bytes(
    order: Sequence[Node],
    sizes: Mapping[str, Sequence[int]],
    *,
    inputs: Iterable[Value],
    outputs: Iterable[Value],
) -> list[int]:
    """Bytes of all tensors alive while each node runs.

    A tensor is alive from the node that computes it to the last node that reads it, both included: while a
    node runs, its operands and its results are there together. Model inputs are alive from the start, model
    outputs to the end; a result that nothing reads is alive only while its node runs. No node works in place,
    no two tensors share memory.

    Args:
        order: The nodes in the order in which they run.
        sizes: Bytes of each output of each node.
        inputs: The model's inputs.
        outputs: The model's outputs.

    Returns:
        Bytes by position in ``order``.
    """
    position = {node.name: index for index, node in enumerate(order)}
    first = {Value(name, index): start for name, start in position.items() for index in range(len(sizes[name]))}
    last = dict(first)
    for node in order:
        for value in node.inputs:
            last[value] = position[node.name]  # in order, so that the latest one stays
    for value in inputs:
        first[value] = 0
    for value in outputs:
        last[value] = len(order) - 1
    change = [0] * (len(order) + 1)
    for value, start in first.items():
        size = sizes[value.node][value.index]
        change[start] += size
        change[last[value] + 1] -= size
    live, total = [], 0
    for here in range(len(order)):
        total += change[here]
        live.append(total)
    return live
