"""Put something else in place of layers: whatever a user's function makes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, final

import keras

from kerasurgeon.authoring import (
    APPROXIMATE,
    EXACT,
    Context,
    Graph,
    Match,
    Node,
    OptionError,
    Pass,
    PassError,
    Preserves,
    Skip,
    keras_layer,
)
from kerasurgeon.replacing.put import put_layer, put_region
from kerasurgeon.replacing.select import Selection, Where
from kerasurgeon.replacing.site import ReplaceSite, resolve, takes_site

Replacement: TypeAlias = Any  # a layer, a model, a function of tensors, a list of layers, None or a reason
"""What a user's function may return."""


@final
@dataclass(frozen=True)
class ReplaceLayers(Pass):
    """Put what a function returns in place of every layer or group of layers that a pattern matches.

    The function is called once per layer, with the built Keras layer (made anew, with its weights; change it as you
    like) and, if it takes two arguments, with a ``ReplaceSite``: the name, what goes in and out, what was bound.
    It returns what takes the layer's place:

    * a Keras layer: built ones bring their weights, others get those of the old layer (see ``carry_weights``);
    * a list of layers, applied in turn; a Keras model; or a function of tensors, made of layers and ``keras.ops``;
    * ``None`` or a reason, as a string, to leave the layer alone.

    Matches:
        What ``pattern`` and ``where`` say. A layer that is called several times is replaced once, for all its calls.
    Leaves alone:
        * what ``where`` or the function refuses;
        * a shared layer with weights, where its replacement is no single layer and would not be shared.
    Preserves:
        Names: what computes the result takes the old layer's name. Outputs only if ``exact``.

    Args:
        pattern: A pattern; a kind (``"DepthwiseConv2D"``, ``"ops.relu"``); a class; the name of a node or nested model,
            with ``*`` and ``?`` for any characters (see ``names_match``), or ``"re:"`` and a regular expression;
            ``"module:name"`` of a pattern or class; or several of these.
        function: The function, or ``"module:name"`` of it.
        where: Which of the matched layers: entries of the config with the values that they must have
            (``{"kernel_size": (5, 5)}``), or a function of node and definition that returns true, or a reason.
        arguments: Further keyword arguments of the function.
        carry_weights: Give a new layer the old weights of the same path and shape.
        exact: Claim that outputs stay the same, and have that checked.

    Raises:
        OptionError: An option is none of these.
        RecipeError: A path cannot be imported.

    Example:
        >>> relu6 = ReplaceLayers("Activation", lambda layer: keras.layers.ReLU(6.0), where={"activation": "hard_silu"})
        >>> small = apply_passes(model, [relu6])
    """

    pattern: Any
    function: Callable[..., Replacement] | str
    where: Where | Mapping[str, Any] | str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    carry_weights: bool = True
    exact: bool = False

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        for option in ("carry_weights", "exact"):
            if not isinstance(getattr(self, option), bool):
                raise OptionError(
                    f"ReplaceLayers: option {option!r} must be true or false.", got=repr(getattr(self, option))
                )
        if not isinstance(self.arguments, Mapping):
            raise OptionError(
                "ReplaceLayers: option 'arguments' must hold keyword arguments.", got=repr(self.arguments)
            )
        resolve(self.function, "ReplaceLayers.function")
        Selection(self.pattern, self.where)
        if self.exact:  # the pipeline asks the instance what it promises
            object.__setattr__(self, "preserves", EXACT)

    def run(self, graph: Graph, context: Context) -> None:
        """Replace every site once; what is put there is not looked at again."""
        selection = Selection(self.pattern, self.where)
        matches, left = selection.sites(graph)
        done: set[str] = set()
        for position, found in enumerate(matches):
            root = found.root.name
            context.progress(position / len(matches), f"{self.name}: {root}")
            if root in done:
                continue
            match = selection.again(graph, root)
            if match is None or done.intersection(node.name for node in match.nodes):
                context.left(root, "a part of it was replaced with another match")
                continue
            calls = graph.calls(match.root.layer) if len(match.nodes) == 1 else (match.root,)
            done.update(node.name for node in (*match.nodes, *calls))
            try:
                what = self._replace(graph, match, calls)
            except Skip as skip:
                context.left(root, skip.reason)
            else:
                context.changed(root, what)
        for name, reason in left.items():
            context.left(name, reason)
        if not context.sites:
            context.left(graph.name, selection.why_nothing(graph))

    def _replace(self, graph: Graph, match: Match, calls: tuple[Node, ...]) -> str:
        site = ReplaceSite.of(graph, match)
        layer = keras_layer(graph, match.root)
        new = self._ask(layer, site)
        if isinstance(new, (list, tuple)):
            new = _chain(list(new))
        whole = len(match.nodes) == 1
        if whole and isinstance(new, keras.Layer) and not isinstance(new, keras.Model):
            return put_layer(graph, calls, new, carry_weights=self.carry_weights)
        if len(calls) > 1 and graph.layer_of(match.root).weights:
            raise Skip(f"its layer is called {len(calls)} times, and only a single layer could be shared likewise")
        for call in calls:
            what = put_region(graph, match if call == match.root else None, call, new)
        return what

    def _ask(self, layer: Any, site: ReplaceSite) -> Any:
        function = resolve(self.function, "ReplaceLayers.function")
        given = (layer, site) if takes_site(function, self.arguments) else (layer,)
        try:
            new = function(*given, **self.arguments)
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
        if not isinstance(new, (list, tuple)) and not callable(new):
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


__all__ = ["ReplaceLayers", "ReplaceSite", "Replacement"]
