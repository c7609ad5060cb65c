"""Labelled data, in any form that Keras users have it, in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.batches import input_batches

Array = np.ndarray[Any, Any]
Span = tuple[float, float]

_FORMS = "(inputs, labels), or an iterable of batches (inputs, labels) that can be gone through again"


def check_labelled(data: Any) -> None:
    """Refuse data that cannot be labelled, or can be gone through only once.

    Raises:
        OptionError: It is neither a pair nor an iterable.
    """
    if data is None:
        raise OptionError(
            "An evaluation is needed.",
            hint="pass data=(inputs, labels), or evaluate=function: model to number, higher is better",
        )
    if isinstance(data, Iterator):
        raise OptionError("The data can be gone through only once.", expected=_FORMS, got=type(data).__name__)
    if isinstance(data, (str, bytes, Mapping)) or hasattr(data, "shape") or not isinstance(data, Iterable):
        raise _no_labels(data)


def labelled_batches(graph: Graph, data: Any, batch_size: int) -> Iterator[tuple[Span, list[Array], Array]]:
    """Bring labelled data into batches.

    Args:
        graph: The graph that is to be fed.
        data: ``(inputs, labels)``, or an iterable of batches of these.
        batch_size: Samples per batch at most.

    Yields:
        From where to where of the whole it reaches, as fractions; one array per model input; the labels.

    Raises:
        OptionError: There are no labels, as many labels as samples, or the inputs do not fit the model.
    """
    check_labelled(data)
    blocks = [data] if is_pair(data) else data
    count = len(blocks) if hasattr(blocks, "__len__") else 0
    seen = 0
    for number, block in enumerate(blocks):
        if not is_pair(block):
            raise _no_labels(block)
        inputs, labels = block[0], _array(block[1])
        if not labels.ndim:
            raise OptionError("There are not as many labels as samples.", expected=_FORMS, got="one label")
        start = 0
        size = max(len(labels), 1)
        for arrays in input_batches(graph, inputs, batch_size):
            end = start + len(arrays[0])
            if end > len(labels):
                break
            span = [(number + place / size) / count if count else 0.0 for place in (start, end)]
            yield (span[0], span[1]), arrays, labels[start:end]
            start = end
        seen += start
        if start != len(labels) or _samples(inputs) not in (None, start):
            raise OptionError(
                "There are not as many labels as samples.",
                expected=f"{_samples(inputs)} labels",
                got=str(len(labels)),
            )
    if not seen:
        raise OptionError("The data is empty.", expected=_FORMS, got="no samples")


def data_digest(data: Any) -> str:
    """A short name for data: of arrays all of it, of an iterable the first batch."""
    digest = hashlib.sha256()
    if data is None:
        return ""
    first = data if is_pair(data) or hasattr(data, "shape") else next(iter(data), ())
    for leaf in keras.tree.flatten(first):
        if hasattr(leaf, "shape"):
            array = np.ascontiguousarray(_array(leaf))
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def is_pair(item: Any) -> bool:
    """Whether something is inputs with labels, and not a sequence of batches."""
    return isinstance(item, tuple) and len(item) in (2, 3) and (hasattr(item[1], "shape") or isinstance(item[1], list))


def _samples(inputs: Any) -> int | None:
    sizes = {int(leaf.shape[0]) for leaf in keras.tree.flatten(inputs) if getattr(leaf, "shape", ())}
    return sizes.pop() if len(sizes) == 1 else None


def _array(leaf: Any) -> Array:
    try:
        # What Keras turns into a tensor would no longer be texts, or objects.
        return np.asarray(leaf if isinstance(leaf, (list, np.ndarray)) else keras.ops.convert_to_numpy(leaf))
    except (TypeError, ValueError) as error:
        raise OptionError(
            "The labels are no array.", expected="one label for each sample", got=str(error).splitlines()[0][:120]
        ) from error


def _no_labels(data: Any) -> OptionError:
    got = f"an array of shape {tuple(data.shape)}" if hasattr(data, "shape") else type(data).__name__
    return OptionError(
        "The data has no labels.",
        expected=_FORMS,
        got=got,
        hint="pass data=(inputs, labels), or evaluate=function: model to number, higher is better",
    )


__all__ = ["check_labelled", "data_digest", "is_pair", "labelled_batches"]
