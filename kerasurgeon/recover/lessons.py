"""What a student is to learn from its teacher, and what of it is not trained: found in their graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import lift
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.recover.distillation import taps_of
from kerasurgeon.recover.pairing import Pair, before_changes
from kerasurgeon.recover.trainee import Term


def prepare(
    graph: Graph, teacher: keras.Model | None, terms: Sequence[tuple[Any, float]], freeze_before: Any
) -> tuple[Graph, set[str], tuple[Graph, list[Term]] | None]:
    """The student's graph with the tensors to compare, what is frozen, and the teacher's graph and lessons."""
    student = graph.copy()
    taught_by = None if teacher is None else lift(teacher)
    changes = _changes(graph, freeze_before)
    frozen: set[str] = set()
    if freeze_before is not None:
        if changes is None:
            if taught_by is None:
                raise OptionError("freeze_before='changes' needs a teacher to compare with.", hint="pass teacher=")
            changes = tuple(Pair(taught_by, student).changes)
        frozen = _frozen_layers(graph, changes)
    if not terms or taught_by is None:
        return student, frozen, None
    taught = taught_by.copy()
    pair = Pair(taught, student, None if freeze_before is None else changes)
    tapped = [(loss, weight, taps_of(loss, pair)) for loss, weight in terms]  # may change the graphs
    ours: list[Any] = []
    theirs: list[Any] = []
    lessons = []
    names: dict[str, int] = {}
    for loss, weight, taps in tapped:
        places = tuple(range(len(ours), len(ours) + len(taps)))
        theirs += [one for one, _ in taps]
        ours += [other for _, other in taps]
        name = _snake(loss)
        names[name] = names.get(name, 0) + 1
        lessons.append(Term(name if names[name] == 1 else f"{name}_{names[name]}", loss, weight, places))
    student.set_signature(outputs=(student.outputs, ours))
    taught.set_signature(outputs=(taught.outputs, theirs))
    return student, frozen, (taught, lessons)


def _changes(graph: Graph, freeze_before: Any) -> tuple[str, ...] | None:
    """The changes that something is to be frozen before; ``None`` if they are to be found."""
    if freeze_before is None or (isinstance(freeze_before, str) and freeze_before == "changes"):
        return None
    given = [freeze_before] if isinstance(freeze_before, (str, Bridge)) else list(freeze_before)
    names: list[str] = []
    for item in given:
        if isinstance(item, Bridge):
            names += item.layers or (item.new_exit,)
        else:
            names.append(item)
    if not names:
        raise OptionError("option 'freeze_before' is empty.", expected="bridges or names of nodes")
    for name in names:
        if not isinstance(name, str) or name not in graph:
            known = [node.name for node in graph.nodes()]
            raise OptionError(
                f"freeze_before names {name!r}, which the model has not.", hint=did_you_mean(str(name), known)
            )
    return tuple(names)


def _frozen_layers(graph: Graph, changes: Sequence[str]) -> set[str]:
    """Keys of the layers that are called before changes only."""
    before = before_changes(graph, changes)
    return {
        key
        for key, layer in graph.layers.items()
        if layer.weights and all(node.name in before for node in graph.calls(key)) and graph.calls(key)
    }


def check_distillation(
    student: keras.Model, teacher: keras.Model, distillation: Any, *, freeze_before: Any = None
) -> None:
    """Check, without training, that a student can learn from a teacher what ``fine_tune`` would be asked to teach.

    Args:
        student: The model that would be trained.
        teacher: The one that it would learn from.
        distillation: As for ``fine_tune``; may be empty.
        freeze_before: As for ``fine_tune``.

    Raises:
        OptionError: Something cannot be compared, or is named that is not there.
    """
    terms = checked_terms(distillation, teacher) if distillation else []
    prepare(lift(student), teacher, terms, freeze_before)


def checked_terms(distillation: Any, teacher: Any) -> list[tuple[Any, float]]:
    """Distillation losses with their factors.

    Args:
        distillation: As for ``fine_tune``.
        teacher: The teacher, or ``None``.

    Raises:
        OptionError: Something is no such loss, or there is a teacher or a loss without the other.
    """
    given = distillation if isinstance(distillation, (list, tuple)) else [distillation]
    if isinstance(distillation, tuple) and len(distillation) == 2 and isinstance(distillation[1], (int, float)):
        given = [distillation]
    terms = []
    for item in given:
        loss, weight = item if isinstance(item, (list, tuple)) and len(item) == 2 else (item, 1.0)
        if not isinstance(loss, keras.distillation.DistillationLoss) or not isinstance(weight, (int, float)):
            raise OptionError(
                "option 'distillation' cannot be used.",
                expected="distillation losses, as DarkKnowledge(), or pairs of one and a factor", got=repr(item),
            )  # fmt: skip
        terms.append((loss, float(weight)))
    if terms and teacher is None:
        raise OptionError("Distillation needs a teacher.", hint="pass teacher=, the model before surgery")
    if teacher is not None and not terms:
        raise OptionError(
            "There is a teacher and nothing to learn from it.", hint="pass distillation=[DarkKnowledge()]"
        )
    return terms


def _snake(loss: Any) -> str:
    name = type(loss).__name__
    if name.isupper():
        return name.lower()
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).strip("_")


__all__ = ["check_distillation", "checked_terms", "prepare"]
