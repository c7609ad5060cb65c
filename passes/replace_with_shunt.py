"""Put a small network in place of a run of blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, Pass, Preserves
from kerasurgeon.blocks import (
    BlockStep,
    architecture_of,
    architectures,
    build_shunt,
    find_regions,
    free_names,
    put_all,
    region_option,
    without_overlap,
)


@final
@dataclass(frozen=True)
class ReplaceWithShunt(Pass):
    """Put shunts, small networks of inverted bottlenecks, in place of regions.

    Strides, dilations and layout follow from the region. The shunts' weights are fresh; ``train_bridges`` trains them
    to make what the regions made. The layers of the first are called ``shunt_1_...``, and its last takes over the name
    of the region's last, so that the two models have the tensors at the region's ends by the same names.

    Matches:
        The regions that are named.
    Leaves alone:
        All else.
    Preserves:
        Shapes and dtypes at the regions' ends. Outputs not, until the shunts are trained.

    Args:
        region: A region, its name or a pattern of names (``"block_*"``), ``"first..last"`` (names of layers inside),
            ``"entry->exit"`` (names of tensors around), or several of these. See ``find_regions``.
        arch: ``"1"``, ``"4"``, ``"5"``, ``"1-se"``, ``"1-se-bottleneck"``; ``"auto"``: 1, or 5 where the image is
            halved three times; a function ``(entry_spec, exit_spec) -> keras.Model``, or ``"module:name"`` of it; or
            one of these for each region by name or pattern: ``{"block_3": "4", "*": "auto"}``, the first that matches.

    Raises:
        OptionError: An option has a value that it may not have.
        PlaceError: There is no such region, regions overlap, or a shunt cannot bridge one.

    Reference:
        Singh et al., "Shunt connection: An intelligent skipping of contiguous blocks for optimizing MobileNet-V2",
        Neural Networks 118 (2019).

    Example:
        >>> small = apply_passes(model, [ReplaceWithShunt("block_3..block_5", arch="1")])
    """

    region: Any
    arch: str | int | Callable[..., Any] | Mapping[str, Any] = "1"

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", region_option(self.name, "region", self.region))
        object.__setattr__(self, "arch", architectures(self.name, self.arch))

    def run(self, graph: Graph, context: Context) -> None:
        """Find all regions and build all shunts, then put them in."""
        regions = find_regions(graph, self.region)
        without_overlap(regions)
        names = free_names(graph, "shunt", len(regions))
        chosen = [architecture_of(self.arch, region) for region in regions]
        steps = []
        for place, (region, arch, name) in enumerate(zip(regions, chosen, names, strict=True)):
            context.progress(place / len(regions), f"{self.name}: {region.name}")
            named, network = build_shunt(graph, region, arch, int(context.rng.integers(2**31)))
            steps.append(BlockStep.of("shunt", name, region, network, arch=named))
        put_all(graph, steps, context)


__all__ = ["ReplaceWithShunt"]
