"""Zeros in kernels, in place: by magnitude, alone or in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    Graph,
    KernelChoice,
    KernelCriterion,
    Layer,
    OptionError,
    Pass,
    Preserves,
    Structure,
    check_choice,
    check_criterion,
    check_known_patterns,
    check_sparsity,
    importance,
    kept_masks,
    kernel_key,
    seen,
)
from kerasurgeon.authoring import KERNEL_KINDS as KINDS

Array = np.ndarray[Any, Any]


@final
@dataclass(frozen=True)
class Sparsify(Pass):
    """Set the least important entries of kernels to zero, alone or in groups; shapes stay.

    Zeros make a model smaller where it is compressed, and faster on runtimes that skip them. Zeros of
    ``"output_channel"`` and ``"input_channel"`` are whole channels: ``RemoveDeadChannels`` behind it makes every
    runtime faster. ``KeepZeros`` keeps zeros while the model is trained on; ``GradualSparsity`` makes them while it is
    trained.

    Matches:
        Kernels of ``Conv1D/2D/3D``, their transposed forms, ``Dense``, and the pointwise kernels of
        ``SeparableConv1D/2D``.
    Leaves alone:
        * kernels of one position and depthwise kernels, unless asked for; biases and batch norms (but see below);
        * kernels used by another layer, or quantised; kernels whose channels the structure does not divide.
    Preserves:
        Shapes. Outputs approximately: the report says how many entries of each kernel are zero.

    Args:
        sparsity: Share of entries to zero, in [0, 1); entries that are zero already count. For ``n:m`` it follows.
        structure: What is zeroed together, by the mean importance of its entries; kernels are
            ``(*positions, in, out)``.

            * ``"unstructured"``: each entry by itself.
            * ``"channel"``: all input channels of one output channel at one position.
            * ``"filter"``: all output channels of one input channel at one position.
            * ``"block"``: ``block_size`` input by output channels at one position.
            * ``"2:4"`` or any ``"n:m"``: of every ``m`` input channels in a row the ``n`` most important stay.
            * ``"output_channel"``: a whole output channel, with its bias, and scale, shift and mean of batch norms
              behind the layer.
            * ``"input_channel"``: all that reads one input channel.
        block_size: ``(in, out)`` of a block.
        scope: ``"layer"``: the share of each kernel. ``"global"``: of all kernels together; one ranking of the groups'
            mean importance decides where the zeros go.
        criterion: ``"l1"``: magnitude; ``"l2"``: its square; or a function of ``(layer name, kernel)`` to an importance
            per entry, of the kernel's shape.
        where: Patterns of names of layers or nested models to look at, as for ``names_match``; one with ``!`` before it
            leaves out what it names.
        kinds: Kinds of layers to look at, as ``("Conv2D",)``; all of the above by default.
        pointwise: Zero kernels of one position (1x1) as well.
        depthwise: Zero depthwise kernels as well.

    Raises:
        OptionError: An option has a value that it may not have, a pattern names no layer, or a criterion gives
            something that cannot be ranked.

    Reference:
        Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015. Mishra et al.,
        "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378 (2:4).

    Example:
        >>> small = apply_passes(model, [Sparsify(0.3, structure="output_channel"), RemoveDeadChannels()])
    """

    preserves: ClassVar[Preserves] = APPROXIMATE

    sparsity: float | None = None
    structure: str = "unstructured"
    block_size: tuple[int, int] | None = None
    scope: str = "layer"
    criterion: str | KernelCriterion = "l1"
    where: str | Sequence[str] = ()
    kinds: str | Sequence[str] = ()
    pointwise: bool = False
    depthwise: bool = False

    def __post_init__(self) -> None:
        structure = Structure.parse(self.structure, self.block_size)
        if structure.block is not None:
            object.__setattr__(self, "block_size", structure.block)
        if structure.pattern is None:
            check_sparsity("sparsity", self.sparsity)
        elif self.sparsity is not None and abs(self.sparsity - 1 + structure.pattern[0] / structure.pattern[1]) > 1e-9:
            raise OptionError(
                f"{self.name}: structure={self.structure!r} says how many entries are zeroed.",
                expected=f"no sparsity, or {1 - structure.pattern[0] / structure.pattern[1]:g}",
                got=repr(self.sparsity),
            )
        check_choice(self.name, "scope", self.scope, ("layer", "global"))
        check_criterion(self.criterion)
        choice = KernelChoice.of(self.where, self.kinds, self.pointwise, self.depthwise)
        object.__setattr__(self, "where", choice.where)
        object.__setattr__(self, "kinds", choice.kinds)

    def run(self, graph: Graph, context: Context) -> None:
        """Rank, then zero."""
        structure = Structure.parse(self.structure, self.block_size)
        sites = self._sites(graph, context, structure)
        kernels = [seen(layer.kind, layer.weights[kernel_key(layer.kind)].array) for _, _, layer in sites]
        ranked = [importance(self.criterion, key, kernel) for (key, _, _), kernel in zip(sites, kernels, strict=True)]
        masks = kept_masks(ranked, structure, self.sparsity or 0.0, together=self.scope == "global")
        zeros = 0
        for (key, node, layer), kernel, mask in zip(sites, kernels, masks, strict=True):
            result = np.where(mask, kernel, np.zeros((), kernel.dtype))
            here = int(result.size - np.count_nonzero(result))
            zeros += here
            said = f"{here:,} of {result.size:,} entries are zero ({here / result.size:.1%})"
            touched = self.structure == "output_channel" and _silence(
                graph, key, np.asarray(~mask.any(axis=tuple(range(mask.ndim - 1))))
            )
            if not touched and np.array_equal(result, kernel):
                context.left(node, f"{said} already")
                continue
            graph.set_weight(key, kernel_key(layer.kind), seen(layer.kind, result))
            context.changed(node, said)

    def _sites(self, graph: Graph, context: Context, structure: Structure) -> list[tuple[str, str, Layer]]:
        """Layers whose kernels are ranked, with their first calls."""
        choice = KernelChoice.of(self.where, self.kinds, self.pointwise, self.depthwise)
        check_known_patterns(self.name, "where", choice.where, graph)
        tied = graph.tied_layers()
        found, done = [], set()
        for node in graph.nodes():
            layer = graph.layer_of(node)
            if node.layer in done or layer.kind not in KINDS:
                continue
            done.add(node.layer)
            weight = layer.weights.get(kernel_key(layer.kind))
            calls = graph.calls(node.layer)
            if (
                weight is None
                or weight.array.dtype.kind in "iub"
                or {"lora_kernel_a", "kernel_scale"} & set(layer.weights)
            ):
                refusal = "its kernel is quantised or adapted"
            elif node.layer in tied:
                refusal = "its weights are used elsewhere too"
            elif not np.isfinite(weight.array.astype(np.float64)).all():
                refusal = "its kernel has entries that are not finite"
            elif self.structure == "output_channel" and any(graph.is_output(call.value) for call in calls):
                refusal = "its channels are an output of the model"
            else:
                shape = seen(layer.kind, weight.array).shape
                names = {node.layer, *(call.name for call in calls)}
                refusal = choice.refusal(layer.kind, names, shape) or structure.refusal(shape)
            if refusal:
                context.left(node.name, refusal)
            else:
                found.append((node.layer, node.name, layer))
        return found


def _silence(graph: Graph, key: str, gone: Array) -> bool:
    """Make output channels zero behind the layer too: its bias, batch norms that read it. Whether any changed."""
    changed = _zero(graph, key, ("bias",), gone)
    for call in graph.calls(key):
        for user in graph.users(call):
            if graph.kind(user) == "BatchNormalization" and len(graph.calls(user.layer)) == 1:
                changed |= _zero(graph, user.layer, ("gamma", "beta", "moving_mean"), gone)
    return changed


def _zero(graph: Graph, key: str, names: Sequence[str], gone: Array) -> bool:
    changed = False
    for name in names:
        array = graph.layers[key].array(name)
        if array is not None and array.shape == gone.shape and array[gone].any():
            graph.set_weight(key, name, np.where(gone, np.zeros((), array.dtype), array))
            changed = True
    return changed


__all__ = ["Sparsify"]
