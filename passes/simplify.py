"""Remove what does nothing, merge what one layer can do, compute what is known before the model runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import EXACT, Context, Graph, Pass, Preserves, check_flag
from kerasurgeon.simplify import RULES, apply_rules


@final
@dataclass(frozen=True)
class Simplify(Pass):
    """Remove layers and ops that do nothing in inference, merge neighbours, compute constants.

    Matches:
        Each option stands for a family of rules, see ``Args``.
    Leaves alone:
        * what an output of the model, or of a nested one, takes its name from;
        * what ends a Keras mask, and what is called in training mode;
        * shared layers, and results used elsewhere, where merging would change another call.
    Preserves:
        Outputs in inference, up to rounding; names of inputs and outputs. Training too, unless ``training_layers``.

    Args:
        training_layers: Remove what works in training only: dropout, noise, activity regularisation, augmentation,
            stopped gradients.
        identities: Remove what returns its input: linear activations, Identity, empty paddings and croppings,
            pooling and upsampling by 1, Rescaling(1, 0), x + 0, x * 1, casts to the same dtype, whole slices.
        reshapes: Remove reshapes and permutations that change nothing, and merge those in a row.
        borders: Merge zero padding into the convolution behind it where its own padding is the same, and paddings
            and croppings in a row.
        rescaling: Merge Rescaling layers in a row.
        constants: Compute ops that read constants only.
        duplicates: Compute once what is computed twice. Off by default: a tensor that is read twice keeps other
            passes from changing the layer that makes it.

    Raises:
        OptionError: An option is not true or false.

    Example:
        >>> small = apply_passes(model, [Simplify(training_layers=True)])
    """

    training_layers: bool = False
    identities: bool = True
    reshapes: bool = True
    borders: bool = True
    rescaling: bool = True
    constants: bool = True
    duplicates: bool = False

    preserves: ClassVar[Preserves] = EXACT

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check_flag(self.name, item.name, getattr(self, item.name))

    def run(self, graph: Graph, context: Context) -> None:
        """Apply every rule at every node until none applies."""
        apply_rules(graph, [rule for rule in RULES if getattr(self, rule.option)], context)


__all__ = ["RULES", "Simplify"]
