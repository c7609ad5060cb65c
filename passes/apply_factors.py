"""Put saved factors into a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

from kerasurgeon.authoring import (
    APPROXIMATE,
    Context,
    FactorPlan,
    Graph,
    OptionError,
    Pass,
    PlanError,
    Preserves,
    did_you_mean,
)
from kerasurgeon.factors.put import put
from kerasurgeon.factors.sites import Place, Site, places
from kerasurgeon.factors.split_layers import build_layers


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

    def run(self, graph: Graph, context: Context) -> None:
        """Check the whole plan against the model, then change it."""
        plan = self.plan if isinstance(self.plan, FactorPlan) else FactorPlan.load(str(self.plan))
        by_name: dict[str, Place] = {place.name: place for place in places(graph)}
        if not plan.layers:
            context.left(graph.name, "the plan names no layer")
        sites = {name: self._site(name, by_name, plan) for name in plan.layers}
        for name, site in sites.items():
            planned = plan.layers[name]
            put(graph, site.key, build_layers(site, planned.factors))
            context.changed(name, f"{planned.factors.method}; relative kernel error {planned.error:.3g}")

    def _site(self, name: str, by_name: dict[str, Place], plan: FactorPlan) -> Site:
        place: Any = by_name.get(name)
        if place is None:
            of = f" It was made for {plan.model!r}." if plan.model else ""
            raise PlanError(f"The model has no layer {name!r} to factorise.{of}", hint=did_you_mean(name, by_name))
        if not isinstance(place, Site):
            raise PlanError("The plan names a layer that cannot be factorised.", where=name, got=place.reason)
        planned = plan.layers[name]
        if planned.factors.shape != place.shape:
            raise PlanError(
                "The plan was made for another model: the layer has another shape.",
                where=f"layer {name!r}",
                expected=str(planned.factors.shape),
                got=str(place.shape),
            )
        why = "" if self.any_weights else plan.misfit(name, place.kernel())
        if why:
            raise PlanError(
                "The plan was made for other weights.",
                where=f"layer {name!r}",
                got=why,
                hint="any_weights=True puts the factors in all the same",
            )
        return place


__all__ = ["ApplyFactors"]
