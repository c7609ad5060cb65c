"""ONNX files whose weights go from their arrays to the file. The oracle is onnx: its reader and checker."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kerasurgeon.exporting import onnx_saving
from kerasurgeon.exporting.onnx_saving import OnnxModel, data_file, save

SIZES = [(), (0, 3), (1,), (127,), (130, 70), (9, 8, 7, 6), (2, 40000), (3000, 2)]


def arrays() -> dict[str, np.ndarray]:
    """Of all sizes, types and orders in memory."""
    random = np.random.default_rng(0)
    found = {}
    for dtype in ("float32", "float16", "int64", "int8", "bool", ml_dtypes.bfloat16):
        for sizes in SIZES:
            array = np.asarray(random.integers(-9, 9, sizes)).astype(dtype)
            for how, seen in (
                ("as is", array),
                ("turned", array.T),
                ("every second", array[..., ::2] if sizes else array),
            ):
                found[f"{np.dtype(dtype).name} {sizes} {how} é"] = seen
    return found


def kind(array: np.ndarray) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def model() -> OnnxModel:
    """Constants, and what hands each of them out."""
    given = arrays()
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}, out"]) for name in given],
        "graph",
        [helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(f"{name}, out", kind(array), array.shape) for name, array in given.items()],
        value_info=[],
    )
    made = OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="test"), {})
    helper.set_model_props(made.proto, {"key": "value"})
    for name, array in given.items():
        made.put(made.proto.graph.initializer.add(), name, array, kind(array))
    return made


@pytest.mark.parametrize("at_once", [50, 2**24])
@pytest.mark.parametrize("largest", [0, 2**31])
def test_a_file_holds_what_the_model_does(
    at_once: int, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_saving, "_AT_ONCE", at_once)
    monkeypatch.setattr(onnx_saving, "LARGEST_FILE", largest)
    made, path = model(), tmp_path / "m.onnx"
    assert made.arrays
    save(made, path)
    assert data_file(path).exists() == (largest == 0)
    onnx.checker.check_model(str(path), full_check=True)
    read = onnx.load(path)
    assert {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in read.graph.initializer} == {
        name: array.tobytes() for name, array in arrays().items()
    }
    wanted = made.whole()  # saving took nothing from it
    for tensor in [*wanted.graph.initializer, *read.graph.initializer]:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    by_name = {tensor.name: tensor for tensor in read.graph.initializer}
    for tensor in wanted.graph.initializer:
        assert by_name[tensor.name] == tensor
    del wanted.graph.initializer[:], read.graph.initializer[:]
    assert read == wanted


def test_a_tensor_is_put_in_the_place_of_another(tmp_path: Path) -> None:
    made = model()
    (tensor,) = [each for each in made.proto.graph.initializer if each.name == "float32 (130, 70) turned é"]
    np.testing.assert_array_equal(made.values(tensor), arrays()[tensor.name])
    made.put(tensor, "small", np.arange(3, dtype=np.int8), TensorProto.INT8)
    del made.proto.graph.node[:], made.proto.graph.output[:]
    save(made, tmp_path / "m.onnx")
    read = {each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "m.onnx").graph.initializer}
    np.testing.assert_array_equal(read["small"], [0, 1, 2])
    assert "float32 (130, 70) turned é" not in read
    assert len(read) == len(arrays())
