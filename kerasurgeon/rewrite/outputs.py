"""Compare what two models compute on the same seeded inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import CannotRunError, NoInputsError, VerificationError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.batches import few_inputs
from kerasurgeon.keras_io.emit import brief_model
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.samples import has_open_sizes, likely_shapes, problem_of, sample_inputs, sizes_inside

Arrays = list[np.ndarray[Any, Any]]
_TRIES = 4

CONSTANT_OUTPUTS = (
    "the model gives the same outputs for every sample input, so that comparing them proves little; "
    "are its weights trained?"
)

# Rounding differs by this much where half precision stands in for float32; relative to float32's tolerance.
_COARSER = {"bfloat16": 800.0, "float16": 100.0}


def run_model(model: keras.Model, inputs: Any) -> Arrays:
    """A model's outputs in inference, flattened, as float64 arrays where they are floats.

    Raises:
        CannotRunError: This machine cannot run the model.
        VerificationError: It cannot be run on these inputs.
    """
    try:
        with on_this_machine(f"model {model.name!r}"):
            outputs = keras.tree.flatten(model(inputs, training=False))
    except CannotRunError:
        raise
    except Exception as error:
        raise VerificationError(
            f"Model {model.name!r} cannot be run to compare its outputs.",
            got=f"{type(error).__name__}: {str(error).strip()[:400]}",
            hint="verify='types' checks shapes and dtypes without running it",
        ) from error
    arrays = [np.asarray(keras.ops.convert_to_numpy(output)) for output in outputs]
    return [array.astype("float64") if _is_float(array) else array for array in arrays]


def first_run(
    graph: Graph, model: keras.Model, run: Callable[[keras.Model, Any], Arrays], *, seed: int = 0, data: Any = None
) -> tuple[Any, Arrays]:
    """Find inputs that a model can be run on: two samples of the data if there is any, else seeded ones.

    Args:
        graph: The graph of the model.
        model: The model.
        run: Runs it, as ``run_model``.
        seed: Same seed, same inputs.
        data: Calibration data, or ``None``.

    Returns:
        The inputs, and what the model gives.

    Raises:
        CannotRunError: This machine cannot run the model.
        NoInputsError: It runs on none of the inputs that were tried.
    """
    problem: VerificationError | None = None
    for inputs in _candidates(graph, model, seed, data):
        try:
            return inputs, run(model, inputs)
        except VerificationError as error:
            problem = error
    assert problem is not None
    raise NoInputsError(
        f"no inputs were found that model {model.name!r} runs on",
        got=problem.got,
        hint="give data= that it is meant for",
    ) from problem


def _candidates(graph: Graph, model: keras.Model, seed: int, data: Any) -> Iterator[Any]:
    few = few_inputs(graph, data, 2)
    if few is not None:
        arrays = iter(few)
        yield map_leaves(lambda leaf: next(arrays) if isinstance(leaf, Value) else leaf, graph.inputs)
    yield sample_inputs(graph, seed=seed)
    shapes = [graph.spec(value).shape for value in values_in(graph.inputs)]
    if has_open_sizes(shapes):
        for sizes in islice(likely_shapes(shapes, problem_of(model), also=sizes_inside(graph)), _TRIES):
            yield sample_inputs(graph, seed=seed, shapes=sizes)


def relative_difference(before: Arrays, after: Arrays) -> float:
    """Largest absolute difference over all outputs, each relative to the largest magnitude of that output before."""
    if len(before) != len(after):
        return float("inf")
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        if one.shape != other.shape:
            return float("inf")
        if not _is_float(one):
            worst = max(worst, float(not np.array_equal(one, other)))
            continue
        finite = np.isfinite(one)
        if not np.all(np.isfinite(other[finite])) or not np.array_equal(one[~finite], other[~finite], equal_nan=True):
            return float("inf")
        scale = float(np.max(np.abs(one[finite]), initial=0.0)) or 1.0
        worst = max(worst, float(np.max(np.abs(one[finite] - other[finite]), initial=0.0)) / scale)
    return worst


def differ_between_samples(outputs: Arrays) -> bool:
    """Whether any output differs from one sample of the batch to the next by more than rounding."""
    for output in outputs:
        if output.ndim == 0 or len(output) < 2:
            return True  # nothing to tell it by
        if not _is_float(output):
            if not np.array_equal(output[:1], output[1:2]):
                return True
        elif np.max(np.abs(output[0] - output[1]), initial=0.0) > 1e-6 * np.max(np.abs(output), initial=0.0):
            return True
    return False


def tolerance(graph: Graph, rtol: float) -> float:
    """``rtol`` as it applies to a graph: coarser where layers compute in half precision."""
    dtypes = {spec.dtype for node in graph.nodes() for spec in node.outputs}
    return rtol * max((_COARSER.get(dtype, 1.0) for dtype in dtypes), default=1.0)


def rounding_sensitivity(graph: Graph, inputs: Any, outputs: Arrays, *, seed: int = 0) -> float:
    """How far a model's outputs move when each weight moves by one unit in the last place, up or down at random.

    A pass that computes new weights rounds them at least once. No exactness beyond this can be asked of it: deep
    networks, untrained ones above all, blow such differences up by factors of thousands.

    Args:
        graph: The model before the pass; it is only read.
        inputs: What it is run on.
        outputs: What it gives there.
        seed: Seed of the directions.
    """
    generator = np.random.default_rng(seed)
    moved = graph.copy()
    for key, layer in graph.layers.items():
        arrays = {
            path: np.nextafter(
                weight.array, generator.choice([-np.inf, np.inf], weight.shape).astype(weight.array.dtype)
            )
            for path, weight in layer.weights.items()
            if weight.array.dtype.kind == "f"
        }
        if arrays:
            moved.update_layer(key, layer.with_weights(**arrays))
    with brief_model(moved) as model:
        return relative_difference(outputs, run_model(model, inputs))


def require_finite(weights: Mapping[str, Any]) -> None:
    """Refuse weights that hold NaN or infinity.

    Args:
        weights: Layers by key, as ``graph.layers`` gives them.

    Raises:
        VerificationError: A weight is not finite; the message names the first few.
    """
    bad = [
        f"{key}.{path}"
        for key, layer in weights.items()
        for path, weight in layer.weights.items()
        if _is_float(weight.array) and not _all_finite(weight.array)
    ]
    if bad:
        raise VerificationError(
            f"The model has weights that are NaN or infinite: {len(bad)} of them.",
            where=", ".join(bad[:5]),
            hint="train it to finite weights first; no output can be compared with these",
        )


def _all_finite(array: np.ndarray[Any, Any]) -> bool:
    with np.errstate(invalid="ignore"):  # infinities that cancel
        total = np.sum(array, dtype="float64")
    return bool(np.isfinite(total)) or bool(np.all(np.isfinite(array.astype("float64"))))


def _is_float(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind == "f" or str(array.dtype) == "bfloat16"


__all__ = [
    "CONSTANT_OUTPUTS",
    "differ_between_samples",
    "first_run",
    "relative_difference",
    "require_finite",
    "rounding_sensitivity",
    "run_model",
    "sample_inputs",
    "tolerance",
]
