"""Fewer rows of a vocabulary: those that are used, in the embedding and in the head that is tied to it."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from kerasurgeon.adapting.classes import resize_outputs
from kerasurgeon.adapting.kept_ids import KeptIds
from kerasurgeon.errors import GraphError, OptionError, PlaceError, VerificationError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io.derive import derive_specs

HEADS = ("tied", "cut")
"""Which outputs over the vocabulary lose the rows too."""


def cut_vocabulary(
    graph: Graph, keep: Sequence[int], *, layer: str | None = None, head: str = "tied"
) -> tuple[KeptIds, dict[str, str]]:
    """Keep some rows of an embedding, in place.

    Args:
        graph: The graph.
        keep: The old ids that stay, in the order of the new ones.
        layer: The embedding; needed where there are several.
        head: ``"tied"``: outputs by the embedding's own table lose the rows too. ``"cut"``: those of layers with
            weights of their own as well.

    Returns:
        Which ids were kept, and what was done, by node.

    Raises:
        GraphError: Something further on needs all rows; the graph is as it was.
        OptionError: An id is not there, or is named twice; or 0 is not first where it is the mask.
        PlaceError: There is no such embedding, or there are several.
    """
    key = _embedding(graph, layer)
    rows = int(graph.layers[key].config["input_dim"])
    ids = [int(each) for each in keep]
    wrong = [each for each in ids if not 0 <= each < rows]
    if wrong or not ids or len(set(ids)) != len(ids):
        raise OptionError(
            f"These rows of {key!r} cannot be kept.",
            expected=f"different ids from 0 to {rows - 1}",
            got=", ".join(map(str, wrong[:5])) or f"{len(ids)}, {len(set(ids))} of them different",
        )
    if graph.layers[key].config.get("mask_zero") and ids[0] != 0:
        raise OptionError(
            f"Id 0 is what {key!r} masks: it has to stay 0.", got=f"{ids[0]} first", hint="begin keep with 0"
        )
    trial = graph.copy()
    tied = {weight.tie for weight in trial.layers[key].weights.values()} - {None}
    sharing = [
        other
        for other, each in trial.layers.items()
        if other == key or tied & {weight.tie for weight in each.weights.values()}
    ]
    for other in sharing:
        _cut_rows(trial, other, rows, ids)
    users = [name for each in sharing for name in trial.weight_users(each)]
    done = {call.name: f"{len(ids)} of {rows} rows kept" for each in sharing for call in trial.calls(each)}
    stale = set(trial.unchecked) | set(users)
    for node in trial.nodes():
        if node.name not in stale and node.name not in trial.unchecked:
            continue
        try:
            derived = derive_specs(trial, node.name)
        except VerificationError as error:
            raise GraphError(
                f"Node {node.name!r} needs all rows of {key!r}.",
                where=f"node {node.name!r}",
                got=error.got or error.what,
                hint="replace what holds a value for each row (replace_layer)",
            ) from error
        if derived != trial[node.name].outputs:
            trial.set_outputs(node.name, derived)
        trial.mark_checked(node.name)
    over = [value for value in values_in(trial.outputs) if trial.spec(value).shape[-1:] == (rows,)]
    for value in over if head == "cut" else ():
        done |= resize_outputs(trial, None, keep=ids, output=value.node)
    graph.adopt(trial)
    if over and head != "cut":
        done[over[0].node] = f"still gives {rows} values: head='cut' cuts it too"
    return KeptIds(key, rows, tuple(ids)), done


def _cut_rows(graph: Graph, key: str, rows: int, ids: list[int]) -> None:
    layer = graph.layers[key]
    if not issubclass(layer.cls, keras.layers.Embedding):
        raise GraphError(f"Layer {key!r} ({layer.kind}) holds the table too, in a form that is not known here.")
    arrays = {}
    for name, weight in layer.weights.items():
        axis = {"embeddings": 0, "reverse_embeddings": 1}.get(name)
        if axis is None or weight.shape[axis] != rows:
            raise GraphError(
                f"Layer {key!r} has a weight that is not known here.", got=f"{name} of shape {weight.shape}"
            )
        arrays[name] = np.take(weight.array, ids, axis=axis)
    graph.update_layer(key, layer.with_weights(**arrays).with_config(input_dim=len(ids)))


def _embedding(graph: Graph, name: str | None) -> str:
    found = [key for key, layer in graph.layers.items() if issubclass(layer.cls, keras.layers.Embedding)]
    if name is not None:
        if name not in found:
            raise PlaceError(f"The network has no embedding {name!r}.", hint=did_you_mean(name, found))
        return name
    if len(found) != 1:
        raise PlaceError(
            f"The network has {len(found) or 'no'} embedding layers.",
            hint=f"name one: layer={found[0]!r}, or {', '.join(map(repr, found[1:]))}" if found else None,
        )
    return found[0]


__all__ = ["HEADS", "cut_vocabulary"]
