"""Trace a Keras model into one TensorFlow function, for inference and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.signature import pack_inputs
from kerasurgeon.exporting.tensors import TensorInfo
from kerasurgeon.quiet import require


def tensorflow(needed_for: str, extra: str) -> Any:
    """Import TensorFlow and check that Keras runs on it.

    Args:
        needed_for: What it is needed for, as a noun phrase.
        extra: The extra of kerasurgeon that brings it.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        ExportError: Keras uses another backend.
    """
    module = require("tensorflow", package="tensorflow", extra=extra, needed_for=needed_for)
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"{needed_for} traces the model with TensorFlow.",
            expected="the Keras backend 'tensorflow'",
            got=f"the Keras backend {keras.backend.backend()!r}",
            hint="save the model as .keras, then export it with KERAS_BACKEND=tensorflow set",
        )
    return module


def input_name(index: int) -> str:
    """The traced function's own name for an input: always legal, whatever Keras calls it."""
    return f"in_{index:05d}"


def output_name(index: int) -> str:
    """The traced function's own name for an output. TensorFlow sorts outputs by name: as their numbers, then."""
    return f"out_{index:05d}"


def weight_name(index: int) -> str:
    """The traced function's own name for a weight that stays an input."""
    return f"weight_{index}"


def trace(
    model: keras.Model,
    infos: Sequence[TensorInfo],
    *,
    batch_size: int | None,
    weights: Sequence[Any] = (),
) -> Any:
    """Trace a model as it computes when it predicts.

    Args:
        model: The model.
        infos: Its inputs.
        batch_size: The size of the batch axis; None leaves it free.
        weights: Keras variables that become inputs of the function, after the model's own.

    Returns:
        A ``tf.ConcreteFunction`` from the inputs (named by `input_name`) and the weights (`weight_name`) to
        a dict of the outputs (`output_name`).
    """
    import tensorflow as tf

    specs = [
        tf.TensorSpec((batch_size if info.shape[0] is None else info.shape[0], *info.shape[1:]), info.dtype, name)
        for info, name in zip(infos, map(input_name, range(len(infos))), strict=True)
    ]
    specs += [
        tf.TensorSpec(tuple(weight.shape), weight.dtype, weight_name(index)) for index, weight in enumerate(weights)
    ]

    # AutoGraph would compile the model's Python once more; Keras layers do not need it.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow is not typed
    def predict(*arguments: Any) -> Mapping[str, Any]:
        inputs, values = arguments[: len(infos)], arguments[len(infos) :]
        with _values(weights, values):
            # training=False must be said: some layers (RandomFlip) train by default.
            outputs = model(pack_inputs(model, inputs), training=False)
        flat = keras.tree.flatten(outputs)
        # The identity gives each output a tensor of its own, also where two are the same or one is an input.
        return {output_name(index): tf.identity(value) for index, value in enumerate(flat)}

    return predict.get_concrete_function(*specs)


@contextmanager
def _values(weights: Sequence[Any], values: Sequence[Any]) -> Iterator[None]:
    # Within the scope a layer that keeps state (a stateful RNN) changes its copy of it, not the model's.
    with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
        yield


def freeze(function: Any) -> Any:
    """Turn the variables that a function reads into constants.

    Args:
        function: A ``tf.ConcreteFunction``.

    Returns:
        A ``tf.ConcreteFunction`` without variables.
    """
    from tensorflow.python.framework import convert_to_constants

    # Loops must stay loops: tf2onnx finds recurrent layers by them.
    return convert_to_constants.convert_variables_to_constants_v2(
        function, lower_control_flow=False, aggressive_inlining=True
    )
