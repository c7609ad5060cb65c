"""Ask a user's function what takes the place of each match, and put it there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras

from kerasurgeon.errors import PassError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.keras_io.derive import keras_layer
from kerasurgeon.replacing.put import put_layer, put_region
from kerasurgeon.replacing.select import Selection
from kerasurgeon.replacing.site import ReplaceSite, takes_site
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.matching import Match
from kerasurgeon.rewrite.passes import Skip

Replacement: TypeAlias = Any  # a layer, a model, a function of tensors, a list of layers, None or a reason
"""What a user's function may return."""


def replace_selected(
    graph: Graph,
    selection: Selection,
    function: Callable[..., Replacement],
    context: Context,
    *,
    arguments: Mapping[str, Any] | None = None,
    carry_weights: bool = True,
) -> None:
    """Replace every match once, in place; what is put there is not looked at again.

    Args:
        graph: The graph.
        selection: Which nodes.
        function: Gives what takes the place of a layer: see ``ReplaceLayers``.
        context: Where to log.
        arguments: Further keyword arguments of the function.
        carry_weights: Whether new layers get the old weights of the same path and shape.

    Raises:
        PassError: The function fails, or returns something that is no layer.
        GraphError: An output that is used would be gone.
        VerificationError: What follows cannot take what the new layer gives.
    """
    matches, left = selection.sites(graph)
    done: set[str] = set()
    for position, found in enumerate(matches):
        root = found.root.name
        context.progress(position / len(matches), f"ReplaceLayers: {root}")
        if root in done:
            continue
        match = selection.again(graph, root)
        if match is None or done.intersection(node.name for node in match.nodes):
            context.left(root, "a part of it was replaced with another match")
            continue
        calls = graph.calls(match.root.layer) if len(match.nodes) == 1 else (match.root,)
        done.update(node.name for node in (*match.nodes, *calls))
        try:
            new = _ask(graph, match, function, arguments or {})
            what = _put(graph, match, calls, new, carry_weights)
        except Skip as skip:
            context.left(root, skip.reason)
        else:
            context.changed(root, what)
    for name, reason in left.items():
        context.left(name, reason)
    if not context.sites:
        context.left(graph.name, selection.why_nothing(graph))


def _put(graph: Graph, match: Match, calls: tuple[Node, ...], new: Any, carry_weights: bool) -> str:
    if len(match.nodes) == 1 and isinstance(new, keras.Layer) and not isinstance(new, keras.Model):
        return put_layer(graph, calls, new, carry_weights=carry_weights)
    if len(calls) > 1 and graph.layer_of(match.root).weights:
        raise Skip(f"its layer is called {len(calls)} times, and only a single layer could be shared likewise")
    for call in calls:
        what = put_region(graph, match if call == match.root else None, call, new)
    return what


def _ask(graph: Graph, match: Match, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What the function returns for a match, checked; a list as one function of tensors."""
    site = ReplaceSite.of(graph, match)
    layer = keras_layer(graph, match.root)
    given = (layer, site) if takes_site(function, arguments) else (layer,)
    try:
        new = function(*given, **arguments)
    except Skip:
        raise
    except Exception as error:
        raise PassError(
            f"The function of ReplaceLayers fails: {type(error).__name__}: {error}",
            where=f"node {site.name!r}",
            hint="return None or a reason, as a string, for layers that it cannot replace",
        ) from error
    if new is None:
        raise Skip("the function returned None")
    if isinstance(new, str):
        raise Skip(new)
    if isinstance(new, (list, tuple)):
        return _chain(list(new))
    if not callable(new):
        raise PassError(
            "The function of ReplaceLayers returns something that is no layer.",
            where=f"node {site.name!r}",
            expected="a Keras layer or model, a list of layers, a function of tensors, None or a reason",
            got=repr(new),
        )
    return new


def _chain(layers: list[Any]) -> Callable[..., Any]:
    if not layers or not all(callable(layer) for layer in layers):
        raise PassError("The function of ReplaceLayers returns a list of something else than layers.", got=repr(layers))

    def chain(*tensors: Any) -> Any:
        result = layers[0](*tensors)
        for layer in layers[1:]:
            result = layer(result)
        return result

    return chain


__all__ = ["Replacement", "replace_selected"]
