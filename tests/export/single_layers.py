"""Small models written to ONNX and compared with Keras on ONNX Runtime, many in one process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from kerasurgeon.exporting.onnx_writer import write_onnx
from kerasurgeon.exporting.signature import input_infos, output_infos

onnxruntime.set_default_logger_severity(3)


@dataclass(frozen=True)
class In:
    """An input: its shape without the batch, its dtype, and the range its values are drawn from."""

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    low: float = -2.0
    high: float = 2.0
    values: Any = None

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Values; an unknown size is 5."""
        shape = (batch, *(5 if size is None else size for size in self.shape))
        if self.values is not None:
            return rng.choice(np.asarray(self.values), shape).astype(self.dtype)
        if self.dtype == "bool":
            return rng.random(shape) < 0.6
        if "int" in self.dtype:
            return rng.integers(int(self.low), int(self.high), shape).astype(self.dtype)
        return rng.uniform(self.low, self.high, shape).astype(self.dtype)


IMAGE = (In((4, 5, 3)),)
SEQUENCE = (In((6, 4)),)
VECTOR = (In((6,)),)


@dataclass(frozen=True)
class Case:
    """A model to be written.

    Attributes:
        name: What it is called.
        make: From Keras tensors to outputs.
        inputs: The inputs.
        rtol: The largest difference that is allowed, by the largest magnitude of an output.
        reference: Whether ONNX's own evaluator is asked too.
        fixed: Whether the batch is part of what is written: 2 samples.
    """

    name: str
    make: Callable[..., Any]
    inputs: Sequence[In] = IMAGE
    rtol: float = 1e-5
    opset: int = 17
    reference: bool = True
    turned: bool = field(default=False)
    fixed: bool = False

    def __str__(self) -> str:
        return self.name + (" turned" if self.turned else "")


def both(name: str, make: Callable[..., Any], inputs: Sequence[In] = IMAGE, **options: Any) -> list[Case]:
    """A case with operands as they come, and one with operands that lie channels first."""
    return [Case(name, make, inputs, **options), Case(name, make, inputs, turned=True, **options)]


def together(functions: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Several functions of the same operands in one model: what each gives has its name in messages."""
    return lambda *operands: {name: function(*operands) for name, function in functions.items()}


def turn(x: Any) -> Any:
    """The same tensor from a convolution, after which it lies channels first."""
    if len(x.shape) not in (3, 4, 5) or x.dtype != "float32" or x.shape[-1] is None:
        return x
    rank, channels = len(x.shape) - 2, x.shape[-1]
    layer = getattr(keras.layers, f"Conv{rank}D")(channels, 1, use_bias=False)
    y = layer(x)
    layer.set_weights([np.eye(channels, dtype="float32").reshape((1,) * rank + (channels, channels))])
    return y


def model_of(case: Case) -> keras.Model:
    """The model of a case, made once, with weights that are not what they start as."""
    if id(case) not in _MADE:
        _MADE[id(case)] = case, _made(case)
    return _MADE[id(case)][1]


_NAMES: dict[int, list[str]] = {}
_MADE: dict[int, tuple[Case, keras.Model]] = {}


def _made(case: Case) -> keras.Model:
    keras.utils.set_random_seed(7)
    batch = 2 if case.fixed else None
    inputs = [keras.Input(batch_shape=(batch, *each.shape), dtype=each.dtype) for each in case.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that are lost, of shapes that make no sense
        outputs = case.make(*([turn(x) for x in inputs] if case.turned else inputs))
    if isinstance(outputs, Mapping):
        outputs = {
            f"{name} {index}": each
            for name, own in outputs.items()
            for index, each in enumerate(keras.tree.flatten(own))
        }
        _NAMES[id(case)] = list(outputs)
        outputs = list(outputs.values())
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(3)
    for layer in model.layers:
        for weight in layer.weights:
            array = np.asarray(weight)
            if array.dtype.kind == "f" and ("bias" in weight.path or len(set(array.ravel().tolist())) == 1):
                variance = "variance" in weight.path
                weight.assign(array + rng.uniform(0.1 if variance else -0.5, 0.5, array.shape).astype(array.dtype))
    return model


def written(model: keras.Model, opset: int = 17, batch: int | None = None) -> onnx.ModelProto:
    """The ONNX model, checked."""
    proto = write_onnx(model, input_infos(model), output_infos(model), batch_size=batch, opset=opset).whole()
    onnx.checker.check_model(proto, full_check=True)
    return proto


def check(case: Case) -> keras.Model:
    """Write a case and compare; returns the model."""
    model = model_of(case)
    proto = written(model, case.opset, 2 if case.fixed else None)
    rng = np.random.default_rng(11)
    feeds = [each.draw(rng, 2 if case.fixed else 3) for each in case.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model(feeds if len(feeds) > 1 else feeds[0], training=False)
    expected = [np.asarray(keras.ops.convert_to_numpy(each)) for each in keras.tree.flatten(found)]
    named = dict(zip([each.name for each in proto.graph.input], feeds, strict=True))
    raw = proto.SerializeToString()
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        compare(case, f"ONNX Runtime, {level}", expected, session.run(None, named))
    if case.reference:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            compare(case, "the reference", expected, ReferenceEvaluator(proto).run(None, named))
    return model


def compare(case: Case, where: str, expected: Sequence[np.ndarray], got: Sequence[Any]) -> None:
    """Compare outputs: shapes, dtypes, values."""
    assert len(expected) == len(got)
    names = _NAMES.get(id(case), [str(index) for index in range(len(got))])
    for index, one, other in zip(names, expected, got, strict=True):
        other = np.asarray(other)
        assert one.shape == other.shape, f"{where}: output {index} is {other.shape}, not {one.shape}"
        assert one.dtype == other.dtype, f"{where}: output {index} is {other.dtype}, not {one.dtype}"
        if one.dtype.kind in "biu":
            assert np.array_equal(one, other), f"{where}: output {index} differs"
            continue
        one, other = one.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(one)
        assert np.array_equal(one[~finite], other[~finite], equal_nan=True), (
            f"{where}: output {index} is not finite alike"
        )
        scale = max(np.abs(one[finite]).max(initial=0), 1e-30)
        error = np.abs(one[finite] - other[finite]).max(initial=0) / scale
        assert error <= case.rtol, f"{where}: output {index} differs by {error:.1e}"
