"""Put a pooling and a 1x1 convolution in place of all that lies between two layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves, lift
from kerasurgeon.blocks import (
    BlockStep,
    between,
    cuts_option,
    free_names,
    geometry,
    put_all,
    translator,
    without_overlap,
)


@final
@dataclass(frozen=True)
class ReplaceWithTranslator(Pass):
    """Put translators in place of all that lies strictly between two layers A and B.

    A translator is a max pooling, where the image of A is larger than the one that B reads, and a 1x1 convolution with
    bias from the channels of A to those that B reads. Its weights are fresh; ``train_bridges`` trains them. The first
    one's layers are called ``translator_1_...``, and the convolution takes over the name of the layer that B read.

    Matches:
        The cuts that are named: A and B with one tensor at both ends and no other that crosses.
    Leaves alone:
        All else.
    Preserves:
        Shapes and dtypes at the cuts. Outputs not, until the translators are trained.

    Args:
        cuts: Pairs of names (A, B): the last layer that stays in front, and the first that is kept behind. One pair, or
            several that do not overlap. ``cut_pairs(graph)`` lists them with what they save.
        activation: Activation of the convolution, by Keras' name; ``"linear"`` for none.

    Raises:
        OptionError: An option has a value that it may not have.
        PlaceError: There is no such layer, other tensors cross, cuts overlap, or B reads a larger image than A makes.

    Reference:
        Camacho et al., "Neuroplasticity-Based Pruning Method for Deep Convolutional Neural Networks", Applied Sciences
        12 (2022), 4945.

    Example:
        >>> small = apply_passes(model, [ReplaceWithTranslator([("block_5_add", "block_16_expand")])])
    """

    cuts: Sequence[Any]
    activation: str = "relu"

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "cuts", cuts_option(self.name, self.cuts))
        if not isinstance(self.activation, str) or not self.activation:
            raise OptionError(
                f"{self.name}: option 'activation' cannot be used.",
                expected="the name of an activation, as 'relu'",
                got=repr(self.activation),
            )

    def run(self, graph: Graph, context: Context) -> None:
        """Find all cuts and build all translators, then put them in."""
        regions = [between(graph, first, last) for first, last in self.cuts]
        without_overlap(regions)
        steps = []
        for name, region in zip(free_names(graph, "translator", len(regions)), regions, strict=True):
            seed = int(context.rng.integers(2**31))
            try:
                network = lift(translator(geometry(graph, region), seed, self.activation))
            except ValueError as error:
                if isinstance(error, OptionError):
                    raise
                raise OptionError(
                    f"{self.name}: option 'activation' cannot be used.", got=repr(self.activation), hint=str(error)
                ) from error
            steps.append(BlockStep.of("translator", name, region, network))
        put_all(graph, steps, context)


__all__ = ["ReplaceWithTranslator"]
