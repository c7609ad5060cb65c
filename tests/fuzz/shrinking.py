"""A failing model made smaller for as long as it fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.fuzz.building import build
from tests.fuzz.case import Case
from tests.fuzz.description import Description, Ref, Step, leaves, mapped
from tests.fuzz.oracles import ORACLES


def failure(description: Description, seed: int, oracle: str) -> str | None:
    """How an oracle fails on a model, in one line; ``None`` if it does not, or the model cannot be built."""
    case = Case(description, seed)
    try:
        assert case.outputs
    except Exception:  # noqa: BLE001 - whatever Keras raises
        return None
    try:
        ORACLES[oracle](case)
    except AssertionError as error:
        return f"AssertionError: {error}"
    except Exception as error:  # noqa: BLE001 - every one is a finding
        return f"{type(error).__name__}: {error}"
    return None


def shrunk(description: Description, seed: int, oracle: str, seconds: float = 60.0) -> Description:
    """The smallest model found that fails in the same way."""
    end = time.monotonic() + seconds
    kind = (failure(description, seed, oracle) or "").partition(":")[0]
    smaller = True
    while smaller and time.monotonic() < end:
        smaller = False
        for candidate in candidates(description):
            if time.monotonic() > end:
                break
            if (failure(candidate, seed, oracle) or "none").partition(":")[0] == kind:
                description, smaller = candidate, True
                break
    return description


def candidates(description: Description) -> Iterator[Description]:
    """Models that are smaller by one thing: an output, what stands before a step, a step, an option."""
    outputs = list(leaves(description.outputs))
    if len(outputs) > 1:
        yield from (replace(description, outputs=output, dict_inputs=False).needed() for output in outputs)
    tensors = _tensors(description)
    for number, step in reversed(list(description.steps.items())):
        if step.kind == "InputLayer" or number not in tensors:
            continue
        tensor = tensors[number]
        cut_off = Step("InputLayer", options={"shape": tuple(tensor.shape[1:]), "dtype": str(tensor.dtype)})
        if any(each.shares == number for each in description.steps.values()):
            continue
        if Ref(number) not in outputs:
            yield replace(description, steps={**description.steps, number: cut_off}).needed()
        for operand in leaves(step.args):
            if isinstance(operand, Ref) and operand.index is None and operand.step in tensors:
                other = tensors[operand.step]
                if other.shape == tensor.shape and other.dtype == tensor.dtype:
                    yield _bypassed(description, number, operand)
    for number, step in description.steps.items():
        for key in step.options:
            if step.kind != "InputLayer":
                options = {name: value for name, value in step.options.items() if name != key}
                yield replace(description, steps={**description.steps, number: replace(step, options=options)})
        for key in step.kwargs:
            kwargs = {name: value for name, value in step.kwargs.items() if name != key}
            yield replace(description, steps={**description.steps, number: replace(step, kwargs=kwargs)}).needed()


def _tensors(description: Description) -> dict[int, Any]:
    try:
        made = build(description).tensors
    except Exception:  # noqa: BLE001 - whatever Keras raises
        return {}
    return {number: tensor for number, tensor in made.items() if hasattr(tensor, "shape")}


def _bypassed(description: Description, number: int, operand: Ref) -> Description:
    def instead(leaf: Any) -> Any:
        return operand if leaf == Ref(number) else leaf

    steps = {
        each: replace(step, args=mapped(instead, step.args), kwargs=mapped(instead, dict(step.kwargs)))
        for each, step in description.steps.items()
    }
    return replace(description, steps=steps, outputs=mapped(instead, description.outputs)).needed()
