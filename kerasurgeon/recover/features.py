"""Tensors inside a network, for all of some data, computed once and kept: in memory, or in files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np

from kerasurgeon.atomic import make_folder, staged
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import emit
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.machine import on_this_machine

Array = np.ndarray[Any, Any]
CACHES = ("memory", "disk", None)


def feature_model(graph: Graph, values: Sequence[Value]) -> keras.Model:
    """A model that gives tensors of a graph, as a list; none of it is trainable.

    Args:
        graph: The graph.
        values: Which tensors.
    """
    part = graph.copy()
    part.set_signature(outputs=list(values))
    part.remove_unused()
    model = emit(part, compile=False)
    model.trainable = False
    return model


def features(
    graph: Graph, values: Sequence[Value], data: Any, *, batch_size: int, steps: int | None = None
) -> Iterator[list[Array]]:
    """Tensors of a graph in inference, batch by batch.

    Args:
        graph: The graph.
        values: Which tensors.
        data: Inputs, with labels or without, in any form that ``fit`` takes.
        batch_size: Samples at once.
        steps: How many batches to take at most.

    Raises:
        OptionError: The data does not fit, or is empty.
    """
    model = feature_model(graph, values)
    for batch in input_batches(graph, _iterable(data, steps), batch_size):
        with on_this_machine(f"model {graph.name!r}"):
            found = model(keras.tree.pack_sequence_as(graph.inputs, batch), training=False)
        yield [_array(tensor) for tensor in found]


def kept(batches: Iterable[list[Array]], files: Sequence[Path] | None) -> list[Any]:
    """All of several tensors, as arrays over all samples.

    Args:
        batches: Their batches.
        files: Where to keep them, one file of numpy's for each; else they are kept in memory.

    Returns:
        The arrays; of those in files, rows are read when they are asked for.
    """
    if files is None:
        columns = [list(column) for column in zip(*batches, strict=True)]
        return [np.concatenate(column) for column in columns]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_growing(path)) for path in files]
        for batch in batches:
            for writer, array in zip(writers, batch, strict=True):
                writer.add(array)
    return [Rows(path) for path in files]


class Rows:
    """An array in a file, of which rows are read when they are asked for; only then the file is open.

    Keras and TensorFlow hold on to what was trained on for as long as they like.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        array = np.load(path, mmap_mode="r")
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Array:
        return np.array(np.load(self.path, mmap_mode="r")[rows])


@contextlib.contextmanager
def _growing(path: Path) -> Iterator[_Growing]:
    make_folder(path.parent)
    with staged(path) as temporary, temporary.open("wb") as file:
        writer = _Growing(file)
        yield writer
        writer.finish()


class _Growing:
    """A file of numpy's whose number of rows is not known before the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0
        self._shape: tuple[int, ...] | None = None
        self._dtype = np.dtype("float32")

    def add(self, array: Array) -> None:
        if self._shape is None:
            self._shape, self._dtype = array.shape[1:], array.dtype
            self._file.write(self._header())
        self._rows += len(array)
        self._file.write(np.ascontiguousarray(array).tobytes())

    def finish(self) -> None:
        if self._shape is not None:
            self._file.seek(0)
            self._file.write(self._header())

    def _header(self) -> bytes:
        """The header for the rows there are: numpy leaves room in it for the number to grow."""
        assert self._shape is not None
        text = io.BytesIO()
        np.lib.format.write_array_header_2_0(
            text,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._rows, *self._shape),
            },
        )
        return text.getvalue()


def check_cache(cache: Any, folder: Any) -> None:
    """Refuse what is no way to keep features.

    Raises:
        OptionError: It is none, or has no folder to write to.
    """
    if cache not in CACHES:
        raise OptionError("option 'cache' cannot be used.", expected="'memory', 'disk' or None", got=repr(cache))
    if cache == "disk" and folder is None:
        raise OptionError("cache='disk' needs a folder to write to.", hint="pass folder=")


def _iterable(data: Any, steps: int | None) -> Any:
    """Data that can be walked through: a ``PyDataset`` cannot be by itself."""
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches if steps is None else steps
        if count is None:
            raise OptionError("The data does not end.", hint="pass steps_per_epoch=")
        return (data[index] for index in range(count))
    if steps is not None and not hasattr(data, "shape") and not _is_arrays(data):
        return islice(iter(data), steps)
    return data


def _is_arrays(data: Any) -> bool:
    return isinstance(data, (tuple, dict)) and all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(data))


def _array(tensor: Any) -> Array:
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    return array if array.dtype.kind in "biuf" else array.astype("float32")  # bfloat16 is nothing that numpy knows


__all__ = ["CACHES", "check_cache", "feature_model", "features", "kept"]
