"""Put something else in place of layers: whatever a user's function makes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, EXACT, Context, Graph, OptionError, Pass, Preserves
from kerasurgeon.replacing import Replacement, Selection, Where, replace_selected, resolve


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
        replace_selected(
            graph,
            Selection(self.pattern, self.where),
            resolve(self.function, "ReplaceLayers.function"),
            context,
            arguments=self.arguments,
            carry_weights=self.carry_weights,
        )


__all__ = ["ReplaceLayers"]
