"""Shunts: small networks of inverted bottlenecks that stand in for a run of blocks.

Three architectures, by the numbers that the literature gives them. PW(c) is a 1x1 convolution to c channels, DW a 3x3
depthwise convolution; every convolution is followed by a batch norm, and all but the projections by ReLU6.

* ``"1"``: PW192, DW, PW64, PW192, DW, PW(outputs); halves the image up to twice.
* ``"4"``: PW128, DW, PW(outputs); up to once.
* ``"5"``: three bottlenecks, PW192, DW, PW64 twice and PW192, DW, PW(outputs); up to three times.
* ``"1-se"``: as 1, with squeeze-and-excite behind each depthwise convolution, as in MobileNetV3.
* ``"1-se-bottleneck"``: as 1, with squeeze-and-excite on the 64 channels between the two bottlenecks.

Sources: Singh et al., "Shunt connection: An intelligent skipping of contiguous blocks for optimizing MobileNet-V2",
Neural Networks 118 (2019); Haas et al., "Neural Network Compression Through Shunt Connections and Knowledge
Distillation for Semantic Segmentation Problems", AIAI 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.blocks.geometry import Geometry, Pair, channel_axis
from kerasurgeon.blocks.sizes import Step, steps_for
from kerasurgeon.errors import GraphError

L2 = 4e-5
"""Weight decay of every kernel."""


@final
@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture of shunts; call it to build one.

    Attributes:
        name: Its name.
        widths: Channels inside each bottleneck.
        between: Channels between bottlenecks.
        dilations: For each bottleneck whether its dilation is the region's first (0) or last (1).
        excite: Squeeze-and-excite: ``"none"``, ``"depthwise"`` (behind each depthwise convolution) or
            ``"bottleneck"`` (between bottlenecks).
        explicit: Whether strided convolutions pad by a layer of their own; it makes no difference to the result.
    """

    name: str
    widths: tuple[int, ...]
    between: int
    dilations: tuple[int, ...]
    excite: str = "none"
    explicit: bool = False

    @property
    def most_halvings(self) -> int:
        """How often it can halve the image."""
        return len(self.widths)

    def fits(self, geometry: Geometry) -> bool:
        """Whether it can make exactly the exit's size of the entry's."""
        return steps_for(geometry, len(self.widths)) is not None

    def __call__(self, geometry: Geometry, seed: int = 0) -> keras.Model:
        """Build a shunt with fresh weights.

        Args:
            geometry: What it must do.
            seed: The same seed, the same weights.

        Raises:
            GraphError: It cannot make the exit's size; the message says which architectures can.
        """
        steps = steps_for(geometry, len(self.widths))
        if steps is None:
            raise _no_fit(self, geometry)
        return _Builder(self, geometry, steps, seed).model()


def fitting(geometry: Geometry) -> tuple[str, ...]:
    """Names of the architectures that can make the exit's size of the entry's."""
    return tuple(name for name, shunt in SHUNTS.items() if shunt.fits(geometry))


@dataclass
class _Builder:
    shunt: Architecture
    geometry: Geometry
    steps: tuple[Step, ...]
    seed: int
    seeds: Any = field(init=False)

    def __post_init__(self) -> None:
        self.seeds = np.random.default_rng(self.seed)

    def model(self) -> keras.Model:
        shunt, geometry = self.shunt, self.geometry
        inputs = keras.Input(batch_shape=geometry.entry.shape, dtype=geometry.entry.dtype, name="entry")
        x, last = inputs, len(shunt.widths)
        for number, (width, which, step) in enumerate(zip(shunt.widths, shunt.dilations, self.steps, strict=True), 1):
            x = self._pointwise(x, width, f"expand_{number}", activate=True)
            x = self._depthwise(x, step, geometry.dilations[which], number)
            if shunt.excite == "depthwise":
                x = self._excite(x, width, f"se_{number}")
            x = self._pointwise(x, geometry.outputs if number == last else shunt.between, f"project_{number}")
            if shunt.excite == "bottleneck" and number < last:
                x = self._excite(x, shunt.between, f"se_{number}")
        return keras.Model(inputs, x, name=f"shunt_{shunt.name.replace('-', '_')}")

    def _pointwise(self, x: Any, filters: int, name: str, *, activate: bool = False) -> Any:
        x = keras.layers.Conv2D(filters, 1, use_bias=False, name=name, **self._kernel(), **self._layout())(x)
        return self._norm(x, name, activate=activate)

    def _depthwise(self, x: Any, step: Step, dilation: Pair, number: int) -> Any:
        name, strided = f"depthwise_{number}", max(step.strides) > 1
        padding = "same" if all(step.same) else "valid"
        known = None not in step.sizes
        mixed = any(step.same) and not all(step.same)
        if (strided and self.shunt.explicit and padding == "same" and known) or mixed:
            x = keras.layers.ZeroPadding2D(step.padding, name=f"pad_{number}", **self._layout())(x)
            padding = "valid"
        kernel = {key.replace("kernel", "depthwise"): value for key, value in self._kernel().items()}
        # An image that is not padded at its border shrinks by the reach of the kernel, which dilation widens.
        rate = dilation if not strided and padding == "same" else (1, 1)
        x = keras.layers.DepthwiseConv2D(
            3, step.strides, padding, dilation_rate=rate, use_bias=False, name=name, **kernel, **self._layout()
        )(x)
        return self._norm(x, name, activate=True)

    def _norm(self, x: Any, name: str, *, activate: bool) -> Any:
        axis = channel_axis(self.geometry.data_format)
        dtype = self.geometry.policy
        x = keras.layers.BatchNormalization(axis, 0.999, 1e-3, name=f"{name}_bn", dtype=dtype)(x)
        return keras.layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(x) if activate else x

    def _excite(self, x: Any, width: int, name: str) -> Any:
        layers, layout = keras.layers, self._layout()
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool", **layout)(x)
        gate = layers.Conv2D(_depth8(width / 4), 1, name=f"{name}_squeeze", **self._kernel(), **layout)(gate)
        gate = layers.ReLU(name=f"{name}_relu", dtype=self.geometry.policy)(gate)
        gate = layers.Conv2D(width, 1, name=f"{name}_excite", **self._kernel(), **layout)(gate)
        gate = layers.Activation("hard_sigmoid", name=f"{name}_gate", dtype=self.geometry.policy)(gate)
        return layers.Multiply(name=f"{name}_scale", dtype=self.geometry.policy)([x, gate])

    def _layout(self) -> dict[str, Any]:
        return {"data_format": self.geometry.data_format, "dtype": self.geometry.policy}

    def _kernel(self) -> dict[str, Any]:
        seed = int(self.seeds.integers(2**31))
        return {
            "kernel_initializer": keras.initializers.HeNormal(seed=seed),
            "kernel_regularizer": keras.regularizers.L2(L2),
        }


def _depth8(channels: float) -> int:
    """A number of channels as a multiple of 8, at most a tenth below what is wanted."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _no_fit(shunt: Architecture, geometry: Geometry) -> GraphError:
    others = fitting(geometry)
    halvings = max(geometry.halvings)
    if others:
        hint = f"architecture {' or '.join(map(repr, others))} can"
    elif halvings > max(other.most_halvings for other in SHUNTS.values()):
        hint = "no architecture can: choose a shorter region, a translator, or a function of your own"
    else:
        hint = "no architecture makes exactly this size: choose a region with other ends, or a function of your own"
    return GraphError(
        f"A shunt of architecture {shunt.name!r} cannot bridge this region.",
        expected=f"at most {shunt.most_halvings} halvings of the image",
        got=f"{_sizes(geometry.size_in)} -> {_sizes(geometry.size_out)}, {halvings} halvings",
        hint=hint,
    )


def _sizes(size: tuple[int | None, int | None]) -> str:
    return "x".join("?" if one is None else str(one) for one in size)


SHUNTS: Mapping[str, Architecture] = MappingProxyType(
    {
        shunt.name: shunt
        for shunt in (
            Architecture("1", (192, 192), 64, (0, 1), explicit=True),
            Architecture("4", (128,), 64, (1,)),
            Architecture("5", (192, 192, 192), 64, (0, 0, 1)),
            Architecture("1-se", (192, 192), 64, (0, 1), "depthwise", explicit=True),
            Architecture("1-se-bottleneck", (192, 192), 64, (0, 1), "bottleneck", explicit=True),
        )
    }
)
"""The architectures by name."""


__all__ = ["L2", "SHUNTS", "Architecture", "fitting"]
