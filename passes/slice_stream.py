"""Turn residual streams onto their principal axes, and leave the weakest out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import MASKED_EXACT, Context, Graph, Pass, Preserves
from kerasurgeon.streams import SliceOptions, slice_streams


@final
@dataclass(frozen=True)
class SliceStream(Pass):
    """Make the residual stream of a transformer narrower: turn it onto its principal axes, and leave the weakest out.

    What the blocks of a transformer add to and read through norms may be turned by any orthogonal matrix: it goes into
    the kernels, tables and biases that write the stream, its transpose into the kernels that read it, with the scales
    and shifts of the norms; layer norms become root mean squares. That is exact. The axes come from data: those along
    which the stream, as norms see it, has most of its energy. One matrix serves the whole stream, so that shortcuts
    stay what they are.

    Matches:
        Streams that sums join, that are written by Dense, EinsumDense, convolutions, embeddings and attention, and read
        by such layers behind LayerNormalization, RMSNormalization, or norms that are written out. Tables that are used
        both ways are turned once; the scale in front of them becomes a layer.
    Leaves alone:
        * streams that the model takes or returns; that something reads channel by channel (an activation, a depthwise
          convolution), or writes other than by a kernel; whose norms stand behind the sums, as in BERT;
        * streams that carry masks made by layers, and layers whose weights are used elsewhere;
        * streams that have a layer which ``ignore`` names.
    Preserves:
        With ``ratio=0`` the outputs. Else those of the model in which the stream is projected onto the axes that stay
        wherever it is read; after compensation closer ones.

    Args:
        ratio: Share of the channels of each stream to leave out, in [0, 1); 0 turns the streams only.
        width: Channels that each stream keeps.
        macs: MACs to keep: a fraction up to 1 of what there is, or a number above 1 (docs/budgets.md).
        params: Parameters to keep, likewise.
        bytes: Bytes of weights to keep, likewise.
        ignore: Patterns of names of layers whose streams are left alone.
        round_to: Make kept widths multiples of this, or of what pays on ``"tflite"``, ``"xnnpack"``, ``"onnxruntime"``.
            ``"auto"``: of 8, of 4 in streams of fewer than 64 channels, and any of fewer than 16; finer where a budget
            could not be met otherwise.
        compensate: ``"least_squares"``: the kernels that read a stream are fitted to what they gave, by the data;
            ``"none"``; ``"auto"``: least squares.
        unreachable: What becomes of a budget that cannot be reached: ``"refuse"``, or ``"nearest"``.

    Raises:
        OptionError: An option has a value that it may not have, not exactly one target is given, or there is no data.
        BudgetError: The target cannot be reached, or the MACs that it is about are unknown for a part of the model.

    Reference:
        Ashkboos et al., "SliceGPT: Compress Large Language Models by Deleting Rows and Columns", ICLR 2024, sections 3
        and 4; there each block has a matrix of its own, and shortcuts are multiplied from one to the next.

    Example:
        >>> small = apply_passes(model, [SliceStream(macs=0.7)], data=token_ids)
    """

    preserves: ClassVar[Preserves] = MASKED_EXACT

    ratio: float | None = None
    width: int | None = None
    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    ignore: str | tuple[str, ...] = ()
    round_to: int | str = "auto"
    compensate: str = "auto"
    unreachable: str = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", self.checked().ignore)

    def checked(self) -> SliceOptions:
        """The options, checked."""
        return SliceOptions(self.name, **self.options)

    def run(self, graph: Graph, context: Context) -> None:
        """Find streams, turn them, cut."""
        slice_streams(graph, self.checked(), context)


__all__ = ["SliceStream"]
