"""Leave blocks out of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import (
    APPROXIMATE,
    CORRECTIONS,
    Context,
    Graph,
    OptionError,
    Pass,
    Preserves,
    Region,
    check_choice,
    check_count,
    drop_steps,
    find_regions,
    is_number,
    without_overlap,
    wrong_option,
)
from kerasurgeon.blocks.options import region_option
from kerasurgeon.blocks.put import free_names, put_all


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
            convolution. A region that changes shape or dtype always becomes a projection, behind an average pooling
            where it makes images smaller. Each is fitted to the network without the regions before it.
        samples: How many samples of the data are used, at most.
        ridge: How strongly projections are held to the identity, or to zero where the shape changes, relative to the
            mean variance of what enters; 0 for plain least squares.

    Shapes:
        entry ``(batch, h, w, c)``, exit ``(batch, i, j, d)``: pooling to ``(i, j)``, kernel ``(1, 1, c, d)``, bias
        ``(d,)``.

    Raises:
        OptionError: An option has a value that it may not have, or a correction is asked for without data.
        GraphError: There is no such region, regions overlap, or one that changes shape is to go without data.

    Example:
        >>> smaller = apply_passes(model, [DropBlock("block_5", correction="affine")], data=images)
    """

    region: Any
    correction: str = "none"
    samples: int = 512
    ridge: float = 1e-4

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", region_option(self.name, "region", self.region))
        check_choice(self.name, "correction", self.correction, CORRECTIONS)
        check_count(self.name, "samples", self.samples)
        if not is_number(self.ridge) or self.ridge < 0:
            raise wrong_option(self.name, "ridge", self.ridge, "a number from 0")

    def run(self, graph: Graph, context: Context) -> None:
        """Find all regions and fit what makes up for them, then leave them out."""
        if self.correction != "none" and context.data is None:
            raise OptionError(
                f"{self.name}: correction={self.correction!r} is computed from data.",
                hint="pass data=some_inputs to the pipeline: a few hundred samples, prepared as for predict",
            )
        regions = self._outermost(graph, context)
        steps = drop_steps(
            graph,
            regions,
            free_names(graph, "bridge", len(regions)),
            self.correction,
            context.data,
            samples=self.samples,
            ridge=float(self.ridge),
            seed=int(context.rng.integers(2**31)),
            progress=lambda done, region: context.progress(done, f"{self.name}: {region}"),
        )
        put_all(graph, steps, context)

    def _outermost(self, graph: Graph, context: Context) -> list[Region]:
        """The named regions in the order of the network, without those inside others."""
        order = {node.name: place for place, node in enumerate(graph.nodes())}
        found = find_regions(graph, self.region)
        result: list[Region] = []
        for region in sorted(found, key=lambda one: (-len(one), order[one.exit.node])):
            around = next((other for other in result if set(region.nodes) <= set(other.nodes)), None)
            if around is None:
                result.append(region)
            else:
                context.left(region.exit.node, f"{region.name} goes with {around.name}, which is around it")
        without_overlap(result)
        return sorted(result, key=lambda one: order[one.exit.node])


__all__ = ["DropBlock"]
