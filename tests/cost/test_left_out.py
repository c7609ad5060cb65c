"""What a total leaves out: estimated where that is possible, counted, and never taken for nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.costs import Cost, LeftOut, compare_costs, cost
from kerasurgeon.keras_io.counting import counted_macs


class Opaque(layers.Layer):
    """A layer without a rule that holds others, and stays closed as it branches on training."""

    def __init__(self, inner: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        self.inner = [keras.saving.deserialize_keras_object(each) for each in inner]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": [keras.saving.serialize_keras_object(each) for each in self.inner]}

    def build(self, shape: Any) -> None:
        for layer in self.inner:
            if not layer.built:  # one that comes back from its config may be built
                layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, x: Any, training: Any = None) -> Any:
        for layer in self.inner:
            x = layer(x)
        return 1.0 * x if training else x


def odd(*inner: layers.Layer) -> Opaque:
    return Opaque([keras.saving.serialize_keras_object(each) for each in inner], name="odd")


def opaque(shape: tuple[int | None, ...], *inner: layers.Layer) -> keras.Model:
    inputs = keras.Input(shape, name="in")
    return keras.Model(inputs, odd(*inner)(inputs))


def run_macs(model: keras.Model, *shape: int) -> int:
    """What a forward pass of one sample is counted to take, by what the backend is asked to contract."""
    with counted_macs() as counted:
        model(np.ones((1, *shape), "float32"))
    return sum(counted)


FIRST = {"data_format": "channels_first"}
TOLD: dict[str, tuple[tuple[int, ...], tuple[layers.Layer, ...]]] = {
    "dense": ((6,), (layers.Dense(5),)),
    "dense at every step": ((7, 6), (layers.Dense(5),)),
    "a convolution": ((8, 9, 3), (layers.Conv2D(5, 3, padding="same"),)),
    "a strided convolution": ((9, 9, 3), (layers.Conv2D(5, 3, strides=2),)),
    "a convolution along time": ((12, 4), (layers.Conv1D(5, 3, padding="causal"),)),
    "two convolutions": ((8, 8, 4), (layers.Conv2D(4, 3, padding="same"), layers.Conv2D(4, 1))),
    "a grouped convolution": ((8, 8, 4), (layers.Conv2D(6, 3, groups=2, padding="same"),)),
    "norms and activations": ((8, 4), (layers.Dense(4), layers.LayerNormalization(), layers.ReLU())),
}


@pytest.mark.parametrize("case", TOLD)
def test_layers_without_a_rule_are_estimated(case: str) -> None:
    shape, inner = TOLD[case]
    model = opaque(shape, *inner)
    found = cost(model)
    assert found.macs == 0
    assert found.left_out.names == ("odd",)
    assert found.left_out.macs == run_macs(model, *shape) > 0
    assert (found.left_out.share, found.left_out.parameter_share) == (1.0, 1.0)
    assert found.left_out.parameters == model.count_params()


def test_channels_first_are_not_taken_for_positions() -> None:
    """By arithmetic: this convolution has no kernel on every processor."""
    found = cost(opaque((3, 8, 9), layers.Conv2D(5, 3, padding="same", **FIRST)))
    assert found.left_out.macs == 8 * 9 * 5 * 3 * 9


def test_what_is_smaller_behind_is_estimated_from_below() -> None:
    inner = (layers.Conv2D(4, 3, padding="same"), layers.MaxPooling2D(2), layers.Conv2D(8, 3, padding="same"))
    model = opaque((8, 8, 3), *inner)
    assert 0 < cost(model).left_out.macs < run_macs(model, 8, 8, 3)


def test_what_has_no_weights_is_counted_and_costs_nothing() -> None:
    inputs = keras.Input((6,), name="in")
    x = layers.Dense(5, name="known")(layers.Lambda(lambda x: x * keras.random.uniform(()), name="odd")(inputs))
    found = cost(keras.Model(inputs, x))
    left = found.left_out
    assert (left.names, left.macs, left.share, left.parameters) == (("odd",), 0, 0.0, 0)
    assert left.said == "the MACs of 1 call are unknown and not counted (odd): without weights"


def test_tables_that_are_looked_up_multiply_nothing() -> None:
    ids = keras.Input((9,), name="ids", dtype="int32")
    x = odd(layers.Embedding(1000, 4))(ids)
    left = cost(keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))).left_out
    assert (left.names, left.macs, left.share) == (("odd",), 0, 0.0)
    assert left.parameter_share > 0.99


def test_open_sizes_have_no_share() -> None:
    inputs = keras.Input((None, 8), name="steps")
    x = layers.Conv1D(16, 3, padding="same", name="conv")(inputs)
    x = odd(layers.Dense(16))(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))
    left = cost(model).left_out
    assert (left.names, left.open, left.share) == (("conv", "odd", "attention"), 3, None)
    assert "sizes are open, so that their share cannot be told" in left.said
    fixed = cost(model, sizes=(10, 8)).left_out
    assert (fixed.names, fixed.open, fixed.macs) == (("odd",), 0, 10 * 16 * 16)
    known = run_macs(model, 10, 8) - fixed.macs
    assert cost(model, sizes=(10, 8)).macs == known
    assert fixed.share == fixed.macs / (fixed.macs + known)


def test_a_product_of_tensors_of_open_size_has_no_share() -> None:
    inputs = keras.Input((None, 8), name="steps")
    scores = ops.matmul(inputs, ops.transpose(inputs, (0, 2, 1)))
    left = cost(keras.Model(inputs, layers.Dense(4)(ops.mean(ops.matmul(scores, inputs), axis=1)))).left_out
    assert left.open == 2
    assert left.share is None


def test_nothing_is_left_out_of_what_is_known() -> None:
    inputs = keras.Input((6,))
    found = cost(keras.Model(inputs, layers.Dense(3)(inputs)))
    assert not found.left_out
    assert found.left_out == LeftOut()
    assert found.left_out.said == ""


# ---- what is shown --------------------------------------------------------------------------------------------------


@pytest.fixture
def partly() -> Cost:
    inputs = keras.Input((6,), name="in")
    return cost(keras.Model(inputs, layers.Dense(100, name="known")(odd(layers.Dense(6))(inputs))))


def test_no_total_that_is_known_in_part_is_shown_as_the_whole(partly: Cost) -> None:
    assert "600 + ? MACs" in partly.summary()
    assert "?: unknown for 1 call" in partly.summary()
    data = json.loads(json.dumps(partly.to_dict()))
    assert data["left_out"]["names"] == ["odd"]
    assert data["left_out"]["share"] == 36 / 636
    nothing = cost(opaque((6,), layers.Dense(6)))
    assert ": ? MACs" in nothing.summary()
    both = compare_costs(partly, nothing)
    (line,) = [line for line in str(both).splitlines() if "MACs" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["MACs", "600 + ?", "?", "0.0 % of what is known"]
    assert both.to_dict()["left_out"]["before"]["names"] == ["odd"]


def test_reports_of_passes_say_what_is_left_out() -> None:
    inputs = keras.Input((6,), name="in")
    x = layers.ReLU(name="relu")(odd(layers.Dense(6))(inputs))
    x = layers.BatchNormalization(name="norm")(layers.Dense(50, name="known")(x))
    from kerasurgeon.passes import FoldBatchNorm, PruneChannels

    model = keras.Model(inputs, layers.Dense(20, name="last")(x))
    report = ks.Pipeline([FoldBatchNorm(), PruneChannels(params=0.7)]).run(model).report
    text = " ".join(str(report).split())
    assert "1.30 k + ?" in text
    assert any("of what is known" in str(cell) for column in report.table().columns for cell in column.cells)
    assert text.count("the MACs of 1 call are unknown and not counted (odd)") == 1
    data = json.loads(report.to_json())
    assert data["passes"][0]["before"]["left_out"]["names"] == ["odd"]
    assert data["passes"][1]["after"]["left_out"]["share"] == 36 / (36 + data["passes"][1]["after"]["macs"])


def test_reports_say_for_which_sizes_they_count() -> None:
    inputs = keras.Input((None, 4), name="steps")
    model = keras.Model(inputs, layers.Conv1D(3, 2, padding="same", name="conv")(inputs))
    found = cost(model, sizes=(10, 4))
    assert "MACs of one sample, inputs steps 10 x 4" in " ".join(str(found).split())
    assert "inputs steps 10 x 4" in found.summary()
    assert found.to_dict()["sizes"] == {"steps": [10, 4]}
    from kerasurgeon.passes import Simplify

    open_one = ks.Pipeline([Simplify()]).run(model).report
    assert "the MACs of 1 call are unknown and not counted (conv): sizes are open" in " ".join(str(open_one).split())
    report = ks.Pipeline([Simplify()]).run(model, sizes={"steps": (10, 4)}).report
    assert report.lines()[-1] == "costs are counted for inputs of steps 10 x 4"
    assert report.passes[0].after.macs == 10 * 2 * 4 * 3
    assert json.loads(report.to_json())["sizes"] == {"steps": [10, 4]}
