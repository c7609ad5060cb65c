"""Write and read large .keras files through files on disk.

Keras holds the weights' file in memory beside the weights, where there is room for it: up to twice as much as they
take themselves. As a folder, which Keras writes and reads too, it stays on disk.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasurgeon.hidden import hidden
from kerasurgeon.keras_io.internals import flatten_layers
from kerasurgeon.keras_io.leftovers import LARGE

_WEIGHTS = "model.weights.h5"
_MEMBERS = ("metadata.json", "config.json", _WEIGHTS)


def save_keras(model: Any, path: Path) -> None:
    """What ``model.save(path)`` does; a large model's weights are not held in memory once more meanwhile.

    Args:
        model: The Keras model.
        path: A path with the suffix .keras; there is a folder beside it meanwhile.
    """
    size = 4 * sum(math.prod(variable.shape) for variable in _variables(model))
    if size < LARGE or any(hasattr(layer, "save_assets") for layer in flatten_layers(model)):
        model.save(path)  # Keras 3.15 leaves out of a folder what layers keep in files of their own
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".parts-") as folder:
        model.save(folder, zipped=False)
        with zipfile.ZipFile(path, "w") as archive:  # stored as they are, as Keras does
            for name in _MEMBERS:
                archive.write(Path(folder, name), name)


@contextlib.contextmanager
def as_keras_takes_it(path: Path) -> Iterator[Path]:
    """A model file, or where it is a large .keras file a folder with what it holds."""
    if path.suffix.lower() != ".keras" or not _worth_it(path):
        yield path
        return
    with contextlib.ExitStack() as stack:
        source = path
        try:
            folder = stack.enter_context(hidden(Path(tempfile.gettempdir(), "scratch")))
            with zipfile.ZipFile(path) as archive:
                for name in _MEMBERS:
                    archive.extract(name, folder)
            source = folder
        except OSError:  # no room for temporary files: Keras reads it in memory
            pass
        yield source


def _worth_it(path: Path) -> bool:
    """Whether it is large, holds a config and weights alone, and takes no more room than the file has."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    size = max((info.file_size for info in infos if info.filename == _WEIGHTS), default=0)
    return stored and sorted(info.filename for info in infos) == sorted(_MEMBERS) and size >= LARGE


def _variables(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    return [*model.variables, *(optimizer.variables if optimizer is not None else [])]


__all__ = ["as_keras_takes_it", "save_keras"]
