"""Generated inputs in the place of data that a run does not have: made once, with what the report says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kerasurgeon.errors import CannotRunError, KerasurgeonError, OptionError
from kerasurgeon.generating.anchors import find_anchors, no_statistics
from kerasurgeon.generating.limits import checked_range
from kerasurgeon.generating.making import Made, TooLittleTime, made_inputs
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.rewrite.context import Context

DATA_ADDS = "data= (some hundred inputs) would let kernels be fitted to what they see"
"""What passes that generate inputs say in their report."""

_CACHED = "generated inputs"


class NothingGenerated(Exception):  # noqa: N818 - an outcome
    """No inputs can be generated, or not in the time.

    The message is what a report says of it, ``refusal`` what is raised where nothing else will do.
    """

    def __init__(self, said: str, refusal: KerasurgeonError) -> None:
        super().__init__(said)
        self.refusal = refusal


def stand_in(
    graph: Graph,
    context: Context,
    owner: str,
    *,
    range: Any,
    seconds: float,
    progress: Callable[[float, str], None],
) -> Made:
    """Inputs that stand for data, those that were made before in this run if they still fit.

    Args:
        graph: The graph.
        context: The run's: it keeps what was made, and gets what is said of it.
        owner: The name of the pass, for errors.
        range: What the user said of the range of inputs; see ``checked_range``.
        seconds: The time that it may take.
        progress: Told of it.

    Raises:
        OptionError: The range is none.
        NothingGenerated: None can be made, or not in this time.
    """
    values = values_in(graph.inputs)
    checked_range(range, [value.node for value in values], owner=owner, option="input_range")
    specs = [graph.spec(value) for value in values]
    kept_for, kept_range, made = context.memory.get(_CACHED, (None, None, None))
    if kept_for != specs or range not in (None, kept_range):
        made = _made(graph, context, range, seconds, progress)
        context.memory[_CACHED] = specs, range, made
        for line in made.said:
            context.changed(graph.name, line)
    asked = "" if made.known else "; input_range= would say in which range inputs lie"
    words = f"kernels were fitted on generated inputs{asked}; {DATA_ADDS}"
    if words not in context.notes:
        context.note(words)
    found: Made = made
    return found


def _made(graph: Graph, context: Context, range: Any, seconds: float, progress: Callable[[float, str], None]) -> Made:
    if not find_anchors(graph):
        said = "there is no data, and no trained batch norm to generate inputs from"
        raise NothingGenerated(said, no_statistics())
    try:
        return made_inputs(graph, range=range, seconds=seconds, seed=context.seed, progress=progress)
    except TooLittleTime as problem:
        hint = "a larger generate_seconds=, or data"
        refusal = OptionError("No inputs can be generated in this time.", got=str(problem), hint=hint)
        raise NothingGenerated(f"{_said(problem)}; generate_seconds= gives more time", refusal) from None
    except (OptionError, CannotRunError) as problem:
        raise NothingGenerated(_said(problem), problem) from None


def _said(problem: Exception) -> str:
    return f"no inputs were generated: {str(problem).splitlines()[0]}"


__all__ = ["DATA_ADDS", "NothingGenerated", "stand_in"]
