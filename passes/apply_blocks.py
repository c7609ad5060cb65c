"""Carry out a plan of what is put in place of which blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from kerasurgeon.authoring import APPROXIMATE, Context, Graph, OptionError, Pass, Preserves
from kerasurgeon.blocks import BlockPlan, put_all


@final
@dataclass(frozen=True)
class ApplyBlocks(Pass):
    """Replace, drop and insert blocks as a plan says, with the weights that it carries.

    Matches:
        The places that the plan names. The model must have the same layers there, in the same shapes.
    Leaves alone:
        All else.
    Preserves:
        What the plan preserves.

    Args:
        plan: A ``BlockPlan``, or the path of one.

    Raises:
        OptionError: The option is neither.
        PlanError: The plan cannot be read, or the model has no such places; the message says which step and why.
    """

    plan: str | Path | BlockPlan

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        if isinstance(self.plan, Path):
            object.__setattr__(self, "plan", str(self.plan))
        if not isinstance(self.plan, (str, BlockPlan)):
            raise OptionError(
                f"{self.name}: option 'plan' cannot be used.",
                expected="a BlockPlan, or the path of one",
                got=repr(self.plan)[:80],
            )

    def idle(self) -> str | None:
        """A plan without steps."""
        return None if self._read().steps else "the plan has no steps"

    def run(self, graph: Graph, context: Context) -> None:
        """Carry out the whole plan, or nothing of it."""
        plan = self._read()
        if not plan.steps:
            context.left(graph.name, "the plan has no steps")
            return
        put_all(graph, plan.steps, context, plan.note)

    def _read(self) -> BlockPlan:
        return self.plan if isinstance(self.plan, BlockPlan) else BlockPlan.load(str(self.plan))


__all__ = ["ApplyBlocks"]
