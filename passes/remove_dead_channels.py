"""Remove channels that have no effect, or the same effect whatever the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import EXACT, Context, Graph, OptionError, Pass, Preserves, is_number
from kerasurgeon.channels import remove_dead


@final
@dataclass(frozen=True)
class RemoveDeadChannels(Pass):
    """Remove channels that are constant wherever they are read, or read nowhere; constants go into biases.

    Matches:
        * filters and units whose weights are zero (left by sparse training or by stripped pruning masks), batch norms
          and layer scales with a scale of zero, products with zero, and all that follows from them through activations,
          poolings, sums, concatenations and depthwise convolutions;
        * channels whose rows in all kernels that read them are zero, or make only results that do not count;
        * branches of which nothing is left: what they gave becomes a bias where they met the rest.
    Leaves alone:
        * constants other than zero in front of a convolution that pads with zeros: at the border it sees the padding;
        * channels added to others that live, of a model's input or output, or normalised over (layer norm);
        * constants read by layers with another kernel than Dense and convolutions have; layers called several times
          that read constants other than zero.
    Preserves:
        Outputs in inference, up to rounding. A following training sees fewer channels: one that was zero could have
        come back to life.

    Args:
        atol: Weights up to this magnitude count as zero. With more than 0 the result is as exact as the weights are
            small; the pipeline checks it.

    Raises:
        OptionError: ``atol`` is negative or no number.

    Example:
        >>> small = apply_passes(model, [RemoveDeadChannels()])
    """

    preserves: ClassVar[Preserves] = EXACT

    atol: float = 0.0

    def __post_init__(self) -> None:
        if not is_number(self.atol) or self.atol < 0:
            raise OptionError(
                f"{self.name}: option 'atol' must be a magnitude.", expected="a number from 0", got=repr(self.atol)
            )

    def run(self, graph: Graph, context: Context) -> None:
        """Remove until nothing changes."""
        report = remove_dead(graph, atol=self.atol)
        for name, (before, after) in report.widths.items():
            where = "" if report.nodes[name] == name else f" ({name})"
            left = f"{after} left" if after else "the layer is gone"
            context.changed(report.nodes[name], f"{before - after} of {before} channels had no effect{where}: {left}")
        for node, what in report.removed.items():
            context.changed(node, what)
        for name, (count, reason) in report.left.items():
            context.left(report.nodes[name], f"{count} channels look dead, but stay: {reason}")


__all__ = ["RemoveDeadChannels"]
