"""Backbones of keras.applications at the output stride that a dense prediction needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from kerasurgeon.errors import did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.dilate import dilate_strides
from kerasurgeon.rewrite.option_checks import wrong_option

OUTPUT_STRIDES = (8, 16, 32)
_SIZES = ("small", "large")


def mobilenet_v3(
    size: str = "small",
    *,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    output_stride: int = 16,
    alpha: float = 1.0,
    weights: str | None = None,
    minimalistic: bool = False,
    preprocessing: bool = False,
    momentum: float | None = None,
) -> keras.Model:
    """A MobileNetV3 without its head, strides taken out until ``output_stride`` is reached, weights kept.

    Args:
        size: ``"small"`` or ``"large"``.
        input_shape: Height, width and channels of images in [-1, 1]; in [0, 255] with ``preprocessing``.
        output_stride: 8, 16 or 32: pixels of the input from one position of the output to the next.
        alpha: Width: channels of every layer as a share of the published network's.
        weights: ``None`` for random ones, ``"imagenet"``, or a file, as keras.applications takes them.
        minimalistic: Without squeeze-excite, hard swish and 5x5 kernels.
        preprocessing: Begin with the layer that brings [0, 255] to [-1, 1].
        momentum: Of the batch norms; by default 0.999, which is for trainings of many thousand steps.

    Raises:
        OptionError: ``size`` or ``output_stride`` is none of these.
    """
    plain = plain_mobilenet_v3(size, input_shape, alpha, weights, minimalistic, preprocessing)
    return at_output_stride(plain, output_stride, momentum)


def plain_mobilenet_v3(
    size: str,
    input_shape: tuple[int | None, int | None, int],
    alpha: float,
    weights: str | None,
    minimalistic: bool,
    preprocessing: bool,
) -> keras.Model:
    """The network of keras.applications, at its own output stride of 32; see ``mobilenet_v3``."""
    if size not in _SIZES:
        raise wrong_option(
            "mobilenet_v3", "size", size, " or ".join(map(repr, _SIZES)), did_you_mean(str(size), _SIZES)
        )
    build = keras.applications.MobileNetV3Small if size == "small" else keras.applications.MobileNetV3Large
    options: dict[str, Any] = {"minimalistic": minimalistic, "include_preprocessing": preprocessing}
    return build(input_shape=tuple(input_shape), alpha=alpha, include_top=False, weights=weights, **options)


def at_output_stride(backbone: keras.Model, output_stride: int, momentum: float | None = None) -> keras.Model:
    """A backbone with strides taken out until ``output_stride`` is reached, and with this momentum in its batch norms.

    Raises:
        OptionError: ``output_stride`` is not 8, 16 or 32.
    """
    check_output_stride("output stride", output_stride)
    graph = lift(backbone)
    dilate_strides(graph, output_stride)
    if momentum is not None:
        set_momentum(graph, momentum)
    return emit(graph)


def set_momentum(graph: Graph, momentum: float, nodes: Iterable[str] | None = None) -> None:
    """Set the momentum of batch norms.

    Args:
        graph: The graph, changed in place.
        momentum: In [0, 1).
        nodes: The nodes to look at; by default all.
    """
    for name in [node.name for node in graph.nodes()] if nodes is None else nodes:
        layer = graph.layer_of(name)
        if layer.kind == "BatchNormalization":
            graph.update_layer(graph[name].layer, layer.with_config(momentum=momentum))


def check_output_stride(owner: str, value: Any) -> None:
    """Refuse output strides that there is no way to reach.

    Raises:
        OptionError: It is not 8, 16 or 32.
    """
    if isinstance(value, bool) or value not in OUTPUT_STRIDES:
        raise wrong_option(owner, "output_stride", value, "8, 16 or 32")


def last_at_stride(backbone: keras.Model, stride: int) -> str:
    """The last layer of a backbone that gives maps of the input's height and width over ``stride``.

    In networks of inverted bottlenecks that is the expanded tensor which the first block of the next stage reduces.

    Args:
        backbone: A model of images, channels last, of known size, with all its strides.
        stride: Pixels of the input from one position to the next.
    """
    height, width = backbone.inputs[0].shape[1:3]
    wanted = (-(-height // stride), -(-width // stride))
    nodes = [node for node in lift(backbone).nodes() if tuple(node.spec.shape[1:3]) == wanted]
    return nodes[-1].layer
