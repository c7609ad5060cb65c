"""Names, shapes and dtypes at the border of a model, and arrays bound to them by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError, did_you_mean

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a model.

    Args:
        name: Its name; unique among the inputs, and among the outputs.
        shape: Its shape with the batch axis; None where the size is free.
        dtype: NumPy's name of its dtype.
        quantization: Scale and zero point where integers stand for reals (``real = scale * (q - zero)``).
        alias: Another name that it may be given by (Keras' tensor name beside the layer's).
        limit: For integer inputs, the values that make sense are below this; None if unknown.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: tuple[float, int] | None = None
    alias: str | None = None
    limit: int | None = None

    @property
    def text(self) -> str:
        """Dtype and shape for an error message, such as ``float32 (batch, 224, 224, 3)``."""
        sizes = [("batch" if axis == 0 else "any") if d is None else str(d) for axis, d in enumerate(self.shape)]
        return f"{self.dtype} ({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def bind(data: Any, inputs: Sequence[TensorInfo], *, what: str = "inputs") -> Feeds:
    """Bind arrays to a model's inputs by name and check them.

    Args:
        data: One array (for a model with one input), a sequence in the inputs' order, or a mapping by name.
        inputs: The model's inputs.
        what: What the data is called in errors.

    Returns:
        For each input name an array of the input's dtype, all with the same number of samples. An array of
        integers that already is in the dtype of a quantised input is passed through.

    Raises:
        OptionError: An array is missing, superfluous, or of a shape or dtype that does not fit.
    """
    named = _by_name(data, inputs, what)
    feeds = {info.name: _fit(named[info.name], info, what) for info in inputs}
    counts = {name: array.shape[0] for name, array in feeds.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise OptionError(f"The arrays in {what} have different numbers of samples.", got=str(counts))
    if 0 in counts.values():
        raise OptionError(f"The arrays in {what} are empty.", expected="at least one sample", got="0 samples")
    return feeds


def _leaves(data: Any) -> list[Any]:
    """The arrays of a nesting of mappings and sequences, in Keras' flat order (mappings by sorted keys)."""
    if isinstance(data, Mapping):
        return [leaf for key in sorted(data) for leaf in _leaves(data[key])]
    if isinstance(data, (list, tuple)):
        return [leaf for item in data for leaf in _leaves(item)]
    return [data]


def _is_nested(data: Any) -> bool:
    items = data.values() if isinstance(data, Mapping) else data if isinstance(data, (list, tuple)) else ()
    return any(
        isinstance(item, (Mapping, list, tuple)) and all(hasattr(x, "shape") for x in _leaves(item)) for item in items
    )


def _by_name(data: Any, inputs: Sequence[TensorInfo], what: str) -> dict[str, Any]:
    if _is_nested(data):
        data = tuple(_leaves(data))
    if isinstance(data, Mapping):
        return _by_mapping(data, inputs, what)
    if isinstance(data, (list, tuple)) and not (len(inputs) == 1 and len(data) != 1):
        if len(data) != len(inputs):
            raise OptionError(
                f"The wrong number of arrays in {what}.",
                expected=f"{len(inputs)}: {', '.join(i.name for i in inputs)}",
                got=str(len(data)),
            )
        return {info.name: array for info, array in zip(inputs, data, strict=True)}
    if len(inputs) != 1:
        raise OptionError(
            f"One array in {what}, but the model has {len(inputs)} inputs.",
            expected=f"a mapping or a tuple for {', '.join(i.name for i in inputs)}",
            got=type(data).__name__,
        )
    return {inputs[0].name: data}


def _by_mapping(data: Mapping[Any, Any], inputs: Sequence[TensorInfo], what: str) -> dict[str, Any]:
    # A name counts for more than another input's alias.
    names = {i.alias: i.name for i in inputs if i.alias is not None} | {i.name: i.name for i in inputs}
    unknown = [str(key) for key in data if key not in names]
    if unknown:
        raise OptionError(
            f"{what} has a name that the model does not know.",
            where=unknown[0],
            hint=did_you_mean(unknown[0], [info.name for info in inputs]),
        )
    named = {names[key]: array for key, array in data.items()}
    missing = [info.name for info in inputs if info.name not in named]
    if missing:
        raise OptionError(f"{what} lacks an array for an input.", where=missing[0], got=", ".join(map(str, data)))
    return named


def _fit(data: Any, info: TensorInfo, what: str) -> Array:
    array = np.asarray(data)
    if array.dtype == object or array.dtype.kind in "SUmM":
        raise OptionError(f"{what} is no array of numbers.", where=f"input {info.name!r}", expected=info.text)
    fits = array.ndim == len(info.shape) and all(
        size is None or size == got for size, got in list(zip(info.shape, array.shape, strict=True))[1:]
    )
    if not fits:
        raise OptionError(
            f"{what} has an array of the wrong shape.",
            where=f"input {info.name!r}",
            expected=info.text,
            got=str(array.shape),
            hint="the first axis holds the samples: add one with array[None] for a single sample"
            if array.ndim == len(info.shape) - 1
            else None,
        )
    return _cast(array, info, what)


def _cast(array: Array, info: TensorInfo, what: str) -> Array:
    if info.quantization is not None:
        return array if array.dtype == info.dtype else array.astype(np.float32)
    target = np.dtype("float32" if info.dtype == "bfloat16" else info.dtype)
    if array.dtype == target:
        return array
    cast = array.astype(target)
    if target.kind in "iub" and not np.array_equal(cast, array):
        raise OptionError(
            f"{what} has values that the input cannot hold.",
            where=f"input {info.name!r}",
            expected=info.text,
            got=f"{array.dtype} values from {array.min()} to {array.max()}",
            hint=f"give {target} values as the model is fed, neither scaled nor shifted",
        )
    return cast


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Make names unique, in order: a repeated ``y`` becomes ``y_1``, ``y_2``.

    Args:
        names: The names wanted.
        taken: Names that may not be used.
    """
    used = set(taken)
    result = []
    for name in names:
        candidate, number = name, 0
        while candidate in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        result.append(candidate)
    return result
