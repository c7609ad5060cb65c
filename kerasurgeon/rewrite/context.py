"""What a pass is given beside the graph: data, randomness, progress, and the log of its decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasurgeon.ir.graph import Graph

Progress = Callable[[float, str], None]


def no_progress(fraction: float, message: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place that a pass looked at.

    Attributes:
        node: Name of the node.
        changed: Whether the pass changed it.
        what: What was done, or why it was left alone.
    """

    node: str
    changed: bool
    what: str


@dataclass
class Context:
    """What a pass is given beside the graph.

    Attributes:
        data: Inputs, or ``(inputs, labels)``, as the user gave them; ``None`` without data.
        loss: The user's loss, for passes that need gradients.
        evaluate: The user's evaluation: model to number, higher is better.
        seed: This pass's seed, derived from the pipeline's.
        rng: A generator seeded with it. All random choices of a pass come from here.
        progress: Called with the fraction done and a message.
        sites: The log of decisions, in order.
        plans: What the pass decided, as plans that can be saved, edited and applied again.
        expected: Makes the graph that the pass's result must agree with; see ``expect``.
    """

    data: Any = None
    loss: Any = None
    evaluate: Callable[[Any], float] | None = None
    seed: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    progress: Progress = no_progress
    sites: list[Site] = field(default_factory=list)
    plans: list[Any] = field(default_factory=list)
    expected: Callable[[], Graph] | None = None

    def changed(self, node: str, what: str) -> None:
        """Log that the pass changed something at a node."""
        self.sites.append(Site(node, changed=True, what=what))

    def expect(self, make_graph: Callable[[], Graph]) -> None:
        """Say what the outputs must be: those of a graph, which is made only where it is compared.

        A pass that claims to be MASKED_EXACT gives the masked twin of what it cut; the last one given counts.
        """
        self.expected = make_graph

    def left(self, node: str, reason: str) -> None:
        """Log that the pass left a node alone, and why."""
        self.sites.append(Site(node, changed=False, what=reason))
