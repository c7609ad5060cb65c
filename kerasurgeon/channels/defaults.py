"""What PruneChannels does where nobody says how: the best that is known for what is there.

Measured (docs/pruning_defaults.md): kernels that are fitted by least squares keep far more than means do, most of all
where what goes is chosen by what such a fit leaves of the error; that is the better choice for kernels that stay as
they are, too. Where it cannot be measured, the same share of every group goes, and where there are labels, what the
loss loses by Taylor's formula. Data is best; inputs that are generated from the statistics of batch norms come next,
then these statistics alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kerasurgeon.channels.analysis import analyse
from kerasurgeon.channels.gradients import gradients
from kerasurgeon.channels.groups import groups
from kerasurgeon.channels.importance import Evidence
from kerasurgeon.channels.importance_data import Taylor
from kerasurgeon.channels.importance_reconstruction import unread
from kerasurgeon.channels.prune_options import AUTO, PruneOptions
from kerasurgeon.errors import OptionError
from kerasurgeon.generating import DATA_ADDS, NothingGenerated, find_anchors, stand_in
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io.batches import bound_inputs
from kerasurgeon.keras_io.foreign import said
from kerasurgeon.keras_io.leftovers import sweep_after
from kerasurgeon.rewrite.context import Context

_FITS = ("least_squares", "generated")
_FEW = 4

MOST_LABELS = 512
"""Samples that the default importance looks at: its order is that of 1,200 then, to a rank correlation of 0.97."""

RECONSTRUCTION = "reconstruction"


def settled(graph: Graph, options: PruneOptions, context: Context) -> PruneOptions:
    """The options with what "auto" stands for, by what there is; said in the report.

    Args:
        graph: The graph, as it is before anything is cut.
        options: What was asked for.
        context: Has the data.
    """
    compensate, why = _compensation(graph, options, context)
    importance, scope = options.importance, options.scope
    if importance == AUTO:
        importance = "l2"
        if compensate in _FITS or context.data is not None:
            importance, by = _by_data(graph, context)
            why = "; ".join(filter(None, (why, f"importance {by}")))
    if scope == AUTO:
        local = compensate in _FITS or options.compensate == AUTO
        scope = "local" if local and importance != RECONSTRUCTION else "global"
    if why:
        context.changed(graph.name, why)
    if options.compensate == AUTO and compensate == "batch_norm":
        context.note(f"without data and trained batch norms little is made up for what goes; {DATA_ADDS}")
    return replace(options, compensate=compensate, importance=importance, scope=scope)


def _by_data(graph: Graph, context: Context) -> tuple[Any, str]:
    """The importance where there is data, given or to be generated, and what is said of it."""
    if hasattr(context.data, "__next__"):
        return "l2", "'l2': the data can be read only once"
    channels = analyse(graph)
    left = unread(channels, groups(channels))
    if not left:
        return RECONSTRUCTION, f"{RECONSTRUCTION!r}: what a fit leaves of the error, over all groups"
    why = f"nothing that could be fitted reads the channels of {left!r}"
    problem = _no_gradients(graph, context) if context.data is not None else "there are no labels"
    if problem:
        return "l2", f"'l2': {why}, and {problem}"
    return Taylor(most=MOST_LABELS), f"'taylor', by the labels of at most {MOST_LABELS} samples: {why}"


def _compensation(graph: Graph, options: PruneOptions, context: Context) -> tuple[str, str]:
    """The compensation, and what is said of it."""
    if options.compensate != AUTO:
        return options.compensate, ""
    if options.try_zeros:
        return "none", ""
    if context.data is not None:
        return "least_squares", "compensate='auto': least squares on the data"
    if find_anchors(graph):
        return "generated", "compensate='auto': there is no data: least squares on generated inputs"
    return "batch_norm", (
        "compensate='auto': there is no data, and no trained batch norm to generate inputs from: only what batch norms "
        f"say is made up for; {DATA_ADDS}"
    )


def calibration(
    graph: Graph, options: PruneOptions, context: Context, progress: Callable[[float, str], None], fallback: bool
) -> tuple[str, Any]:
    """The method of ``compensate`` and its data, for options that ``settled`` gave.

    Args:
        graph: The graph, as it is before the round.
        options: The options.
        context: Has the data; what is generated is kept in its memory for the rest of the run.
        progress: Told of the generation.
        fallback: Whether batch-norm means do where no inputs can be generated.

    Raises:
        OptionError: No inputs can be generated, and nothing else was allowed.
    """
    if options.compensate != "generated":
        return options.compensate, context.data
    try:
        made = stand_in(
            graph,
            context,
            options.name,
            range=options.input_range,
            seconds=options.generate_seconds,
            progress=progress,
        )
    except NothingGenerated as problem:
        if not fallback:
            raise problem.refusal from None
        words = f"{problem}; batch-norm means are put in their place; {DATA_ADDS}"
        context.changed(graph.name, words)
        context.note(words)
        return "batch_norm", None
    words = f"{DATA_ADDS}; statistics that are measured again on generated inputs would be worse"
    if words not in (site.what for site in context.sites):
        context.changed(graph.name, words)
    return "least_squares", made.arrays if len(made.arrays) > 1 else made.arrays[0]


def _no_gradients(graph: Graph, context: Context) -> str:
    """Why gradients of the loss cannot be had, by a trial on a few samples; empty if they can."""
    data = context.data
    if isinstance(data, Mapping) or hasattr(data, "__array__"):
        return "there are no labels"
    if isinstance(data, (tuple, list)) and bound_inputs(graph, data) is not None:
        return "there are no labels"
    if isinstance(data, tuple) and len(data) == 2:
        try:
            data = tuple(_first(part) for part in data)
        except (TypeError, IndexError, KeyError):
            return "the labels cannot be read"
    evidence = Evidence(analyse(graph), data, context.loss, context.rng, "mean")
    try:
        next(gradients(evidence, list(values_in(graph.outputs))[:1], _FEW))
    except StopIteration:
        return "there are no samples"
    except OptionError as problem:
        return str(problem).splitlines()[0].rstrip(".")
    except Exception as problem:  # noqa: BLE001 - losses say in all ways that labels are not theirs
        return f"the loss cannot be computed by the labels ({said(problem)})"
    finally:
        sweep_after(graph)  # of the model that was tried
    return ""


def _first(part: Any) -> Any:
    import keras

    return keras.tree.map_structure(lambda array: array[:_FEW], part)
