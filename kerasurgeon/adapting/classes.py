"""Other classes: the axis of an output along which classes stand, made anew with what leads to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasurgeon.adapting.rows import Array, remake
from kerasurgeon.channels.analysis import analyse
from kerasurgeon.errors import GraphError, OptionError, PlaceError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.ir.values import Value


def resize_outputs(
    graph: Graph,
    classes: int | None,
    *,
    keep: Sequence[int] | None = None,
    output: str | None = None,
    rng: np.random.Generator | None = None,
) -> dict[str, str]:
    """Give an output other classes, in place.

    Args:
        graph: The graph.
        classes: How many there are afterwards; as many as are kept by default.
        keep: Old classes by number, in their new order; by default the first ones. What is added stands behind them:
            drawn kernels, mean biases.
        output: The node that gives the output; needed where there are several.
        rng: Draws the kernels of new classes, with the deviation of the old ones.

    Returns:
        What was done, by node.

    Raises:
        GraphError: What leads to the classes is not known well enough; the graph is as it was.
        OptionError: A class is not there, or there are fewer classes than are kept.
        PlaceError: There is no such output, or there are several.
    """
    if classes is None and keep is None:
        raise OptionError("Nothing is asked for.", hint="say how many classes there are to be, or which are kept")
    value = _output(graph, output)
    channels = analyse(graph)
    labels = channels.labels[value.node][value.index]
    factor = labels.factor(-1) or labels.factor(1)
    what = f"the classes of output {value.node!r}"
    if factor is None or len(factor.axes) != 1:
        reason, about = labels.why
        raise GraphError(f"{what[0].upper()}{what[1:]} cannot be changed: {reason}.", where=about or value.node)
    old = len(factor.ids)
    kept = list(range(min(old, old if classes is None else classes))) if keep is None else list(keep)
    new = len(kept) if classes is None else classes
    wrong = [each for each in kept if not 0 <= each < old]
    if wrong or len(set(kept)) != len(kept) or new < max(len(kept), 1):
        raise OptionError(
            "These classes cannot be kept.",
            where=value.node,
            expected=f"different numbers from 0 to {old - 1}, at most as many as there are classes afterwards ({new})",
            got=", ".join(map(str, wrong)) or f"{len(kept)}, {len(set(kept))} of them different",
        )
    mix = np.zeros((new, old))
    mix[np.arange(len(kept)), kept] = 1.0
    generator = np.random.default_rng(0) if rng is None else rng

    def fill(part: Array, before: Array, axis: int) -> None:
        fresh = np.moveaxis(part, axis, 0)[len(kept) :]
        if before.ndim > 1:
            fresh[...] = generator.normal(0.0, before.std(), fresh.shape)
        else:
            fresh[...] = before.mean()

    touched = remake(graph, channels, factor.ids, mix, what, fill)
    added = new - len(kept)
    done = f"{old} classes became {new}: {len(kept)} kept" + (f", {added} new" if added else "")
    calls = {key: graph.calls(key)[0].name for key in touched}
    return dict.fromkeys(calls.values(), done) or {value.node: done}


def _output(graph: Graph, name: str | None) -> Value:
    values = list(values_in(graph.outputs))
    named = [value for value in values if name is None or value.node == name]
    if not named:
        raise PlaceError(
            f"The network has no output {name!r}.", hint=did_you_mean(str(name), [value.node for value in values])
        )
    if len(named) > 1:
        raise PlaceError(
            f"The network has {len(values)} outputs.",
            hint=f"name one: output={values[0].node!r}, or {', '.join(repr(value.node) for value in values[1:])}",
        )
    return named[0]


__all__ = ["resize_outputs"]
