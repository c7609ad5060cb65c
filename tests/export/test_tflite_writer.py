"""TFLite files written from the graph: right, small, named as in Keras. The oracle is the runtime, called directly."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.graph_writing import CannotWrite
from kerasurgeon.exporting.signature import input_infos, output_infos
from kerasurgeon.exporting.tflite_writer import write_tflite
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import FoldBatchNorm, PruneChannels
from kerasurgeon.rewrite.outputs import rounding_sensitivity
from kerasurgeon.rules import Rule, register_rule, unregister_rule
from tests.applications import application_inputs, shared_application
from tests.export.runtimes import difference, expected
from tests.zoo.sampling import randomise

OPERATORS = {"MobileNetV2": 64, "MobileNetV3Small": 106}
"""How many operators a file may have: as many as TensorFlow's converter gives, or fewer."""


def written(model: keras.Model, *, batch_size: int | None = 1, weights: Any = "float32") -> bytes:
    infos = input_infos(model), output_infos(model)
    return bytes(write_tflite(model, *infos, batch_size=batch_size, weights=weights))


def interpreter(data: bytes, *, plain: bool = False) -> Any:
    """The runtime: as it comes, or without the delegate that fuses operators."""
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    return Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)


def run(data: bytes, *inputs: np.ndarray, plain: bool = False) -> list[np.ndarray]:
    return run_on(interpreter(data, plain=plain), *inputs)


def run_on(runtime: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    for detail, array in zip(runtime.get_input_details(), inputs, strict=True):
        if tuple(detail["shape"]) != array.shape:
            runtime.resize_tensor_input(detail["index"], array.shape, strict=True)
    runtime.allocate_tensors()
    for detail, array in zip(runtime.get_input_details(), inputs, strict=True):
        runtime.set_tensor(detail["index"], array)
    runtime.invoke()
    return [runtime.get_tensor(detail["index"]) for detail in runtime.get_output_details()]


def error(model: keras.Model, data: bytes, *inputs: np.ndarray, plain: bool = False) -> float:
    return difference(expected(model, *inputs), run(data, *inputs, plain=plain))


def operators(data: bytes) -> Counter[str]:
    runtime = interpreter(data, plain=True)
    runtime.allocate_tensors()
    return Counter(entry["op_name"] for entry in runtime._get_ops_details())


@pytest.mark.sweep  # test_pruned_families.py writes some in every run
def test_applications(application: str) -> None:
    model = shared_application(application)
    data = written(model)
    inputs = application_inputs(model, seed=3, batch=1)
    difference = error(model, data, inputs)
    if difference > 1e-5:  # a deep network amplifies rounding: a few times what the last bit of every weight does
        assert difference < 4 * rounding_sensitivity(lift(model), inputs, expected(model, inputs), seed=0)
    found = operators(data)
    assert found["TRANSPOSE"] == 0
    assert sum(found.values()) <= OPERATORS.get(application, sys.maxsize)
    if application == "MobileNetV2":
        assert not set(found) & {"PAD", "MUL", "RELU6", "RESHAPE"}


def test_after_surgery() -> None:
    model = ks.apply_passes(shared_application("MobileNetV2"), [FoldBatchNorm(), PruneChannels(ratio=0.3)])
    data = written(model)
    assert error(model, data, application_inputs(model, seed=3, batch=1)) < 2e-5
    assert not set(operators(data)) & {"PAD", "MUL", "RELU6", "RESHAPE", "TRANSPOSE"}


def small() -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.LayerNormalization(name="layer_norm")(x)
    x = layers.Dense(5, activation="gelu", name="dense")(x)
    x = layers.MaxPooling2D(name="pool")(layers.ZeroPadding2D(1, name="border")(x))
    x = layers.Dense(4, name="head")(layers.Flatten(name="flat")(x))
    model = keras.Model(image, x)
    randomise(model, 0)
    return model


def images(count: int = 2, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype("float32")


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_batch_sizes(batch_size: int | None) -> None:
    model = small()
    data = written(model, batch_size=batch_size)
    (detail,) = interpreter(data).get_input_details()
    assert detail["shape_signature"][0] == (batch_size or -1)
    for plain in (False, True):
        assert error(model, data, images(batch_size or 5), plain=plain) < 1e-5


def test_tensors_are_called_as_layers_are() -> None:
    runtime = interpreter(written(small()), plain=True)
    runtime.allocate_tensors()
    names = {detail["name"] for detail in runtime.get_tensor_details()}
    assert {"image", "conv", "layer_norm", "dense", "pool", "head", "conv/kernel"} <= names


@pytest.mark.parametrize("writer", ["graph", "converter"])
def test_twelve_outputs_keep_their_names_and_order(tmp_path: Path, writer: Any) -> None:
    x = keras.Input((8,), name="x")
    model = keras.Model(x, [layers.Dense(4, name=f"o{index}")(x) for index in range(12)])
    randomise(model, 0)
    export(model, tmp_path / "model.tflite", writer=writer)
    runtime = Interpreter(str(tmp_path / "model.tflite"))
    vector = np.random.default_rng(0).normal(size=(1, 8)).astype("float32")
    got = runtime.get_signature_runner("serving_default")(x=vector)
    assert [detail["name"] for detail in runtime.get_output_details()] == model.output_names
    for name, wanted in zip(model.output_names, expected(model, vector), strict=True):
        np.testing.assert_allclose(got[name], wanted, rtol=1e-5, atol=1e-6)


def test_outputs_of_all_sorts() -> None:
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    total = layers.Add(name="total")([one, two])
    model = keras.Model(
        {"one": one, "two": two},
        {"b": total, "a": layers.ReLU(name="r")(total), "same": total, "handed": layers.Identity(name="handed")(two)},
    )
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(1, 4)).astype("float32") for name in ("one", "two")}
    got = interpreter(written(model)).get_signature_runner("serving_default")(**feeds)
    for name, wanted in model(feeds).items():
        np.testing.assert_allclose(got[name], np.asarray(wanted), rtol=1e-6)


def test_names_that_tensorflow_refuses(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="ein Bild: größer")
    x = layers.Conv2D(3, 3, name="Faltung Nr. 1")(image)
    model = keras.Model(image, layers.Flatten(name="出力")(x))
    randomise(model, 0)
    report = export(model, tmp_path / "model.tflite")
    runtime = Interpreter(str(tmp_path / "model.tflite"))
    assert runtime.get_signature_list() == {"serving_default": {"inputs": ["ein Bild: größer"], "outputs": ["出力"]}}
    assert report.relative_error < 1e-5


def test_shared_weights_are_written_once() -> None:
    image = keras.Input((8, 8, 3))
    conv, dense = layers.Conv2D(3, 3, padding="same"), layers.Dense(40)
    pooled = layers.GlobalMaxPooling2D()(layers.Add()([conv(image), conv(conv(image))]))
    model = keras.Model(image, layers.Add()([dense(pooled), dense(layers.ReLU()(pooled))]))
    randomise(model, 0)
    data = written(model)
    assert error(model, data, images(1)) < 1e-5
    kernels = [detail for detail in _constants(data) if detail["name"].endswith("kernel")]
    assert len(kernels) == 2


def _constants(data: bytes) -> list[dict[str, Any]]:
    runtime = interpreter(data, plain=True)
    runtime.allocate_tensors()
    return [detail for detail in runtime.get_tensor_details() if detail["dtype"] == np.float32]


def test_buffers_are_aligned() -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = written(small())
    file = schema.Model.GetRootAs(data, 0)
    for index in range(file.BuffersLength()):
        buffer = file.Buffers(index)
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("sides", [0, 1, 2, ((0, 1), (0, 1)), ((1, 0), (2, 1))])
def test_zeros_in_front_of_a_convolution(strides: int, sides: Any) -> None:
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(4, 3, strides=strides)(layers.ZeroPadding2D(sides)(image))
    model = keras.Model(image, x)
    randomise(model, 0)
    data = written(model)
    assert error(model, data, np.random.default_rng(0).normal(size=(1, 9, 8, 3)).astype("float32")) < 1e-5
    if strides == 1 and sides == 1:
        assert operators(data) == {"CONV_2D": 1}


def test_what_is_computed_alike_is_computed_once() -> None:
    image = keras.Input((8, 8, 3))
    branches = [layers.Conv2D(4, 3, padding="same")(layers.ReLU()(image)) for _ in range(3)]
    pools = [layers.MaxPooling2D(name=f"pool{index}")(image) for index in range(2)]
    model = keras.Model(image, [layers.Add()(branches), *pools])
    randomise(model, 0)
    data = written(model)
    assert error(model, data, images(1)) < 1e-5
    assert operators(data)["RELU"] == 1
    assert operators(data)["MAX_POOL_2D"] == 2  # two outputs stay two


@pytest.mark.parametrize("bias", [True, False])
def test_constants_that_are_added_go_into_the_bias(bias: bool) -> None:
    image = keras.Input((8, 8, 3))
    gate = layers.Conv2D(4, 1, use_bias=bias, activation="hard_sigmoid")(image)
    x = layers.Conv2D(4, 1, use_bias=bias)(image) + np.arange(4, dtype="float32")
    y = layers.DepthwiseConv2D(3, use_bias=bias)(image)
    model = keras.Model(image, [gate * x, y + 1.0, y])
    randomise(model, 0)
    data = written(model)
    assert error(model, data, images(1)) < 1e-5
    # Those of the depthwise convolution are read without the sum as well.
    assert operators(data) == {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "ADD": 1, "MUL": operators(data)["MUL"]}


def test_channels_first() -> None:
    image = keras.Input((3, 8, 8))
    x = layers.Conv2D(4, 3, padding="same", data_format="channels_first", activation="relu")(image)
    x = layers.MaxPooling2D(data_format="channels_first")(x)
    x = layers.DepthwiseConv2D(3, data_format="channels_first", depth_multiplier=2)(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D(data_format="channels_first")(x))
    randomise(model, 0)
    data = written(model)
    assert operators(data)["TRANSPOSE"] == 1
    # Keras cannot compute it on this processor: its twin with channels last, of the same weights, can.
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(layers.MaxPooling2D()(x))
    twin = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    twin.set_weights(model.get_weights())
    (got,) = run(data, images(1).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(got, expected(twin, images(1))[0], rtol=1e-5, atol=1e-6)


def test_free_image_size() -> None:
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = layers.Concatenate()([x, layers.AveragePooling2D(3, strides=1, padding="same")(x)])
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    model = keras.Model(image, [layers.GlobalAveragePooling2D()(x), layers.Conv2D(2, 1)(x)])
    randomise(model, 0)
    data = written(model, batch_size=None)
    for size in (8, 9, 13):
        assert error(model, data, images(2, size)) < 1e-5


def test_kernels_longer_than_the_smallest_of_free_lengths(tmp_path: Path) -> None:
    """A runtime that opens the file at length 1 has nothing for such a kernel to read, but is not asked to run that."""
    series = keras.Input((None, 3), name="series")
    model = keras.Model(series, layers.GlobalAveragePooling1D()(layers.Conv1D(5, 8)(series)))
    randomise(model, 0)
    report = export(model, tmp_path / "model.tflite", writer="graph")
    assert report.relative_error < 1e-5
    data = (tmp_path / "model.tflite").read_bytes()
    for length in (8, 21, 300):
        assert error(model, data, np.random.default_rng(length).normal(size=(1, length, 3)).astype("float32")) < 1e-5


def test_float16_weights(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(64, 3, activation="relu")(image)
    model = keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))
    randomise(model, 0)
    whole = export(model, tmp_path / "whole.tflite")
    half = export(model, tmp_path / "half.tflite", quantize="float16")
    assert half.bytes < 0.6 * whole.bytes
    assert 1e-6 < half.relative_error < 5e-3
    assert not half.notes


@keras.saving.register_keras_serializable("tflite_writer_tests")
class Thrice(layers.Layer):
    """A layer that nobody has a rule for."""

    def call(self, inputs: Any) -> Any:
        return 3 * inputs


def unknown() -> keras.Model:
    image = keras.Input((4, 4, 3), name="image")
    return keras.Model(image, layers.Flatten(name="flat")(Thrice(name="thrice")(image)))


def test_a_layer_without_a_rule_goes_by_the_converter(tmp_path: Path) -> None:
    report = export(unknown(), tmp_path / "model.tflite")
    assert any("by way of TensorFlow" in note and "thrice: there is no rule" in note for note in report.notes)


def test_a_layer_without_a_rule_is_named_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="register a rule") as caught:
        export(unknown(), tmp_path / "model.tflite", writer="graph")
    assert "thrice" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_rule_of_ones_own_writes_both_formats(tmp_path: Path) -> None:
    class ThriceRule(Rule):
        def onnx(self, call: Any) -> None:
            order = call.input.order
            call.give(call.op("Mul", call.read(call.input, order), call.constant(3.0)), order)

    register_rule(Thrice, ThriceRule())
    try:
        report = export(unknown(), tmp_path / "model.tflite", writer="graph")
    finally:
        unregister_rule(Thrice)
    assert report.relative_error < 1e-6
    assert not report.notes


def test_what_differs_in_training_is_refused() -> None:
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, layers.Dropout(0.5, name="drop")(image, training=True))
    with pytest.raises(CannotWrite, match="training"):
        written(model)
