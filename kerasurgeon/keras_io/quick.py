"""Let Keras make and build layers with less bookkeeping, to the same effect.

What stands in for Keras' own functions does what they do in the releases named by ``VERIFIED``; with any other, they
are left alone, and only the garbage collector waits.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator

import keras

from kerasurgeon.keras_io.injection import ADD_WEIGHT
from kerasurgeon.keras_io.replaced import Replaced
from kerasurgeon.keras_io.seeding import python_kept

VERIFIED = ("3.15.",)

REPLACED: tuple[Replaced, ...] = ()
_forget: Callable[[], None] | None = None
if keras.__version__.startswith(VERIFIED) and keras.backend.backend() == "tensorflow":
    # A release that calls itself so and lacks something, as a build of its own may, goes Keras' own way.
    with contextlib.suppress(ImportError, AttributeError, KeyError):
        from kerasurgeon.keras_io.shortcuts import REPLACED
        from kerasurgeon.keras_io.shortcuts import forget as _forget


@contextlib.contextmanager
def quick_keras() -> Iterator[None]:
    """While active, Keras makes and builds layers faster, Python's random numbers stay, and the collector waits.

    The collector would walk all objects again and again while thousands are made, none of which is garbage.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_COLLECTOR)
        stack.enter_context(ADD_WEIGHT)
        stack.enter_context(python_kept())
        stack.enter_context(less_bookkeeping())
        yield


@contextlib.contextmanager
def less_bookkeeping() -> Iterator[None]:
    """While active, Keras makes and builds layers faster; the collector and all random numbers go on as ever."""
    with contextlib.ExitStack() as stack:
        for replaced in REPLACED:
            stack.enter_context(replaced)
        try:
            yield
        finally:
            if _forget is not None:
                _forget()  # memos would keep the user's classes alive


class _CollectorPaused:
    """The garbage collector stands still while at least one ``with`` of this object is open."""

    def __init__(self) -> None:
        self._open, self._enabled = 0, False
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._open:
                self._enabled = gc.isenabled()
                gc.disable()
            self._open += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open and self._enabled:
                gc.enable()


_COLLECTOR = _CollectorPaused()

__all__ = ["REPLACED", "VERIFIED", "less_bookkeeping", "quick_keras"]
