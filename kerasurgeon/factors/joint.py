"""Prune and factorise a network for one budget, shared between both as loses least of what it gives.

How far a network is pruned before its kernels are factorised is one number: from all of the way (pruning alone) to not
at all (factorising alone). Both ends and what lies between are tried on a part of the data; what the network then gives
on the rest, held against what it gave before, says which is taken, and that is done on all of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from kerasurgeon.channels import ChannelPlan
from kerasurgeon.costs import Allowance, cost, require_counted
from kerasurgeon.errors import BudgetError
from kerasurgeon.factors.judge import Judge
from kerasurgeon.factors.plan import FactorPlan
from kerasurgeon.factors.refit import Target, fit_in_order
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves, unflatten
from kerasurgeon.keras_io.batches import input_batches, require_telling
from kerasurgeon.keras_io.leftovers import sweep_after
from kerasurgeon.rewrite.context import Context

Array = np.ndarray[Any, Any]
Step = Callable[[Graph, Context, float, str], None]
"""Brings a graph down to a cost in place: the cost, and what becomes of one that cannot be reached."""

_SAMPLES = 640
_HELD_OUT = 0.125
_BATCH = 64
_TRIALS = 0.8
_NOTHING = 1e-6
# How far pruning goes, as the exponent of the share that is kept: 1 is all of the way.
_TRIED = (1.0, 0.5, 0.0)
_MEASURES = {"macs": "macs", "params": "parameters", "bytes": "weight_bytes"}


def share_budget(
    graph: Graph,
    context: Context,
    prune: Step,
    factorise: Step,
    *,
    owner: str,
    measure: str,
    value: float,
    unreachable: str,
    generate: Callable[[], Sequence[Array] | None] = lambda: None,
) -> None:
    """Bring a graph down to a budget in place, by pruning, by factorising, or by both.

    Args:
        graph: The graph.
        context: Data, and the evaluation if there is one: then that says what is best. Decisions are logged there.
        prune: Prunes a graph; where the context has no data, by its weights alone.
        factorise: Factorises one, likewise.
        owner: What starts messages.
        measure: ``"macs"``, ``"params"`` or ``"bytes"``.
        value: What is kept of it, up to 1 as a share.
        unreachable: ``"refuse"`` or ``"nearest"``.
        generate: Makes inputs that stand for data, where there is none; called once it is known that the budget can be
            reached.

    Raises:
        BudgetError: The budget cannot be reached, or too much of it is unknown.
    """
    found = cost(graph, sizes=context.sizes)
    if measure == "macs":
        require_counted(owner, found)

    def spent(item: Graph) -> float:
        return float(getattr(cost(item, sizes=context.sizes), _MEASURES[measure]))

    allowance = Allowance(owner, measure, value, float(getattr(found, _MEASURES[measure])), unreachable)
    if allowance.amount >= allowance.total:
        context.left(graph.name, f"{measure}={value:g}: there is no more than that")
        return
    whole, crushed = graph.copy(), graph.copy()
    for step in (prune, factorise):
        step(crushed, Context(sizes=context.sizes), _NOTHING, "nearest")
    amount = allowance.reachable(spent(crushed))
    sweep_after(crushed)
    arrays = _arrays(graph, context, generate)
    fit, judge = _parts(graph, context, arrays)
    tried: dict[float, float] = {}

    def shared(item: Graph, own: Context, exponent: float, nearest: str) -> None:
        if exponent:
            prune(item, own, allowance.total * (amount / allowance.total) ** exponent, nearest)
        if exponent < 1 and spent(item) > amount:
            plans = len(own.plans)
            factorise(item, own, amount, nearest)
            if own.data is not None:
                fit_in_order(whole, item, _targets(whole, item, own.plans), own.data, own.seed)
            del own.plans[plans:]  # of kernels that are nowhere else

    def attempt(exponent: float) -> None:
        begun = len(tried) / (len(_TRIED) + 2)

        def progress(fraction: float, message: str) -> None:
            context.progress(_TRIALS * (begun + fraction / (len(_TRIED) + 2)), f"{_named(exponent)}: {message}")

        item = graph.copy()
        rng = np.random.default_rng(context.seed)
        tried[exponent] = float("inf")
        with suppress(BudgetError):
            shared(item, Context(fit, None, None, context.sizes, context.seed, rng, progress), exponent, "refuse")
            tried[exponent] = judge.loss(item)
        sweep_after(item)

    for exponent in _TRIED:
        attempt(exponent)
    for exponent in _beside(judge.best(tried)):
        attempt(exponent)
    best = judge.best(tried)
    once = context.data is None or hasattr(context.data, "__next__")
    final = replace(context, data=arrays if once else context.data)
    final.progress = lambda fraction, message: context.progress(_TRIALS + (1 - _TRIALS) * fraction, message)
    if np.isfinite(tried[best]):
        shared(graph, final, best, "nearest")
    else:  # no way reaches it but all that may go, of both
        prune(graph, final, amount, "nearest")
        factorise(graph, final, amount, "nearest")
    context.notes[:] = dict.fromkeys(context.notes)
    context.changed(graph.name, f"{_said(tried, best, judge)}; {allowance.said(spent(graph))}")
    if missed := allowance.missed(spent(graph)):
        context.note(missed)


def _arrays(graph: Graph, context: Context, generate: Callable[[], Sequence[Array] | None]) -> Any:
    """Inputs to fit and to judge on, nested as the model's; ``None`` where there are none."""
    if context.data is None:
        made = generate()
    else:
        require_telling(graph, context.data, context.note)
        blocks = list(input_batches(graph, context.data, _BATCH, most=_SAMPLES))
        made = [np.concatenate(several) for several in zip(*blocks, strict=True)]
    return None if made is None else unflatten(graph.inputs, list(made))


def _parts(graph: Graph, context: Context, arrays: Any) -> tuple[Any, Judge]:
    """What trials are fitted on, and what judges them: the last eighth; with one sample the same."""
    if arrays is None:
        return None, Judge(graph, context, None)
    count = len(next(leaves(arrays)))
    held = int(_HELD_OUT * count) or min(1, count - 1)

    def part(own: slice) -> Any:
        return unflatten(graph.inputs, [array[own] for array in leaves(arrays)])

    return part(slice(0, count - held)), Judge(graph, context, part(slice(count - held if held else 0, count)))


def _targets(whole: Graph, graph: Graph, plans: Sequence[Any]) -> dict[str, Target]:
    """What the layers of a pruned and factorised graph are fitted to, by key: what they gave in the whole one."""
    kept = {
        name: tuple(one)
        for plan in plans
        if isinstance(plan, ChannelPlan)
        for name, one in plan.kept.items()
        if not isinstance(one, int)
    }
    chains = {
        name: f"{name}_{planned.factors.stages[-1].role}"
        for plan in plans
        if isinstance(plan, FactorPlan)
        for name, planned in plan.layers.items()
        if planned.factors.residual is None
    }
    ends = {key: chains[key] if chains.get(key) in graph.layers else key for key in whole.layers}
    return {end: Target(key, kept.get(key)) for key, end in ends.items()}


def _beside(best: float) -> tuple[float, ...]:
    """Where to look next."""
    return {1.0: (0.75,), 0.0: (0.25,)}.get(best, (0.75, 0.25))


def _named(exponent: float) -> str:
    return {1.0: "pruning alone", 0.0: "factorising alone"}.get(exponent, f"both, pruning {exponent:.0%} of the way")


def _said(tried: dict[float, float], best: float, judge: Judge) -> str:
    each = (
        f"{_named(exponent)} {judge.shown(loss) if np.isfinite(loss) else 'cannot reach it'}"
        for exponent, loss in sorted(tried.items(), reverse=True)
    )
    return f"{_named(best)}, {judge.why}: {', '.join(each)}"


__all__ = ["share_budget"]
