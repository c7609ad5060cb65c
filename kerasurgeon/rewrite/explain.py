"""Ask a pass what it would do, without doing it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import keras
from rich.console import Console
from rich.table import Table

from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.context import Site
from kerasurgeon.rewrite.passes import Pass
from kerasurgeon.rewrite.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a pass would do to a model.

    Attributes:
        name: The pass.
        sites: Every place it looks at: what it would do there, or why it would leave it alone.
    """

    name: str
    sites: tuple[Site, ...]

    def table(self) -> Table:
        """One row a site."""
        table = Table(title=self.name, title_justify="left")
        for column in ("site", "would be", "what, or why not"):
            table.add_column(column)
        for site in self.sites:
            table.add_row(site.node, "changed" if site.changed else "left alone", site.what)
        return table

    def __str__(self) -> str:
        if not self.sites:
            return f"{self.name}: no site to look at"
        out = io.StringIO()
        Console(file=out, width=120, color_system=None).print(self.table())
        return out.getvalue().rstrip()


def explain(pass_: Pass, model: keras.Model | Graph) -> Explanation:
    """Say what a pass would do to a model: a dry run on a copy.

    Args:
        pass_: The pass.
        model: A Keras model or a graph; it is only read.

    Returns:
        Every site with what would be done, or the reason why it would be left alone.
    """
    graph = model if isinstance(model, Graph) else lift(model)
    return Explanation(pass_.name, Pipeline([pass_]).dry_run(graph))
