"""Make a network wider, uniformly, as far as a budget allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import (
    MASKED_EXACT,
    Context,
    Graph,
    OptionError,
    Pass,
    Preserves,
    check_choice,
    check_known_patterns,
    check_patterns,
    is_number,
    wrong_option,
)
from kerasurgeon.channels import rounding
from kerasurgeon.costs import check_unreachable
from kerasurgeon.morphnet import Widths, layers_to_ignore

WEIGHTS = ("net2wider", "fresh")


@final
@dataclass(frozen=True)
class Expand(Pass):
    """Multiply all widths by the largest number that a budget allows: MorphNet's second step.

    The channels of a network that was shrunk to learned widths are multiplied alike, so that the network regains its
    cost, or any other, with the proportions that it has learned.

    Matches:
        All channels that may be duplicated, whatever couples them: sums, concatenations, depthwise convolutions, gates,
        flattened images; of grouped convolutions and attention, whole groups and heads.
    Leaves alone:
        * channels of inputs and outputs, of layers without a rule, and all else that ``groups`` shows as frozen;
        * layers that ``ignore`` names;
        * with ``weights="net2wider"``, what cannot be duplicated exactly: channels that are normalised or averaged
          over, or summed over without a weight.
    Preserves:
        The outputs, with ``weights="net2wider"``. With fresh weights nothing but the structure.

    Args:
        macs: MACs that the result may have: up to 100 a multiple of what there is, above that a number
            (docs/budgets.md).
        params: Parameters, likewise.
        width: The multiplier itself. Below 1 with fresh weights only: every layer is then narrower.
        weights: ``"net2wider"``: channels are duplicated, and what sums over them takes a share of its weight for each.
            ``"fresh"``: all weights are made anew by the layers' initialisers, for training from the start.
        uneven: How much the shares of copies differ, in [0, 1): equal copies with equal shares would stay equal in all
            further training.
        ignore: Patterns of names of layers whose channels keep their number.
        round_to: Make the new widths multiples of this, or of what pays on ``"tflite"``, ``"xnnpack"``,
            ``"onnxruntime"``, where channels go one by one. ``"auto"``: with ``macs=`` or ``params=`` of 8, of 4 where
            they come to fewer than 64 channels, and below 16 as they come; finer where the budget could not be met
            otherwise. With ``width=`` all as they come: it means just that multiple. What rounding leaves of a budget
            goes to single layers, a step each, until less than 1 % of it is left; 1 takes the multiplier alone.
        unreachable: What becomes of a budget below what can be reached: ``"refuse"``, or ``"nearest"``: the narrowest
            that there is, and the report says by how much the budget was missed.

    Raises:
        OptionError: An option has a value that it may not have, or not exactly one budget is given.
        PlanError: No layer can be made wider.
        BudgetError: The budget is below what can be reached, or the MACs are unknown for a part of the model.

    Reference:
        Gordon et al., "MorphNet", CVPR 2018, arXiv:1711.06798, section 3.1, steps 2 and 3. Chen et al., "Net2Net:
        Accelerating Learning via Knowledge Transfer", ICLR 2016, arXiv:1511.05641.

    Example:
        >>> wide = apply_passes(small, [Expand(macs=ks.cost(model).macs)])
    """

    preserves: ClassVar[Preserves] = MASKED_EXACT

    macs: float | None = None
    params: float | None = None
    width: float | None = None
    weights: str = "net2wider"
    uneven: float = 0.5
    ignore: str | tuple[str, ...] = ()
    round_to: int | str = "auto"
    unreachable: str = "refuse"

    def __post_init__(self) -> None:
        given = {key: value for key in ("macs", "params", "width") if (value := getattr(self, key)) is not None}
        if len(given) != 1:
            raise OptionError(
                f"{self.name} needs one budget.",
                expected="one of macs=, params=, width=",
                got=", ".join(f"{key}={value!r}" for key, value in given.items()) or "none of them",
            )
        for key, value in given.items():
            if not is_number(value) or value <= 0:
                raise wrong_option(self.name, key, value, "a number above 0")
        check_choice(self.name, "weights", self.weights, WEIGHTS)
        if self.weights == "net2wider" and self.width is not None and self.width < 1:
            raise wrong_option(
                self.name, "width", self.width, "a number from 1", "weights='fresh' makes a network narrower, too"
            )
        if not is_number(self.uneven) or not 0 <= self.uneven < 1:
            raise wrong_option(self.name, "uneven", self.uneven, "a number in [0, 1)")
        object.__setattr__(self, "ignore", check_patterns(self.name, "ignore", self.ignore))
        rounding(self.name, self.round_to)
        check_unreachable(self.name, self.unreachable)

    def run(self, graph: Graph, context: Context) -> None:
        """Find the multiplier, then grow."""
        exact = self.weights == "net2wider"
        check_known_patterns(self.name, "ignore", self.ignore, graph)
        ignored = layers_to_ignore(graph, self.ignore)
        widths = Widths(graph, exact=exact, ignore=ignored, round_to=self._multiples)
        numbers, text, missed = widths.allowed(
            macs=self.macs,
            params=self.params,
            width=self.width,
            sizes=context.sizes,
            unreachable=self.unreachable,
        )
        if missed:
            context.note(missed)
            text = f"{text}; {missed}"
        reference = graph.copy()
        result, growth = widths.apply(numbers, context.rng, uneven=self.uneven)
        for node, why in widths.left(growth).items():
            context.left(node, why)
        if not growth.widths and exact:
            context.left(graph.name, f"{text}: no layer becomes wider")
            return
        graph.adopt(result)
        context.changed(graph.name, text if exact else f"{text}; all weights are made anew")
        for name, (before, after) in growth.widths.items():
            context.changed(widths.channels.sources[name].node, f"{before} -> {after} channels")
        if exact:
            context.expect(lambda: reference)

    @property
    def _multiples(self) -> int | str:
        return 1 if self.width is not None and self.round_to == "auto" else rounding(self.name, self.round_to)


__all__ = ["Expand"]
