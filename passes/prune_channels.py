"""Remove the channels that matter least, down to a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import MASKED_EXACT, Context, Graph, Pass, Preserves
from kerasurgeon.channels import PruneOptions, prune
from kerasurgeon.generating import SECONDS


@final
@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove the channels that matter least by a criterion, with all that depends on them, down to a target.

    Channels that layers share (by a sum, a depthwise convolution, a concatenation) go together, from all of them,
    unless ``shortcuts="scatter"`` lets the branches of sums shrink alone. Of every axis something stays.

    Matches:
        Groups of channels that may shrink: see ``kerasurgeon.groups``.
    Leaves alone:
        * channels of inputs and outputs, of layers without a rule, and all else that ``groups`` shows as frozen;
        * layers that ``ignore`` names; groups that the criterion has nothing to say of;
        * with ``exact_only``, channels that a layer normalises over.
    Preserves:
        The outputs of the masked model: that in which the removed channels contribute nothing, or after compensation
        their mean. Where channels are normalised over, the report says so.

    Args:
        ratio: Share of the channels to remove, in [0, 1), counted over the groups that may shrink, in every scope:
            where some are held back, others lose more. Groups are rounded to the nearest width, and so that the share
            of all is right: of two heads one goes at 0.3, none at 0.2. A dict gives shares by name pattern,
            ``{"block1_*": 0.2}``: each group that a pattern names by a layer, nested model or region loses that share
            of its own; the first pattern counts; the rest is left alone.
        macs: MACs to keep: a fraction up to 1 of what there is, or a number above 1 (docs/budgets.md).
        params: Parameters to keep, likewise.
        bytes: Bytes of weights to keep, likewise.
        latency: Latency to keep, likewise: a fraction, or above 1 the unit of ``latency_of``.
        threshold: Remove what has a normalised score below this; a dict gives thresholds by name pattern.
        importance: What matters least: ``"l1"``, ``"l2"``, ``"fpgm"``, ``"lamp"``, ``"batch_norm"``, ``"random"``; with
            data ``"reconstruction"``, ``"apoz"``, ``"mean_activation"``; with data and labels ``"taylor"``,
            ``"taylor_rectified"``, ``"hessian"``; or a function of a group and the evidence that gives one score per
            unit, or its ``"module:name"``. ``"auto"``: ``"reconstruction"`` where there is data, or inputs are
            generated, and convolutions, Dense or recurrent layers read all groups; else ``"taylor"`` by 512 labels,
            where there are any; else ``"l2"``.
        scope: ``"global"`` ranks all channels in one row, ``"local"`` takes the same share of every group,
            ``"isomorphic"`` ranks groups of equal structure together and takes the same share of each ranking;
            ``"auto"``: global with ``"reconstruction"`` and where ``compensate`` is given and fits no kernels, else
            local. Patterns of names rank what they name, and the rest, each by itself; a dict of patterns gives each
            its own ratio.
        ignore: Patterns of names of layers whose channels are left alone: those that the layers make or work on; of
            layers without weights, those that pass through. ``"conv1"`` names ``backbone/conv1`` too; ``"backbone"``
            all that is in it.
        round_to: Make kept widths multiples of this, or of what pays on ``"tflite"``, ``"xnnpack"``, ``"onnxruntime"``.
            ``"auto"``: of 8, of 4 in layers of fewer than 64 channels, and narrower ones as they come; finer where a
            budget could not be met otherwise.
        min_channels: Fewest channels of a layer that stay.
        max_ratio: Largest share of a group's channels that goes, in (0, 1].
        reduction: How scores of a channel in several weights become one: ``"sum"``, ``"mean"``, ``"max"``,
            ``"product"``, ``"first"``.
        normalise: How scores of a group are made comparable with others: ``"none"``, ``"sum"``, ``"mean"``, ``"max"``,
            ``"l2"``, ``"standardise"``; by default as suits the criterion.
        shortcuts: What becomes of residual sums. ``"couple"``: branches and shortcuts that are added lose the same
            channels. ``"scatter"``: a branch loses channels of its own, and what is left of it is put back among zeros
            before the sum, by plain padding and gathering; sums and shortcuts keep their width.
        exact_only: Leave channels alone that a layer normalises over, so that the result is exact.
        compensate: How the layers that read removed channels make up for them: ``"batch_norm"``: their biases get the
            means that batch-norm statistics say; ``"data"``: from data, every output is scaled and moved;
            ``"least_squares"``: from data, kernels are fitted element by element; ``"generated"``: the same on inputs
            that are generated from batch-norm statistics (see ``kerasurgeon.generate_inputs``); ``"none"``.
            ``"auto"``: least squares with data, else generated inputs, else batch norms.
        input_range: The least and the largest value of inputs that are generated, as the model is fed; a dict gives
            them by input. By default it is guessed from the first batch norm.
        generate_seconds: The time that generating may take; with ``"auto"``, batch norms do where it is too short.
        steps: In how many rounds; what is left follows a straight line. Scores are computed anew in each.
        callback: Called after each round with the model and the number of the round, from 1; may train the model, or
            return another with the same layers.
        max_loss: Stop, and go back a round, where the pipeline's ``evaluate``, or the accuracy on labelled data, falls
            by more than this.
        latency_of: Model to latency, measured (``kerasurgeon.latency_on("tflite")``) or from a model of it.
        try_zeros: Only zero what would be removed, and report the evaluation; shapes stay.
        unreachable: What becomes of a target that cannot be reached: ``"refuse"``, or ``"nearest"``: all goes that may,
            and the report says by how much the target was missed.

    Raises:
        OptionError: An option has a value that it may not have, or not exactly one target is given.
        BudgetError: The target cannot be reached, or the MACs that it is about are unknown for a part of the model.
        RoundError: The evaluation or the callback fails; the rounds before are in ``found``.

    Reference:
        Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017. Fang et al., "DepGraph: Towards Any Structural
        Pruning", CVPR 2023. Valada et al., "Self-Supervised Model Adaptation for Multimodal Semantic Segmentation",
        IJCV 2019, section 3.4 (shortcuts that keep their width). Criteria have their own: see
        ``kerasurgeon.channels.importance_weights`` and ``importance_data``.
    """

    preserves: ClassVar[Preserves] = MASKED_EXACT

    ratio: float | Mapping[str, float] | None = None
    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    latency: float | None = None
    threshold: float | Mapping[str, float] | None = None
    importance: str | Callable[..., Any] = "auto"
    scope: str | tuple[str, ...] | Mapping[str, float] = "auto"
    ignore: str | tuple[str, ...] = ()
    round_to: int | str = "auto"
    min_channels: int = 1
    max_ratio: float = 1.0
    reduction: str = "mean"
    normalise: str | None = None
    shortcuts: str = "couple"
    exact_only: bool = False
    compensate: str = "auto"
    input_range: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None
    generate_seconds: float = SECONDS
    steps: int = 1
    callback: str | Callable[..., Any] | None = None
    max_loss: float | None = None
    latency_of: str | Callable[..., Any] | None = None
    try_zeros: bool = False
    unreachable: str = "refuse"

    def __post_init__(self) -> None:
        checked = self.checked()
        for option in ("ratio", "threshold", "scope", "ignore", "input_range"):
            object.__setattr__(self, option, getattr(checked, option))

    def checked(self) -> PruneOptions:
        """The options, checked."""
        return PruneOptions(self.name, **self.options)

    def run(self, graph: Graph, context: Context) -> None:
        """Score, choose, cut; in rounds."""
        prune(graph, self.checked(), context)


__all__ = ["PruneChannels"]
