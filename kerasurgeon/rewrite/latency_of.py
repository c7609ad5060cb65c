"""The latency of a model by a function that a user gives, as ``latency_of=`` of passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kerasurgeon.errors import RoundError
from kerasurgeon.rewrite.evaluation_of import called, number_by


def latency_by(measure: Callable[..., Any], model: Any, of: str) -> float:
    """What a function says is the latency of a model, checked.

    Args:
        measure: From a Keras model to a number, in a unit of its own.
        model: The Keras model.
        of: What the model is, for errors: ``"the model"``, ``"layer 'conv1'"``.

    Raises:
        CannotRunError: This machine cannot run the model.
        RoundError: The function raises, or what it gives is no finite number above 0.
    """
    says: dict[str, str] = {"what": "latency", "expected": "a number above 0"}
    found = number_by(called("latency_of=", of, measure, model, timed=True), "latency_of=", of, **says)
    if found <= 0:
        raise RoundError("latency_of= gives no latency.", where=of, expected=says["expected"], got=repr(found))
    return found


__all__ = ["latency_by"]
