"""Ask a pass what it would do, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from rich.table import Table

from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.report.tables import Printed, grid
from kerasurgeon.rewrite.context import Site
from kerasurgeon.rewrite.passes import Pass
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.rules import Sizes


@dataclass(frozen=True, slots=True)
class Explanation(Printed):
    """What a pass would do to a model.

    Attributes:
        name: The pass.
        sites: Every place it looks at: what it would do there, or why it would leave it alone.
    """

    name: str
    sites: tuple[Site, ...]

    def table(self) -> Table:
        """One row a site."""
        rows = [(site.node, "changed" if site.changed else "left alone", site.what) for site in self.sites]
        heads = ("site", "would be", "what, or why not")
        return grid(heads, rows, left=heads, title=self.name)

    def __str__(self) -> str:
        return Printed.__str__(self) if self.sites else f"{self.name}: no site to look at"


def explain(pass_: Pass, model: keras.Model | Graph, *, sizes: Sizes | None = None) -> Explanation:
    """Say what a pass would do to a model: a dry run on a copy.

    Args:
        pass_: The pass.
        model: A Keras model or a graph; it is only read.
        sizes: Sizes of the inputs that costs and budgets are counted for: see ``Pipeline.run``.

    Returns:
        Every site with what would be done, or the reason why it would be left alone.
    """
    graph = model if isinstance(model, Graph) else lift(model)
    return Explanation(pass_.name, Pipeline([pass_]).dry_run(graph, sizes=sizes))
