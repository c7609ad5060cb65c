"""Slice streams: turn them onto their principal axes, and leave the weakest out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from kerasurgeon.channels import Channels, analyse, cut_channels, log_compensation
from kerasurgeon.channels.consumers import find_consumers
from kerasurgeon.channels.least_squares import reconstruct
from kerasurgeon.costs import Allowance, cost, require_counted
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.ir.values import WeightRef
from kerasurgeon.keras_io.batches import require_telling
from kerasurgeon.keras_io.derive import derive_specs
from kerasurgeon.rewrite.calls import substitute
from kerasurgeon.rewrite.context import Context, RankedGroup
from kerasurgeon.rewrite.option_checks import check_known_patterns
from kerasurgeon.rewrite.passes import Skip
from kerasurgeon.streams.axes import principal_axes
from kerasurgeon.streams.streams import Stream, find_streams, untied
from kerasurgeon.streams.turning import turn
from kerasurgeon.streams.twins import project, silenced
from kerasurgeon.streams.widths import TARGETS, SliceOptions, Units, Widths

Array = np.ndarray[Any, Any]
_SHOWN = 32  # shares of energy in the report


@dataclass(eq=False)
class _Turned:
    """A stream that was turned."""

    stream: Stream
    axes: Array
    energy: Array
    norms: tuple[str, ...]
    between: tuple[str, ...]
    masks: tuple[str, ...]


def slice_streams(graph: Graph, options: SliceOptions, context: Context) -> None:
    """Turn the residual streams of a graph onto their principal axes and leave the weakest out, in place.

    Args:
        graph: The graph.
        options: Which streams, and how much of them.
        context: Has the data; decisions are logged there.

    Raises:
        OptionError: There is no data, or it does not fit; a pattern names nothing.
        BudgetError: The target cannot be reached, or too much of it is unknown.
    """
    _Slicing(graph, options, context).run()


class _Slicing:
    def __init__(self, graph: Graph, options: SliceOptions, context: Context) -> None:
        self.graph, self.options, self.context = graph, options, context

    def run(self) -> None:
        """Find, turn, choose, compensate, cut."""
        graph, options, context = self.graph, self.options, self.context
        check_known_patterns(options.name, "ignore", options.ignore, graph)
        total = self._total()
        streams = self._streams()
        if not streams:
            self._nothing(total)
            return
        require_telling(graph, context.data, context.note)
        result, turned = self._turned(streams)
        if not turned:
            self._nothing(total)
            return
        channels = analyse(untied(result))
        units = [_units(channels, one) for one in turned]
        widths = Widths(channels, units, options, total, context.sizes)
        kept, said = widths.chosen()
        reference = graph.copy()
        if all(number == one.stream.width for number, one in zip(kept, turned, strict=True)):
            context.expect(lambda: reference)
        else:
            self._cut(result, channels, widths.gone(kept), turned, kept)
        graph.adopt(result)
        context.changed(graph.name, said)
        for one, number in zip(turned, kept, strict=True):
            self._log(one, number)

    def _total(self) -> float:
        options, sizes = self.options, self.context.sizes
        if options.target not in TARGETS[2:]:
            return 0.0
        found = cost(self.graph, sizes=sizes)
        if options.target == "macs":
            require_counted(options.name, found)
        counted = {"macs": found.macs, "params": found.parameters, "bytes": found.weight_bytes}
        return float(counted[options.target])

    def _nothing(self, total: float) -> None:
        options, context = self.options, self.context
        context.left(self.graph.name, "there is no residual stream that could be turned")
        if options.target in TARGETS[2:]:
            value = float(getattr(options, options.target))
            allowance = Allowance(options.name, options.target, value, total, options.unreachable)
            allowance.reachable(total, "no residual stream can be turned; the report of ratio=0 says why")
            if allowance.misses(total):
                context.note(allowance.missed(total))

    def _streams(self) -> list[Stream]:
        """The streams that may be turned; why others are left alone is logged."""
        streams, left = find_streams(self.graph)
        for node, why in left.items():
            self.context.left(node, why)
        wanted = []
        for stream in streams:
            names = {*stream.layers, *(norm.root.name for norm in stream.norms)}
            ignored = next((pattern for pattern in self.options.ignore if names_match(names, pattern)), None)
            if ignored is None:
                wanted.append(stream)
            else:
                self.context.left(stream.norms[0].root, f"ignore= names a layer of it: {ignored!r}")
        return wanted

    def _turned(self, streams: Sequence[Stream]) -> tuple[Graph, list[_Turned]]:
        """The graph with its streams turned: it computes what it did."""
        context = self.context

        def progress(share: float) -> None:
            context.progress(0.5 * share, f"{self.options.name}: principal axes")

        found = principal_axes(self.graph, streams, context.data, progress)
        result, turned = self.graph.copy(), []
        for stream, (axes, energy) in zip(streams, found, strict=True):
            trial = result.copy()
            try:
                put = turn(trial, stream, axes)
            except Skip as skip:
                context.left(stream.norms[0].root, skip.reason)
                continue
            result = trial
            turned.append(_Turned(stream, axes, energy, **put))
        return result, turned

    def _cut(
        self, graph: Graph, channels: Channels, gone: Array, turned: Sequence[_Turned], kept: Sequence[int]
    ) -> None:
        """Leave the last axes out, with least squares for what reads them where asked for."""
        context, reference = self.context, self.graph.copy()
        if self.options.compensate != "none":
            context.progress(0.5, f"{self.options.name}: least squares")
            twin = silenced(graph, channels, gone)
            consumers, notes = find_consumers(graph, channels, gone)
            seed = int(context.rng.integers(2**31))
            notes += reconstruct(graph, channels, gone, consumers, context.data, seed=seed, twin=twin)
            log_compensation(context, graph, notes)
            context.expect(lambda: twin)
        else:

            def projected() -> Graph:
                for one, number in zip(turned, kept, strict=True):
                    if number < one.stream.width:
                        project(reference, one.stream, one.axes[:, :number])
                return reference

            context.expect(projected)
        ties = graph.ties()
        cut_channels(graph, gone, channels)
        _tie(graph, ties)
        _refresh(graph)
        for one, number in zip(turned, kept, strict=True):
            for name in one.norms:
                _correct(graph, name, one.stream.width, number)
            for name in one.masks if number < one.stream.width else ():
                substitute(graph, name, graph[name].inputs[0])

    def _log(self, one: _Turned, kept: int) -> None:
        stream, context = one.stream, self.context
        what = "turned onto its principal axes"
        if kept < stream.width:
            what = f"{stream.width} -> {kept} channels, which hold {one.energy[:kept].sum():.2%} of the energy"
        context.changed(self.graph[one.norms[0]], f"the stream of {stream.name!r}: {what}")
        for name in one.norms:
            context.changed(name, "a root mean square; scale and shift are in the layers behind")
        for name in one.between:
            context.changed(name, "put in: scale and shift, for a weight that also makes the stream")
        shares = one.energy[::-1]
        shown = shares[np.unique(np.linspace(0, len(shares) - 1, _SHOWN).round().astype(int))]
        scores = tuple(float(f"{share:.4g}") for share in shown.tolist())
        context.groups.append(
            RankedGroup(stream.name, stream.layers, stream.width, kept, scores, 1 - kept / stream.width)
        )


def _units(channels: Channels, one: _Turned) -> Units:
    """Where the analysis of the turned graph has a stream, axis by axis."""
    found = []
    for name in (one.norms[0], *one.between):
        factor = channels.labels[name][0].factor(-1)
        assert factor is not None
        found.append(channels.unit[factor.ids])
    return Units(np.stack(found))


def _correct(graph: Graph, name: str, width: int, kept: int) -> None:
    """Let a norm over fewer channels divide by the mean square over as many as there were."""
    layer = graph.layer_of(name)
    share = kept / width
    scale = layer.weights["scale"].array.astype(np.float64) / sqrt(share)
    layer = layer.with_config(epsilon=layer.config["epsilon"] / share).with_weights(scale=scale)
    graph.update_layer(graph[name].layer, layer)


def _tie(graph: Graph, ties: Mapping[int, Sequence[WeightRef]]) -> None:
    """Let layers that held one variable hold one again: a cut makes a new one in each."""
    for tie, refs in ties.items():
        for ref in refs:
            layer = graph.layers[ref.layer]
            weight = replace(layer.weights[ref.key], tie=tie)
            graph.update_layer(ref.layer, replace(layer, weights={**layer.weights, ref.key: weight}))


def _refresh(graph: Graph) -> None:
    """Derive again what is computed from weights that are operands: the cut knows of no labels there."""
    for node in graph.nodes():
        stale = any(node.name in graph.weight_users(key) for key in graph.held_layers())
        if stale or node.name in graph.unchecked:
            derived = derive_specs(graph, node)
            if derived != node.outputs:
                graph.set_outputs(node, derived)
            graph.mark_checked(node.name)
