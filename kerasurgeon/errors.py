"""Every error kerasurgeon raises on purpose, and the one format they share.

A message has up to four parts: what failed, where, what was expected and what was got, what to do next.
``KerasurgeonError`` puts them together, so that no call site invents its own layout.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class KerasurgeonError(Exception):
    """Base of all errors that kerasurgeon raises on purpose.

    Args:
        what: What failed, as one sentence.
        where: The node, layer, pass, file or key concerned.
        expected: What would have been accepted.
        got: What was there instead.
        hint: What to do next.
        context: Lines that show the surroundings (the node's neighbours, say).
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
        context: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.hint = hint
        self.context = context
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [self.what]
        for label, part in (
            ("where", self.where),
            ("expected", self.expected),
            ("got", self.got),
            ("what to do", self.hint),
        ):
            if part is not None:
                lines.append(f"  {label}: {part}")
        if self.context:
            lines.extend("    " + line for line in self.context.splitlines())
        return "\n".join(lines)


class LiftError(KerasurgeonError):
    """The model cannot be represented as a graph (a subclassed or unbuilt model, say)."""


class GraphError(KerasurgeonError):
    """A graph was asked for something it does not hold, or for a change that would break it."""


class EmitError(KerasurgeonError):
    """A graph could not be turned back into a Keras model."""


class VerificationError(KerasurgeonError):
    """A graph does not hold together: an invariant, a shape, a dtype or an output is wrong."""


class CannotRunError(KerasurgeonError):
    """This machine's backend lacks what it takes to run a model; nothing is said about the model itself."""

    def in_one_line(self) -> str:
        """What cannot be run, why and what to do, for a report."""
        said = f"{self.what.rstrip('.')} ({self.got})" if self.got else self.what.rstrip(".")
        return f"{said}; {self.hint}" if self.hint else said


class NoInputsError(CannotRunError):
    """No inputs are known on which a model can be run; nothing is said about what it computes."""


class UnknownKerasError(KerasurgeonError, ImportError):
    """The installed Keras is no release that kerasurgeon knows, and lacks something that it needs."""


class RuleError(KerasurgeonError):
    """A rule for a kind of layer raised, or returned what it may not; ``__cause__`` keeps the original error."""


class PassError(KerasurgeonError):
    """A pass raised or left a broken graph; ``__cause__`` keeps the original error."""


class RoundError(PassError):
    """What the user gave to a search (an evaluation, a callback, a training) raised, or gave no number, in one round.

    Attributes:
        found: What was finished before that round; ``None`` if nothing was. Each search says what it is.
    """

    found: Any = None

    def at(self, where: str) -> RoundError:
        """The same error, told of a round."""
        return self._again(where=f"{where}, {self.where}" if self.where else where)

    def keeping(self, found: Any, hint: str) -> RoundError:
        """The same error with what was finished, and what can be done with it."""
        made = self._again(hint=f"{self.hint}; {hint}" if self.hint else hint)
        made.found = found
        return made

    def _again(self, **changes: str) -> RoundError:
        parts = {part: getattr(self, part) for part in ("where", "expected", "got", "hint", "context")}
        return RoundError(self.what, **(parts | changes))


class OptionError(KerasurgeonError, ValueError):
    """An option has a value that it may not have."""


class PlaceError(GraphError, OptionError):
    """What an option names is not in the network, or is nothing that it could mean there."""


class BudgetError(PassError, OptionError):
    """A budget cannot be reached, or too much of what it is about is unknown.

    Attributes:
        reachable: The least that can be reached, as a number; ``None`` where it is unknown.
        value: The same as the option would say it: what to ask for instead.
    """

    reachable: float | None = None
    value: float | None = None


class RecipeError(KerasurgeonError):
    """A recipe file cannot be read or asks for something that does not exist."""


class PlanError(KerasurgeonError):
    """A channel plan cannot be read, or cannot be carried out on this model."""


class FileError(KerasurgeonError):
    """A file cannot be read or written: what the operating system says, or another file is in its place."""


class ModelFileError(FileError):
    """A model file is missing, truncated, of an unknown kind or cannot be written."""


class ExportError(KerasurgeonError):
    """A model could not be exported, or the exported file does not compute what the model does."""


class MissingExtraError(KerasurgeonError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def missing_extra(package: str, extra: str, needed_for: str) -> MissingExtraError:
    """The error for an optional dependency that is absent.

    Args:
        package: The package that could not be imported, as on PyPI.
        extra: The extra of kerasurgeon that installs it.
        needed_for: What the user was about to do, as a noun phrase.
    """
    return MissingExtraError(
        f"{needed_for} needs the package {package}, which is not installed.",
        hint=f"pip install 'kerasurgeon[{extra}]'",
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest of ``known``, or list them if none is near: for the hint of an error."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    if not names:
        return "there is nothing to choose from"
    shown = ", ".join(names[:20])
    return f"one of: {shown}" + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
