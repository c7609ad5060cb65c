"""Put a small network in place of a run of blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    Graph,
    OptionError,
    Pass,
    Preserves,
    Region,
    check_choice,
    check_count,
)
from kerasurgeon.blocks import (
    BlockStep,
    architecture_of,
    architectures,
    build_shunt,
    find_regions,
    fit_steps,
    free_names,
    put_all,
    region_option,
    without_overlap,
)


@final
@dataclass(frozen=True)
class ReplaceWithShunt(Pass):
    """Put shunts, small networks of inverted bottlenecks, in place of regions.

    Strides, dilations and layout follow from the region. The shunts' kernels are fresh. Where there is data, their
    batch norms take its statistics, and their last layers become the matrices that make of these random features, by
    least squares, what the regions made. ``train_bridges`` trains all of it. The layers of the first are called
    ``shunt_1_...``, and its last takes over the name of the region's last, so that the two models have the tensors at
    the region's ends by the same names.

    Matches:
        The regions that are named.
    Leaves alone:
        All else.
    Preserves:
        Shapes and dtypes at the regions' ends. Outputs not, until the shunts are trained; the report says how much of
        the variance of what a region gave a fitted shunt misses, on samples that it was not fitted to.

    Args:
        region: A region, its name or a pattern of names (``"block_*"``), ``"first..last"`` (names of layers inside),
            ``"entry->exit"`` (names of tensors around), or several of these. See ``find_regions``.
        arch: ``"1"``, ``"4"``, ``"5"``, ``"1-se"``, ``"1-se-bottleneck"``; ``"auto"``: 1, or 5 where the image is
            halved three times; a function ``(entry_spec, exit_spec) -> keras.Model``, or ``"module:name"`` of it; or
            one of these for each region by name or pattern: ``{"block_3": "4", "*": "auto"}``, the first that matches.
        fit: Whether shunts are fitted to the pipeline's data, each in the network with those before it:
            ``"least_squares"``; ``"none"``; ``"auto"``, where there is data.
        samples: How many samples of the data they are fitted to, at most.

    Raises:
        OptionError: An option has a value that it may not have, or data is missing.
        PlaceError: There is no such region, regions overlap, or a shunt cannot bridge one.

    Reference:
        Singh et al., "Shunt connection: An intelligent skipping of contiguous blocks for optimizing MobileNet-V2",
        Neural Networks 118 (2019).

    Example:
        >>> small = apply_passes(model, [ReplaceWithShunt("block_3..block_5", arch="1")])
    """

    region: Any
    arch: str | int | Callable[..., Any] | Mapping[str, Any] = "1"
    fit: str = "auto"
    samples: int = 512

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", region_option(self.name, "region", self.region))
        object.__setattr__(self, "arch", architectures(self.name, self.arch))
        check_choice(self.name, "fit", self.fit, ("auto", "none", "least_squares"))
        check_count(self.name, "samples", self.samples)

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
        there = context.data is not None and not hasattr(context.data, "__next__")
        if self.fit == "least_squares" or (self.fit == "auto" and there):
            steps = self._fitted(graph, regions, steps, context)
        put_all(graph, steps, context)

    def _fitted(
        self, graph: Graph, regions: Sequence[Region], steps: Sequence[BlockStep], context: Context
    ) -> list[BlockStep]:
        if context.data is None:
            raise OptionError(
                f"{self.name}: fit={self.fit!r} takes data.",
                hint="pass data=some_inputs to the pipeline: a few hundred samples, prepared as for predict",
            )
        return fit_steps(
            graph,
            regions,
            steps,
            context.data,
            samples=self.samples,
            seed=int(context.rng.integers(2**31)),
            progress=lambda done, region: context.progress(done, f"{self.name}: {region} is fitted"),
        )


__all__ = ["ReplaceWithShunt"]
