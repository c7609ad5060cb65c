"""Layers that Keras 3 has not, or that compute something else there, as layers that compute what they did.

The hard sigmoid of Keras 2 is ``clip(0.2 x + 0.5, 0, 1)``, that of Keras 3 ``clip(x / 6 + 0.5, 0, 1)``: the latter of
``1.2 x`` is the former. So what makes ``x`` is multiplied by 1.2. It was the default of recurrent gates up to 2.2.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import ModelFileError
from kerasurgeon.keras_io.internals import flatten_layers

SCALE = 1.2
CHANGED = "since the hard sigmoid of Keras 3 is another function"

# Classes by what Keras 2 called them: what stands for them, with what options.
INSTEAD: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "BatchNormalizationV1": (keras.layers.BatchNormalization, {}),
    "BatchNormalizationV2": (keras.layers.BatchNormalization, {}),
    "SyncBatchNormalization": (keras.layers.BatchNormalization, {"synchronized": True}),
    "ThresholdedReLU": (keras.layers.ReLU, {}),
    "CuDNNLSTM": (keras.layers.LSTM, {}),
    "CuDNNGRU": (keras.layers.GRU, {"reset_after": True}),
}
# How many gates the kernels of layers of cuDNN hold.
GATES = {"CuDNNLSTM": 4, "CuDNNGRU": 3}


def from_cudnn(array: Any, weight: str, gates: int) -> Any:
    """An array of a layer of cuDNN, which kept kernels transposed and two biases, as Keras' own layers have it.

    Args:
        array: The array.
        weight: What it is: ``"kernel"``, ``"recurrent_kernel"`` or ``"bias"``.
        gates: How many gates it holds along its last axis.
    """
    if weight == "bias":
        halves = array.reshape(2, -1)
        return halves.sum(axis=0) if gates == GATES["CuDNNLSTM"] else halves
    blocks = np.split(array, gates, axis=-1)
    return np.concatenate([block.reshape(block.shape[::-1]).T for block in blocks], axis=-1)


def scale_hard_sigmoids(model: Any, where: str, changes: list[str]) -> None:
    """Scale what enters hard sigmoids, in the weights of a model that holds those of Keras 2.

    Args:
        model: The model; changed in place.
        where: The file, for errors.
        changes: What was done is added to it.

    Raises:
        ModelFileError: A layer uses one where nothing can be scaled.
    """
    old = keras.activations.hard_sigmoid
    names_of: dict[int, str] = {}  # of cells, by the layers around them
    for layer in flatten_layers(model):
        variables = {variable.name: variable for variable in layer.variables}
        gates, product = getattr(layer, "recurrent_activation", None), getattr(layer, "activation", None)
        cell = getattr(layer, "cell", None)
        if cell is not None:
            names_of[id(cell)] = layer.name
        name_of = names_of.get(id(layer), layer.name)
        if cell is not None or isinstance(layer, keras.layers.Activation) or old not in (gates, product):
            continue  # a layer around a cell says what the cell says
        if gates is not None and (product is old or "recurrent_kernel" not in variables):
            raise _refused(name_of, where)
        names = [name for name in ("kernel", "recurrent_kernel", "pointwise_kernel") if name in variables]
        if gates is None and not names:
            raise _refused(name_of, where)
        if "pointwise_kernel" in names:
            names = ["pointwise_kernel"]
        for name in [*names, *(["bias"] if "bias" in variables else [])]:
            array = np.array(variables[name])
            variables[name].assign(array * _scales(array, variables, gates))
        changes.append(f"layer {name_of!r}: weights times {SCALE}, {CHANGED}")


def _scales(array: Any, variables: dict[str, Any], gates: Any) -> Any:
    if gates is None:
        return SCALE
    recurrent = variables["recurrent_kernel"].shape
    number = recurrent[-1] // recurrent[-2]
    # Of four gates the third, and of three the last, is the candidate, which has the other activation.
    scales = np.full(number, SCALE, "float32")
    scales[2] = 1.0
    return np.repeat(scales, array.shape[-1] // number).astype(array.dtype)


def _refused(layer: str, where: str) -> ModelFileError:
    return ModelFileError(
        f"Layer {layer!r} uses the hard sigmoid of Keras 2 where Keras 3 has no equal.",
        where=where,
        got="activation='hard_sigmoid'",
        hint="train it again with another activation",
    )


__all__ = ["CHANGED", "GATES", "INSTEAD", "SCALE", "from_cudnn", "scale_hard_sigmoids"]
