"""TensorFlow functions that Keras 2 recorded as layers, as ops of Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

# The names under which TensorFlow's functions have their operands.
_OPERANDS = ("x", "y", "a", "b", "inputs", "values")


def _same(op: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """An op that takes what the function of TensorFlow takes."""
    return lambda *given, **options: op(*given, **fixed, **options)


def _reduced(op: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, axis: Any = None, keepdims: bool = False, keep_dims: bool | None = None) -> Any:
        return op(x, axis=_axes(axis), keepdims=bool(keepdims or keep_dims))

    return reduced


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, (list, tuple)) else axis


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    return ops.matmul(*(ops.swapaxes(x, -1, -2) if turned else x for x, turned in ((a, transpose_a), (b, transpose_b))))


def _resize(x: Any, size: Any, method: str = "bilinear", antialias: bool = False) -> Any:
    return ops.image.resize(x, tuple(size), interpolation=method, antialias=antialias, data_format="channels_last")


def _pad(x: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    constant = {"constant_values": constant_values} if mode.upper() == "CONSTANT" else {}
    return ops.pad(x, paddings, mode=mode.lower(), **constant)


def _split(x: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    parts = num_or_size_splits
    return ops.split(x, parts if isinstance(parts, int) else np.cumsum(parts)[:-1].tolist(), axis=axis)


def _sliced(x: Any, slice_spec: Any) -> Any:
    def part(entry: Any) -> Any:
        if isinstance(entry, dict):
            return Ellipsis if "start" not in entry else slice(entry["start"], entry["stop"], entry["step"])
        return entry

    return x[tuple(part(entry) for entry in slice_spec)] if isinstance(slice_spec, list) else x[part(slice_spec)]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"{home}.add": _same(ops.add) for home in ("math", "__operators__")},
    "math.add_n": lambda inputs: sum(inputs[1:], inputs[0]),
    "math.multiply": _same(ops.multiply),
    "math.subtract": _same(ops.subtract),
    **{f"math.{name}": _same(ops.divide) for name in ("truediv", "divide")},
    **{f"{name}": _same(ops.power) for name in ("math.pow", "pow")},
    **{f"math.{name}": _same(getattr(ops, name)) for name in ("maximum", "minimum")},
    **{
        f"math.{name}": _same(getattr(ops, name))
        for name in ("sqrt", "rsqrt", "exp", "log", "square", "abs", "negative", "sign", "sin", "cos", "floor", "tanh")
    },
    **{f"{home}.{name}": _same(getattr(ops, name)) for home in ("math", "nn") for name in ("sigmoid", "softplus")},
    **{f"nn.{name}": _same(getattr(ops, name)) for name in ("relu", "relu6", "elu", "selu", "tanh", "silu")},
    **{f"{home}.softmax": _same(ops.softmax) for home in ("math", "nn")},
    "nn.swish": _same(ops.silu),
    "nn.gelu": lambda x, approximate=False: ops.gelu(x, approximate=approximate),
    "nn.leaky_relu": lambda x, alpha=0.2: ops.leaky_relu(x, negative_slope=alpha),
    **{f"math.reduce_{name}": _reduced(getattr(ops, name)) for name in ("mean", "sum", "max", "min", "prod")},
    **{
        f"{home}.l2_normalize": lambda x, axis=None, epsilon=1e-12: ops.divide(
            x, ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=_axes(axis), keepdims=True), epsilon))
        )
        for home in ("math", "nn", "linalg")
    },
    "linalg.matmul": _matmul,
    "concat": lambda values, axis: ops.concatenate(values, axis=axis),
    "stack": lambda values, axis=0: ops.stack(values, axis=axis),
    "split": _split,
    "reshape": lambda x, shape: ops.reshape(x, tuple(shape)),
    **{f"{home}transpose": lambda x, perm=None: ops.transpose(x, perm) for home in ("", "compat.v1.")},
    "expand_dims": lambda x, axis: ops.expand_dims(x, axis),
    **{f"{home}squeeze": lambda x, axis=None: ops.squeeze(x, _axes(axis)) for home in ("", "compat.v1.")},
    "tile": lambda x, multiples: ops.tile(x, tuple(multiples)),
    **{f"{home}pad": _pad for home in ("", "compat.v1.")},
    "cast": lambda x, dtype: ops.cast(x, dtype),
    "clip_by_value": lambda x, clip_value_min, clip_value_max: ops.clip(x, clip_value_min, clip_value_max),
    "identity": lambda x: x,
    "convert_to_tensor": lambda x, dtype=None: x,
    "stop_gradient": _same(ops.stop_gradient),
    "zeros_like": _same(ops.zeros_like),
    "ones_like": _same(ops.ones_like),
    **{f"image.{name}": _resize for name in ("resize", "resize_v2")},
    "__operators__.getitem": _sliced,
}


def apply_function(name: str, first: Any, options: dict[str, Any]) -> Any:
    """What a function of TensorFlow makes of tensors.

    Args:
        name: Its path below ``tensorflow``, as in ``"math.multiply"``.
        first: Its first operand.
        options: The others, by the names that TensorFlow gives them.

    Raises:
        LookupError: The function is not known here.
        TypeError: It is, but not with these options.
    """
    if name not in _FUNCTIONS:
        raise LookupError(name)
    given = {key: value for key, value in options.items() if key != "name"}
    operands = [first]
    while given and next(iter(given)) in _OPERANDS:
        operands.append(given.pop(next(iter(given))))
    operands = [_operand(each) for each in operands]
    return _FUNCTIONS[name](*operands, **{key: value for key, value in given.items() if value is not None})


def _operand(value: Any) -> Any:
    """An operand as it is, a constant in lists as an array."""
    flat: list[Any] = [value]
    while flat and isinstance(flat[0], list):
        flat = flat[0]
    constant = isinstance(value, list) and flat and isinstance(flat[0], (int, float))
    return np.asarray(value, "float32") if constant else value


__all__ = ["apply_function"]
