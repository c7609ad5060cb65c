"""Calibration data, in any form that Keras users have it, as batches of arrays in the order of a graph's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves, values_in
from kerasurgeon.ir.values import TensorSpec

Array = np.ndarray[Any, Any]

_LOOKED_AT = 64
_FEW = 8
# Integers up to here may well stand for real numbers: counts, flags.
_SMALL = 16


def input_batches(graph: Graph, data: Any, batch_size: int = 32, *, most: int | None = None) -> Iterator[list[Array]]:
    """Bring data into batches, one array per model input.

    Args:
        graph: The graph that is to be fed.
        data: One array; a list, tuple or dict of arrays, nested as the model's inputs or by their names; either with
            labels, as ``(inputs, labels)``; or an iterable of batches of these, with or without labels, or a
            ``keras.utils.PyDataset``.
        batch_size: Samples per batch at most; batches that are given are cut where they are larger.
        most: Samples in all at most.

    Raises:
        OptionError: There is no data, none of it fits the inputs, or it holds NaN or infinities.
    """
    names = [value.node for value in values_in(graph.inputs)]
    specs = [graph.spec(value) for value in values_in(graph.inputs)]
    left = most
    count = 0
    for number, block in enumerate(_blocks(graph, data, names, specs)):
        for name, array in zip(names, block, strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise OptionError(
                    "The calibration data holds NaN or infinity.", where=f"input {name!r}, batch {number}"
                )
        size = len(block[0]) if left is None else min(len(block[0]), left)
        for start in range(0, size, batch_size):
            yield [array[start : min(start + batch_size, size)] for array in block]
        count += size
        left = None if left is None else left - size
        if left == 0:
            break
    if not count:
        raise OptionError("The calibration data is empty.", expected=_wanted(names, specs), got="no samples")


def bound_inputs(graph: Graph, item: Any) -> list[Array] | None:
    """One array per model input, if an item is that and nothing more: no labels; else ``None``.

    Args:
        graph: The graph that is to be fed.
        item: One array; a list, tuple or dict of arrays, nested as the model's inputs or by their names.
    """
    values = values_in(graph.inputs)
    return _bound(graph, item, [value.node for value in values], [graph.spec(value) for value in values])


def few_inputs(graph: Graph, data: Any, samples: int) -> list[Array] | None:
    """The first samples of some data, one array per model input; ``None`` where it is none, or can be read only once.

    Args:
        graph: The graph that is to be fed.
        data: As for ``input_batches``, or ``None``.
        samples: How many.
    """
    if data is None or hasattr(data, "__next__"):
        return None
    try:
        return next(input_batches(graph, data, samples, most=samples), None)
    except OptionError:
        return None  # who uses it says what is wrong with it


def require_telling(graph: Graph, data: Any, note: Callable[[str], None]) -> None:
    """Refuse data from which nothing can be learned: all samples the same. Say what is odd about other data.

    Args:
        graph: The graph that is to be fed.
        data: As for ``input_batches``; what can be read only once is not looked at.
        note: Is told what the user should know: of few samples, and of integers where the model takes real numbers.

    Raises:
        OptionError: All samples are the same.
    """
    found = few_inputs(graph, data, _LOOKED_AT)
    if found is None:
        return
    count = len(found[0])
    values = values_in(graph.inputs)
    if count > 1 and all((array == array[:1]).all() for array in found):
        raise OptionError(
            "Nothing can be learned from the calibration data: all samples are the same.",
            expected="some hundred inputs as the model will see them",
            got=f"the first {count} are equal",
        )
    if count < _FEW:
        note(f"the data has {count} sample{'s' * (count > 1)}: some hundred are wanted, others may be served badly")
    for value, array in zip(values, found, strict=True):
        dtype = graph.spec(value).dtype
        if array.dtype.kind in "iu" and array.max(initial=0) > _SMALL and "float" in dtype:
            note(
                f"input {value.node!r} is given integers up to {array.max()}, and takes {dtype}: they are used as they "
                "are; prepare data as for predict"
            )


def inputs_text(graph: Graph) -> str:
    """What a graph is to be fed, for messages."""
    values = values_in(graph.inputs)
    return _wanted([value.node for value in values], [graph.spec(value) for value in values])


def _blocks(graph: Graph, data: Any, names: list[str], specs: list[TensorSpec]) -> Iterable[list[Array]]:
    if data is None:
        raise OptionError(
            "Calibration data is needed.",
            expected=_wanted(names, specs),
            hint="pass data=some_inputs: a few hundred samples, prepared as for predict",
        )
    if isinstance(data, keras.utils.PyDataset):  # which cannot be walked through by itself
        return _each(graph, map(data.__getitem__, range(len(data))), names, specs)
    whole = _with_labels(graph, data, names, specs)
    if whole is not None:
        return [whole]
    if isinstance(data, (Mapping, str, bytes)) or hasattr(data, "shape") or not isinstance(data, Iterable):
        raise _misfit(data, names, specs)
    if isinstance(data, tuple) and all(hasattr(item, "shape") for item in data):
        raise _misfit(data, names, specs)
    return _each(graph, data, names, specs)


def _each(graph: Graph, data: Iterable[Any], names: list[str], specs: list[TensorSpec]) -> Iterator[list[Array]]:
    for item in data:
        block = _with_labels(graph, item, names, specs)
        if block is None:
            raise _misfit(item, names, specs)
        yield block


def _with_labels(graph: Graph, item: Any, names: list[str], specs: list[TensorSpec]) -> list[Array] | None:
    bound = _bound(graph, item, names, specs)
    pair = isinstance(item, tuple) or (isinstance(item, list) and _is_pair(graph, item, names, specs))
    if bound is None and pair and len(item) in (2, 3):
        bound = _bound(graph, item[0], names, specs)
    return bound


def _is_pair(graph: Graph, item: list[Any], names: list[str], specs: list[TensorSpec]) -> bool:
    """Whether a list holds inputs and labels, and not batches."""
    return len(item) > 1 and _bound(graph, item[1], names, specs) is None


def _bound(graph: Graph, item: Any, names: list[str], specs: list[TensorSpec]) -> list[Array] | None:
    """One array per input, if the item is that."""
    if isinstance(item, Mapping):
        if isinstance(graph.inputs, Mapping) and set(graph.inputs) <= set(item):
            several = list(leaves({key: item[key] for key in graph.inputs}))
        elif set(names) <= set(item):
            several = [item[name] for name in names]
        else:
            return None
    else:
        several = list(leaves(item)) if isinstance(item, (tuple, list)) else [item]
    if len(several) != len(specs) or not all(hasattr(one, "shape") and hasattr(one, "dtype") for one in several):
        return None
    arrays = [np.asarray(keras.ops.convert_to_numpy(one)) for one in several]
    if not all(_fits(array, spec) for array, spec in zip(arrays, specs, strict=True)):
        return None
    return arrays if len({len(array) for array in arrays}) == 1 else None


def _fits(array: Array, spec: TensorSpec) -> bool:
    return array.ndim == len(spec.shape) and all(
        wanted in (None, size) for size, wanted in zip(array.shape[1:], spec.shape[1:], strict=True)
    )


def _wanted(names: list[str], specs: list[TensorSpec]) -> str:
    return "; ".join(f"{name} {spec}" for name, spec in zip(names, specs, strict=True))


def _misfit(item: Any, names: list[str], specs: list[TensorSpec]) -> OptionError:
    got = [str(tuple(leaf.shape)) if hasattr(leaf, "shape") else type(leaf).__name__ for leaf in leaves(item)]
    return OptionError(
        "The calibration data does not fit the model's inputs.",
        expected=_wanted(names, specs),
        got=", ".join(got[:6]) or type(item).__name__,
        hint="pass arrays as for predict, (inputs, labels), or an iterable of such batches",
    )
