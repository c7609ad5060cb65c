"""Turn what a converter says when it fails into one readable error."""

from __future__ import annotations

import re

from kerasurgeon.errors import ExportError

_OPS = (
    re.compile(r"Custom ops?: ([^\n]+)"),
    re.compile(r"Flex ops?: ([^\n]+)"),
    re.compile(r"Tensorflow op \[[^:\]]*: (\w+)\] is not supported"),
    re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op"),
    re.compile(r"'tf\.(\w+)' op requires"),
    re.compile(r"tf\.(\w+)\("),
)
_NO_OPS = {"", "Placeholder"}
_ERROR = re.compile(r"error: (.+)")
_NO_NEWS = re.compile(r"note: |^\s*(File |Traceback|\^|return |outputs = |raise |see current operation)")
_LONGEST_LINE = 160
_REPLACE = "replace the layers that use them, or export another format (.keras, .tflite, .onnx)"
_FIX_BATCH = "recurrent layers need a fixed batch size: batch_size=1"


def converter_error(target: str, error: Exception, captured: str) -> ExportError:
    """The error for a conversion that failed.

    Args:
        target: The format, as in ``TFLite``.
        error: What the converter raised.
        captured: The end of what it wrote.
    """
    if isinstance(error, ExportError):
        return error
    text = str(error)
    ops = unsupported_ops(f"{text}\n{captured}")
    if ops:
        return ExportError(
            f"The model has operations that {target} lacks.",
            where=", ".join(ops),
            expected=f"operations of {target}'s own set (a file that needs TensorFlow is not written)",
            hint=_FIX_BATCH if any(op.startswith("TensorList") for op in ops) else _REPLACE,
        )
    return ExportError(
        f"The conversion to {target} failed.",
        got=type(error).__name__,
        hint="the lines below are the converter's own last words",
        context=digest(text or captured),
    )


def unsupported_ops(text: str) -> list[str]:
    """The names of ops that a converter's message says it cannot convert, sorted.

    Args:
        text: The message and what was written before it.
    """
    found: set[str] = set()
    for pattern in _OPS:
        for match in pattern.finditer(text):
            found.update(part.strip(" .'\"") for part in match.group(1).split(","))
    return sorted(found - _NO_OPS)


def digest(text: str, lines: int = 4, *, first: bool = False) -> str:
    """The telling lines of a message, each cut to a readable length.

    Args:
        text: A converter's message.
        lines: How many lines at most.
        first: Whether the first lines say most, as in a Python exception, and not the last.
    """
    errors = [match.group(1) for match in _ERROR.finditer(text)]
    kept = errors or [line for line in text.splitlines() if line.strip() and not _NO_NEWS.search(line)]
    # The same complaint comes once per place.
    kept = list(dict.fromkeys(line.strip()[:_LONGEST_LINE] for line in kept))
    return "\n".join(kept[:lines] if first else kept[-lines:])
