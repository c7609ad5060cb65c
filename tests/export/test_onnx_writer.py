"""ONNX files written from the graph: right, small, named as in Keras. The oracle is the runtime, called directly."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import ExportError, ModelFileError, OptionError
from kerasurgeon.exporting import onnx_saving
from kerasurgeon.exporting.api import export
from kerasurgeon.exporting.graph_writing import CannotWrite
from kerasurgeon.exporting.onnx_writer import WRITTEN, write_onnx
from kerasurgeon.exporting.signature import input_infos, output_infos
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import FoldBatchNorm, PruneChannels, TuckerSplit
from kerasurgeon.rewrite.outputs import rounding_sensitivity
from kerasurgeon.rules import Rule, register_rule, unregister_rule
from tests.applications import application_inputs, shared_application
from tests.export.runtimes import difference, expected
from tests.zoo.sampling import randomise

NODES = {"ConvNeXtTiny": 390, "DenseNet121": 440, "MobileNetV2": 101, "MobileNetV3Small": 143, "ResNet50V2": 161}
"""How many operators a file may have; tf2onnx gives MobileNetV3Small 215."""


def written(model: keras.Model, *, batch_size: int | None = None, opset: int = 17) -> Any:
    proto = write_onnx(model, input_infos(model), output_infos(model), batch_size=batch_size, opset=opset).whole()
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(proto: Any, *inputs: np.ndarray, optimised: bool = True) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def error(model: keras.Model, proto: Any, *inputs: np.ndarray) -> float:
    return difference(expected(model, *inputs), run(proto, *inputs))


def operators(proto: Any) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def test_applications(application: str) -> None:
    model = shared_application(application)
    proto = written(model)
    inputs = application_inputs(model, seed=3, batch=2)
    wanted = expected(model, inputs)
    worst = max(difference(wanted, run(proto, inputs, optimised=optimised)) for optimised in (True, False))
    if worst > 1e-5:  # a deep network amplifies rounding: a few times what the last bit of every weight does
        assert worst < 4 * rounding_sensitivity(lift(model), inputs, wanted, seed=0)
    found = operators(proto)
    assert found["Transpose"] == 1
    assert found["BatchNormalization"] == found["Identity"] == 0
    assert sum(found.values()) <= NODES.get(application, sys.maxsize)
    names = {layer.name for layer in model.layers} | {operation.name for operation in model.operations}
    assert all(node.name.split("/")[0] in names or node.name in names for node in proto.graph.node)


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    "passes",
    [[PruneChannels(macs=0.5)], [TuckerSplit(ratio=0.5)], [FoldBatchNorm(), PruneChannels(ratio=0.3)]],
    ids=["pruned", "split", "folded and pruned"],
)
def test_after_surgery(passes: list[Any]) -> None:
    model = ks.apply_passes(shared_application("MobileNetV2"), passes)
    assert error(model, written(model), application_inputs(model, seed=3, batch=2)) < 2e-5


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


@pytest.mark.parametrize("opset", WRITTEN)
def test_opsets(opset: int) -> None:
    model = small()
    proto = written(model, opset=opset)
    assert [entry.version for entry in proto.opset_import] == [opset]
    assert error(model, proto, images()) < 1e-5


def test_agrees_with_the_reference_evaluator() -> None:
    from onnx.reference import ReferenceEvaluator

    model = small()
    (got,) = ReferenceEvaluator(written(model)).run(None, {"image": images()})
    np.testing.assert_allclose(got, expected(model, images())[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_batch_sizes(batch_size: int | None) -> None:
    model = small()
    proto = written(model, batch_size=batch_size)
    (axis,) = (value.type.tensor_type.shape.dim[0] for value in proto.graph.input)
    assert (axis.dim_value or None) == batch_size
    assert error(model, proto, images(batch_size or 5)) < 1e-5


def test_a_dense_takes_what_is_flattened_as_it_lies() -> None:
    proto = written(small())
    assert operators(proto)["Transpose"] == 1


def test_free_image_size() -> None:
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = layers.Concatenate()([x, layers.AveragePooling2D(3, strides=1, padding="same")(x)])
    model = keras.Model(image, [layers.GlobalAveragePooling2D()(x), layers.Conv2DTranspose(2, 3, 2, padding="same")(x)])
    randomise(model, 0)
    proto = written(model)
    for size in (8, 9, 13):
        assert error(model, proto, images(2, size)) < 1e-5


def test_names_that_tensorflow_refuses(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="ein Bild: größer")
    x = layers.Conv2D(3, 3, name="Faltung Nr. 1")(image)
    model = keras.Model(image, layers.Flatten(name="出力")(x))
    randomise(model, 0)
    report = export(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    assert [value.name for value in proto.graph.input] == ["ein Bild: größer"]
    assert [value.name for value in proto.graph.output] == ["出力"]
    assert "Faltung Nr. 1" in {node.name.split("/")[0] for node in proto.graph.node}
    assert report.relative_error < 1e-5


def image_network() -> keras.Model:
    image = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(20, 3, padding="same", activation="relu", name="features")(image)
    model = keras.Model(image, {"map": x, "scores": layers.Dense(4)(layers.GlobalAveragePooling2D()(x))})
    randomise(model, 0)
    return model


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_channels_before_positions(tmp_path: Path, quantize: Any) -> None:
    model, images = image_network(), np.random.default_rng(0).normal(size=(16, 8, 6, 3)).astype("float32")
    data: dict[str, Any] = {} if quantize is None else {"calibration": images}
    export(model, tmp_path / "m.onnx", layout="nchw", quantize=quantize, **data)
    proto = onnx.load(tmp_path / "m.onnx")
    assert not [node for node in proto.graph.node if node.op_type == "Transpose"]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [argument.shape for argument in session.get_inputs()] == [["batch", 3, 8, 6]]
    found, scores = session.run(["map", "scores"], {"image": images.transpose(0, 3, 1, 2)})
    wanted = model(images)
    tolerance = 1e-5 if quantize is None else 0.1
    assert difference([np.asarray(wanted["map"])], [found.transpose(0, 2, 3, 1)]) < tolerance
    assert difference([np.asarray(wanted["scores"])], [scores]) < tolerance


@pytest.mark.parametrize(
    ("name", "options"), [("m.tflite", {}), ("m.onnx", {"writer": "converter"}), ("m.onnx", {"layout": "nhwc"})]
)
def test_an_order_of_axes_that_cannot_be(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="layout"):
        export(image_network(), tmp_path / name, **({"layout": "nchw"} | options))


def test_weights_lie_beside_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_saving, "LARGEST_FILE", 2000)  # bytes; the kernel alone has 2160
    model = image_network()
    for _ in range(2):  # the second replaces both files
        report = export(model, tmp_path / "m.onnx")
        files = sorted(tmp_path.iterdir())
        assert [file.name for file in files] == ["m.onnx", "m.onnx.data"]
        assert report.bytes == sum(file.stat().st_size for file in files)
        assert any("m.onnx.data" in note for note in report.notes)
        assert files[1].stat().st_size >= 2160
    images = np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype("float32")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    wanted = model(images)
    for name, found in zip(wanted, session.run(list(wanted), {"image": images}), strict=True):
        assert difference([np.asarray(wanted[name])], [found]) < 1e-5
    with pytest.raises(ModelFileError, match=r"m\.onnx"):
        export(model, tmp_path / "m.onnx", overwrite=False)


def test_shared_weights_are_written_once() -> None:
    image = keras.Input((8, 8, 3))
    conv, dense = layers.Conv2D(3, 3, padding="same"), layers.Dense(40)
    x = layers.Add()([conv(image), conv(conv(image))])
    pooled = layers.GlobalMaxPooling2D()(x)
    model = keras.Model(image, layers.Add()([dense(pooled), dense(layers.ReLU()(pooled))]))
    randomise(model, 0)
    proto = written(model)
    assert error(model, proto, images()) < 1e-5
    assert sum(np.prod(tensor.dims) for tensor in proto.graph.initializer if len(tensor.dims) > 1) == 3 * 3 * 9 + 3 * 40


def test_outputs_of_all_sorts() -> None:
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    total = layers.Add(name="total")([one, two])
    model = keras.Model(
        {"one": one, "two": two},
        {"b": total, "a": layers.ReLU(name="r")(total), "same": total, "handed": layers.Identity(name="handed")(two)},
    )
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(3, 4)).astype("float32") for name in ("one", "two")}
    proto = written(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    got = dict(zip([value.name for value in proto.graph.output], session.run(None, feeds), strict=True))
    for name, wanted in model(feeds).items():
        np.testing.assert_allclose(got[name], np.asarray(wanted), rtol=1e-6)


@keras.saving.register_keras_serializable("onnx_writer_tests")
class Twice(layers.Layer):
    """A layer that nobody has a rule for."""

    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def unknown() -> keras.Model:
    image = keras.Input((4, 4, 3), name="image")
    return keras.Model(image, layers.Flatten(name="flat")(Twice(name="twice")(image)))


def test_a_layer_without_a_rule_goes_by_the_converter(tmp_path: Path) -> None:
    report = export(unknown(), tmp_path / "model.onnx")
    assert any("tf2onnx" in note and "twice: there is no rule" in note for note in report.notes)


def test_a_layer_without_a_rule_is_named_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="register a rule") as caught:
        export(unknown(), tmp_path / "model.onnx", writer="graph")
    assert "twice" in str(caught.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ExportError, match="twice"):
        export(unknown(), tmp_path / "model.onnx", opset=20)


def test_a_rule_of_ones_own_writes(tmp_path: Path) -> None:
    class TwiceRule(Rule):
        def onnx(self, call: Any) -> None:
            order = call.input.order
            call.give(call.op("Mul", call.read(call.input, order), call.constant(2.0)), order)

    register_rule(Twice, TwiceRule())
    try:
        report = export(unknown(), tmp_path / "model.onnx", writer="graph")
    finally:
        unregister_rule(Twice)
    assert report.relative_error < 1e-6
    assert not report.notes


def test_what_differs_in_training_is_refused() -> None:
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, layers.Dropout(0.5, name="drop")(image, training=True))
    with pytest.raises(CannotWrite, match="training"):
        written(model)
