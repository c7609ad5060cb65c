"""What a user's ``evaluate=`` says of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kerasurgeon.errors import CannotRunError, PassError
from kerasurgeon.keras_io.machine import on_this_machine


def evaluation_by(evaluate: Callable[..., Any], model: Any, of: str) -> float:
    """What a function says of a model, checked.

    Args:
        evaluate: From a Keras model to a number, higher is better; a tensor or array of one number will do.
        model: The Keras model.
        of: What the model is, for errors: ``"the model"``.

    Raises:
        CannotRunError: This machine cannot run the model.
        PassError: The function raises, or what it gives is no finite number.
    """
    try:
        with on_this_machine(f"the evaluation of {of}"):
            found = evaluate(model)
    except CannotRunError:
        raise
    except Exception as error:
        raise PassError(f"evaluate= failed: {type(error).__name__}: {error}", where=of) from error
    try:
        number = float(found)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PassError(
            "evaluate= gives no finite number.",
            where=of,
            expected="a number, higher is better",
            got=repr(found)[:80],
            hint="model.evaluate() gives the loss and the metrics together: return one of them",
        )
    return number


__all__ = ["evaluation_by"]
