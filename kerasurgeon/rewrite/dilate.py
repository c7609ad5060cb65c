"""Take strides out of a network and keep what it computes, by gaps between the taps of what follows.

A convolution without its stride gives a denser tensor, of which the old one is every second position; what follows
computes the same from it if its taps lie twice as far apart. So a network for classification becomes one for
segmentation, weights and all.

Reference:
    Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully
    Connected CRFs", arXiv:1606.00915, section 3.1; Holschneider et al., "A real-time algorithm for signal analysis with
    the help of the wavelet transform", 1989.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import keras

from kerasurgeon.errors import GraphError, OptionError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.derive import derive_specs, infer
from kerasurgeon.rewrite.calls import call, splice, substitute
from kerasurgeon.rewrite.dilated_pool import dilated_pool
from kerasurgeon.rewrite.grids import Grid, Ints, Padding, Window, dense_padding, scaled_padding
from kerasurgeon.rules.answers import Regrouped
from kerasurgeon.rules.asking import movement_of, positions_of
from kerasurgeon.rules.layout import spatial_axes
from kerasurgeon.rules.positions import Border, Each, Gone, Resized
from kerasurgeon.rules.positions import Window as Reach


class _Misaligned(Exception):  # noqa: N818 - not an error: padding is then done in another way
    """Two tensors that are added lie shifted against each other."""


def dilate_strides(graph: Graph, stride: int) -> dict[str, str]:
    """Bring the output stride of a network down to a number, weights kept; the graph is changed as a whole or not.

    Walking from the inputs, every stride that would go beyond ``stride`` is taken out, and what follows gets its taps
    further apart. Explicit padding before a layer that loses its stride becomes symmetric. Where that would shift two
    branches against each other, all padding is left on the side where it was.

    Args:
        graph: The graph, changed in place.
        stride: The largest stride from input to output that is left.

    Returns:
        What was done to each node, by name; nothing if no stride is larger.

    Raises:
        OptionError: ``stride`` is not a whole number above 0.
        GraphError: What follows a stride cannot be computed from denser tensors: a flattening, a transposed
            convolution, a layer that is called at several densities.
    """
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise OptionError("The output stride must be a whole number above 0.", expected="8, 16, ...", got=repr(stride))
    for aligned in (False, True):
        trial = graph.copy()
        try:
            done = _Dilation(trial, stride, aligned=aligned).run()
            infer(trial)
        except _Misaligned:
            continue
        except VerificationError as error:
            raise needs_sizes(error) from error
        if done:
            graph.adopt(trial)
        return done
    raise GraphError("The strides cannot be taken out: branches that are added would be shifted against each other.")


def needs_sizes(error: VerificationError) -> GraphError:
    """The error where strides were taken out, and a layer further on does not take what there is now."""
    return GraphError(
        "The strides cannot be taken out: a layer further on needs the sizes that it has.",
        where=error.where,
        got=error.got,
        hint="cut off the head first, as in extract(model, inputs, outputs), or take out less",
    )


def strided_windows(graph: Graph) -> dict[str, tuple[Window, int]]:
    """The calls that bring sizes down, in order: what each reads, and the stride from the input to what it gives."""
    walk = _Dilation(graph.copy(), sys.maxsize, aligned=False)
    walk.run()
    found: dict[str, tuple[Window, int]] = {}
    for node in graph.nodes():
        reach, grid = positions_of(graph, node), walk.grids[node.value]
        if isinstance(reach, Reach) and not reach.transposed and max(reach.strides) > 1 and grid is not None:
            found[node.name] = walk.window_at(reach, node.name, node.inputs[0]), max(grid.stride)
    return found


@dataclass
class _Dilation:
    """One walk over a graph."""

    graph: Graph
    stride: int
    aligned: bool

    def __post_init__(self) -> None:
        self.grids: dict[Value, Grid | None] = {}
        self.done: dict[str, str] = {}
        self.original = self.graph.copy()
        self.settings: dict[str, Any] = {}
        self.put: Value | None = None

    def run(self) -> dict[str, str]:
        """Visit every node in order."""
        definitions: dict[str, Layer] = {}
        settings: dict[str, dict[str, Any]] = {}
        for node in self.original.nodes():
            layer = definitions.setdefault(node.layer, self.graph.layer_of(node))
            self.settings = {}
            grid = self._visit(self.graph[node.name], layer)
            self._derive(node.name)
            if settings.setdefault(node.layer, self.settings) != self.settings:
                raise GraphError(
                    f"Layer {node.layer!r} is called several times, at different densities.",
                    where=f"node {node.name!r}",
                    hint="give each call a layer of its own: graph.fork_layer(node)",
                )
            # A node that was replaced hands its grid to what took its place.
            for index in range(len(node.outputs)):
                self.grids[Value(node.name, index)] = grid
            if self.put is not None:
                self.grids[self.put], self.put = grid, None
        return self.done

    def _derive(self, name: str) -> None:
        """Sizes as they are now, where something before or in a node has changed."""
        if name in self.graph and name in self.graph.unchecked:
            self.graph.set_outputs(name, derive_specs(self.graph, name))
            self.graph.mark_checked(name)

    def _visit(self, node: Node, layer: Layer) -> Grid | None:
        kind = layer.kind
        if kind == "InputLayer":
            return Grid.input(len(node.spec.shape) - 2) if len(node.spec.shape) > 2 else None
        grids = [self.grids[value] for value in node.inputs]
        placed = [grid for grid in grids if grid is not None]
        if not placed:
            return None
        positions = positions_of(self.original, self.original[node.name])
        if isinstance(positions, Reach) and not positions.transposed:
            return self._window(node, layer, positions, placed[0])
        if isinstance(positions, Border):
            shift = self._cropping if positions.cuts else self._padding
            return shift(node, positions, placed[0])
        if isinstance(positions, Gone) or len(node.spec.shape) < 3:
            if isinstance(movement_of(self.graph, node), Regrouped) and any(grid.dense for grid in placed):
                raise self._refusal(node, kind)
            return None
        if isinstance(positions, Resized):
            return Grid.input(len(placed[0].stride))
        if isinstance(positions, Each):
            return self._merged(node, placed)
        return self._other(node, layer, placed)

    def _merged(self, node: Node, placed: list[Grid]) -> Grid:
        first = placed[0]
        for other in placed[1:]:
            if len(other.rate) != len(first.rate):
                continue
            if other.rate != first.rate:
                raise GraphError(
                    f"Node {node.name!r} joins tensors of different strides.",
                    where=f"node {node.name!r}",
                    got=f"{first.actual} and {other.actual}",
                    hint="cut the network off before they meet: extract(graph, inputs, outputs)",
                )
            if other.offset != first.offset:
                raise _Misaligned
        return max(placed, key=lambda grid: len(grid.rate))

    def _other(self, node: Node, layer: Layer, placed: list[Grid]) -> Grid | None:
        """What is not known: a stride of its own can be told from the sizes, but not what it does to dense tensors."""
        if any(grid.dense for grid in placed):
            raise self._refusal(node, layer.kind)
        before, after = (self.original.spec(v).shape for v in (self.original[node.name].inputs[0], Value(node.name)))
        if len(before) != len(after):
            return Grid.input(len(after) - 2) if len(after) > 2 else None
        first = placed[0]
        sizes = [(had, has) for had, has in zip(before[1:-1], after[1:-1], strict=True) if had and has]
        if len(sizes) != len(first.stride):
            return first
        stride = tuple(max(1, round(had * s / has)) for s, (had, has) in zip(first.stride, sizes, strict=True))
        return Grid(stride, first.rate, first.offset)

    def _refusal(self, node: Node, kind: str) -> GraphError:
        return GraphError(
            f"Node {node.name!r} ({kind}) cannot read a tensor whose stride was taken out.",
            where=f"node {node.name!r}",
            expected="convolutions, poolings, norms and element-wise layers behind the stride",
            hint="cut the network off before it: extract(graph, inputs, outputs), or name a larger stride",
        )

    def _loses_stride(self, window: Window, grid: Grid) -> bool:
        beyond = (a * s > self.stride for a, s in zip(grid.actual, window.strides, strict=True))
        return any(s > 1 for s in window.strides) and (grid.dense or any(beyond))

    def _window(self, node: Node, layer: Layer, reach: Reach, grid: Grid) -> Grid:
        window = self.window_at(reach, node.name, self.original[node.name].inputs[0])
        loses = self._loses_stride(window, grid)
        if not loses and not grid.dense:
            return Grid(tuple(a * b for a, b in zip(grid.stride, window.strides, strict=True)), grid.rate, grid.offset)
        padding, after = dense_padding(window, grid, aligned=self.aligned)
        dilation = tuple(a * b for a, b in zip(window.dilation, grid.rate, strict=True))
        taps = tuple((size - 1) * gap for size, gap in zip(window.size, dilation, strict=True))
        mode = "same" if padding.is_same(taps) else "valid"
        if window.padding == "causal" or not any(taps):
            mode = window.padding
        explicit = mode == "valid" and not padding.nothing
        if reach.takes != "sum":
            self._put_pool(node, reach, window, dilation, padding, "valid" if explicit else mode)
        else:
            if explicit:
                self._pad_before(node, layer, padding)
            changes: dict[str, Any] = {"strides": _like(layer, "strides", (1,) * len(dilation)), "padding": mode}
            if window.dilation != dilation:
                changes["dilation_rate"] = _like(layer, "dilation_rate", dilation)
            self._update(node, changes)
        said = []
        if loses:
            said.append(f"stride {_short(window.strides)} becomes 1")
        if window.dilation != dilation:
            said.append(f"dilation {_short(window.dilation)} becomes {_short(dilation)}")
        if explicit:
            said.append(f"padded by {_short_pads(padding)}")
        if said:
            self.done[node.name] = ", ".join(said)
        return after

    def _put_pool(self, node: Node, reach: Reach, window: Window, dilation: Ints, padding: Padding, mode: str) -> None:
        """A pooling layer without stride, or, where its taps get gaps, slices that are combined."""
        layer = self.graph.layer_of(node)
        gaps = any(gap > 1 and size > 1 for gap, size in zip(dilation, window.size, strict=True))
        if not gaps and (mode == "same" or padding.nothing):
            self._update(node, {"strides": _like(layer, "strides", (1,) * len(dilation)), "padding": mode})
            return
        kind = "max" if reach.takes == "max" else "average"
        axes = spatial_axes(layer.config, len(node.spec.shape))
        pool = dilated_pool(kind, window.size, dilation, padding.pads, axes)
        self.put = splice(self.graph, pool, node.inputs[0], like=node)
        substitute(self.graph, node, self.put)

    def _pad_before(self, node: Node, layer: Layer, padding: Padding) -> None:
        axes = len(padding.pads)
        cls = getattr(keras.layers, f"ZeroPadding{axes}D")
        pads = padding.pads[0] if axes == 1 else padding.pads
        options = {"data_format": layer.config["data_format"]} if layer.config.get("data_format") else {}
        value = call(self.graph, cls(pads, name=f"{layer.name}_pad", **options), node.inputs[0], like=node)
        self.grids[value] = None
        self.graph.set_operands(node, (value, *node.args[1:]))

    def _padding(self, node: Node, border: Border, grid: Grid) -> Grid:
        given = border.sides
        window = self._window_behind(node, grid)
        if window is None and not grid.dense:
            return grid
        padding, after = scaled_padding(given, window, grid, aligned=self.aligned)
        if padding.pads != given:
            self._update(node, {"padding": padding.pads[0] if len(given) == 1 else padding.pads})
            self.done[node.name] = f"padding {_short_pads(Padding(given))} becomes {_short_pads(padding)}"
        return after

    def _window_behind(self, node: Node, grid: Grid) -> Window | None:
        """The kind of window that alone reads a padding, if it loses its stride; in terms of what the padding reads."""
        if self.graph.is_output(node.value):
            return None
        windows = set()
        for user in self.graph.users(node):
            reach = positions_of(self.graph, user)
            if not isinstance(reach, Reach) or reach.transposed or reach.padding != "valid":
                return None
            windows.add(self.window_at(reach, user.name, self.original[node.name].inputs[0]))
        if len(windows) != 1:
            return None
        (window,) = windows
        return window if self._loses_stride(window, grid) else None

    def _cropping(self, node: Node, border: Border, grid: Grid) -> Grid:
        given = border.sides
        if grid.dense:
            cut = tuple((rate * a, rate * b) for rate, (a, b) in zip(grid.rate, given, strict=True))
            self._update(node, {"cropping": cut[0] if len(cut) == 1 else cut})
            self.done[node.name] = f"cropping {_short_pads(Padding(given))} becomes {_short_pads(Padding(cut))}"
        return grid

    def window_at(self, reach: Reach, node: str, reads: Value) -> Window:
        """What a convolution or pooling reads, with the lengths of a tensor as it was."""
        shape = self.original.spec(reads).shape
        lengths = tuple(shape[axis] for axis in spatial_axes(self.original.layer_of(node).config, len(shape)))
        return Window(reach.size, reach.strides, reach.dilation, reach.padding, lengths)

    def _update(self, node: Node, changes: dict[str, Any]) -> None:
        layer = self.graph.layer_of(node)
        self.settings.update(changes)
        if any(layer.config.get(key) != value for key, value in changes.items()):
            if node.layer in self.graph.held_layers():
                raise GraphError(
                    f"Layer {node.layer!r} would change, and another layer or call uses it too.",
                    where=f"node {node.name!r}",
                    got=", ".join(f"{key}={value!r}" for key, value in changes.items()),
                    hint="cut the model off before it: extract(graph, inputs, outputs)",
                )
            self.graph.update_layer(node.layer, layer.with_config(**changes))


def _like(layer: Layer, key: str, values: Ints) -> Any:
    """Numbers in the form that the config has them in."""
    given = layer.config.get(key)
    return values[0] if isinstance(given, int) else list(values) if isinstance(given, list) else values


def _short(values: Ints) -> str:
    return str(values[0]) if len(set(values)) == 1 else str(values)


def _short_pads(padding: Padding) -> str:
    return str(padding.pads[0]) if len(set(padding.pads)) == 1 else str(padding.pads)
