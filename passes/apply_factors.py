"""Put saved factors into a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves
from kerasurgeon.factors import FactorPlan, put_plan


@final
@dataclass(frozen=True)
class ApplyFactors(Pass):
    """Put the factors of a plan into the layers that it names: what ``Factorise`` found, without finding it again.

    Matches:
        The layers that the plan names.
    Leaves alone:
        All else.
    Preserves:
        Shapes and dtypes. Outputs approximately, as the plan says.

    Args:
        plan: A ``FactorPlan``, or the path of one.
        any_weights: Also put factors into layers whose kernel is not the one that they were made from, but has its
            shape: for factors of weights that were trained on since.

    Raises:
        OptionError: An option has a value that it may not have.
        PlanError: The plan cannot be read or does not fit the model.
    """

    preserves: ClassVar[Preserves] = APPROXIMATE

    plan: str | Path | FactorPlan
    any_weights: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.plan, Path):
            object.__setattr__(self, "plan", str(self.plan))
        if not isinstance(self.plan, (str, FactorPlan)):
            raise OptionError(
                f"{self.name}: option 'plan' cannot be used.",
                expected="a FactorPlan, or the path of one",
                got=repr(self.plan)[:80],
            )
        if not isinstance(self.any_weights, bool):
            raise OptionError(f"{self.name}: option 'any_weights' cannot be used.", expected="True or False")

    def idle(self) -> str | None:
        """A plan that names no layer."""
        return None if self._read().layers else "the plan names no layer"

    def run(self, graph: Graph, context: Context) -> None:
        """Check the whole plan against the model, then change it."""
        plan = self._read()
        if not plan.layers:
            context.left(graph.name, "the plan names no layer")
        for name, what in put_plan(graph, plan, any_weights=self.any_weights).items():
            context.changed(name, what)

    def _read(self) -> FactorPlan:
        return self.plan if isinstance(self.plan, FactorPlan) else FactorPlan.load(str(self.plan))


__all__ = ["ApplyFactors"]
