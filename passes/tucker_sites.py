"""Which convolutions can be split, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.authoring import Graph, Layer, Node, Skip, TensorSpec, Value
from kerasurgeon.passes.tucker_layers import is_linear

_NOT_YET = "only Conv2D is split; this is {}"
_OTHER_KINDS = {
    "Conv1D": _NOT_YET,
    "Conv3D": _NOT_YET,
    "Conv1DTranspose": _NOT_YET,
    "Conv2DTranspose": _NOT_YET,
    "Conv3DTranspose": _NOT_YET,
    "DepthwiseConv1D": "a {} has one channel a kernel: there are no channel modes to truncate",
    "DepthwiseConv2D": "a {} has one channel a kernel: there are no channel modes to truncate",
    "SeparableConv1D": "a {} is a factorised convolution already",
    "SeparableConv2D": "a {} is a factorised convolution already",
    "ops.conv": "it is an op: its kernel is an operand, not a weight of its own",
}


@final
@dataclass(frozen=True, slots=True)
class ConvSite:
    """A convolution that a pass looks at: one layer, all its calls.

    Attributes:
        key: Key of the layer.
        layer: The layer.
        calls: The nodes that call it, oldest first; the first one stands for the site in reports.
        specs: What each call reads and what it gives.
    """

    key: str
    layer: Layer
    calls: tuple[Node, ...]
    specs: tuple[tuple[TensorSpec, TensorSpec], ...]

    @property
    def name(self) -> str:
        """The site's name in reports."""
        return self.calls[0].name

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.layer.config["groups"])

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels of one group."""
        shape = self.layer.weights["kernel"].shape
        return shape[-2], shape[-1] // self.groups

    def kernels(self) -> list[np.ndarray[Any, Any]]:
        """The kernel of each group, in float32 or float64. Output channels of a group stand side by side."""
        kernel = self.layer.weights["kernel"].array
        wide = kernel if kernel.dtype in (np.float32, np.float64) else kernel.astype(np.float32)
        return np.split(wide, self.groups, axis=-1)

    def matches(self, pattern: str) -> bool:
        """Whether a name pattern names the layer or one of its calls."""
        return any(fnmatchcase(name, pattern) for name in {self.key, *(node.name for node in self.calls)})


def convolutions(graph: Graph) -> Iterator[ConvSite]:
    """Every layer that convolves, in order of first calls, splittable or not."""
    seen: set[str] = set()
    for node in graph.nodes():
        layer = graph.layer_of(node)
        if node.layer not in seen and _convolves(layer):
            seen.add(node.layer)
            calls = graph.calls(node.layer)
            specs = tuple((graph.spec(call.inputs[0]), call.spec) for call in calls)
            yield ConvSite(node.layer, layer, calls, specs)


def require_conv2d(site: ConvSite) -> None:
    """Refuse all but a plain Conv2D.

    Raises:
        Skip: It is something else.
    """
    kind = site.layer.kind
    if kind in _OTHER_KINDS:
        raise Skip(_OTHER_KINDS[kind].format(kind))
    if _wrapped(site.layer):
        raise Skip(f"the convolution is inside a {kind} wrapper")
    if kind != "Conv2D":
        raise Skip(f"{site.layer.cls.__name__} is a subclass of Conv2D: what it computes is its own")


def require_splittable(graph: Graph, site: ConvSite, tied: frozenset[str]) -> None:
    """Refuse a Conv2D whose kernel is not there to be factorised, or is a factor already.

    Raises:
        Skip: With the reason.
    """
    layer = site.layer
    if site.key in tied:
        raise Skip(f"the weights of {site.key!r} are used elsewhere too")
    others = sorted(set(layer.weights) - {"kernel", "bias"})
    if others or "kernel" not in layer.weights:
        raise Skip(f"it has other weights than a kernel and a bias: {', '.join(sorted(layer.weights))}")
    kernel = layer.weights["kernel"].array
    if kernel.dtype.kind in "iub":
        raise Skip("its kernel is quantised")
    if not np.all(np.isfinite(kernel)):
        raise Skip("its kernel has entries that are not finite")
    if all(size == 1 for size in layer.config["kernel_size"]):
        raise Skip("its kernel is 1x1: a matrix, for an SVD, not for a Tucker split")
    if site.channels == (1, 1):
        raise Skip("it has one channel in and out a group: there are no channel modes to truncate")
    if len(site.calls) > 1 and any(graph.is_output(node.value) for node in site.calls):
        raise Skip(
            f"it is called {len(site.calls)} times, and the model's output that is named after it would lose its name"
        )
    for node in site.calls:
        _require_whole(graph, node)


def _convolves(layer: Layer) -> bool:
    return layer.kind in _OTHER_KINDS or issubclass(layer.cls, keras.layers.Conv2D) or _wrapped(layer)


def _wrapped(layer: Layer) -> bool:
    inner = layer.config.get("layer") if issubclass(layer.cls, keras.layers.Wrapper) else None
    return isinstance(inner, dict) and inner.get("class_name") == "Conv2D"


def _require_whole(graph: Graph, node: Node) -> None:
    """Refuse what a split leaves behind: splitting it again would undo its ranks or fill its residual."""
    before = graph.producer(node.inputs[0])
    if _is_factor(graph, before) and not graph.layer_of(before).config["use_bias"]:
        raise Skip(f"it is the core of a split already: {before.name!r} before it is 1x1, linear and without bias")
    behind = _only_user(graph, node)
    if behind is None or not is_linear(graph.layer_of(node)) or graph.layer_of(node).config["use_bias"]:
        return
    if graph.kind(behind) == "Conv2D" and _is_pointwise(graph.layer_of(behind)):
        raise Skip(
            f"it is the core of a split already: it is linear, without bias, and {behind.name!r} behind it is 1x1"
        )
    if graph.kind(behind) == "Add":
        for other in behind.inputs:
            if other.node != node.name and _chain_start(graph, other) == node.inputs[0]:
                raise Skip(f"it is the residual of a split already: {other} is a chain of factors beside it")


def _chain_start(graph: Graph, value: Value) -> Value | None:
    """What a chain of two or three linear convolutions, one of them 1x1, reads; ``None`` if there is no such chain."""
    length, pointwise = 0, False
    while length < 3:
        node = graph.producer(value)
        if graph.kind(node) != "Conv2D" or not is_linear(graph.layer_of(node)):
            break
        length += 1
        pointwise = pointwise or _is_pointwise(graph.layer_of(node))
        value = node.inputs[0]
    return value if length > 1 and pointwise else None


def _is_factor(graph: Graph, node: Node) -> bool:
    """Whether a node is a linear 1x1 convolution with a single user."""
    return (
        graph.kind(node) == "Conv2D"
        and _is_pointwise(graph.layer_of(node))
        and is_linear(graph.layer_of(node))
        and _only_user(graph, node) is not None
    )


def _is_pointwise(layer: Layer) -> bool:
    return all(size == 1 for size in layer.config["kernel_size"])


def _only_user(graph: Graph, node: Node) -> Node | None:
    users = graph.users(node)
    return users[0] if len(users) == 1 and not graph.is_output(node.value) else None


__all__ = ["ConvSite", "convolutions", "require_conv2d", "require_splittable"]
