"""What went wrong in a pass, told with its name, its options and the node it had in hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kerasurgeon.errors import KerasurgeonError, PassError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.text import neighbourhood
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.rewrite.passes import Pass
from kerasurgeon.rewrite.recipe import changed_options


@contextmanager
def guarded(item: Pass, before: Sequence[Pass], graph: Graph) -> Iterator[None]:
    """Do what belongs to a pass.

    Args:
        item: The pass.
        before: Those that ran before it.
        graph: What it works on.

    Raises:
        CannotRunError: This machine cannot run what the pass runs.
        PassError: Anything else went wrong.
    """
    try:
        with on_this_machine(f"what {item.name} runs"):
            yield
    except PassError:
        raise
    except Exception as error:
        last = next(_named_nodes(error, graph), None)
        where, context = last and f"node {last!r}", neighbourhood(graph, last) if last else None
        hint = f"the model is untouched; passes that ran before: {', '.join(done.name for done in before) or 'none'}"
        own = (
            error
            if isinstance(error, KerasurgeonError)
            else KerasurgeonError(f"{type(error).__name__}: {error}", where=where, context=context)
        )
        options = ", ".join(f"{key}={value!r}" for key, value in changed_options(item).items())
        raise PassError(
            f"Pass {item.name}({options}) failed: {own.what}",
            where=own.where,
            expected=own.expected,
            got=own.got,
            hint=own.hint or hint,
            context=own.context,
        ) from error


def _named_nodes(error: BaseException, graph: Graph) -> Iterator[str]:
    """Nodes of the graph that an error's message mentions in quotes, or that its frames had in hand."""
    text = str(error)
    for name in (node.name for node in graph.nodes()):
        if repr(name) in text:
            yield name
    trace = error.__traceback__
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            held = getattr(getattr(value, "root", value), "name", None)
            if isinstance(held, str) and held in graph:
                yield held


__all__ = ["guarded"]
