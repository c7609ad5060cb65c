"""Carry out the steps of a plan of blocks, and say what each saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kerasurgeon.blocks.plan import BlockPlan, BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.costs import cost
from kerasurgeon.ir.graph import Graph
from kerasurgeon.report import format_count, format_partial
from kerasurgeon.rewrite.context import Context


def put_all(graph: Graph, steps: Sequence[BlockStep], context: Context, note: str = "") -> BlockPlan:
    """Carry out steps, log what each saved, and add the plan of them to the context.

    Args:
        graph: The graph; it is changed, or left as it was if a step cannot be carried out.
        steps: The steps, none of which overlaps another.
        context: Where to log.
        note: A note for the plan.

    Returns:
        The plan, with the bridges.
    """
    before = {row.name: row for row in cost(graph, sizes=context.sizes).rows}
    done = carry_out(graph, steps)
    after = {row.name: row for row in cost(graph, sizes=context.sizes).rows}
    for step, given in zip(done, steps, strict=True):
        layers = () if step.bridge is None else step.bridge.layers
        context.changed(given.exit, f"{_what(step)}; {_saved(_total(before, given.nodes), _total(after, layers))}")
    plan = BlockPlan(done, graph.name, note)
    context.plans.append(plan)
    return plan


def free_names(graph: Graph, word: str, count: int) -> list[str]:
    """Names for new networks, ``"shunt_1"`` and on, that no layer's name begins with yet."""
    taken = {node.name.rpartition("/")[2] for node in graph.nodes()}
    names: list[str] = []
    number = 0
    while len(names) < count:
        number += 1
        name = f"{word}_{number}"
        if not any(other == name or other.startswith(f"{name}_") for other in taken):
            names.append(name)
    return names


def _what(step: BlockStep) -> str:
    region = step.options.get("region", f"{step.entry} -> {step.exit}")
    if step.action == "insert":
        same = {True: ", which gives back what it reads", False: ""}.get(step.options.get("unchanged", False), "")
        return f"{step.name}, a block of kind {step.options.get('block', 'own')!r}{same}, inserted behind {step.entry}"
    if step.action == "drop":
        correction = step.options.get("correction", "none")
        instead = "nothing" if correction == "none" else f"{step.name}, a correction of kind {correction!r},"
        return f"{instead} in place of {region} ({len(step.nodes)} nodes){_missing(step)}"
    kind = f" of architecture {step.options['arch']!r}" if "arch" in step.options else ""
    fitted = f", fitted{_missing(step)}" if "error" in step.options else ""
    return f"{step.name}, a {step.action}{kind}, in place of {region} ({len(step.nodes)} nodes){fitted}"


def _missing(step: BlockStep) -> str:
    error = step.options.get("error")
    return "" if error is None else f", which misses {error:.1%} of the variance of what it gave"


def _total(rows: Mapping[str, Any], names: Iterable[str]) -> tuple[str, str]:
    """MACs and parameters of some nodes, as text."""
    found = [rows[name] for name in names if name in rows]
    macs = format_partial(sum(row.macs or 0 for row in found), any(row.macs is None for row in found))
    return macs, format_count(sum(row.parameters for row in found))


def _saved(before: tuple[str, str], after: tuple[str, str]) -> str:
    parts = zip(("MACs", "parameters"), before, after, strict=True)
    return ", ".join(f"{what} {old} -> {new}" for what, old, new in parts)


__all__ = ["free_names", "put_all"]
