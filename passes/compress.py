"""Prune and factorise a network for one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves, values_in
from kerasurgeon.channels import PruneOptions
from kerasurgeon.channels import prune as do_prune
from kerasurgeon.factors import FactoriseOptions, share_budget
from kerasurgeon.factors import factorise as do_factorise
from kerasurgeon.generating import SECONDS, TooLittleTime, checked_range, find_anchors, made_inputs
from kerasurgeon.passes.factorise import Factorise
from kerasurgeon.passes.prune_channels import PruneChannels


@final
@dataclass(frozen=True)
class Compress(Pass):
    """Prune and factorise for one budget, shared between both as loses least of what the network gives.

    Tried are pruning alone, factorising alone, and pruning a part of the way before kernels are factorised, each by
    ``PruneChannels`` and ``Factorise`` as they are by default, on seven eighths of the data; the error of the outputs
    on the rest decides, or the pipeline's ``evaluate``. Pruning alone is taken unless something else leaves less than
    85 % of its error: chains of layers run slower than their MACs say. What is taken is done on all of the data.

    Matches:
        What ``PruneChannels`` and ``Factorise`` match.
    Leaves alone:
        What both leave alone; layers that ``ignore`` names.
    Preserves:
        Shapes and dtypes. Outputs approximately: the errors of all that was tried are in the report.

    Args:
        macs: MACs to keep: a fraction up to 1 of what there is, or a number above 1 (docs/budgets.md).
        params: Parameters to keep, likewise.
        bytes: Bytes of weights to keep, likewise.
        ignore: Patterns of names of layers that are left alone.
        round_to: Make kept widths multiples of this, as ``PruneChannels`` does; ranks too, where it is not ``"auto"``.
        input_range: The least and the largest value of inputs that are generated where there is no data, as for
            ``PruneChannels``.
        generate_seconds: The time that generating may take.
        unreachable: What becomes of a budget that cannot be reached: ``"refuse"``, or ``"nearest"``.

    Raises:
        OptionError: An option has a value that it may not have, or not exactly one budget is given.
        BudgetError: The budget cannot be reached, or the MACs that it is about are unknown for a part of the model.

    Example:
        >>> small = apply_passes(model, [Compress(macs=0.2)], data=images)
    """

    preserves: ClassVar[Preserves] = APPROXIMATE

    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    ignore: str | tuple[str, ...] = ()
    round_to: int | str = "auto"
    input_range: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None
    generate_seconds: float = SECONDS
    unreachable: str = "refuse"

    def __post_init__(self) -> None:
        given = [option for option in ("macs", "params", "bytes") if getattr(self, option) is not None]
        if len(given) != 1:
            raise OptionError(
                f"{self.name} needs one budget.",
                expected="one of macs, params, bytes",
                got=" and ".join(f"{option}={getattr(self, option)!r}" for option in given) or "none",
                hint=f"{self.name}(macs=0.5) halves the model",
            )
        amount = getattr(self, given[0])
        pruning = self._pruning(amount, self.unreachable, {})
        object.__setattr__(self, "ignore", pruning.ignore)
        object.__setattr__(self, "input_range", pruning.input_range)
        self._factorising(amount, self.unreachable, "kernel")

    @property
    def measure(self) -> str:
        """The budget that is given."""
        return next(option for option in ("macs", "params", "bytes") if getattr(self, option) is not None)

    def run(self, graph: Graph, context: Context) -> None:
        """Try, compare, and do what is best."""

        def prune(item: Graph, own: Context, amount: float, unreachable: str) -> None:
            weights = {"compensate": "batch_norm", "importance": "l2", "scope": "local"}
            how = weights if own.data is None else {"compensate": "least_squares"}
            do_prune(item, self._pruning(amount, unreachable, how), own)

        def factorise(item: Graph, own: Context, amount: float, unreachable: str) -> None:
            do_factorise(item, self._factorising(amount, unreachable, "kernel" if own.data is None else "output"), own)

        share_budget(
            graph,
            context,
            prune,
            factorise,
            owner=self.name,
            measure=self.measure,
            value=float(getattr(self, self.measure)),
            unreachable=self.unreachable,
            generate=lambda: self._generated(graph, context),
        )

    def _pruning(self, amount: float, unreachable: str, how: Mapping[str, Any]) -> PruneOptions:
        return PruneOptions(
            **_defaults(PruneChannels)
            | dict(how)
            | {
                "name": self.name,
                self.measure: amount,
                "ignore": self.ignore,
                "round_to": self.round_to,
                "input_range": self.input_range,
                "generate_seconds": self.generate_seconds,
                "unreachable": unreachable,
            }
        )

    def _factorising(self, amount: float, unreachable: str, minimise: str) -> FactoriseOptions:
        return FactoriseOptions(
            **_defaults(Factorise)
            | {
                "name": self.name,
                self.measure: amount,
                "where": tuple(f"!{pattern}" for pattern in self.ignore),
                "round_to": 1 if self.round_to == "auto" else self.round_to,
                "minimise": minimise,
                "cost": self.measure,
                "unreachable": unreachable,
            }
        )

    def _generated(self, graph: Graph, context: Context) -> list[Any] | None:
        """Inputs in the place of data, and what is said of them."""
        names = [value.node for value in values_in(graph.inputs)]
        checked_range(self.input_range, names, owner=self.name, option="input_range")
        adds = "data= (some hundred inputs) would let kernels be fitted to what they see"
        if not find_anchors(graph):
            context.note(f"there is no data, and no trained batch norm to generate inputs from; {adds}")
            return None
        try:
            made = made_inputs(
                graph,
                range=self.input_range,
                seconds=self.generate_seconds,
                seed=context.seed,
                progress=lambda fraction, message: context.progress(0.2 * fraction, message),
            )
        except (OptionError, TooLittleTime) as problem:
            context.note(f"no inputs were generated: {str(problem).splitlines()[0]}; {adds}")
            return None
        for line in made.said:
            context.changed(graph.name, line)
        context.note(f"kernels were fitted on generated inputs; {adds}")
        return made.arrays


def _defaults(kind: type[Pass]) -> dict[str, Any]:
    """The options of a pass where nobody gives them."""
    return {item.name: item.default for item in fields(cast(Any, kind))}


__all__ = ["Compress"]
