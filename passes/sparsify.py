"""Zeros in kernels, in place: by magnitude, alone or in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    Graph,
    OptionError,
    Pass,
    Preserves,
    check_choice,
    check_known_patterns,
)
from kerasurgeon.sparsity import (
    KernelChoice,
    KernelCriterion,
    Structure,
    check_criterion,
    check_sparsity,
    kernel_sites,
    zero_kernels,
)


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
        choice = self._choice()
        object.__setattr__(self, "where", choice.where)
        object.__setattr__(self, "kinds", choice.kinds)

    def _choice(self) -> KernelChoice:
        return KernelChoice.of(self.where, self.kinds, self.pointwise, self.depthwise)

    def run(self, graph: Graph, context: Context) -> None:
        """Rank, then zero."""
        structure, choice = Structure.parse(self.structure, self.block_size), self._choice()
        check_known_patterns(self.name, "where", choice.where, graph)
        sites, left = kernel_sites(graph, choice, structure)
        for node, why in left.items():
            context.left(node, why)
        done = zero_kernels(
            graph,
            sites,
            structure,
            self.sparsity or 0.0,
            criterion=self.criterion,
            together=self.scope == "global",
        )
        for node, (changed, what) in done.items():
            (context.changed if changed else context.left)(node, what)


__all__ = ["Sparsify"]
