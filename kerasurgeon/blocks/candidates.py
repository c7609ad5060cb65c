"""What can be tried in place of the regions of a network, and what that saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import keras

from kerasurgeon.blocks.linear import Resizing, resizing
from kerasurgeon.blocks.moments import Fit, Moments
from kerasurgeon.blocks.pieces import regions_and_pieces
from kerasurgeon.blocks.places import find_regions
from kerasurgeon.costs import cost
from kerasurgeon.costs.result import Cost
from kerasurgeon.errors import GraphError, OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.rewrite.latency_of import latency_by
from kerasurgeon.rewrite.option_checks import check_several, naming
from kerasurgeon.rewrite.regions import Region, runs
from kerasurgeon.rewrite.surgery import extract

METHODS = ("drop", "scale", "affine", "projection")
RIDGE = 1e-4


@final
@dataclass(frozen=True)
class Candidate:
    """Something that may stand in a region's place.

    Attributes:
        region: The region.
        method: One of ``METHODS``.
        resize: What brings its entry to its exit's size; ``None`` where nothing is to be fitted.
        bridge: What stands in its place; ``None`` for nothing.
        fit_error: Mean square error of the bridge over the variance of what the region gives.
        macs_saved: Multiply-accumulates of one sample that it saves.
        parameters_saved: Parameters that it saves.
    """

    region: Region
    method: str
    resize: Resizing | None = None
    bridge: keras.Model | None = None
    fit_error: float | None = None
    macs_saved: int = 0
    parameters_saved: int = 0

    def fitted(self, moments: Moments, graph: Graph, total: Cost) -> Candidate:
        """With the bridge that the data asks for, and what it saves."""
        assert self.resize is not None
        fit = fit_by(self.method, moments, self.region)
        bridge = self.resize.model(fit, "bridge")
        return replace(self, bridge=bridge, fit_error=fit.error).costed(graph, total)

    def costed(self, graph: Graph, total: Cost) -> Candidate:
        """With what it saves."""
        macs, parameters = region_cost(graph, self.region, total)
        if self.bridge is not None:
            own = cost(self.bridge, sizes=_sizes_at(self.region.entry, total))
            macs, parameters = macs - own.macs, parameters - own.parameters
        return replace(self, macs_saved=macs, parameters_saved=parameters)


def fit_by(method: str, moments: Moments, region: Region, ridge: float = RIDGE) -> Fit:
    """The bridge of a method with the least square error."""
    if method == "projection":
        return moments.projection(ridge, towards_identity=region.keeps_spec)
    return moments.affine() if method == "affine" else moments.scale()


def candidates(
    graph: Graph, found: Sequence[Region], method: Any, *, data: bool
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """What to try in place of regions, not yet fitted.

    Args:
        graph: The graph.
        found: The regions.
        method: ``"auto"``: nothing where exit and entry are alike, else a projection; or one or several of ``METHODS``.
        data: Whether there is data to fit bridges to.

    Returns:
        The candidates in the order of the regions, and for regions without any the reason.

    Raises:
        OptionError: There is no such method.
    """
    methods = check_methods(method)
    result: list[Candidate] = []
    left: dict[str, str] = {}
    for region in found:
        wanted = methods or (("drop",) if region.keeps_spec else ("projection",))
        own, reason = _of_region(graph, region, wanted, data=data)
        result += own
        if not own:
            left[region.name] = reason
    return tuple(result), left


def check_methods(method: Any) -> tuple[str, ...]:
    """The methods that are meant; none for ``"auto"``.

    Raises:
        OptionError: There is no such method.
    """
    if method == "auto":
        return ()
    if isinstance(method, str) and method not in METHODS:
        raise OptionError(
            "method= cannot be used.",
            expected=f"'auto', or one or several of {', '.join(map(repr, METHODS))}",
            got=repr(method),
            hint=did_you_mean(method, ("auto", *METHODS)),
        )
    return check_several("", "method", method, METHODS)


def _of_region(graph: Graph, region: Region, wanted: Iterable[str], *, data: bool) -> tuple[list[Candidate], str]:
    result, reason = list[Candidate](), ""
    for method in wanted:
        if method != "projection" and not region.keeps_spec:
            reason = f"it turns {region.entry_spec} into {region.exit_spec}"
            continue
        if method == "drop":
            result.append(Candidate(region, method))
            continue
        if not data:
            reason = "a bridge needs data to be fitted to"
            continue
        try:
            result.append(Candidate(region, method, resizing(graph, region)))
        except GraphError as error:
            reason = error.what.partition(f"{region.name!r}: ")[2].rstrip(".")
    return result, reason


@naming()
def chosen_regions(graph: Graph, which: Any, min_nodes: int) -> tuple[Region, ...]:
    """The regions to look at, each before those inside it.

    Args:
        graph: The graph.
        which: ``None`` for all of at least ``min_nodes`` nodes; or patterns of names, at any depth; or what
            ``find_regions`` takes. Of a network without branches, which is a single region, its pieces are known.
        min_nodes: The fewest nodes of a region. A piece may be a single layer unless this is above 2.

    Raises:
        PlaceError: A name or pattern is that of no region.
    """
    known = regions_and_pieces(graph, min_nodes=min_nodes)
    if which is None:
        # Of a chain with pieces, which is all of the network, only these.
        several = known[1:] if known and known[0].kind == "chain" and known[0].children else known
        if not several:
            raise GraphError(f"The network has no region of {min_nodes} nodes or more.", where=graph.name)
        return several
    found: dict[tuple[Any, Any], Region] = {}
    for item in (which,) if isinstance(which, (str, Region)) else tuple(which):
        if isinstance(item, str) and any(mark in item for mark in "*?["):
            matched = [region for region in known if names_match([region.name], item)]
            if not matched:
                raise GraphError(
                    f"No region's name matches {item!r}.", hint=did_you_mean(item, [region.name for region in known])
                )
        else:
            matched = list(find_regions(graph, item))
        found |= {(region.entry, region.exit): region for region in matched}
    order = {(region.entry, region.exit): place for place, region in enumerate(known)}
    return tuple(sorted(found.values(), key=lambda region: order.get((region.entry, region.exit), len(order))))


def places_in_runs(graph: Graph, found: Sequence[Region]) -> dict[str, tuple[int, int]]:
    """For every region which run of regions that follow one another it belongs to, and at which place."""
    return {
        region.name: (number, place)
        for number, run in enumerate(runs(graph, found))
        for place, region in enumerate(run)
    }


def region_cost(graph: Graph, region: Region, total: Cost) -> tuple[int, int]:
    """Multiply-accumulates and parameters that go with a region: those of layers called elsewhere too stay."""
    rows = {row.name: row for row in total.rows}
    inside, tied = set(region.nodes), graph.tied_layers()
    macs = sum(rows[name].macs or 0 for name in region.nodes)
    keys = dict.fromkeys(graph[name].layer for name in region.nodes)
    gone = [key for key in keys if key not in tied and all(call.name in inside for call in graph.calls(key))]
    return macs, sum(graph.layers[key].parameters for key in gone)


def _sizes_at(value: Value, total: Cost) -> tuple[int, ...] | None:
    """The sizes of a tensor that a cost was counted for, without the batch; ``None`` where they are not known."""
    shape = next(row.shape for row in total.rows if row.name == value.node)[1:]
    known = tuple(size for size in shape if size is not None)
    return known if value.index == 0 and len(known) == len(shape) else None


class Stopwatch:
    """Latencies of a network, its regions and their bridges, each by itself.

    Args:
        graph: The graph.
        latency_of: Model to latency.
    """

    def __init__(self, graph: Graph, latency_of: Callable[[Any], Any]) -> None:
        self.graph, self.latency_of = graph, latency_of
        self._known: dict[str, float] = {}

    def model(self) -> float:
        """What the whole network takes."""
        return latency_by(self.latency_of, emit(self.graph, compile=False), "the model")

    def saved(self, candidate: Candidate) -> float:
        """What a region takes by itself, less what stands in its place."""
        name = candidate.region.name
        if name not in self._known:
            part = extract(self.graph, candidate.region.entry, candidate.region.exit)
            self._known[name] = latency_by(self.latency_of, emit(part, compile=False), f"region {name!r}")
        own = (
            0.0
            if candidate.bridge is None
            else latency_by(self.latency_of, candidate.bridge, f"the bridge of region {name!r}")
        )
        return self._known[name] - own


__all__ = [
    "METHODS",
    "RIDGE",
    "Candidate",
    "Stopwatch",
    "candidates",
    "check_methods",
    "chosen_regions",
    "fit_by",
    "places_in_runs",
    "region_cost",
]
