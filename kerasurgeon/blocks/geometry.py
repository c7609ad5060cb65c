"""What a bridge must do: from which tensor to which, in how many halvings, with what dilation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import keras
import networkx as nx

from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rewrite.option_checks import naming
from kerasurgeon.rewrite.regions import Region
from kerasurgeon.rules.asking import linear_form, positions_of
from kerasurgeon.rules.positions import Enlarged, Gone, Window

Pair = tuple[int, int]

POLICIES = {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16", "float32": "float32", "float64": "float64"}
"""The dtype policy of new layers by the dtype that they are to make."""


@final
@dataclass(frozen=True, slots=True)
class Geometry:
    """What goes in and out of a bridge between two tensors of images. Pairs are (height, width).

    Attributes:
        entry: The tensor that enters, ``(batch, height, width, channels)`` or channels first.
        exit: The tensor that leaves.
        strides: The stride that one layer would need to make the exit's size from the entry's with padding 'same';
            where none does, the rounded ratio.
        halvings: How often the image is halved: log2 of the ratio of the sizes, rounded.
        dilations: Dilation rates of the first and the last depthwise convolution of the region, or, without any, of the
            first and the last spatial one.
        data_format: ``"channels_last"`` or ``"channels_first"``.
    """

    entry: TensorSpec
    exit: TensorSpec
    strides: Pair
    halvings: Pair
    dilations: tuple[Pair, Pair] = ((1, 1), (1, 1))
    data_format: str = "channels_last"

    @property
    def inputs(self) -> int:
        """Channels of the entry."""
        return self.entry.shape[channel_axis(self.data_format)]  # type: ignore[return-value]

    @property
    def outputs(self) -> int:
        """Channels of the exit."""
        return self.exit.shape[channel_axis(self.data_format)]  # type: ignore[return-value]

    @property
    def size_in(self) -> tuple[int | None, int | None]:
        """Height and width of the entry; ``None`` where open."""
        return _size(self.entry, self.data_format)

    @property
    def size_out(self) -> tuple[int | None, int | None]:
        """Height and width of the exit; ``None`` where open."""
        return _size(self.exit, self.data_format)

    @property
    def policy(self) -> str:
        """The dtype policy of layers that make the exit's dtype."""
        return POLICIES[self.exit.dtype]

    def __str__(self) -> str:
        return f"{self.entry} -> {self.exit}, {self.data_format}"


@naming()
def geometry(graph: Graph, region: Region) -> Geometry:
    """What a bridge in place of a region must do.

    Where sizes are known the strides follow from them, else from the layers on the way from entry to exit.

    Args:
        graph: The graph.
        region: One of its regions.

    Raises:
        PlaceError: Entry or exit is no image, has an open number of channels or no float dtype, or the exit is larger
            than the entry.
    """
    data_format = data_format_of(graph, region.nodes)
    for what, value, spec in (
        ("begins", region.entry, region.entry_spec),
        ("ends", region.exit, region.exit_spec),
    ):
        if len(spec.shape) != 4:
            raise GraphError(
                f"The region {region.name!r} {what} with a tensor that is no image.",
                where=str(value),
                expected="a tensor of 4 axes: batch, height, width and channels",
                got=str(spec),
                hint="shunts and translators are made of 2D convolutions; choose a region between images, or bridge it "
                "with a function of your own: (entry_spec, exit_spec) -> keras.Model",
            )
        if spec.shape[channel_axis(data_format)] is None:
            raise GraphError(
                f"The region {region.name!r} {what} with a tensor of an unknown number of channels.",
                where=str(value),
                got=f"{spec}, {data_format}",
            )
        if spec.dtype not in POLICIES or spec.sparse:
            raise GraphError(
                f"The region {region.name!r} {what} with a tensor that a convolution cannot handle.",
                where=str(value),
                expected=f"a dense tensor of {', '.join(POLICIES)}",
                got=str(spec),
            )
    return _measured(graph, region, data_format)


def _measured(graph: Graph, region: Region, data_format: str) -> Geometry:
    before, after = _size(region.entry_spec, data_format), _size(region.exit_spec, data_format)
    along = _strides_along(graph, region) if None in (*before, *after) else (1.0, 1.0)
    strides, halvings = [], []
    for axis, (size, wanted) in enumerate(zip(before, after, strict=True)):
        if size is not None and wanted is not None:
            ratio = size / wanted
            strides.append(_one_stride(size, wanted))
            halvings.append(_halvings(size, wanted))
        else:
            ratio = along[axis]
            strides.append(max(1, round(ratio)))
            halvings.append(max(0, round(math.log2(ratio))))
        if ratio < 1:
            raise GraphError(
                f"The region {region.name!r} makes images larger, which no shunt or translator does.",
                where=f"{region.entry} -> {region.exit}",
                expected="an exit that is no larger than the entry",
                got=f"{region.entry_spec} -> {region.exit_spec}",
                hint="choose a region that ends before the image grows, or bridge this one with a function of your "
                "own, (entry_spec, exit_spec) -> keras.Model, that enlarges with UpSampling2D or Conv2DTranspose",
            )
    return Geometry(
        region.entry_spec,
        region.exit_spec,
        (strides[0], strides[1]),
        (halvings[0], halvings[1]),
        _dilations(graph, region.nodes),
        data_format,
    )


def channel_axis(data_format: str) -> int:
    """The axis of a batch of images that holds channels."""
    return 1 if data_format == "channels_first" else 3


def spatial_axes(data_format: str) -> Pair:
    """The axes that hold height and width."""
    return (2, 3) if data_format == "channels_first" else (1, 2)


def data_format_of(graph: Graph, names: Iterable[str]) -> str:
    """The layout that layers say they work in: the first of these nodes that says, or of the graph, or Keras' own."""
    for group in (names, (node.name for node in graph.nodes())):
        for name in group:
            said = graph.layer_of(name).config.get("data_format")
            if said in ("channels_first", "channels_last") and len(graph[name].spec.shape) == 4:
                return str(said)
    return str(keras.config.image_data_format())


def _size(spec: TensorSpec, data_format: str) -> tuple[int | None, int | None]:
    height, width = spatial_axes(data_format)
    return spec.shape[height], spec.shape[width]


def _one_stride(size: int, wanted: int) -> int:
    """The smallest stride that makes one size of another with padding 'same', or the rounded ratio."""
    if wanted >= size:
        return 1
    stride = -(-size // wanted)
    return stride if -(-size // stride) == wanted else max(1, round(size / wanted))


def _halvings(size: int, wanted: int) -> int:
    """How many convolutions of stride 2 and padding 'same' make one size of another, or the nearest number."""
    halved, count = size, 0
    while halved > wanted:
        halved, count = -(-halved // 2), count + 1
    return count if halved == wanted else max(0, round(math.log2(size / wanted)))


def _dilations(graph: Graph, names: Iterable[str]) -> tuple[Pair, Pair]:
    depthwise, wide = [], []
    for form in (linear_form(graph.layer_of(name)) for name in names):
        if form is None or form.window is None or form.transposed or len(form.window.size) != 2:
            continue
        if form.kernels[0].depthwise:
            depthwise.append(form.window)
        elif not form.pointwise:
            wide.append(form.window)
    spatial = depthwise or wide
    if not spatial:
        return (1, 1), (1, 1)
    return _pair(spatial[0].dilation), _pair(spatial[-1].dilation)


def _strides_along(graph: Graph, region: Region) -> tuple[float, float]:
    """The product of the strides along the shortest way from entry to exit."""
    view = graph.digraph.subgraph([region.entry.node, *region.nodes])
    way = nx.shortest_path(view, region.entry.node, region.exit.node)[1:]
    height, width = 1.0, 1.0
    for vertical, horizontal in (_stride_of(graph, name, region) for name in way):
        height, width = height * vertical, width * horizontal
    return height, width


def _stride_of(graph: Graph, name: str, region: Region) -> tuple[float, float]:
    positions = positions_of(graph, graph[name])
    if isinstance(positions, Window) and len(positions.size) == 2:
        vertical, horizontal = positions.strides
        return (1 / vertical, 1 / horizontal) if positions.transposed else (vertical, horizontal)
    if isinstance(positions, Enlarged) and len(positions.factors) == 2:
        vertical, horizontal = positions.factors
        return 1 / vertical, 1 / horizontal
    if isinstance(positions, Gone) and len(graph.spec(graph[name].inputs[0]).shape) == 4:
        raise GraphError(
            f"The region {region.name!r} averages over the whole image, whose size is open.",
            where=f"layer {name!r}",
            hint="give the model a fixed input size, or choose a region without a global pooling",
        )
    return 1.0, 1.0


def _pair(values: tuple[int, ...]) -> Pair:
    first, second = values
    return first, second


__all__ = ["POLICIES", "Geometry", "channel_axis", "data_format_of", "geometry", "spatial_axes"]
