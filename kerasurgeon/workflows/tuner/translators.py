"""The backbone with each of the cuts bridged: by a translator with fresh weights, or by a linear one fitted to data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasurgeon.blocks.calibration import measure
from kerasurgeon.blocks.geometry import geometry
from kerasurgeon.blocks.linear import resizing
from kerasurgeon.blocks.moments import Moments
from kerasurgeon.blocks.translator import translator
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.regions import region_between
from kerasurgeon.rewrite.surgery import replace_region


class Translators:
    """Puts translators into copies of a backbone.

    Args:
        graph: The backbone; it is only read.
        ends: The entry and the exit of each region that can be bridged, by label.
        calibration: Inputs to fit them to; ``None`` for fresh weights. The data is run through the backbone once, for
            all cuts, when the first is asked for.
    """

    def __init__(self, graph: Graph, ends: Mapping[str, tuple[Value, Value]], calibration: Any = None) -> None:
        self._graph, self._ends, self._calibration = graph, ends, calibration
        self._moments: dict[str, Moments] = {}
        self._fitted: dict[str, Graph] = {}

    def put(self, label: str, *, seed: int) -> Graph:
        """The backbone with one cut bridged.

        Args:
            label: Which.
            seed: Of fresh weights.
        """
        if self._calibration is not None:
            if label not in self._fitted:
                self._fitted[label] = self._fit(label)
            return self._fitted[label]
        graph = self._graph.copy()
        region = region_between(graph, *self._ends[label])
        replace_region(graph, region.entry, region.exit, translator(geometry(graph, region), seed))
        return graph

    def _fit(self, label: str) -> Graph:
        """By the linear map that is nearest to what was there, in the mean over the data."""
        if not self._moments:
            regions = {name: region_between(self._graph, *ends) for name, ends in self._ends.items()}
            wanted = {name: (region, resizing(self._graph, region)) for name, region in regions.items()}
            self._moments = measure(self._graph, wanted, self._calibration)
        graph = self._graph.copy()
        region = region_between(graph, *self._ends[label])
        bridge = resizing(graph, region).model(self._moments[label].projection(), "translator")
        replace_region(graph, region.entry, region.exit, bridge)
        return graph
