"""The rows of a vocabulary that are used; the others go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from kerasurgeon.adapting import HEADS, cut_vocabulary, read_ids
from kerasurgeon.authoring import APPROXIMATE, Context, Graph, Pass, Preserves, check_choice


@final
@dataclass(frozen=True)
class PruneEmbedding(Pass):
    """Keep the rows of an embedding whose ids are used; the network takes new ids: ``i`` for what was ``keep[i]``.

    Which old id each new one stands for is in the report as a plan (``KeptIds``), and in the file that ``save`` names.

    Matches:
        One embedding, all its calls, all that reads its table as a weight, and other embeddings that share it.
    Leaves alone:
        With ``head="tied"``: layers with weights of their own that give a value for each id.
    Preserves:
        Outputs for inputs of kept ids; of outputs over the vocabulary the values of kept ids.

    Args:
        keep: The old ids that stay, in their new order, or a file of them (.npy, or a text with one on each line).
        layer: The embedding; needed where there are several.
        head: ``"tied"``: outputs by the embedding's own table lose the rows too. ``"cut"``: those of layers with
            weights of their own as well.
        save: A new .json file for the kept ids; ``KeptIds.load`` reads it.

    Raises:
        OptionError: An id is not there, or named twice; there is no such embedding, or there are several.
        GraphError: Something further on needs all rows; the message names it.
        FileError: ``save`` names a file that is there, or that cannot be written.

    Example:
        >>> small = apply_passes(model, [PruneEmbedding(used_ids)])
    """

    keep: Sequence[int] | str | Path
    layer: str | None = None
    head: str = "tied"
    save: str | Path | None = None

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        check_choice(self.name, "head", self.head, HEADS)
        if isinstance(self.keep, Path):
            object.__setattr__(self, "keep", str(self.keep))
        elif not isinstance(self.keep, str):
            object.__setattr__(self, "keep", read_ids(self.name, "keep", self.keep))
        object.__setattr__(self, "save", None if self.save is None else str(self.save))

    def run(self, graph: Graph, context: Context) -> None:
        """Cut the table, then what follows from it."""
        kept, done = cut_vocabulary(graph, read_ids(self.name, "keep", self.keep), layer=self.layer, head=self.head)
        for node, what in done.items():
            context.changed(node, what)
        context.plans.append(kept)
        if self.save is not None:
            kept.save(self.save, overwrite=False)
            context.note(f"which old id each new one stands for is in {self.save}")


__all__ = ["PruneEmbedding"]
