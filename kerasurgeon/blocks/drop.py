"""Leave a region out, or put a linear bridge in its place: as a step of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from kerasurgeon.blocks.inserts import identity
from kerasurgeon.blocks.plan import BlockStep
from kerasurgeon.errors import PlaceError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.regions import Region


def drop_step(
    graph: Graph, region: Region, bridge: keras.Model | None, name: str, options: Mapping[str, Any] | None = None
) -> BlockStep:
    """The step that leaves a region out, or puts a bridge in its place.

    Where a model, or a nested one, returns the region's exit, an ``Identity`` layer stands in its place: Keras calls an
    output by the layer that makes it.

    Args:
        graph: The graph.
        region: One of its regions.
        bridge: What stands in its place; ``None`` for nothing.
        name: What the step is called.
        options: How it was made, for people.

    Raises:
        PlaceError: Nothing is to stand in the place of a region that changes shape or dtype.
    """
    if bridge is not None:
        return replace(BlockStep.of("drop", name, region, lift(bridge)), options=dict(options or {}))
    if not region.keeps_spec:
        raise PlaceError(
            f"The region {region.name!r} cannot be left out: its exit is not like its entry.",
            where=f"{region.entry} -> {region.exit}",
            expected="equal shapes and dtypes",
            got=f"{region.entry_spec} -> {region.exit_spec}",
            hint="give data: a projection (pooling and 1x1 convolution) is then fitted to what the region gives",
        )
    returned = graph.is_output(region.exit) or any(
        region.exit in values_in(scope.outputs) for scope in graph.scopes.values()
    )
    network = lift(identity(region.exit_spec, "channels_last", seed=0)) if returned else None
    return replace(BlockStep.of("drop", name, region, network), options=dict(options or {}))


__all__ = ["drop_step"]
