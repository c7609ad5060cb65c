"""Other inputs: channels by a matrix that the first kernels take up, sizes by what Keras makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.adapting.dense import resampled
from kerasurgeon.adapting.options import Shape
from kerasurgeon.adapting.rows import Array, remake
from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.cut import fit_scope
from kerasurgeon.errors import GraphError, OptionError, PlaceError, VerificationError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.keras_io.derive import derive_specs

CHANNELS = ("average", "repeat", "cut")
"""What new channels of an input are made of."""
DENSE = ("refuse", "resample")
"""What becomes of a kernel with a row for each position."""


def resize_inputs(
    graph: Graph,
    shape: Shape | Mapping[str, Shape],
    *,
    channels: str = "average",
    keep: Sequence[int] | None = None,
    dense: str = "refuse",
) -> dict[str, str]:
    """Give inputs other channels and sizes, in place.

    Args:
        graph: The graph.
        shape: The new shape without the batch, ``None`` for a size that is left open; by name where there are several
            inputs.
        channels: ``"average"``, ``"repeat"`` or ``"cut"``: see ``change_input``.
        keep: For ``"cut"``: which channels stay, in their new order; by default the first ones.
        dense: ``"refuse"`` or ``"resample"`` what has a weight for each position.

    Returns:
        What was done, by node.

    Raises:
        GraphError: The network cannot take the new input; the graph is as it was.
        OptionError: A shape has another number of axes, or channels are named that are not there.
        PlaceError: There is no such input, or there are several.
    """
    trial = graph.copy()
    done: dict[str, str] = {}
    for name, new in _by_name(trial, shape).items():
        old = trial[name].outputs[0].shape[1:]
        if len(new) != len(old):
            raise OptionError(
                f"The new shape of input {name!r} has another number of axes.",
                expected=f"{len(old)}, as {old}",
                got=str(tuple(new)),
            )
        axis = _channel_axis(trial, trial[name])
        if axis is not None and old[axis - 1] != new[axis - 1]:
            done |= _other_channels(trial, name, axis, new[axis - 1], channels, keep)
        elif keep is not None:
            raise OptionError(f"Input {name!r} keeps its channels.", got=f"keep={list(keep)}", hint="leave keep out")
        if trial[name].outputs[0].shape[1:] != tuple(new):
            done |= _other_sizes(trial, name, tuple(new), dense)
        if trial[name] is not graph[name]:
            done[name] = f"{_said(old)} became {_said(new)}"
    graph.adopt(trial)
    return done


def _by_name(graph: Graph, shape: Any) -> dict[str, Shape]:
    names = [value.node for value in values_in(graph.inputs)]
    if not isinstance(shape, Mapping):
        if len(names) != 1:
            raise PlaceError(
                f"The network has {len(names)} inputs.", hint=f"name them: {{{names[0]!r}: {tuple(shape)}}}"
            )
        return {names[0]: shape}
    for name in shape:
        if name not in names:
            raise PlaceError(f"The network has no input {name!r}.", hint=did_you_mean(str(name), names))
    return dict(shape)


def _channel_axis(graph: Graph, node: Node) -> int | None:
    """The axis along which the channels of an input stand; none of an input of ids."""
    spec = node.outputs[0]
    if len(spec.shape) < (2 if (spec.dtype or "").startswith(("float", "bfloat")) else 4):
        return None
    waiting, seen = [node.name], {node.name}
    while waiting:
        name = waiting.pop(0)
        layer = graph.layer_of(name)
        if "data_format" in layer.config and name != node.name:
            return 1 if layer.config["data_format"] == "channels_first" else len(spec.shape) - 1
        users = [user for user in graph.digraph.successors(name) if user not in seen]
        seen.update(users)
        waiting += users
    return len(spec.shape) - 1


def _other_channels(
    graph: Graph, name: str, axis: int, new: int | None, how: str, keep: Sequence[int] | None
) -> dict[str, str]:
    old = graph[name].outputs[0].shape[axis]
    if old is None or new is None:
        raise OptionError(f"The number of channels of input {name!r} has to be known.", got=f"{old} to {new}")
    mix = _mix(name, old, new, how, keep)
    found = analyse(graph, inputs={name: axis})
    factor = found.labels[name][0].factor(axis)
    assert factor is not None
    touched = remake(graph, found, factor.ids, mix, f"the channels of input {name!r}")
    said = {"average": "averaged", "repeat": "repeated", "cut": "cut"}[how]
    return {graph.calls(key)[0].name: f"{said} for {new} channels in place of {old}" for key in touched}


def _mix(name: str, old: int, new: int, how: str, keep: Sequence[int] | None) -> Array:
    """What each new channel stands for: the new network computes what the old one does of ``x @ mix``."""
    if how == "average":
        return np.full((new, old), 1.0 / new)
    mix = np.zeros((new, old))
    if how == "repeat":
        mix[np.arange(new), np.arange(new) % old] = 1.0
        return np.asarray(mix / np.maximum(mix.sum(axis=0), 1.0))
    kept = list(range(new)) if keep is None else list(keep)
    if len(kept) != new or len(set(kept)) != new or any(not 0 <= each < old for each in kept):
        raise OptionError(
            f"Input {name!r} cannot be cut to these channels.",
            expected=f"{new} different numbers from 0 to {old - 1}",
            got=", ".join(map(str, kept)),
            hint="channels='repeat' or 'average' make more of them" if new > old else None,
        )
    mix[np.arange(new), kept] = 1.0
    return mix


def _other_sizes(graph: Graph, name: str, shape: tuple[int | None, ...], dense: str) -> dict[str, str]:
    node = graph[name]
    spec = node.outputs[0]
    before = {each.name: each.outputs for each in graph.nodes()}
    sizes = (spec.shape[0], *shape)
    graph.update_layer(node.layer, replace(graph.layer_of(node).with_config(batch_shape=sizes), build_config=None))
    graph.set_outputs(node, [TensorSpec(sizes, spec.dtype, spec.sparse)])
    done: dict[str, str] = {}
    for each in graph.nodes():
        if each.name not in graph.unchecked:
            continue
        try:
            derived = derive_specs(graph, each.name)
        except VerificationError as error:
            kernel = resampled(graph, each.name, before)
            if kernel is None or dense != "resample":
                raise _refused(error, each.name, kernel is not None) from error
            graph.update_layer(each.layer, graph.layers[each.layer].with_weights(**kernel))
            derived = derive_specs(graph, each.name)
            done[each.name] = "its kernel was resampled for the new positions"
        if derived != graph[each.name].outputs:
            graph.set_outputs(each.name, derived)
        graph.mark_checked(each.name)
    calls = Counter(scope.model for scope in graph.scopes.values())
    for scope in tuple(graph.scopes.values()):
        fit_scope(graph, scope, fix=calls[scope.model] == 1)
    return done


def _refused(error: VerificationError, node: str, by_position: bool) -> GraphError:
    hint = "cut it off in front of that layer (extract), or replace the layer (replace_layer)"
    if by_position:
        hint = f"dense='resample' makes its kernel fit by interpolation; or {hint}"
    return GraphError(
        f"Node {node!r} cannot work on the new size.", where=f"node {node!r}", got=error.got or error.what, hint=hint
    )


def _said(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape)


__all__ = ["CHANNELS", "DENSE", "resize_inputs"]
