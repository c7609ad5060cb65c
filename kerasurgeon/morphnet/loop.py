"""The loop of MorphNet as one call: train with a regulariser, cut what is dead, widen to the budget, again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.api import cut_channels
from kerasurgeon.channels.candidates import rounding
from kerasurgeon.channels.compensate import compensate
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.costs import check_unreachable
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.morphnet.alive import THRESHOLD, alive_plan, living
from kerasurgeon.morphnet.widen import Widths, budget_of
from kerasurgeon.rewrite.evaluation_of import called, finite_after, keeping
from kerasurgeon.rewrite.option_checks import check_choice, check_count, is_number, wrong_option
from kerasurgeon.rules import Sizes

Train = Callable[[Any, int], Any]
WEIGHTS = ("net2wider", "fresh")


@dataclass(frozen=True)
class Round:
    """One round of the loop.

    Attributes:
        number: From 1.
        plan: What was alive after training.
        removed: Branches that were removed, by the node where they met the rest.
        shrunk: Cost after the cut, in the unit of the budget.
        width: The multiplier that the widths were widened by, before they were rounded.
        cost: Cost after widening.
        widths: Channels of the layers that make them, after widening.
    """

    number: int
    plan: ChannelPlan
    removed: Mapping[str, str]
    shrunk: float
    width: float
    cost: float
    widths: Mapping[str, int]


@dataclass(frozen=True)
class Loop:
    """What the loop came to.

    Attributes:
        model: The model with the learned widths.
        budget: What it may cost.
        rounds: What was done, round by round.
        notes: What else is to be known: rounds that missed the budget.
    """

    model: Any
    budget: float
    rounds: tuple[Round, ...] = field(default_factory=tuple)
    notes: tuple[str, ...] = ()


def shrink_and_expand(
    model: Any,
    train: Train,
    *,
    rounds: int = 1,
    macs: float | None = None,
    params: float | None = None,
    algorithm: str = "group_lasso",
    threshold: float = THRESHOLD,
    floors: int | Mapping[str, int] | None = None,
    keep_first: bool = False,
    weights: str = "net2wider",
    uneven: float = 0.5,
    round_to: int | str = "auto",
    sizes: Sizes | None = None,
    unreachable: str = "refuse",
    finish: Callable[[Any], Any] | None = None,
    seed: int = 0,
) -> Loop:
    """Learn the widths of a network for a budget: each round trains, cuts what is dead, and widens what is left alike.

    Args:
        model: A Keras model; it is not changed.
        train: Trains a model with a MorphNet regulariser: called with the model, which it may train in place, and the
            number of the round, from 1. It may return another model with the same layers, or the ``ChannelPlan`` of
            what is alive; without a plan the weights say it.
        rounds: How often.
        macs: MACs that the result may have: up to 100 a multiple of those of the model, above that a number; by default
            those of the model.
        params: Parameters, likewise, in place of MACs.
        algorithm: How it is told what is alive: ``"group_lasso"`` or ``"gamma"``.
        threshold: Magnitudes up to this are dead.
        floors: Fewest channels of a layer that stay: a number, or numbers by name pattern.
        keep_first: Keep the first channel of every layer of which else nothing would be alive.
        weights: ``"net2wider"``: weights are kept, and channels duplicated without changing what is computed.
            ``"fresh"``: the widened network gets new weights; this can make layers narrower than they were, too.
        uneven: How much shares of copies differ: see ``Expand``.
        round_to: What new widths are multiples of: see ``Expand``.
        sizes: Sizes of the inputs that MACs are counted for, where the model leaves them open.
        unreachable: What becomes of a round in which more is alive than the budget allows: ``"refuse"``, or
            ``"nearest"``: nothing is widened, and the result says by how much the budget was missed.
        finish: Trains the result, without a regulariser; may return another model.
        seed: All random choices of the loop follow from it, not those of ``train``.

    Returns:
        The model and what was done.

    Raises:
        OptionError: An option has a value that it may not have, or ``train`` returns something else.
        PlanError: Everything on the way to an output is dead.
        BudgetError: What is left costs more than the budget, or too many of the MACs are unknown.
        RoundError: ``train`` or ``finish`` raises, or leaves weights that are NaN or infinite; ``found`` is a ``Loop``
            with the model of the rounds that were finished, or ``None``.

    Reference:
        Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks", CVPR 2018,
        arXiv:1711.06798, algorithm 1.

    Example:
        >>> def train(model, number):
        ...     model.fit(images, labels, epochs=5, callbacks=[MorphNet(model).callback()])
        >>> wide = shrink_and_expand(model, train, rounds=2).model
    """
    owner = "shrink_and_expand"
    check_count(owner, "rounds", rounds)
    check_choice(owner, "weights", weights, WEIGHTS)
    if not callable(train):
        raise wrong_option(owner, "train", train, "a function of a model and the number of the round")
    if macs is not None and params is not None:
        raise OptionError(f"{owner} takes one budget.", expected="macs= or params=", got="both")
    given = macs if params is None else params
    if given is not None and (not is_number(given) or given <= 0):
        raise wrong_option(owner, "macs" if params is None else "params", given, "a number above 0")
    check_unreachable(owner, unreachable)
    multiples = rounding(owner, round_to)
    graph = lift(model)
    measure, allowance = budget_of(owner, graph, macs, params, sizes, unreachable)
    budget, notes = allowance.amount, list[str]()
    rng = np.random.default_rng(seed)
    done: list[Round] = []

    def kept() -> tuple[Loop | None, str]:
        if not done:
            return None, "no round was finished before it"
        said = f"{len(done)} of {rounds} rounds are finished: .found of this error has the model and what was done"
        return Loop(emit(graph), budget, tuple(done), tuple(notes)), said

    for number in range(1, rounds + 1):
        with keeping(kept):
            graph, channels, gone = _trained(
                emit(graph),
                train,
                f"round {number} of {rounds}",
                number,
                lambda lifted, known: living(lifted, known, algorithm, threshold, keep_first=keep_first, floors=floors),
            )
        plan = alive_plan(channels, ~gone, f"alive after round {number}")
        compensate(graph, channels, gone, method="batch_norm")
        report = cut_channels(graph, gone, channels)
        shrunk = measure(graph)
        widths = Widths(graph, exact=weights == "net2wider", round_to=multiples, owner=owner)
        width, numbers = widths.largest(measure, allowance)
        graph, _ = widths.apply(numbers, rng, uneven=uneven)
        check_types(graph)
        after = {name: source.ids.size for name, source in analyse(graph).sources.items()}
        done.append(Round(number, plan, report.removed, shrunk, width, measure(graph), after))
        if missed := allowance.missed(done[-1].cost):
            notes.append(f"round {number} of {rounds}: {missed}")
    result = emit(graph)
    if finish is not None:
        with keeping(kept):
            finished = called("finish=", "the result", finish, result)
        result = result if finished is None else finished
    return Loop(result, budget, tuple(done), tuple(notes))


def _trained(
    model: Any, train: Train, name: str, number: int, living: Callable[[Graph, Channels], Any]
) -> tuple[Graph, Channels, Any]:
    """A model trained, and which of its units are dead then."""
    returned = called("train=", name, train, model, number)
    if returned is not None and not isinstance(returned, (ChannelPlan, keras.Model)):
        raise OptionError(
            "train= returned something that cannot be used.",
            where=name,
            expected="nothing, a Keras model or a ChannelPlan",
            got=type(returned).__name__,
        )
    graph = lift(returned if isinstance(returned, keras.Model) else model)
    finite_after(graph.layers, "train=", name)
    channels = analyse(graph)
    gone = returned.gone(channels) if isinstance(returned, ChannelPlan) else ~living(graph, channels)
    return graph, channels, gone
