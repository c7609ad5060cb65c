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
_LOCATION = re.compile(r"^\s*(<unknown>:0: |loc\(.*?\): )?(error: |note: )?")
_LONGEST_LINE = 160


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
            hint="replace the layers that use them, or export another format (.keras, .tflite, .onnx)",
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
    return sorted(name for name in found if name)


def digest(text: str, lines: int = 4) -> str:
    """The last telling lines of a message, each cut to a readable length.

    Args:
        text: A converter's message.
        lines: How many lines at most.
    """
    kept = [_LOCATION.sub("", line).strip() for line in text.splitlines()]
    kept = [line for line in kept if line and not line.startswith(("File ", "Traceback", "^"))]
    return "\n".join(line[:_LONGEST_LINE] for line in kept[-lines:])
