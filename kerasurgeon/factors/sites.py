"""Layers whose kernels can be factorised, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.factors.kernels.shape import Shape, Span
from kerasurgeon.factors.left_alone import left_by
from kerasurgeon.factors.stored_kernels import grouped
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.rules import CannotTell, has_rule, rule_for
from kerasurgeon.rules.asking import channel_form, may_be_linear
from kerasurgeon.rules.call import Specs
from kerasurgeon.rules.layout import spatial_axes
from kerasurgeon.rules.rule import NeverLinear

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Place:
    """A layer that convolves or multiplies by a matrix, with all its calls.

    Attributes:
        key: Key of the layer.
        layer: The layer.
        calls: The nodes that call it, oldest first; the first one stands for it in reports.
    """

    key: str
    layer: Layer
    calls: tuple[Node, ...]

    @property
    def name(self) -> str:
        """The name in reports."""
        return self.calls[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the layer goes by: its key's and its calls'."""
        return (self.key, *(node.name for node in self.calls))

    def matches(self, pattern: str) -> bool:
        """Whether a name pattern (see ``names_match``) names the layer or one of its calls."""
        return names_match(self.names, pattern)


@final
@dataclass(frozen=True)
class NoSite(Place):
    """A layer that is left alone.

    Attributes:
        reason: Why.
    """

    reason: str


@final
@dataclass(frozen=True)
class Site(Place):
    """A layer whose kernel can be factorised.

    Attributes:
        specs: What each call reads and what it gives.
    """

    specs: tuple[tuple[TensorSpec, TensorSpec], ...]

    @cached_property
    def shape(self) -> Shape:
        """Shape of the kernel."""
        form = channel_form(self.layer)
        assert form is not None
        kernel = form.kernels[0]
        *sizes, inputs, outputs = kernel.seen(self.layer.weights[kernel.key].array).shape
        return Shape(tuple(sizes), inputs, outputs // kernel.groups, kernel.groups, transposed=form.transposed)

    def kernel(self) -> Array:
        """The kernel ``(groups, *sizes, inputs, outputs)``, in float32 or float64."""
        return grouped(self.layer.weights["kernel"].array, self.shape.groups, transposed=self.shape.transposed)

    @cached_property
    def spans(self) -> tuple[tuple[Span, ...], ...]:
        """Of each call the sizes of its position axes before and after; of a Dense those between batch and channels.

        Where a size is open, they are those of one output position; of a transposed convolution one input position. A
        batch that the model fixes comes last: it multiplies all costs.
        """
        return tuple(self._spans(*specs) for specs in self.specs)

    @property
    def open(self) -> bool:
        """Whether a size is unknown until run time, so that costs are those of one position along its axis."""
        return any(None in source.shape[1:] for source, _ in self.specs)

    def macs(self) -> int:
        """Multiply-accumulates of all calls on one sample, or on the batch that the model fixes."""
        return sum(self.shape.macs(spans) for spans in self.spans)

    @property
    def params(self) -> int:
        """Entries of the kernel."""
        return self.shape.params

    @property
    def bytes(self) -> int:
        """Bytes of the kernel as it is stored."""
        return self.layer.weights["kernel"].bytes

    def _spans(self, source: TensorSpec, result: TensorSpec) -> tuple[Span, ...]:
        samples = source.shape[0] or 1
        batch = ((samples, samples),) if samples > 1 else ()
        if not self.shape.sizes:
            return (*((size or 1, size or 1) for size in source.shape[1:-1]), *batch)
        axes = spatial_axes(self.layer.config, len(source.shape))
        found = []
        for axis, stride in zip(axes, self.layer.config["strides"], strict=True):
            before, after = source.shape[axis], result.shape[axis]
            if before is None or after is None:
                before, after = (1, stride) if self.shape.transposed else (stride, 1)
            found.append((before, after))
        return (*found, *batch)


def places(graph: Graph, sized: Specs | None = None) -> Iterator[Site | NoSite]:
    """Every layer that convolves or multiplies by a matrix, in order of first calls.

    Layers inside MultiHeadAttention and other composite layers are not in it.

    Args:
        graph: The graph.
        sized: The outputs of all nodes for sizes of the inputs that are not the graph's own: what MACs are counted for.
    """
    tied, seen = graph.tied_layers(), set[str]()
    for node in graph.nodes():
        layer = graph.layer_of(node)
        if node.layer in seen or not _is_place(layer):
            continue
        seen.add(node.layer)
        calls = graph.calls(node.layer)
        reason = _kind_refusal(layer) or _refusal(graph, node.layer, tied) or left_by(graph, calls)
        if reason:
            yield NoSite(node.layer, layer, calls, reason)
        else:
            specs = tuple((_spec(graph, call.inputs[0], sized), _spec(graph, call.value, sized)) for call in calls)
            yield Site(node.layer, layer, calls, specs)


def _spec(graph: Graph, value: Value, sized: Specs | None) -> TensorSpec:
    return graph.spec(value) if sized is None else sized[value.node][value.index]


def _is_place(layer: Layer) -> bool:
    return _convolves(layer.kind) or bool(_base(layer)) or bool(_wrapped(layer))


def _convolves(kind: str) -> bool:
    """Whether layers of a kind multiply by kernels that stay where they are: not those of LSTM and attention."""
    rule = rule_for(kind)
    return may_be_linear(kind) or (isinstance(rule, NeverLinear) and rule.convolves)


def _base(layer: Layer) -> str:
    """Keras' own layer that a layer without a rule is a subclass of, if that convolves or multiplies by a matrix."""
    if has_rule(layer.kind):
        return ""
    kinds = (kind_of(cls) for cls in layer.cls.__mro__[1:] if issubclass(cls, keras.Layer))
    return next((kind for kind in kinds if may_be_linear(kind)), "")


def _wrapped(layer: Layer) -> str:
    """The class of the layer inside a wrapper, if it convolves or multiplies by a matrix."""
    inner = layer.config.get("layer")
    name = inner.get("class_name") if isinstance(inner, Mapping) else None
    return str(name) if name is not None and _convolves(str(name)) else ""


def _kind_refusal(layer: Layer) -> str:
    """Why a layer of its kind has no kernel to factorise; empty if it has."""
    kind = layer.kind
    if _base(layer):
        return f"{layer.cls.__name__} is a subclass of {_base(layer)}: what it computes is its own"
    if _wrapped(layer):
        return f"its {_wrapped(layer)} is inside a {kind} wrapper"
    try:
        form = rule_for(kind).linear(layer)
    except CannotTell as reason:
        quantised = any(weight.array.dtype.kind in "iub" for weight in layer.weights.values())
        return "its kernel is quantised" if quantised else str(reason)
    if form is None or not form.by_channel:
        return f"its equation {layer.config.get('equation')!r} is no product with a matrix over the last axis"
    if kind.startswith("custom:"):
        return f"it is a {layer.cls.__name__}: its factors would be others than Keras' own layers"
    if form.separable:
        return f"a {kind} is a factorised convolution already"
    if form.depthwise:
        return f"a {kind} has one channel a kernel: there are no channel modes to factorise"
    return ""


def _refusal(graph: Graph, key: str, tied: frozenset[str]) -> str:
    """Why the kernel of a layer is not there to be factorised; empty if it is."""
    layer, calls = graph.layers[key], graph.calls(key)
    if key in tied:
        return f"the weights of {key!r} are used elsewhere too"
    weight = layer.weights["kernel"]
    *_, read, made = weight.shape
    if read == 1 and made == layer.config.get("groups", 1):
        return "it has one channel in and out a group: there are no channel modes to factorise"
    if not np.isfinite(weight.array).all():
        return "its kernel has entries that are not finite"
    for node in calls if layer.kind == "EinsumDense" else ():
        source, result = graph.spec(node.inputs[0]).shape[:-1], node.spec.shape[:-1]
        if len(source) != len(result) or any(now not in (None, was) for was, now in zip(source, result, strict=True)):
            # Keras turns the axes around that an ellipsis stands for, where there are several.
            return f"Keras gives {node.spec.shape} as the shape of its result, which it is not"
    if len(calls) > 1 and any(graph.is_output(node.value) for node in calls):
        return f"it is called {len(calls)} times, and the model's output that is named after it would lose its name"
    return ""


__all__ = ["NoSite", "Place", "Site", "places"]
