"""Attributes of Keras that stand replaced while kerasurgeon builds layers."""

from __future__ import annotations

import threading
from typing import Any


class Replaced:
    """An attribute that is another while at least one ``with`` of this object is open, in whichever thread.

    Changing a class makes Python forget what it had looked up on it and its subclasses, so whoever builds many layers
    opens this once around all of them.

    Args:
        owner: The class or module.
        name: The attribute.
        replacement: What stands there meanwhile. It must do for every other thread what the original does.

    Attributes:
        original: What stood there when the outermost ``with`` was opened; ``None`` where there is no such attribute.
    """

    def __init__(self, owner: Any, name: str, replacement: Any) -> None:
        self.owner, self.name, self.replacement = owner, name, replacement
        self.original: Any = getattr(owner, name, None)
        self._open = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._open:
                self.original = getattr(self.owner, self.name)
                setattr(self.owner, self.name, self.replacement)
            self._open += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                setattr(self.owner, self.name, self.original)
