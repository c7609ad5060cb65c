"""Run networks on the machine that is there, and say in words what it lacks where it cannot."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Collection, Iterator

import keras

from kerasurgeon.errors import CannotRunError, KerasurgeonError
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.kernels import has_kernel

# How backends say that they have no kernel for what was asked, whatever class of error they say it by.
_LACKING = re.compile(
    r"only supports?|supports? only|(?:do not|does not|don't|doesn't) (?:yet |currently )?support"
    r"|not (?:yet |currently )?(?:supported|implemented)|not in (?:the )?list of allowed values"
    r"|No registered|No OpKernel|Could not find device",
)
# What PyTorch and TensorFlow say by errors of Python's own, which say much else.
_IN_PYTHONS_WORDS = re.compile(r"not implemented for '|not in (?:the )?list of allowed values")
_ALWAYS = ("UnimplementedError", "ResourceExhaustedError", "NotImplementedError")
_BACKENDS = ("tensorflow", "jaxlib", "jax", "torch")


@contextlib.contextmanager
def on_this_machine(what: str, *, equal: bool = True) -> Iterator[None]:
    """Run a network, or a part of one, in the block.

    Args:
        what: What runs, for the error: ``"model 'resnet'"``, ``"Conv2D 'stem'"``.
        equal: Whether calls that this machine has no kernel for are computed by equal ones. Not where time is taken.

    Raises:
        CannotRunError: The machine lacks what it takes. Any other error passes through.
    """
    with equal_calls() if equal else contextlib.nullcontext():
        try:
            yield
        except Exception as error:
            ours = cannot_run(error, what)
            if ours is None:
                raise
            raise ours from error


def cannot_run(error: BaseException, what: str) -> CannotRunError | None:
    """The error in words, if an error of the backend says that the machine lacks something; else None.

    Args:
        error: The backend's error.
        what: What was run.
    """
    reason = lacking(error)
    if reason is None:
        return None
    return CannotRunError(
        f"This machine cannot run {what}.",
        expected=f"a kernel of {keras.backend.backend()} for every call",
        got=reason,
        hint=remedy(),
    )


def lacking(error: BaseException) -> str | None:
    """What a machine lacks to run a network, in one line, if that is what an error of the backend says; else None."""
    if isinstance(error, KerasurgeonError):
        return None
    name = type(error).__name__
    of_backend = type(error).__module__.split(".")[0] in _BACKENDS
    calling = re.search(r"when calling (\w+)\.call", str(error))
    text = re.sub(r"\x1b\[\d+m|\{\{function_node[^}]*\}\}|^.*[Ee]xception encountered.*$", "", str(error), flags=re.M)
    if name not in _ALWAYS and not (_LACKING if of_backend else _IN_PYTHONS_WORDS).search(text):
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if _LACKING.search(line)), lines[0] if lines else "")
    where = f"{calling[1]}: " if calling else ""
    return f"{where}{name}: {said[:160]}".rstrip(": ")


def by_equal_calls(used: Collection[str]) -> list[str]:
    """What a report says where outputs were compared by equal calls: one line, or none.

    Args:
        used: What ``equal_calls`` gave.
    """
    if not used:
        return []
    kinds = ", ".join(sorted(used))
    compared = f"this machine has no kernel for {kinds}: outputs were compared by equal calls"
    return [f"{compared}; to run the model yourself, {remedy()}"]


def remedy() -> str:
    """What lets a machine run more: one line."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    tensorflow = keras.backend.backend() == "tensorflow"
    if tensorflow and x86 and not has_kernel("conv", 2, "float32", channels_first=True):
        return "set TF_ENABLE_ONEDNN_OPTS=1 before Python starts, which gives TensorFlow more kernels, or use a GPU"
    return "take a machine with a GPU, or layers that this one has kernels for (channels last, float32)"
