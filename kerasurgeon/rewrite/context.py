"""What a pass is given beside the graph: data, randomness, progress, and the log of its decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.rules import Sizes

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

    Raises:
        OptionError: One of them is of another type.
    """

    node: str
    changed: bool
    what: str

    def __post_init__(self) -> None:
        _check("The node of a site", self.node, str, "the name of a node")
        _check("What is said of a site", self.what, str, "text", where=f"site {self.node!r}")
        object.__setattr__(self, "changed", bool(self.changed))


@dataclass(frozen=True, slots=True)
class RankedGroup:
    """Channels that a pass has ranked, and how many of them it keeps.

    Attributes:
        name: The group.
        layers: The layers that make the channels, all of which lose the same ones.
        channels: How many there are.
        kept: How many stay.
        scores: Scores from the least to the greatest of those that might go, thinned out to a few dozen.
        cut: Which share of the scores lies below the cut.
        why: Why none may go; empty if some may.
    """

    name: str
    layers: tuple[str, ...]
    channels: int
    kept: int
    scores: tuple[float, ...] = ()
    cut: float = 0.0
    why: str = ""


@dataclass
class Context:
    """What a pass is given beside the graph.

    Attributes:
        data: Inputs, or ``(inputs, labels)``, as the user gave them; ``None`` without data.
        loss: The user's loss, for passes that need gradients.
        evaluate: The user's evaluation: model to number, higher is better.
        sizes: The sizes of the inputs that costs are counted for, as for ``kerasurgeon.cost``; ``None`` for the model's
            own.
        seed: This pass's seed, derived from the pipeline's.
        rng: A generator seeded with it. All random choices of a pass come from here.
        progress: Called with the fraction done and a message.
        sites: The log of decisions, in order.
        notes: What the user should know of the run, one sentence each; see ``note``.
        plans: What the pass decided, as plans that can be saved, edited and applied again.
        groups: The channels that it ranked, for the report.
        expected: Makes the graph that the pass's result must agree with; see ``expect``.
        memory: What passes of one run keep for those after them, by names of their own.
    """

    data: Any = None
    loss: Any = None
    evaluate: Callable[[Any], float] | None = None
    sizes: Sizes | None = None
    seed: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    progress: Progress = no_progress
    sites: list[Site] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plans: list[Any] = field(default_factory=list)
    groups: list[RankedGroup] = field(default_factory=list)
    expected: Callable[[], Graph] | None = None
    memory: dict[str, Any] = field(default_factory=dict)

    def changed(self, node: Node | str, what: str) -> None:
        """Log that the pass changed something at a node.

        Args:
            node: The node, or the name of one that there is or was; the graph's name for all of it.
            what: What was done, as a sentence without its full stop.

        Raises:
            OptionError: ``node`` is neither, or ``what`` is no text.
        """
        self.sites.append(Site(_name_of(node), changed=True, what=what))

    def note(self, text: str) -> None:
        """Say what the printed report must not be silent about, as a sentence without its full stop.

        Raises:
            OptionError: It is no text.
        """
        _check("A note", text, str, "text")
        self.notes.append(text)

    def expect(self, make_graph: Callable[[], Graph]) -> None:
        """Say what the outputs must be: those of a graph, which is made only where it is compared.

        A pass that claims to be MASKED_EXACT gives the masked twin of what it cut; the last one given counts.
        """
        self.expected = make_graph

    def left(self, node: Node | str, reason: str) -> None:
        """Log that the pass left a node alone, and why. The arguments are those of ``changed``."""
        self.sites.append(Site(_name_of(node), changed=False, what=reason))

    def check(self) -> None:
        """Refuse what was put in the logs past these methods and would break the report.

        Raises:
            OptionError: A site is no ``Site``, or a plan cannot be written as JSON.
        """
        for site in self.sites:
            _check(
                "context.sites holds something else than sites.", site, Site, "what context.changed() and left() add"
            )
        for plan in self.plans:
            if not callable(getattr(plan, "to_json", None)):
                raise OptionError(
                    "context.plans holds something that is no plan.",
                    expected="an object with to_json(), as ChannelPlan",
                    got=_shown(plan),
                )


def _name_of(node: Any) -> Any:
    return node.name if isinstance(node, Node) else node


def _check(what: str, value: Any, kind: type, expected: str, where: str | None = None) -> None:
    if not isinstance(value, kind):
        hint = "context.changed() and context.left() take a node or its name" if kind is str else None
        raise OptionError(
            f"{what.rstrip('.')} cannot be used.", where=where, expected=expected, got=_shown(value), hint=hint
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
