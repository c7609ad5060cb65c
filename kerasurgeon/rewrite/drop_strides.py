"""Take the first strides out of a network and dilate nothing: what was made for large images works on small ones."""

from __future__ import annotations

from dataclasses import replace

from kerasurgeon.errors import GraphError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.keras_io.derive import infer
from kerasurgeon.rewrite.dilate import needs_sizes, strided_windows
from kerasurgeon.rewrite.grids import Grid, Window, scaled_padding
from kerasurgeon.rewrite.option_checks import check_count
from kerasurgeon.rules.asking import positions_of
from kerasurgeon.rules.layout import spatial_axes
from kerasurgeon.rules.positions import Border


def drop_strides(graph: Graph, count: int) -> dict[str, str]:
    """Take the first strides out of a network, weights kept; all that follows sees maps that are so much larger.

    Where branches are added, strides that bring the same size down go together. Padding before a layer that loses its
    stride becomes symmetric, so that the size stays. Unlike ``dilate_strides``, this changes what the network computes:
    it is for images smaller than those that it was made for, and for training it on them.

    Args:
        graph: The graph, changed in place, as a whole or not.
        count: How often the size is no longer brought down.

    Returns:
        What was done to each node, by name.

    Raises:
        OptionError: ``count`` is not a whole number above 0.
        GraphError: The network brings the size down less often, a layer with a stride is used elsewhere too, or what
            follows needs the sizes that it has (a dense layer behind a flattening).
    """
    check_count("drop_strides", "count", count)
    trial = graph.copy()
    windows = strided_windows(trial)
    steps = sorted({stride for _, stride in windows.values()})
    if count > len(steps):
        raise GraphError(
            "The network does not bring the size of its maps down so often.",
            where=f"model {graph.name!r}",
            expected=f"up to {len(steps)} strides to take out",
            got=str(count),
        )
    done: dict[str, str] = {}
    losing = {name: window for name, (window, stride) in windows.items() if stride <= steps[count - 1]}
    for name, window in losing.items():
        done |= _without_stride(trial, trial[name], window)
    for name in losing:
        before = trial.producer(trial[name].inputs[0])
        if before.name not in done:
            done |= _symmetric(trial, before, losing)
    try:
        infer(trial)
    except VerificationError as error:
        raise needs_sizes(error) from error
    graph.adopt(trial)
    return done


def _without_stride(graph: Graph, node: Node, window: Window) -> dict[str, str]:
    layer = graph.layer_of(node)
    if node.layer in graph.held_layers() or len(graph.calls(node.layer)) > 1:
        raise GraphError(
            f"Layer {node.layer!r} would lose its stride, and another layer or call uses it too.",
            where=f"node {node.name!r}",
            hint="give each call a layer of its own: graph.fork_layer(node)",
        )
    given = layer.config["strides"]
    ones = 1 if isinstance(given, int) else type(given)([1] * len(given))
    graph.update_layer(node.layer, layer.with_config(strides=ones))
    return {node.name: f"stride {'x'.join(map(str, window.strides))} becomes 1"}


def _symmetric(graph: Graph, node: Node, losing: dict[str, Window]) -> dict[str, str]:
    """Padding that was made for a stride, for none: what brought a size down by the stride alone now keeps it."""
    border = positions_of(graph, node) if node.inputs else None
    windows = {losing.get(user.name) for user in graph.users(node)}
    window = windows.pop()
    if not isinstance(border, Border) or border.cuts or windows or window is None or window.padding != "valid":
        return {}
    layer, shape = graph.layer_of(node), graph.spec(node.inputs[0]).shape
    lengths = tuple(shape[axis] for axis in spatial_axes(layer.config, len(shape)))
    new, _ = scaled_padding(border.sides, replace(window, lengths=lengths), Grid.input(len(lengths)), aligned=False)
    if new.pads == border.sides or graph.is_output(node.value):
        return {}
    graph.update_layer(node.layer, layer.with_config(padding=new.pads[0] if len(new.pads) == 1 else new.pads))
    return {node.name: f"padding {border.sides} becomes {new.pads}"}


__all__ = ["drop_strides"]
