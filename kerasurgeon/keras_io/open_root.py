"""A subclassed model as a graph: its ``call`` is run on symbolic tensors, as that of a layer inside a model is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import LiftError
from kerasurgeon.ir.structure import leaf_paths, map_leaves
from kerasurgeon.keras_io.internals import build_record, flatten_layers, functional_graph
from kerasurgeon.keras_io.open_lifting import Openings, reason
from kerasurgeon.keras_io.open_sizes import UntraceableError
from kerasurgeon.keras_io.open_walking import Walked


def functional_of(model: Any) -> Any:
    """The functional graph of a model; ``None`` of a subclassed one."""
    if not isinstance(model, keras.Model):
        raise LiftError(
            f"{type(model).__name__!r} object is not a Keras model.",
            expected="a keras.Model",
            got=repr(model)[:200],
            hint="load a file with keras.saving.load_model(path) first" if isinstance(model, (str, bytes)) else None,
        )
    functional = functional_graph(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise LiftError(
            f"Sequential model {model.name!r} is not built.",
            expected="known input shapes",
            hint="add keras.Input(shape) as its first layer, or call model.build(input_shape)",
        )
    return functional


def root_graph(model: Any, inputs: Any, openings: Openings) -> Walked:
    """What a subclassed model does.

    Args:
        model: The model, built.
        inputs: Inputs of it, or ``keras.Input`` tensors, nested as it takes them; ``None`` for what it was built with.
        openings: The openings of this lift.

    Raises:
        LiftError: It cannot be told.
    """
    what = f"Model {model.name!r} ({type(model).__name__}) is a subclassed model: its call() is Python code"
    if openings.mode == "none":
        raise LiftError(f"{what}, so there is no graph to lift.", hint='lift with open="auto"')
    missing = [layer.name for layer in flatten_layers(model) if not layer.built and layer is not model]
    if not model.built or missing:
        raise LiftError(
            f"{what}, and it has no weights yet.",
            expected="a model that was built",
            got=f"layers that were not: {', '.join(missing)[:200]}" if missing else None,
            hint="call it once on a batch of data first; a layer that its call() does not use may be taken out",
        )
    problem: Exception | None = None
    for tensors in _tensors(model, inputs, what):
        node = SimpleNamespace(arguments=SimpleNamespace(args=(tensors,), kwargs={}), outputs=None)
        try:
            traced = openings.opener.trace(model, node)
        except UntraceableError as error:
            problem = problem or error
            continue
        walked: Walked = traced.function
        for path, slot in leaf_paths(traced.operands[0][0]):
            name = "_".join(["input", *map(str, path)]) if not path or isinstance(path[-1], int) else str(path[-1])
            walked.inputs[slot.index]._keras_history.operation.name = name
        walked.nest_inputs(traced.operands[0][0])
        return walked
    assert isinstance(problem, UntraceableError)
    raise LiftError(
        f"{what} that cannot be told as layers and ops.",
        where=problem.where,
        got=reason(problem),
        hint="let call() use layers and keras.ops only, and leave what else it does to the caller; if its inputs are "
        "not those that it was built with, say them: lift(model, inputs=batch)",
    )


def _tensors(model: Any, inputs: Any, what: str) -> list[Any]:
    """Symbolic inputs: as given, or of the shapes that the model was built with, of numbers or else of integers."""
    if inputs is not None:
        return [map_leaves(_symbolic, inputs)]
    record = build_record(model)
    shapes = None if record is None else next(iter(record.values()), None)
    if not shapes or (record is not None and len(record) > 1):
        raise LiftError(
            f"{what}, and it does not say what inputs it takes.",
            expected="inputs of known shapes and dtypes",
            hint="lift(model, inputs=batch) with a batch of data or keras.Input tensors",
        )
    return [_of_shapes(shapes, dtype) for dtype in (model.input_dtype or keras.config.floatx(), "int32")]


def _of_shapes(shapes: Any, dtype: str) -> Any:
    if isinstance(shapes, dict):
        return {key: _of_shapes(shape, dtype) for key, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return keras.KerasTensor((None, *shapes[1:]), dtype=dtype)
    return [_of_shapes(shape, dtype) for shape in shapes]


def _symbolic(leaf: Any) -> Any:
    if isinstance(leaf, keras.KerasTensor):
        return keras.KerasTensor(leaf.shape, dtype=leaf.dtype, sparse=bool(leaf.sparse))
    leaf = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)
    if not len(leaf.shape):
        raise LiftError(
            "An input of the model has no batch axis.",
            where="inputs",
            got=repr(leaf)[:100],
            hint="lists, tuples and dicts are taken for several inputs: give arrays, numpy.asarray(...)",
        )
    try:
        dtype = keras.backend.standardize_dtype(leaf.dtype)
    except ValueError:
        raise LiftError(
            "An input of the model is not of numbers.",
            where="inputs",
            expected="arrays of numbers",
            got=str(leaf.dtype),
        ) from None
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype="float32" if dtype == "float64" else dtype)


__all__ = ["functional_of", "root_graph"]
