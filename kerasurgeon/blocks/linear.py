"""Linear bridges: an average pooling to the size of a region's exit and a 1x1 convolution, or one number a channel.

They are computed in closed form from data, see ``kerasurgeon.blocks.calibration``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.blocks.geometry import POLICIES, channel_axis, data_format_of, geometry
from kerasurgeon.blocks.moments import Fit
from kerasurgeon.errors import GraphError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rewrite.option_checks import naming
from kerasurgeon.rewrite.regions import Region

Array = np.ndarray[Any, Any]
Sizes = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Resizing:
    """What brings an entry to the size of an exit, so that only channels are left to be mapped.

    Attributes:
        entry: The tensor that enters.
        exit: The tensor that leaves.
        data_format: Where images hold their channels.
        pool: Window, strides and padding of an average pooling; ``None`` for none.
        enlarge: By what each spatial axis is repeated; empty for none.
        flatten: Whether the mean over all positions is taken, as for an exit without spatial axes.
    """

    entry: TensorSpec
    exit: TensorSpec
    data_format: str
    pool: tuple[Sizes, Sizes, str] | None = None
    enlarge: Sizes = ()
    flatten: bool = False

    @property
    def rank(self) -> int:
        """Spatial axes of the entry."""
        return len(self.entry.shape) - 2

    @property
    def plain(self) -> bool:
        """Whether the sizes are the same already."""
        return self.pool is None and not self.enlarge and not self.flatten

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of entry and exit."""
        return tuple(  # type: ignore[return-value]
            spec.shape[_axis(spec, self.data_format)] for spec in (self.entry, self.exit)
        )

    def rows(self, entry: Any, exit: Any) -> tuple[Array, Array]:
        """Pairs of tensors as rows ``(positions, channels)``, the entry brought to the exit's size.

        Raises:
            GraphError: The sizes differ all the same, as they may where the model leaves them open.
        """
        brought = entry
        for layer in (self._pooling(""), self._flattening(""), self._enlarging("")):
            brought = brought if layer is None else layer(brought)
        x, y = (
            np.moveaxis(np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))), axis, -1)
            for tensor, axis in (
                (brought, _axis(self.exit, self.data_format)),
                (exit, _axis(self.exit, self.data_format)),
            )
        )
        if x.shape[:-1] != y.shape[:-1]:
            raise GraphError(
                "A linear bridge cannot be fitted: with this data the exit has another size than expected.",
                expected=str(x.shape[1:-1]),
                got=str(y.shape[1:-1]),
                hint="give the model a fixed input size",
            )
        return x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])

    def model(self, fit: Fit, name: str) -> keras.Model:
        """The bridge as a Keras model.

        Args:
            fit: Matrix and bias, or one number and bias a channel.
            name: The names of its layers begin with it.
        """
        inputs = keras.Input(batch_shape=self.entry.shape, dtype=self.entry.dtype)
        x = inputs
        for layer in (self._pooling(name), self._flattening(name)):
            x = x if layer is None else layer(x)
        mapping = self._scaling(fit, name) if fit.weight.ndim == 1 else self._projection(fit, name)
        x = mapping(x)
        enlarging = self._enlarging(name)
        x = x if enlarging is None else enlarging(x)
        kernel = fit.weight.reshape(mapping.weights[0].shape)
        mapping.set_weights([kernel, fit.bias] if len(mapping.weights) > 1 else [kernel])
        return keras.Model(inputs, x, name=name)

    def _projection(self, fit: Fit, name: str) -> Any:
        options = {"name": f"{name}_project", "dtype": self._policy, "kernel_initializer": "zeros"}
        outputs = fit.weight.shape[1]
        if self.rank == 0 or self.flatten:
            return keras.layers.Dense(outputs, **options)
        layer = getattr(keras.layers, f"Conv{self.rank}D")
        return layer(outputs, 1, data_format=self._layout, **options)

    def _scaling(self, fit: Fit, name: str) -> Any:
        """A layer that multiplies every channel by a number: of a kind that every runtime has, where there is one."""
        biased = bool(np.any(fit.bias != 0))
        if self.rank in (1, 2):
            layer = getattr(keras.layers, f"DepthwiseConv{self.rank}D")
            options = {"use_bias": biased, "data_format": self._layout, "depthwise_initializer": "ones"}
            return layer(1, name=f"{name}_scale", dtype=self._policy, **options)
        axes = "abcdefgh"[: self.rank + 2]
        channel = axes[_axis(self.exit, self.data_format)]
        return keras.layers.EinsumDense(
            f"{axes},{channel}->{axes}",
            output_shape=self.exit.shape[1:],
            bias_axes=channel if biased else None,
            kernel_initializer="ones",
            name=f"{name}_scale",
            dtype=self._policy,
        )

    def _pooling(self, name: str) -> Any:
        if self.pool is None:
            return None
        sizes, strides, padding = self.pool
        layer = getattr(keras.layers, f"AveragePooling{self.rank}D")
        return layer(
            sizes,
            strides,
            padding,
            data_format=self._layout,
            name=f"{name}_pool" if name else None,
            dtype=self._policy,
        )

    def _flattening(self, name: str) -> Any:
        if not self.flatten:
            return None
        layer = getattr(keras.layers, f"GlobalAveragePooling{self.rank}D")
        return layer(data_format=self._layout, name=f"{name}_pool" if name else None, dtype=self._policy)

    def _enlarging(self, name: str) -> Any:
        if not self.enlarge:
            return None
        return keras.layers.UpSampling2D(
            self.enlarge, data_format=self._layout, name=f"{name}_enlarge" if name else None, dtype=self._policy
        )

    @property
    def _layout(self) -> str:
        return self.data_format if self.rank == 2 else "channels_last"

    @property
    def _policy(self) -> str:
        return POLICIES[self.exit.dtype]


@naming()
def resizing(graph: Graph, region: Region) -> Resizing:
    """What brings a region's entry to the size of its exit.

    Windows are as long as their stride where that gives the size; elsewhere they are made longer, as adaptive pooling
    makes them.

    Args:
        graph: The graph.
        region: One of its regions.

    Raises:
        PlaceError: A linear map over channels cannot take the region's place, and why.
    """
    before, after = region.entry_spec, region.exit_spec
    data_format = data_format_of(graph, region.nodes)
    for spec, value in ((before, region.entry), (after, region.exit)):
        if spec.dtype not in POLICIES or spec.sparse or not 2 <= len(spec.shape) <= 5:
            raise _impossible(region, f"{value} is no dense tensor of numbers over channels: {spec}")
        if spec.shape[_axis(spec, data_format)] is None:
            raise _impossible(region, f"{value} has an unknown number of channels: {spec}")
    if len(before.shape) != len(after.shape):
        if len(after.shape) == 2 and None not in before.shape[1:]:
            return Resizing(before, after, data_format, flatten=True)
        raise _impossible(region, f"its entry has {len(before.shape)} axes, its exit {len(after.shape)}")
    sizes = [_spatial(spec, data_format) for spec in (before, after)]
    pairs = list(zip(*sizes, strict=True))
    if all(size == wanted for size, wanted in pairs) and None not in sizes[0]:
        return Resizing(before, after, data_format)
    if any(None in pair for pair in pairs):
        return _open(graph, region, data_format)
    if all(wanted >= size for size, wanted in pairs):
        if len(before.shape) == 4 and all(wanted % size == 0 for size, wanted in pairs):
            factors = tuple(wanted // size for size, wanted in pairs)
            return Resizing(before, after, data_format, enlarge=factors)
        raise _impossible(region, "its exit is larger than its entry, and not by whole factors")
    if any(wanted > size for size, wanted in pairs):
        raise _impossible(region, "its exit is larger than its entry along one axis and smaller along another")
    return Resizing(before, after, data_format, pool=_windows(pairs))


def _windows(pairs: list[tuple[int, int]]) -> tuple[Sizes, Sizes, str]:
    strides = tuple(max(1, round(size / wanted)) for size, wanted in pairs)
    if all(size == wanted * stride for (size, wanted), stride in zip(pairs, strides, strict=True)):
        return strides, strides, "valid"
    if all(-(-size // stride) == wanted for (size, wanted), stride in zip(pairs, strides, strict=True)):
        return strides, strides, "same"
    strides = tuple(size // wanted for size, wanted in pairs)
    windows = tuple(size - (wanted - 1) * stride for (size, wanted), stride in zip(pairs, strides, strict=True))
    return windows, strides, "valid"


def _open(graph: Graph, region: Region, data_format: str) -> Resizing:
    """Sizes that the model leaves open: by the strides of the layers on the way."""
    if len(region.entry_spec.shape) != 4:
        return Resizing(region.entry_spec, region.exit_spec, data_format)
    strides = geometry(graph, region).strides
    pool = None if max(strides) == 1 else (strides, strides, "same")
    return Resizing(region.entry_spec, region.exit_spec, data_format, pool=pool)


def _axis(spec: TensorSpec, data_format: str) -> int:
    return channel_axis(data_format) if len(spec.shape) == 4 else len(spec.shape) - 1


def _spatial(spec: TensorSpec, data_format: str) -> list[Any]:
    axis = _axis(spec, data_format)
    return [size for place, size in enumerate(spec.shape) if place not in (0, axis)]


def _impossible(region: Region, why: str) -> GraphError:
    return GraphError(
        f"No linear bridge can take the place of region {region.name!r}: {why}.",
        hint="choose a region between two tensors with channels, the second no larger than the first",
    )


__all__ = ["Resizing", "resizing"]
