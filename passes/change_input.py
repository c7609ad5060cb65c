"""Other channels and sizes of inputs, with the weights that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.adapting import CHANNELS, DENSE, check_shape, read_ids, resize_inputs
from kerasurgeon.authoring import APPROXIMATE, Context, Graph, Pass, Preserves, check_choice


@final
@dataclass(frozen=True)
class ChangeInput(Pass):
    """Give the inputs of a network other channels and sizes; the kernels that read them take up what changes.

    Matches:
        All that reads the inputs, through layers that work on each channel by itself; nested models too.
    Leaves alone:
        Everything behind the first kernels, but for what depends on sizes.
    Preserves:
        What the network computes of ``x @ mix``, where ``mix`` says what each new channel stands for.

    Args:
        shape: The new shape without the batch, as ``(96, 96, 1)``; ``"any"`` for a size that is left open; a dict of
            shapes by name where there are several inputs.
        channels: What new channels are made of: ``"average"``, an equal share of all old ones; ``"repeat"``, old
            channel ``i`` modulo their number, shared out among its copies; ``"cut"``, some of the old ones.
        keep: For ``"cut"``: which channels stay, in their new order; by default the first ones.
        dense: A Dense layer behind a Flatten has a weight for each position: ``"refuse"`` it or ``"resample"`` its
            kernel, so that it computes what it did of the new map resized to the old size.

    Raises:
        OptionError: An option has a value that it may not have, or names an input that is not there.
        GraphError: A layer cannot work on the new input; the message names it and what to do.

    Example:
        >>> grey = apply_passes(model, [ChangeInput((96, 96, 1))])
    """

    shape: Any
    channels: str = "average"
    keep: Sequence[int] | None = None
    dense: str = "refuse"

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        check_choice(self.name, "channels", self.channels, CHANNELS)
        check_choice(self.name, "dense", self.dense, DENSE)
        shape = check_shape(self.name, self.shape)  # recipes have no None
        if isinstance(shape, Mapping):
            object.__setattr__(self, "shape", {name: _written(each) for name, each in shape.items()})
        else:
            object.__setattr__(self, "shape", _written(shape))
        if self.keep is not None:
            object.__setattr__(self, "keep", read_ids(self.name, "keep", self.keep))

    def run(self, graph: Graph, context: Context) -> None:
        """Channels first, then sizes."""
        shape = check_shape(self.name, self.shape)
        done = resize_inputs(graph, shape, channels=self.channels, keep=self.keep, dense=self.dense)
        for node, what in done.items():
            context.changed(node, what)
        if not done:
            context.left(graph.name, "its inputs are of that shape")


def _written(shape: Sequence[int | None]) -> tuple[int | str, ...]:
    return tuple("any" if size is None else size for size in shape)


__all__ = ["ChangeInput"]
