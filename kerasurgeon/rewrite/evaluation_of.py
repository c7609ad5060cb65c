"""What a user's functions say of a model: a number, or an error that names the round and keeps what is finished."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import CannotRunError, RoundError, VerificationError
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.rewrite.outputs import require_finite

_HIGHER = "a finite number, higher is better"


def number_by(
    found: Any, says: str, of: str, *, what: str = "finite number", expected: str = _HIGHER, hint: str | None = None
) -> float:
    """What a user's function gave, as a number.

    Args:
        found: A number, or a tensor or array of one; no truth value, no text, nothing complex.
        says: What gave it, for errors: ``"evaluate="``.
        of: What it was asked about: ``"round 2 of 3"``.
        what: What it should have given, in a word.
        expected: The same in full.
        hint: What to do.

    Raises:
        RoundError: It is no finite number.
    """
    number = _as_number(found)
    if number is None or not math.isfinite(number):
        got = repr(found if number is None else number)[:80]
        raise RoundError(f"{says} gives no {what}.", where=of, expected=expected, got=got, hint=hint)
    return number


def evaluation_by(evaluate: Callable[..., Any], model: Any, of: str) -> float:
    """What a user's ``evaluate=`` says of a model, checked.

    Args:
        evaluate: From a Keras model to a number, higher is better; a tensor or array of one number will do.
        model: The Keras model.
        of: What the model is, for errors: ``"the model"``, ``"round 2 of 3"``.

    Raises:
        CannotRunError: This machine cannot run the model.
        RoundError: The function raises, or what it gives is no finite number.
    """
    found = called("evaluate=", of, evaluate, model)
    return number_by(
        found, "evaluate=", of, hint="model.evaluate() gives the loss and the metrics together: return one of them"
    )


def called(says: str, of: str, function: Callable[..., Any], *args: Any, timed: bool = False) -> Any:
    """What a user's function returns; what it raises is told with the round it was called in.

    Args:
        says: What it is called, for errors: ``"callback="``.
        of: The round, or what it is called on.
        function: The function.
        *args: What it is given.
        timed: Whether it takes times: calls without a kernel are then not computed by equal ones.

    Raises:
        CannotRunError: It runs what this machine cannot run.
        RoundError: It raises anything else.
    """
    try:
        with on_this_machine(f"{says} for {of}", equal=not timed):
            return function(*args)
    except (CannotRunError, RoundError):
        raise
    except Exception as error:
        raise RoundError(f"{says} raised {type(error).__name__}: {error}", where=of) from error


def finite_after(layers: Mapping[str, Any], says: str, of: str) -> None:
    """Refuse what a user's training has made of weights, where it has diverged.

    Args:
        layers: Layers by key, as ``graph.layers`` gives them.
        says: What trained, for errors: ``"callback="``.
        of: The round.

    Raises:
        RoundError: A weight is NaN or infinite.
    """
    try:
        require_finite(layers)
    except VerificationError as error:
        raise RoundError(
            f"{says} left weights that are NaN or infinite.",
            where=f"{of}, {error.where}",
            hint="the training has diverged: take a lower learning rate",
        ) from error


@contextmanager
def told_of(of: str) -> Iterator[None]:
    """Name the round in the error of what fails in it.

    Raises:
        RoundError: What the block raises, with the round.
    """
    try:
        yield
    except RoundError as error:
        raise error.at(of) from error.__cause__


@contextmanager
def keeping(kept: Callable[[], tuple[Any, str]]) -> Iterator[None]:
    """Put what is finished into the error of a round that fails.

    Args:
        kept: Called where one does; gives what was finished, and what can be done with it, for the message.

    Raises:
        RoundError: That of the round, with both.
    """
    try:
        yield
    except CannotRunError as error:
        found, hint = kept()
        if found is None:
            raise
        raise RoundError(error.what, expected=error.expected, got=error.got, hint=error.hint).keeping(
            found, hint
        ) from error
    except RoundError as error:
        raise error.keeping(*kept()) from error.__cause__


def _as_number(found: Any) -> float | None:
    if isinstance(found, numbers.Real):
        return None if isinstance(found, bool) else float(found)
    if not hasattr(found, "shape") or not hasattr(found, "dtype"):
        return None
    try:
        # TensorFlow gives no array of one number in half precision.
        found = keras.ops.cast(found, "float32") if "bfloat16" in str(found.dtype) else found
        array = np.asarray(keras.ops.convert_to_numpy(found))
    except Exception:  # noqa: BLE001 - whatever a tensor of another library says to it
        return None
    return float(array.reshape(())) if array.dtype.kind in "iuf" and array.size == 1 else None


__all__ = ["called", "evaluation_by", "finite_after", "keeping", "number_by", "told_of"]
