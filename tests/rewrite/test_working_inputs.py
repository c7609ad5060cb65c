"""Inputs for models that leave sizes open and do not take just any: found, taken from data, or said not to be found."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.exporting import latency
from kerasurgeon.keras_io.samples import Shape, likely_shapes
from kerasurgeon.passes import FoldBatchNorm, PruneChannels
from kerasurgeon.testing import assert_pass
from tests.zoo.sampling import randomise


def body(x: Any, width: int = 6) -> Any:
    x = layers.Conv1D(width, 3, padding="same", name="conv")(x)
    return layers.ReLU()(layers.BatchNormalization(name="bn")(x))


def cropped() -> keras.Model:
    x = keras.Input((None, 4))
    return keras.Model(x, layers.Conv1D(3, 1)(layers.Cropping1D(500)(body(x))))


def long_windows() -> keras.Model:
    x = keras.Input((None, 4))
    y = body(x)
    for dilation in (1, 8, 16):
        y = layers.Conv1D(4, 11, dilation_rate=dilation)(y)
    return keras.Model(x, y)


def cropped_image() -> keras.Model:
    x = keras.Input((None, None, 3))
    y = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, padding="same", name="conv")(x))
    return keras.Model(x, layers.Conv2D(2, 3)(layers.Cropping2D(((60, 60), (10, 10)))(layers.ReLU()(y))))


def half_as_long() -> keras.Model:
    one, other = keras.Input((None, 4), name="one"), keras.Input((None, 4), name="other")
    y = layers.Add()([body(one, 4), layers.UpSampling1D(2)(other)])
    return keras.Model([one, other], layers.Conv1D(2, 3)(y))


def multiples_of_three() -> keras.Model:
    x = keras.Input((None, 4))
    return keras.Model(x, layers.Dense(2)(layers.Reshape((-1, 18))(body(x))))


def as_long_as_a_table() -> keras.Model:
    x = keras.Input((None, 4))
    table = np.random.default_rng(0).normal(size=(1, 40, 6)).astype("float32")
    return keras.Model(x, layers.Conv1D(2, 30)(body(x) + table))


def tokens() -> keras.Model:
    x = keras.Input((None,), dtype="int32")
    y = layers.Cropping1D(30)(body(layers.Embedding(12, 4)(x)))
    return keras.Model(x, layers.Dense(2)(y))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "a cropping": cropped,
    "long windows": long_windows,
    "a cropping of images": cropped_image,
    "one input half as long": half_as_long,
    "multiples of three": multiples_of_three,
    "as long as a table": as_long_as_a_table,
    "tokens": tokens,
}


def made(name: str) -> keras.Model:
    model = MODELS[name]()
    randomise(model, 0)
    return model


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", MODELS)
def test_sizes_are_found_that_the_model_takes(name: str) -> None:
    model = made(name)
    result = ks.Pipeline([FoldBatchNorm()]).run(model)
    assert result.report.passes[0].difference is not None
    assert not result.report.notes
    assert "bn" not in [layer.name for layer in result.model.layers]
    pruned = ks.Pipeline([PruneChannels(ratio=0.3)]).run(model)
    assert not pruned.report.notes
    if pruned.model.count_params() < model.count_params():
        assert pruned.report.passes[0].difference is not None


def test_exports_and_timings_find_them_too(tmp_path: Path) -> None:
    model = made("one input half as long")
    report = ks.export(model, tmp_path / "model.onnx")
    assert report.outputs
    assert ks.compare(model, tmp_path / "model.onnx").relative_error < 1e-4
    table = latency({"keras": model, "onnx": tmp_path / "model.onnx"}, rounds=1, warmup=0)
    assert [row.name for row in table.rows] == ["keras", "onnx"]
    assert_pass(FoldBatchNorm(), made("a cropping"), changes=1)


@keras.saving.register_keras_serializable("kerasurgeon_samples")
class Picky(layers.Layer):
    """Takes sequences of 57 steps, and says so only when it is run."""

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, keras.KerasTensor) and inputs.shape[1] not in (None, 57):
            raise RuntimeError(f"57 steps, not {inputs.shape[1]}")
        return inputs

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


def picky() -> keras.Model:
    x = keras.Input((None, 4))
    model = keras.Model(x, layers.Conv1D(3, 1)(Picky()(layers.Conv1D(5, 1, name="free")(body(x)))))
    randomise(model, 0)
    return model


def test_what_is_not_found_is_said_and_data_helps() -> None:
    model = picky()
    for item in (FoldBatchNorm(), PruneChannels(ratio=0.3)):
        result = ks.Pipeline([item]).run(model)
        assert result.report.passes[0].difference is None
        (note,) = result.report.notes
        assert note.startswith(f"{item.name}: outputs were not compared: no inputs were found")
        assert "57 steps" in note
        assert "data=" in note
        data = np.random.default_rng(0).normal(size=(4, 57, 4)).astype("float32")
        for given in (data, (data, np.zeros(4)), [data[:2], data[2:]]):
            result = ks.Pipeline([item]).run(model, data=given)
            assert result.report.passes[0].difference is not None
            assert not result.report.notes


def test_data_that_is_read_once_is_left_to_the_passes() -> None:
    data = np.random.default_rng(0).normal(size=(4, 64, 4)).astype("float32")
    batches = iter([data[:2], data[2:]])
    ks.Pipeline([FoldBatchNorm()]).run(made("long windows"), data=batches)
    assert len(list(batches)) == 2


def found(*shapes: Shape, where: Callable[[Any], bool], also: tuple[int, ...] = ()) -> list[Shape] | None:
    asked: list[list[Shape]] = []

    def problem(sizes: list[Shape]) -> str:
        asked.append(sizes)
        return "" if where(sizes) else "no"

    first = next(likely_shapes(list(shapes), problem, also=also), None)
    assert len(asked) <= 160
    assert len({str(sizes) for sizes in asked}) == len(asked)
    return first


def test_the_search_itself() -> None:
    sequence, image = (None, None, 4), (None, None, None, 3)
    assert found(sequence, where=lambda s: s[0][1] >= 10_001) == [(None, 16_384, 4)]
    assert found(sequence, where=lambda s: s[0][1] <= 5) == [(None, 4, 4)]
    assert found(sequence, where=lambda s: s[0][1] % 35 == 0) == [(None, 420, 4)]
    assert found(sequence, where=lambda s: s[0][1] == 77, also=(3, 77)) == [(None, 77, 4)]
    assert found(image, where=lambda s: s[0][1] == s[0][2] >= 300) == [(None, 384, 384, 3)]
    assert found(image, where=lambda s: s[0][1] == 4 * s[0][2]) == [(None, 64, 16, 3)]
    assert found(sequence, sequence, where=lambda s: s[0][1] == s[1][1] == 224) == [(None, 224, 4), (None, 224, 4)]
    assert found((7, None, 4), where=lambda s: s[0][1] > 100) == [(7, 128, 4)]
    assert found(sequence, where=lambda s: False) is None
    assert found((None, None, 2**20), where=lambda s: s[0][1] > 64) is None  # too large to be drawn
