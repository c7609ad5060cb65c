"""What a Keras model takes and gives: names, shapes, dtypes, and arrays packed as it wants them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.tensors import TensorInfo, unique_names
from kerasurgeon.keras_io import calls_of, flatten_layers, input_structure, operations, output_structure, producer
from kerasurgeon.keras_io.tensors import array_of

# Values that are looked at together.
_BLOCK = 2**20
_LEGAL_SCOPE = re.compile(r"^[A-Za-z0-9_.\-/>]*$")


def check_model(model: Any) -> None:
    """Check that a model has known inputs and outputs and names that a trace can carry.

    Args:
        model: What the user passed as the model.

    Raises:
        ExportError: It is no Keras model, is not built, or is subclassed without a graph of layers.
    """
    if not isinstance(model, keras.Model):
        raise ExportError("Only Keras models can be exported.", expected="keras.Model", got=type(model).__name__)
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        sequential = isinstance(model, keras.Sequential)
        raise ExportError(
            "The model has no known inputs and outputs.",
            where=f"model {model.name!r} ({type(model).__name__})",
            expected="a Functional model, or a Sequential model that is built",
            got="a Sequential model that is not built" if sequential else "a subclassed model",
            hint="start the model with keras.Input(...), or call model.build(shape)"
            if sequential
            else "wrap it: x = keras.Input(shape); keras.Model(x, model(x))",
        )
    for tensor in model.inputs:
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            raise ExportError("Sparse and ragged inputs cannot be exported.", where=f"input {tensor.name!r}")
        if keras.backend.standardize_dtype(tensor.dtype) == "string":
            raise ExportError(
                "Inputs of strings cannot be exported.",
                where=f"input {tensor.name!r}",
                hint="export the part of the model after the text is turned into integers",
            )


def check_scope_names(model: keras.Model) -> None:
    """Check that every layer's name may be a TensorFlow scope: Keras allows more than TensorFlow does.

    Args:
        model: A model that `check_model` accepts.

    Raises:
        ExportError: A layer has a name with a space, a colon or a letter beyond ASCII.
    """
    bad = [
        operation.name
        for operation in operations(model)
        # Input layers are not called in a trace.
        if not isinstance(operation, keras.layers.InputLayer) and not _LEGAL_SCOPE.match(operation.name)
    ]
    if bad:
        raise ExportError(
            "A layer has a name that TensorFlow cannot trace.",
            where=", ".join(repr(name) for name in bad[:5]),
            expected="only letters, digits and . _ - >",
            hint="rename the layer (kerasurgeon's graph has rename), then export",
        )


def input_infos(model: keras.Model) -> tuple[TensorInfo, ...]:
    """A model's inputs in Keras' flat order, named after their input layers.

    Args:
        model: A model that `check_model` accepts.
    """
    tensors = list(model.inputs)
    names = unique_names(_producer(tensor) for tensor in tensors)
    limits = _embedding_limits(model)
    return tuple(
        TensorInfo(
            name,
            tuple(tensor.shape),
            keras.backend.standardize_dtype(tensor.dtype),
            alias=tensor.name if tensor.name != name else None,
            limit=limits.get(id(tensor)),
        )
        for name, tensor in zip(names, tensors, strict=True)
    )


def output_infos(model: keras.Model) -> tuple[TensorInfo, ...]:
    """A model's outputs in Keras' flat order.

    A model that gives a dict names its outputs by the keys, any other by the layers that make them
    (``model.output_names``). Names that repeat, or that an input has, get a number.

    Args:
        model: A model that `check_model` accepts.
    """
    tensors = list(model.outputs)
    structure = output_structure(model)
    if isinstance(structure, dict) and len(structure) == len(tensors):
        # keras.tree flattens a dict by sorted keys.
        wanted = [str(key) for key in sorted(structure)]
    else:
        wanted = list(getattr(model, "output_names", None) or [_producer(tensor) for tensor in tensors])
    names = unique_names(wanted, taken=[info.name for info in input_infos(model)])
    return tuple(
        TensorInfo(name, tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    )


def _producer(tensor: Any) -> str:
    return str(producer(tensor).name)


def _embedding_limits(model: keras.Model) -> dict[int, int]:
    """For each input tensor (by id) that an Embedding reads, the smallest vocabulary among its readers."""
    limits: dict[int, int] = {}
    inputs = {id(tensor) for tensor in model.inputs}
    for operation in operations(model):
        if not isinstance(operation, keras.layers.Embedding):
            continue
        for node in calls_of(operation):
            for tensor in node.input_tensors:
                if id(tensor) in inputs:
                    limits[id(tensor)] = min(operation.input_dim, limits.get(id(tensor), operation.input_dim))
    return limits


def pack_inputs(model: keras.Model, flat: Sequence[Any]) -> Any:
    """Put arrays or tensors in the nesting that the model is called with.

    Args:
        model: A model that `check_model` accepts.
        flat: One per input, in Keras' flat order.
    """
    structure = input_structure(model)
    if structure is None:  # a Sequential model
        structure = model.inputs[0]
    return keras.tree.pack_sequence_as(structure, list(flat))


def check_finite_weights(model: keras.Model) -> None:
    """Check that no weight is NaN or infinite.

    Args:
        model: Any model.

    Raises:
        ExportError: Some are; the first are named.
    """
    bad = []
    for weight in model.weights:
        array = array_of(weight)
        if array.dtype.kind not in "iub" and (count := _not_finite(array)):
            bad.append(f"{weight.path} ({count} of {array.size} values)")
    if bad:
        shown = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more weights" if len(bad) > 3 else "")
        raise ExportError(
            "The model has weights that are NaN or infinite.",
            where=shown,
            hint="load an earlier checkpoint: the training diverged, or a pass made these",
        )


def _not_finite(array: np.ndarray[Any, Any]) -> int:
    """How many values are NaN or infinite, looked at in blocks."""
    flat = array.reshape(-1)
    starts = range(0, flat.size, _BLOCK)
    return flat.size - sum(int(np.isfinite(flat[start : start + _BLOCK]).sum()) for start in starts)


def weight_bytes(model: keras.Model) -> int:
    """The size of all weights as float32, in bytes.

    Args:
        model: Any model.
    """
    return sum(4 * int(np.prod(weight.shape)) for weight in model.weights)


def custom_objects(model: keras.Model) -> dict[str, Any]:
    """The classes and functions of a model that are not Keras' own, by the names that its configuration uses.

    Args:
        model: A Functional or Sequential model.
    """
    found: dict[str, Any] = {}
    for operation in [model, *operations(model), *flatten_layers(model)]:
        held = [value for value in vars(operation).values() if callable(value) and hasattr(value, "__name__")]
        for item in [type(operation), *held]:
            if not str(getattr(item, "__module__", "")).startswith("keras."):
                found[item.__name__] = item
                found[keras.saving.get_registered_name(item)] = item
    return found
