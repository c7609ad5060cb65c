"""Bring the output stride of a network down, weights kept: strides become gaps between the taps of what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves, dilate_strides


@final
@dataclass(frozen=True)
class SetOutputStride(Pass):
    """Turn strides into dilations, so that a network for classification gives the maps that segmentation needs.

    From the inputs on, every stride that would make the product of strides larger than ``stride`` becomes 1, and every
    convolution and pooling behind it gets its taps as much further apart. Weights stay. At every position that the old
    output had, the new one has the same value (up to layers that look at the whole map, as squeeze-excite gates do);
    where it was is ``rate * i + offset``.

    Matches:
        Convolutions, depthwise and separable convolutions and poolings in 1, 2 and 3 dimensions, either data format.
        An explicit ZeroPadding before a layer that loses its stride becomes symmetric.
    Leaves alone:
        What comes before the stride is reached.
    Preserves:
        Weights and names. Shapes change, so that a head for fixed sizes (Flatten, Dense) has to be cut off before.

    Args:
        stride: The largest stride from input to output that is left, as 8 or 16.

    Raises:
        OptionError: ``stride`` is not a whole number above 0.
        GraphError: What follows cannot be computed from a denser tensor; the message names the node.

    Reference:
        Chen et al., "DeepLab", arXiv:1606.00915, section 3.1.

    Example:
        >>> backbone = keras.applications.MobileNetV2(include_top=False)
        >>> dense = apply_passes(backbone, [SetOutputStride(16)])
    """

    stride: int

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        if isinstance(self.stride, bool) or not isinstance(self.stride, int) or self.stride < 1:
            raise OptionError(
                "SetOutputStride: option 'stride' must be a whole number above 0.",
                expected="8, 16, ...",
                got=repr(self.stride),
            )

    def run(self, graph: Graph, context: Context) -> None:
        """Take out the strides, from the inputs on."""
        done = dilate_strides(graph, self.stride)
        for node, what in done.items():
            context.changed(node, what)
        if not done:
            context.left(graph.name, f"its output stride is not above {self.stride}")


__all__ = ["SetOutputStride"]
