"""Other classes, with the weights of those that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from kerasurgeon.adapting import read_ids, resize_outputs
from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves, check_count


@final
@dataclass(frozen=True)
class ChangeClasses(Pass):
    """Give an output other classes: some of the old ones, new ones behind them.

    Matches:
        What makes the classes, a Dense layer or a convolution, and all between it and the output: softmax, pooling,
        upsampling, reshapes.
    Leaves alone:
        What comes before it, and other outputs.
    Preserves:
        What the network gives for classes that stay, before it is normalised (softmax) over all of them.

    Args:
        classes: How many classes there are afterwards; as many as are kept by default.
        keep: Old classes by number, in their new order, or a file of them (.npy, or a text with one on each line); by
            default the first ones. ``()`` keeps none. New ones get kernels that are drawn with the deviation of the old
            ones, and their mean bias.
        output: The layer that gives the output; needed where there are several outputs.

    Raises:
        OptionError: A class is not there, or there is no such output.
        GraphError: What leads to the classes is not known well enough; the message says where.

    Example:
        >>> ten = apply_passes(model, [ChangeClasses(10, keep=(3, 5, 8))])
    """

    classes: int | None = None
    keep: Sequence[int] | str | Path | None = None
    output: str | None = None

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        if self.classes is not None:
            check_count(self.name, "classes", self.classes)
        elif self.keep is None:
            raise OptionError(f"{self.name} is asked for nothing.", hint="give classes= or keep=")
        if isinstance(self.keep, Path):
            object.__setattr__(self, "keep", str(self.keep))
        elif self.keep is not None and not isinstance(self.keep, str):
            object.__setattr__(self, "keep", read_ids(self.name, "keep", self.keep))

    def run(self, graph: Graph, context: Context) -> None:
        """Make the axis of classes anew wherever it is held."""
        keep = None if self.keep is None else read_ids(self.name, "keep", self.keep)
        done = resize_outputs(graph, self.classes, keep=keep, output=self.output, rng=context.rng)
        for node, what in done.items():
            context.changed(node, what)


__all__ = ["ChangeClasses"]
