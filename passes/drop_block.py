"""Leave blocks out of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    Graph,
    OptionError,
    Pass,
    Preserves,
    check_choice,
    check_count,
    is_number,
    wrong_option,
)
from kerasurgeon.blocks import CORRECTIONS, drop_steps, find_regions, free_names, outermost, put_all, region_option


@final
@dataclass(frozen=True)
class DropBlock(Pass):
    """Leave regions out: what read their exit reads their entry, or a linear map of it.

    Matches:
        The regions that are named.
    Leaves alone:
        Regions inside others that are named.
    Preserves:
        Shapes and dtypes at the regions' ends. Outputs not: ``knowledge_quotients`` says how much each region is worth,
        ``choose_regions`` which ones to leave out.

    Args:
        region: A region, its name or a pattern of names (``"block_*"``), ``"first..last"`` (names of layers inside),
            ``"entry->exit"`` (names of tensors around), or several of these. See ``find_regions``.
        correction: What makes up for a region, computed in closed form from the pipeline's data: ``"none"``;
            ``"scale"``, a factor a channel; ``"affine"``, a factor and a bias a channel; ``"projection"``, a 1x1
            convolution; ``"auto"``: affine where there is data, else none. A region that changes shape or dtype always
            becomes a projection, behind an average pooling where it makes images smaller. Each is fitted to the network
            without the regions before it.
        samples: How many samples of the data are used, at most.
        ridge: How strongly projections are held to the identity, or to zero where the shape changes, relative to the
            mean variance of what enters; 0 for plain least squares.

    Shapes:
        entry ``(batch, h, w, c)``, exit ``(batch, i, j, d)``: pooling to ``(i, j)``, kernel ``(1, 1, c, d)``, bias
        ``(d,)``.

    Raises:
        OptionError: An option has a value that it may not have, or a correction is asked for without data.
        PlaceError: There is no such region, regions overlap, or one that changes shape is to go without data.

    Example:
        >>> smaller = apply_passes(model, [DropBlock("block_5", correction="affine")], data=images)
    """

    region: Any
    correction: str = "auto"
    samples: int = 512
    ridge: float = 1e-4

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", region_option(self.name, "region", self.region))
        check_choice(self.name, "correction", self.correction, ("auto", *CORRECTIONS))
        check_count(self.name, "samples", self.samples)
        if not is_number(self.ridge) or self.ridge < 0:
            raise wrong_option(self.name, "ridge", self.ridge, "a number from 0")

    def run(self, graph: Graph, context: Context) -> None:
        """Find all regions and fit what makes up for them, then leave them out."""
        correction = self.correction
        if correction == "auto":
            correction = "none" if context.data is None or hasattr(context.data, "__next__") else "affine"
        if correction != "none" and context.data is None:
            raise OptionError(
                f"{self.name}: correction={self.correction!r} is computed from data.",
                hint="pass data=some_inputs to the pipeline: a few hundred samples, prepared as for predict",
            )
        regions, inside = outermost(graph, find_regions(graph, self.region))
        for node, why in inside.items():
            context.left(node, why)
        steps = drop_steps(
            graph,
            regions,
            free_names(graph, "bridge", len(regions)),
            correction,
            context.data,
            samples=self.samples,
            ridge=float(self.ridge),
            seed=int(context.rng.integers(2**31)),
            progress=lambda done, region: context.progress(done, f"{self.name}: {region}"),
        )
        put_all(graph, steps, context)


__all__ = ["DropBlock"]
