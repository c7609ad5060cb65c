"""The operands of calls that are recorded while code is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from kerasurgeon.ir.structure import leaves
from kerasurgeon.keras_io.inlining import is_sparse
from kerasurgeon.keras_io.open_redirects import Training, takes_training
from kerasurgeon.keras_io.open_sizes import UntraceableError


def operand_leaves(node: Any) -> Iterator[Any]:
    """Whatever a call is made on, of an op its options too."""
    yield from leaves((node.arguments.args, node.arguments.kwargs))
    if not isinstance(node.operation, keras.Layer):
        yield from leaves(tuple(value for name, value in vars(node.operation).items() if not name.startswith("_")))


def is_symbolic(leaf: Any) -> bool:
    """Whether it is a tensor of Keras' graphs."""
    return isinstance(leaf, keras.KerasTensor)


def input_like(tensor: Any, name: str, size: int | None = None) -> Any:
    """An input that stands for a tensor.

    Args:
        tensor: The tensor.
        name: What the input is called.
        size: What free sizes but the batch's are taken for; ``None`` for what they are.
    """
    shape = [size if axis and own is None else own for axis, own in enumerate(tensor.shape)]
    return keras.Input(batch_shape=shape, dtype=tensor.dtype, sparse=is_sparse(tensor), name=name)


def without_training(layer: Any, kwargs: Any) -> dict[str, Any]:
    """The keyword operands without ``training``, which may not be true."""
    if takes_training(layer) and kwargs.get("training") not in (None, False):
        raise UntraceableError("it is called with training=True")
    return {name: value for name, value in kwargs.items() if name != "training"}


def without_defaults(layer: Any, kwargs: Any) -> dict[str, Any]:
    """The keyword operands without ``training``, and without ``None`` where that is so anyway."""
    parameters = layer._call_signature.parameters
    return {
        name: value
        for name, value in kwargs.items()
        if not isinstance(value, Training)
        and not (value is None and name in parameters and parameters[name].default is None)
    }


def built_for_others(layer: Any, args: Any) -> bool:
    """Whether a layer is a row of layers that was built for sizes which the operand does not have.

    Keras lets that pass where it runs the code of the layer around it, and not where it calls the row by itself.
    """
    if not isinstance(layer, keras.Sequential) or not layer.built or len(args) != 1 or not is_symbolic(args[0]):
        return False
    sizes, has = tuple(layer.inputs[0].shape), tuple(args[0].shape)
    return len(sizes) == len(has) and any(
        None not in pair and pair[0] != pair[1] for pair in zip(sizes, has, strict=True)
    )


__all__ = [
    "built_for_others",
    "input_like",
    "is_symbolic",
    "operand_leaves",
    "without_defaults",
    "without_training",
]
