"""What a runtime's own optimisation does to a file: outputs with it and without it."""

from __future__ import annotations

from collections.abc import Sequence

from kerasurgeon.exporting.parity import OutputParity, measure
from kerasurgeon.exporting.tensors import Feeds

BY = {"onnx": "ONNX Runtime's graph optimisation", "tflite": "the XNNPACK delegate"}
"""What changes how a file is computed, by format."""

# How much further from the model a quantised file may be in one of the two ways.
_MUCH_FURTHER, _NO_ERROR = 1.25, 0.01


def disagreement(
    outputs: Sequence[OutputParity], got: Feeds, plain: Feeds, expected: Feeds | None, by: str, tolerance: float | None
) -> str | None:
    """What to say where a file gives other outputs with the runtime's optimisation than without it.

    Args:
        outputs: The differences from the model, with the optimisation; none where the model could not be run.
        got: The outputs with it.
        plain: The outputs without it.
        expected: The model's outputs.
        by: What optimises.
        tolerance: The largest relative error of a file that computes with reals; None of a quantised file.

    Returns:
        A sentence on the worst output; ``None`` if both are as good.
    """
    if expected is None:
        apart = max(measure(plain, got), key=lambda output: output.relative_error)
        if tolerance is None or apart.relative_error <= tolerance:
            return None
        return f"with {by} output {apart.name!r} is off by {apart.relative_error:.2g} from what is computed without it"
    found: list[tuple[float, str]] = []
    for used, bare in zip(outputs, measure(expected, plain), strict=True):
        if tolerance is not None:
            one, other = used.relative_error, bare.relative_error
            differ = (one <= tolerance) != (other <= tolerance)
        else:
            one, other = used.rms_error, bare.rms_error
            differ = max(one, other) > max(_MUCH_FURTHER * min(one, other), min(one, other) + _NO_ERROR)
        if differ:
            wrong, right = ("with", "without") if one > other else ("without", "with")
            more, less = max(one, other), min(one, other)
            text = f"{wrong} {by} output {used.name!r} is off by {more:.2g}, {right} it by {less:.2g}"
            found.append((more - less, text))
    return max(found)[1] if found else None
