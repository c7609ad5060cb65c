"""Training data in any form that Keras takes, checked, and in an order that a seed and the epoch say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io.batches import bound_inputs, inputs_text

Array = np.ndarray[Any, Any]


@final
class ArrayBatches(keras.utils.PyDataset):
    """Arrays in batches, in another order each epoch: the same for the same seed and epoch.

    Args:
        parts: Structures of arrays, as ``(inputs, labels)``; what ``fit`` takes from each batch.
        batch_size: Samples per batch; the last batch has what is left.
        seed: Of the order; ``None`` keeps the order of the arrays.
    """

    def __init__(self, parts: Sequence[Any], batch_size: int, seed: int | None) -> None:
        super().__init__()
        self.parts, self.batch_size, self.seed = tuple(parts), batch_size, seed
        self.samples = len(keras.tree.flatten(self.parts)[0])
        self._order = np.arange(self.samples)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Take the order of an epoch."""
        if self.seed is not None:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.samples)

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return tuple(keras.tree.map_structure(lambda array: np.asarray(array[chosen]), part) for part in self.parts)


@final
class ListedBatches(keras.utils.PyDataset):
    """Batches as they were given, in that order.

    Args:
        batches: What ``fit`` takes as batches.
    """

    def __init__(self, batches: Sequence[Any]) -> None:
        super().__init__()
        self.batches = list(batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        batch = self.batches[index]
        return tuple(batch) if isinstance(batch, list) else batch


class EpochOrder(keras.callbacks.Callback):
    """Tells batches that have a ``begin_epoch`` which epoch it is, also where a training goes on in the middle."""

    def __init__(self, batches: Any) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Take the order of the epoch."""
        if hasattr(self.batches, "begin_epoch"):
            self.batches.begin_epoch(epoch)


@dataclass(frozen=True)
class Source:
    """Data for ``fit``.

    Attributes:
        batches: What ``fit`` takes as ``x``.
        first: The first batch, if it can be looked at without taking it away: ``(inputs, labels)`` or more.
        labels: All labels, where they are at hand; else those of the first batch, or ``None``.
    """

    batches: Any
    first: tuple[Any, ...] | None = None
    labels: Any = None


def source(
    graph: Graph, data: Any, *, batch_size: int, seed: int | None, steps: int | None = None, option: str = "data"
) -> Source:
    """Bring data into a form that ``fit`` takes, several times if need be.

    Args:
        graph: The graph that is to be fed.
        data: ``(inputs, labels)`` or ``(inputs, labels, sample_weights)`` of arrays, or inputs alone; a
            ``tf.data.Dataset``, a ``keras.utils.PyDataset``, a data loader of PyTorch, or a list of batches; with
            ``steps`` also a generator that does not end.
        batch_size: Samples per batch, of arrays.
        seed: Of the order of arrays; ``None`` keeps it.
        steps: Batches per epoch.
        option: What the data is called, for messages.

    Raises:
        OptionError: There is no data, it does not fit the inputs, or is of no such form.
    """
    if data is None:
        raise OptionError(f"Training needs {option}.", expected=inputs_text(graph), hint="pass (inputs, labels)")
    parts = _whole(graph, data, option)
    if parts is not None:
        batches = ArrayBatches(parts, batch_size, seed)
        return Source(batches, parts, parts[1] if len(parts) > 1 else None)
    if isinstance(data, keras.utils.PyDataset):
        first = _parts(data[0])
        _check_first(graph, first, option)
        return Source(data, first, first[1] if len(first) > 1 else None)
    if hasattr(data, "element_spec"):
        first = _parts(data.element_spec)
        _check_first(graph, first, option)
        return Source(data, first)
    if hasattr(data, "__next__"):
        if steps is None:
            raise OptionError(
                f"{option!r} is a generator, which can be taken through once only.",
                hint="pass steps_per_epoch= if it does not end, or list(generator)",
            )
        return Source(data)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)) and not hasattr(data, "shape"):
        return _iterable(graph, data, option)
    raise _misfit(graph, data, option)


def _iterable(graph: Graph, data: Iterable[Any], option: str) -> Source:
    if not isinstance(data, (list, tuple)):  # a data loader: Keras takes it as it is
        first = next(iter(data), None)
        if first is None:
            raise OptionError(f"{option!r} is empty.", expected=inputs_text(graph))
        _check_first(graph, _parts(first), option)
        return Source(data, _parts(first))
    if not data:
        raise OptionError(f"{option!r} is empty.", expected=inputs_text(graph))
    batches = [_parts(item) for item in data]
    for batch in batches:
        _check_first(graph, batch, option)
    labels = [batch[1] for batch in batches if len(batch) > 1]
    return Source(ListedBatches(batches), batches[0], labels[0] if len(labels) == len(batches) else None)


def _whole(graph: Graph, data: Any, option: str) -> tuple[Any, ...] | None:
    """Arrays of all samples, as ``(inputs[, labels[, sample_weights]])``; ``None`` if the data is no such thing."""
    inputs: list[Array] | None = bound_inputs(graph, data)
    rest: tuple[Any, ...] = ()
    if inputs is None and isinstance(data, (tuple, list)) and 1 <= len(data) <= 3:
        inputs, rest = bound_inputs(graph, data[0]), tuple(data[1:])
        if inputs is not None and isinstance(data, list) and rest and bound_inputs(graph, rest[0]) is not None:
            return None  # a list of batches without labels
        if inputs is None and hasattr(data[0], "shape") and isinstance(data, tuple):
            raise _misfit(graph, data, option)
    if inputs is None:
        return None
    if not len(inputs[0]):
        raise OptionError(f"{option!r} is empty.", expected=inputs_text(graph), got="no samples")
    rest = tuple(keras.tree.map_structure(np.asarray, part) for part in rest if part is not None)
    for what, part in zip(("labels", "sample weights"), rest, strict=False):
        for leaf in keras.tree.flatten(part):
            if not leaf.ndim or len(leaf) != len(inputs[0]):
                raise OptionError(
                    f"{option!r} does not hold one of the {what} per sample.",
                    expected=f"{len(inputs[0])}", got=f"an array of shape {leaf.shape}",
                )  # fmt: skip
    return (keras.tree.pack_sequence_as(graph.inputs, inputs), *rest)


def _parts(batch: Any) -> tuple[Any, ...]:
    return tuple(batch) if isinstance(batch, (tuple, list)) and len(batch) in (1, 2, 3) else (batch,)


def _check_first(graph: Graph, batch: tuple[Any, ...], option: str) -> None:
    """Compare shapes of a batch, or of its specs, with what the graph takes."""
    leaves = keras.tree.flatten(batch[0])
    specs = [graph.spec(value) for value in values_in(graph.inputs)]
    fits = len(leaves) >= len(specs) if isinstance(batch[0], dict) else len(leaves) == len(specs)
    if fits and not isinstance(batch[0], dict):
        for leaf, spec in zip(leaves, specs, strict=True):
            shape = getattr(leaf, "shape", None)
            if shape is None or getattr(shape, "rank", len(spec.shape)) is None:
                continue
            sizes = tuple(shape)
            fits = fits and len(sizes) == len(spec.shape)
            fits = fits and all(
                a is None or b is None or a == b for a, b in zip(sizes[1:], spec.shape[1:], strict=True)
            )
    if not fits:
        raise _misfit(graph, batch, option)


def _misfit(graph: Graph, data: Any, option: str) -> OptionError:
    leaves = keras.tree.flatten(data) if isinstance(data, (tuple, list, dict)) else [data]
    got = [f"{tuple(leaf.shape)}" if hasattr(leaf, "shape") else type(leaf).__name__ for leaf in leaves]
    return OptionError(
        f"{option!r} does not fit the model's inputs.",
        expected=inputs_text(graph),
        got=", ".join(got[:6]) or type(data).__name__,
        hint="pass (inputs, labels) of arrays, a tf.data.Dataset, a PyDataset or a list of batches",
    )


__all__ = ["ArrayBatches", "EpochOrder", "ListedBatches", "Source", "source"]
