"""Put chains of smaller layers in the place of convolutions and dense layers, by factorising their kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, Pass, Preserves
from kerasurgeon.factors import FactoriseOptions, factorise
from kerasurgeon.generating import SECONDS


@dataclass(frozen=True)
class Factorise(Pass):
    """Factorise kernels: each layer becomes a chain of smaller ones, with or without a sparse layer beside it.

    Stride, padding, dilation and groups stay where they have an effect, the bias goes to the last layer of the chain,
    the activation behind all. Each group of a grouped convolution is factorised by itself, to the same ranks. All
    calls of a shared layer change alike. How much goes is chosen in one way: per layer (``ratio``, ``energy``,
    ``error``, ``ranks``), for the whole model (``macs``, ``params``, ``bytes``, ``latency``, ``compression_factor``),
    or by the accuracy that may be lost (``max_accuracy_loss``). For the whole model, ranks of all layers are chosen
    together: the product of the shares of energy that kernels keep is the largest that the budget allows.

    Matches:
        ``Conv1D/2D/3D`` and their transposed forms, ``Dense``, and ``EinsumDense`` over the last axis.
    Leaves alone:
        * layers that ``where``, ``method`` or ``ranks`` do not name, and those that no method takes: depthwise and
          separable convolutions have no channel modes left to truncate;
        * weights used elsewhere, quantised, not finite, or with low-rank adapters;
        * factors and residuals of an earlier run;
        * layers whose ranks would be full, or that would not become cheaper.
    Preserves:
        Shapes and dtypes. Outputs approximately: the relative error of each kernel is in the report.

    Args:
        method: How kernels are factorised: ``"tucker"`` (1x1, k x k, 1x1; kernels of several positions), ``"svd"``
            (1x1, 1x1; kernels of one position, and Dense), ``"spatial"`` (k x 1, 1 x k), ``"separable"`` (depthwise,
            1x1), ``"cp"`` (1x1, depthwise, 1x1); several, of which budgets choose layer by layer, and everything else
            the first that takes a layer; or these by name pattern. ``"auto"``: ``("svd", "tucker")``.
        ratio: Share of the channels (of a group) to keep as ranks, in (0, 1].
        energy: Share of the squared singular values of each mode's unfolding to keep, in (0, 1].
        error: Largest relative error of each kernel ``||W - W_hat|| / ||W||``, in (0, 1).
        ranks: Ranks by name pattern, ``{"block1_*": (16, 32), "fc": 64}``; the first pattern that names a layer counts,
            a rank above the number of channels is full. ``"vbmf"``: by variational Bayesian matrix factorisation.
        macs: MACs of the model to keep: a fraction up to 1, or a number above 1 (docs/budgets.md).
        params: Parameters of the model to keep, likewise.
        bytes: Bytes of weights to keep, likewise.
        latency: Latency to keep, likewise: a fraction, or above 1 the unit of ``latency_of``.
        compression_factor: Share of ``cost`` to keep in the layers that may be factorised, all together, in (0, 1].
        max_accuracy_loss: How much the pipeline's ``evaluate``, or the accuracy on labelled data, may fall; ``cost`` is
            made as small as that allows.
        latency_of: Model to latency, measured or from a model of it; it is given layers by themselves and their chains.
            With it, layers whose chain is slower are left whole, whatever chooses the ranks.
        cost: What must become cheaper where no budget says it: ``"macs"``, ``"params"`` or ``"bytes"``.
        minimise: Which error: ``"kernel"``: of the kernel, without data; ``"output"``: of the layer's output on the
            pipeline's data; the last kernel of each chain is then fitted to it, in the order of the network;
            ``"generated"``: the same on inputs that are generated from batch-norm statistics (see
            ``kerasurgeon.generate_inputs``). ``"auto"``: of the output where there is data, else on generated inputs
            where the network has trained batch norms and there is time for it, else of the kernel; of the kernel, too,
            in a search by accuracy, and without data where ``only_if_cheaper`` is off.
        input_range: The least and the largest value of inputs that are generated, as the model is fed; a dict gives
            them by input. ``None``: as the model's first layers tell.
        generate_seconds: The time that generating may take.
        sparsity: Share of the entries of ``W - W_hat`` to keep in a convolution beside the chain, in [0, 1]; 0 for no
            such convolution; ``"auto"`` lets a budget choose it layer by layer, together with the ranks. Its kernel is
            stored dense: only a runtime that skips zeros gains from it. Training fills its zeros, unless ``KeepZeros``
            keeps them.
        structure: Which entries are kept together, as for ``Sparsify``: ``"unstructured"``, ``"channel"``,
            ``"filter"``, ``"block"``.
        block_size: ``(in, out)`` of a block.
        sparsity_weight: How many entries of a dense kernel one kept entry of the residual costs.
        rescale: Scale each chain so that its kernel has the norm of the layer's. What is truncated takes variance with
            it, which batch norms behind do not expect; from kernels that training gave structure it takes little, as
            inputs are where they are large. ``"auto"``: where the kernel is looked at alone, and keeps hardly more
            of its energy than a random one of its shape does at the same ranks; never with ``error``, which it
            would raise.
        round_to: Make ranks multiples of this, or of what pays on ``"tflite"``, ``"xnnpack"``, ``"onnxruntime"``.
        min_rank: Smallest rank that is chosen, unless the layer has fewer channels.
        where: Patterns of layer names (see ``names_match``) to look at; one with ``!`` before it leaves out what it
            names. One that names nothing in the model is an error, here as in ``method`` and ``ranks``.
        only_if_cheaper: Leave layers alone that would not become cheaper. ``False`` changes them all the same, at full
            rank too, exactly.
        sweeps: Sweeps of higher-order orthogonal iteration after the truncated SVD of ``"tucker"``.
        search_log: JSON file that a search by accuracy writes after every evaluation, and goes on from when it is run
            again.
        evaluations: Most evaluations of a search by accuracy.
        held_out: Share of the labelled data that a search by accuracy keeps aside, in [0, 1): what it found is then
            confirmed there, from the dearest choice on, until one loses more than is allowed. None is kept where it
            would be fewer than 50 samples, nor with ``evaluate``.
        confidence: How sure it is that the loss on new data is within the bound, judged by what is kept aside, in
            [0.5, 1): 0.5 is in expectation, 0.95 nearly always, and much dearer with few samples.
        unreachable: What becomes of a budget that cannot be reached: ``"refuse"``, or ``"nearest"``: every layer that
            may be factorised gets the smallest ranks, and the report says by how much the budget was missed.

    Shapes:
        kernel ``(kh, kw, c, n)`` -> ``(1, 1, c, r)``, ``(kh, kw, r, q)``, ``(1, 1, q, n)`` by ``"tucker"``; the
        residual's as the original's.

    Raises:
        OptionError: An option has a value that it may not have, the ranks are not chosen in exactly one way, or a
            pattern names no layer.
        BudgetError: A budget cannot be reached, or the MACs that it is about are unknown for a part of the model.
        RoundError: An evaluation fails; what was found is in ``found`` and in the log.

    Reference:
        Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
        ICLR 2016, section 3 (tucker); De Lathauwer et al., "On the best rank-1 and rank-(R1, ..., RN) approximation of
        higher-order tensors", SIAM J. Matrix Anal. Appl. 21 (4), 2000; Jaderberg et al., "Speeding up Convolutional
        Neural Networks with Low Rank Expansions", BMVC 2014 (spatial); Lebedev et al., "Speeding-up Convolutional
        Neural Networks Using Fine-tuned CP-Decomposition", ICLR 2015 (cp).

    Example:
        >>> small = apply_passes(model, [Factorise(macs=0.5, round_to=8, where="!stem_*")])
    """

    preserves: ClassVar[Preserves] = APPROXIMATE

    method: str | tuple[str, ...] | Mapping[str, Any] = "auto"
    ratio: float | None = None
    energy: float | None = None
    error: float | None = None
    ranks: str | Mapping[str, Any] | None = None
    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    latency: float | None = None
    compression_factor: float | None = None
    max_accuracy_loss: float | None = None
    latency_of: str | Callable[..., Any] | None = None
    cost: str = "macs"
    minimise: str = "auto"
    input_range: Any = None
    generate_seconds: float = SECONDS
    sparsity: float | str = 0.0
    structure: str = "unstructured"
    block_size: tuple[int, int] | None = None
    sparsity_weight: float = 4.0
    rescale: bool | str = "auto"
    round_to: int | str = 1
    min_rank: int = 1
    where: str | Sequence[str] = ()
    only_if_cheaper: bool = True
    sweeps: int = 1
    search_log: str | None = None
    evaluations: int = 100
    held_out: float = 0.25
    confidence: float = 0.5
    unreachable: str = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", self.checked().where)

    def checked(self) -> FactoriseOptions:
        """The options, checked."""
        return FactoriseOptions(self.name, **self.options)

    def run(self, graph: Graph, context: Context) -> None:
        """Choose, factorise, then change the graph."""
        factorise(graph, self.checked(), context)


__all__ = ["Factorise"]
