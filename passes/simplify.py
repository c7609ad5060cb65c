"""Remove what does nothing, merge what one layer can do, compute what is known before the model runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, final

from kerasurgeon.authoring import EXACT, Context, Graph, Pass, PassError, Preserves, Skip, check_flag
from kerasurgeon.simplify import borders as simplify_borders
from kerasurgeon.simplify import constants as simplify_constants
from kerasurgeon.simplify import identities as simplify_identities
from kerasurgeon.simplify import reshapes as simplify_reshapes
from kerasurgeon.simplify.rules import Rule

RULES: tuple[Rule, ...] = (
    *simplify_identities.RULES,
    *simplify_reshapes.RULES,
    *simplify_borders.RULES,
    *simplify_constants.RULES,
)


@final
@dataclass(frozen=True)
class Simplify(Pass):
    """Remove layers and ops that do nothing in inference, merge neighbours, compute constants.

    Matches:
        Each option stands for a family of rules, see ``Args``.
    Leaves alone:
        * what an output of the model, or of a nested one, takes its name from;
        * what ends a Keras mask, and what is called in training mode;
        * shared layers, and results used elsewhere, where merging would change another call.
    Preserves:
        Outputs in inference, up to rounding; names of inputs and outputs. Training too, unless ``training_layers``.

    Args:
        training_layers: Remove what works in training only: dropout, noise, activity regularisation, augmentation,
            stopped gradients.
        identities: Remove what returns its input: linear activations, Identity, empty paddings and croppings,
            pooling and upsampling by 1, Rescaling(1, 0), x + 0, x * 1, casts to the same dtype, whole slices.
        reshapes: Remove reshapes and permutations that change nothing, and merge those in a row.
        borders: Merge zero padding into the convolution behind it where its own padding is the same, and paddings
            and croppings in a row.
        rescaling: Merge Rescaling layers in a row.
        constants: Compute ops that read constants only.
        duplicates: Compute once what is computed twice. Off by default: a tensor that is read twice keeps other
            passes from changing the layer that makes it.

    Raises:
        OptionError: An option is not true or false.

    Example:
        >>> small = apply_passes(model, [Simplify(training_layers=True)])
    """

    training_layers: bool = False
    identities: bool = True
    reshapes: bool = True
    borders: bool = True
    rescaling: bool = True
    constants: bool = True
    duplicates: bool = False

    preserves: ClassVar[Preserves] = EXACT

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check_flag(self.name, item.name, getattr(self, item.name))

    def run(self, graph: Graph, context: Context) -> None:
        """Apply every rule at every node until none applies."""
        rules = [rule for rule in RULES if getattr(self, rule.option)]
        limit = 4 * len(graph) + 10  # each step removes a node or one of a few things between two
        steps = 0
        while True:
            left: dict[str, list[str]] = {}
            before = steps
            nodes = graph.nodes()
            for position, node in enumerate(nodes):
                context.progress(position / len(nodes), f"Simplify: {node.name}")
                if node.name in graph:
                    steps += _visit(graph, node.name, rules, context, left)
            unused = graph.remove_unused()
            for name in unused:
                context.changed(name, "removed: no output of the model depends on it")
            if steps == before and not unused:
                break
            if steps > limit:
                raise PassError(f"Simplify does not come to an end: it made {steps} changes.")
        for name, reasons in left.items():
            context.left(name, "; ".join(dict.fromkeys(reasons)))
        if not context.sites:
            context.left(graph.name, "it has nothing that the rules look at")


def _visit(graph: Graph, name: str, rules: list[Rule], context: Context, left: dict[str, list[str]]) -> bool:
    """Apply the first rule that can be applied at a node. Returns whether one could."""
    for rule in rules:
        node = graph[name]
        if not rule.looks_at(graph, node):
            continue
        before = graph.revision
        try:
            done = rule.action(graph, node)
        except Skip as skip:
            if graph.revision != before:
                raise PassError(
                    f"A rule of Simplify changed the graph and then left it alone: {skip.reason}."
                ) from skip
            left.setdefault(name, []).append(skip.reason)
            continue
        left.pop(name, None)
        context.changed(name, done)
        return True
    return False


__all__ = ["RULES", "Simplify"]
