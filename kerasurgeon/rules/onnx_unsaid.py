"""What Keras gives a layer of which a model's graph says nothing: masks, and states kept from call to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io.internals import flatten_layers
from kerasurgeon.rules.call import CannotTell, array_spec
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_masks import unrecorded
from kerasurgeon.rules.onnx_parts import Array, Tensor


def preparation(model: Any) -> Callable[[OnnxCall], None]:
    """What prepares the calls of a model for being written.

    Those whose mask is not in the graph are refused. A layer that keeps its state is given the state that it has now
    as the one it begins with: a file keeps nothing, so that each of its runs begins there.
    """
    masked, states = unrecorded(model), states_of(model)

    def prepare(call: OnnxCall) -> None:
        if call.layer.name in masked:
            raise CannotTell("Keras gives it a mask that its graph does not hold; pass the mask to its call")
        if call.layer.name in states and call.operand(1, "initial_state") is None:
            given = [Tensor(array_spec(array), array) for array in states[call.layer.name]]
            if len(call.args) > 1:
                call.args = (call.args[0], given, *call.args[2:])
            else:
                call.kwargs = {**call.kwargs, "initial_state": given}

    return prepare


def states_of(model: Any) -> Mapping[str, list[Array]]:
    """The states that layers keep from call to call, as they are now, by the layer's name."""
    found: dict[str, list[Array]] = {}
    for layer in flatten_layers(model):
        if getattr(layer, "stateful", False) and not isinstance(layer, keras.Model):
            kept = [leaf for leaf in leaves(getattr(layer, "states", None)) if hasattr(leaf, "shape")]
            if kept:
                found[layer.name] = [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in kept]
    return found
