"""What a pass is, and the driver that most passes need: match a pattern, check, rewrite, until nothing matches."""

from __future__ import annotations

import abc
import dataclasses
import enum
import inspect
from typing import Any, ClassVar

from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.rewrite.argument_docs import option_docs
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.matching import Match, find, match_at, near_misses
from kerasurgeon.rewrite.patterns import Pattern

VERIFY_LEVELS = ("structure", "types", "exact", "outputs")
"""How much of a pass's result is checked, see ``Pipeline.run``; each level includes those before it."""


class Preserves(enum.Enum):
    """What a pass promises about the model's outputs."""

    EXACT = "exact"
    """The outputs are the same up to rounding, in inference."""
    MASKED_EXACT = "masked-exact"
    """The outputs are those of the model with some channels masked."""
    APPROXIMATE = "approximate"
    """The outputs change; by how much is in the report."""


EXACT = Preserves.EXACT
MASKED_EXACT = Preserves.MASKED_EXACT
APPROXIMATE = Preserves.APPROXIMATE


class Skip(Exception):  # noqa: N818 - not an error: an outcome
    """Raised by a pass to leave a site alone, with the reason.

    Args:
        reason: One sentence without a full stop: ``"the layer is called 2 times"``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _PassType(abc.ABCMeta):
    """The type of passes: an option that is required and not given is named, wherever the pass is made."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        fields = [item for item in dataclasses.fields(cls) if item.init] if dataclasses.is_dataclass(cls) else []
        for item in fields[len(args) :]:
            required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if required and item.name not in options:
                described = option_docs(cls).get(item.name)
                raise OptionError(
                    f"{cls.__name__} needs the option {item.name!r}.",
                    expected=described and described.replace("``", "`"),
                    hint=f"`kerasurgeon passes {cls.__name__}` shows what each option may be",
                )
        return super().__call__(*args, **options)


class Pass(metaclass=_PassType):
    """A decision about a graph. Subclasses are frozen dataclasses: their fields are the options.

    A pass edits the graph it is given in place; the pipeline gives it one of its own. What it does at a site it reports
    through ``context.changed``, what it leaves alone through ``context.left``.

    Attributes:
        preserves: What it promises about outputs; EXACT is checked after every run.
        rtol: Largest relative difference of outputs that EXACT allows, for float32 models.
    """

    preserves: ClassVar[Preserves] = Preserves.APPROXIMATE
    rtol: ClassVar[float] = 1e-4

    @property
    def name(self) -> str:
        """How recipes and reports call it."""
        return type(self).__name__

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    @classmethod
    def summary(cls) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0]

    def idle(self) -> str | None:
        """Why its options ask for nothing, whatever the model: an empty plan. ``None`` where they ask for something.

        The command line refuses such passes.
        """
        return None

    @abc.abstractmethod
    def run(self, graph: Graph, context: Context) -> None:
        """Rewrite the graph.

        Args:
            graph: To be changed in place, through its methods.
            context: Data, loss, seeded generator, progress and the log of decisions.
        """


class RewritePass(Pass):
    """A pass that looks for a pattern and rewrites each place where it matches.

    Subclasses say what to look for (``pattern``), when to leave a site alone (``check``) and what to put there
    (``rewrite``). Sites are found again after each rewrite, so that one rewrite may enable another.
    """

    @abc.abstractmethod
    def pattern(self) -> Pattern:
        """What to look for."""

    def check(self, match: Match, graph: Graph) -> None:
        """Raise ``Skip`` to leave a site alone. The graph must not be changed here."""

    @abc.abstractmethod
    def rewrite(self, match: Match, graph: Graph, context: Context) -> str | None:
        """Rewrite one site. May return what was done, for the report."""

    def run(self, graph: Graph, context: Context) -> None:
        """Match, check and rewrite until no site is left."""
        pattern = self.pattern()
        limit = 2 * len(graph) + 10
        rewritten = 0
        while True:
            refused: dict[str, str] = {}
            before_sweep = rewritten
            matches = find(graph, pattern)
            for position, match in enumerate(matches):
                context.progress(position / len(matches), f"{self.name}: {match.root.name}")
                if self._visit(match.root.name, pattern, graph, context, refused):
                    rewritten += 1
                if rewritten > limit:
                    raise PassError(
                        f"{self.name} does not come to an end: it rewrote {limit} sites, more than there are nodes.",
                        where=f"last site {match.root.name!r}",
                        hint="the pattern matches what rewrite() puts there; refuse that in check()",
                    )
            if rewritten == before_sweep:
                break
        for root, reason in refused.items():
            context.left(root, reason)
        for miss in near_misses(graph, pattern):
            context.left(miss.root, miss.reason)

    def _visit(self, root: str, pattern: Pattern, graph: Graph, context: Context, refused: dict[str, str]) -> bool:
        """Match again at a root, since earlier rewrites may have changed it, and rewrite. Returns whether it did."""
        match = match_at(graph, pattern, root) if root in graph else None
        if not isinstance(match, Match):
            return False
        before = graph.revision
        try:
            self.check(match, graph)
        except Skip as skip:
            refused[root] = skip.reason
            return False
        finally:
            if graph.revision != before:
                raise PassError(f"{self.name}.check() changed the graph.", where=f"site {root!r}")
        done = self.rewrite(match, graph, context)
        if graph.revision == before:
            raise PassError(
                f"{self.name}.rewrite() left the graph unchanged.",
                where=f"site {root!r}",
                hint="raise Skip(reason) in check() for sites that are to be left alone",
            )
        context.changed(root, done or "rewritten")
        return True
