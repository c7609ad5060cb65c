"""Functions from outside Keras that layers inside opened ones end in, as ops behind the layers."""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.keras_io.internals import calls_of


def foreign_activation(layer: Any) -> Any:
    """The function that a layer has as its activation, if it is neither Keras' nor a layer; else ``None``."""
    function = getattr(layer, "activation", None)
    if not callable(function) or isinstance(function, keras.Layer):
        return None
    return None if (getattr(function, "__module__", "") or "").partition(".")[0] == "keras" else function


def ends_in(layer: Any, args: Any, kwargs: Any) -> bool:
    """Whether the last that a layer does is to call its activation, once."""
    before, seen = layer.activation, []

    def marker(x: Any) -> Any:
        seen.append(keras.KerasTensor(x.shape, dtype=x.dtype))
        return seen[-1]

    count = len(calls_of(layer))
    vars(layer)["activation"] = marker
    try:
        outputs = layer.call(*args, **kwargs)
    except Exception:  # noqa: BLE001 - it computes with what is not symbolic
        return False
    finally:
        vars(layer)["activation"] = before
    return len(seen) == 1 and outputs is seen[0] and len(calls_of(layer)) == count


__all__ = ["ends_in", "foreign_activation"]
