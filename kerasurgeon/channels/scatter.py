"""Shortcuts that keep their width while the branches that join them shrink.

Channels that are added to one another go together, so that a residual branch can only lose channels together with all
other branches of its stage. The other policy: the branch shrinks, and what is left of it is put back among zeros before
the sum. ``loosen_shortcuts`` puts a layer in front of sums that ends the labels of the branch; after the cut,
``close_shortcuts`` turns each into plain layers, in one of two forms that both TFLite and ONNX have:

* ``"gather"``: one channel of zeros is padded on, and the channels are gathered, missing ones from there (PAD and
  GATHER). No weights, nothing is computed, but the runtimes copy element by element where channels are the last axis;
* ``"conv"``: a fixed 1x1 convolution with a kernel of zeros and ones. ``kept * width`` weights, and as many
  multiplications per pixel: in a ResNet bottleneck more than the cut has saved.

Measured on one core at 28 x 28, 180 of 256 channels, both take about the same time in TFLite (1.3 to 1.6 ms with the
convolution before it), so that ``"auto"`` takes the convolution for up to 128 kept channels and the gather above.

Reference:
    Valada et al., "Self-Supervised Model Adaptation for Multimodal Semantic Segmentation" (AdapNet++), IJCV 2019,
    section 3.4: the masks of its pruning keep identity shortcuts at their width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.api import CutReport, cut_channels
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.channels.scatter_layer import SCATTER, Scatter, ScatterRule
from kerasurgeon.errors import GraphError, OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.structure import leaves, unflatten
from kerasurgeon.ir.values import Value
from kerasurgeon.rewrite.calls import call, splice, substitute
from kerasurgeon.rules import register_rule
from kerasurgeon.rules.answers import Sum
from kerasurgeon.rules.asking import combination_of

FORMS = ("auto", "gather", "conv")
_FEW = 128


def loosen_shortcuts(graph: Graph, nodes: Iterable[str] | None = None) -> list[str]:
    """Let branches shrink although the sums that they join keep their width, in place.

    In front of a sum, every operand that a layer of its own branch makes (not one that comes from an earlier sum or an
    input: that is the shortcut) gets a ``Scatter``. Analyse the graph afterwards: the channels of these branches form
    groups of their own, and those of the sums are frozen. Then cut, and call ``close_shortcuts``.

    Args:
        graph: The graph.
        nodes: Names of the sums to loosen; by default all that have a shortcut or several branches.

    Returns:
        Names of the nodes that were put in. Empty where no branch ends in a sum.

    Raises:
        GraphError: A node does not exist, or is no sum.
    """
    register_rule(Scatter, ScatterRule())
    sums = _sums(graph, nodes)
    channels = analyse(graph)
    makers = {source.node for source in channels.sources.values()}
    made: list[str] = []
    for node in sums:
        flat = list(leaves(node.operands))
        for place, leaf in enumerate(flat):
            if isinstance(leaf, Value) and (axis := _channel_axis(graph, channels, node, leaf)) is not None:
                if not _is_branch(graph, leaf, makers):
                    continue
                width = graph.spec(leaf).shape[axis]
                assert width is not None
                layer = Scatter(width, axis=axis, dtype=graph.spec(leaf).dtype, name="scatter")
                name = f"{graph.layer_of(node).name}_scatter"
                flat[place] = call(graph, layer, leaf, name=name, like=node)
                made.append(flat[place].node)
        args, kwargs = unflatten(node.operands, flat)
        graph.set_operands(node, args, kwargs)
    return made


def close_shortcuts(graph: Graph, form: str = "auto") -> list[str]:
    """Replace what ``loosen_shortcuts`` put in by plain layers, in place, or by nothing where nothing was cut.

    Args:
        graph: The graph.
        form: ``"gather"``, ``"conv"`` or ``"auto"``.

    Returns:
        Names of the sums in front of which channels are put back.

    Raises:
        OptionError: There is no such form.
    """
    if form not in FORMS:
        raise OptionError(f"There is no form {form!r} of a scatter.", expected=", ".join(FORMS))
    closed = []
    for name in [node.name for node in graph.nodes() if graph.kind(node) == SCATTER]:
        node = graph[name]  # as it is now
        config = graph.layer_of(node).config
        fill = graph.layer_of(node).weights["fill"].array
        kept, width = list(config["kept"]), int(config["width"])
        operand = node.inputs[0]
        if kept != list(range(width)) or fill.any():
            users = [user.name for user in graph.users(node)]
            axis = config["axis"] % len(node.spec.shape)
            if form == "conv" or (form == "auto" and len(kept) <= _FEW):
                operand = _convolved(graph, kept, width, axis, fill, node)
            else:
                operand = splice(graph, _selection(kept, width, axis, fill, node), operand, like=node)
            closed += users
        substitute(graph, node, operand)
    return closed


def scatter_cut(
    graph: Graph, plan: ChannelPlan, nodes: Iterable[str] | None = None, *, form: str = "auto"
) -> CutReport:
    """Cut a plan with loosened shortcuts, in place: sums keep their width.

    Args:
        graph: The graph.
        plan: What is kept of the layers of branches; sums and shortcuts cannot shrink.
        nodes: Names of the sums to loosen; by default all.
        form: See ``close_shortcuts``.

    Raises:
        PlanError: The plan does not fit, or takes what may not go.
    """
    trial = graph.copy()
    loosen_shortcuts(trial, nodes)
    report = cut_channels(trial, plan)
    close_shortcuts(trial, form)
    graph.adopt(trial)
    return report


def _sums(graph: Graph, nodes: Iterable[str] | None) -> list[Node]:
    if nodes is None:
        return [node for node in graph.nodes() if _adds(graph, node)]
    wanted = list(dict.fromkeys(nodes))
    known = [node.name for node in graph.nodes() if _adds(graph, node)]
    for name in wanted:
        if name not in known:
            raise GraphError(
                f"There is no sum {name!r} to loosen.",
                got=graph.kind(name) if name in graph else None,
                hint=did_you_mean(name, known),
            )
    return [graph[name] for name in known if name in wanted]


def _adds(graph: Graph, node: Node) -> bool:
    """Whether a node adds its operands, the first one as it is."""
    found = combination_of(graph, node)
    return isinstance(found, Sum) and found.factors[:1] == (1.0,) and min(found.factors) > 0


def _channel_axis(graph: Graph, channels: Channels, node: Node, value: Value) -> int | None:
    """The axis of an operand's channels, if it has one and spans the sum's result."""
    labels = channels.labels[value.node][value.index]
    if graph.spec(value).shape != node.spec.shape or len(labels.factors) != 1:
        return None
    axes = labels.factors[0].axes
    if len(axes) != 1 or axes[0] == 0 or graph.spec(value).shape[axes[0]] in (None, 1):
        return None
    return axes[0]


def _is_branch(graph: Graph, value: Value, makers: set[str]) -> bool:
    """Whether every way back from a tensor meets a layer that makes channels before a sum or an input."""
    waiting, seen = [value], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        node = graph.producer(current)
        if node.name in makers:
            continue
        if not node.inputs or graph.kind(node) == SCATTER or _adds(graph, node):
            return False
        waiting += node.inputs
    return True


def _selection(kept: list[int], width: int, axis: int, fill: Any, node: Node) -> Any:
    """What puts channels back: pads one channel of zeros, gathers, and adds the constants of missing channels."""
    rank = len(node.spec.shape)
    places = np.full(width, len(kept))
    places[kept] = np.arange(len(kept))
    shape = [1] * rank
    shape[axis] = width
    constant = np.asarray(fill, np.float64).reshape(shape).astype(node.spec.dtype)

    def select(tensor: Any) -> Any:
        if kept != list(range(width)):
            tensor = keras.ops.pad(tensor, [[0, int(place == axis)] for place in range(rank)])
            tensor = keras.ops.take(tensor, places.astype("int32"), axis=axis)
        return keras.ops.add(tensor, constant) if np.any(constant) else tensor

    return select


def _convolved(graph: Graph, kept: list[int], width: int, axis: int, fill: Any, node: Node) -> Value:
    """The same by a fixed convolution over single positions; a Dense layer where there are no positions."""
    rank = len(node.spec.shape)
    kernel = np.zeros((len(kept), width), np.float32)
    kernel[np.arange(len(kept)), kept] = 1.0
    options = {"use_bias": bool(np.any(fill)), "trainable": False, "dtype": node.spec.dtype}
    layer: Any
    if rank in (3, 4, 5) and axis in (1, rank - 1):
        layout = "channels_last" if axis == rank - 1 else "channels_first"
        kernel = kernel.reshape(*(1,) * (rank - 2), *kernel.shape)
        layer = getattr(keras.layers, f"Conv{rank - 2}D")(width, 1, data_format=layout, **options)
    elif axis == rank - 1:
        layer = keras.layers.Dense(width, **options)
    else:
        return Value(splice(graph, _selection(kept, width, axis, fill, node), node.inputs[0], like=node).node)
    weights = {"kernel": kernel, "bias": fill} if options["use_bias"] else {"kernel": kernel}
    return call(graph, layer, node.inputs[0], weights=weights, name=graph.layer_of(node).name, like=node)
