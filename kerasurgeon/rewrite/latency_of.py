"""The latency of a model by a function that a user gives, as ``latency_of=`` of passes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from kerasurgeon.errors import PassError


def latency_by(measure: Callable[..., Any], model: Any, of: str) -> float:
    """What a function says is the latency of a model, checked.

    Args:
        measure: From a Keras model to a number, in a unit of its own.
        model: The Keras model.
        of: What the model is, for errors: ``"the model"``, ``"layer 'conv1'"``.

    Raises:
        PassError: The function raises, or what it gives is no finite number above 0.
    """
    try:
        found = measure(model)
    except Exception as error:
        raise PassError(f"latency_of= failed: {type(error).__name__}: {error}", where=of) from error
    if not isinstance(found, numbers.Real) or isinstance(found, bool) or not 0 < float(found) < math.inf:
        raise PassError("latency_of= gives no latency.", where=of, expected="a number above 0", got=repr(found))
    return float(found)


__all__ = ["latency_by"]
