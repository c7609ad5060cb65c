"""A linear layer of one's own, with other names and another order of axes: every pass works on it by its rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import FoldBatchNorm, MergeBlocks, PruneChannels, RemoveDeadChannels, Sparsify
from kerasurgeon.rules import (
    CannotTell,
    ChannelCall,
    Each,
    Kernel,
    Labels,
    LinearForm,
    Rule,
    elements,
    register_rule,
    rule_for,
    unregister_rule,
)
from tests.zoo.sampling import randomise


@keras.saving.register_keras_serializable("tests.rules")
class Projection(keras.layers.Layer):
    """A dense layer whose matrix is turned round."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.width = width

    def build(self, shape: Any) -> None:
        self.matrix = self.add_weight(shape=(self.width, shape[-1]), name="matrix")
        self.offset = self.add_weight(shape=(self.width,), initializer="zeros", name="offset")

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.matrix)) + self.offset

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class ProjectionRule(Rule):
    def macs(self, call: Any) -> int:
        return elements(call.output.shape) * elements(call.input.shape[-1:])

    def channels(self, call: ChannelCall) -> Labels:
        reads, makes = call.along(call.input, -1), call.fresh(call.config["width"])
        call.weight("matrix", {0: makes, 1: reads}, contracts=1)
        call.weight("offset", {0: makes})
        call.count(width=makes)
        return call.output(makes)

    def linear(self, layer: Any) -> LinearForm:
        return LinearForm((Kernel("matrix", reads=(-1,), makes=(-2,)),), bias="offset", new_bias=None)

    def positions(self, layer: Any, rank: int) -> Each:
        return Each()


@pytest.fixture(autouse=True)
def rule() -> Iterator[None]:
    register_rule(Projection, ProjectionRule())
    yield
    unregister_rule(Projection)


def network(*, norm: bool = True) -> keras.Model:
    inputs = keras.Input((6,))
    x = Projection(16, name="wide")(inputs)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = layers.ReLU(name="relu")(x)
    model = keras.Model(inputs, Projection(3, name="out")(x))
    randomise(model, 0)
    return model


def outputs(model: keras.Model) -> Any:
    return model(np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), training=False)


def test_batch_norms_are_folded_into_it() -> None:
    model = network()
    folded = ks.apply_passes(model, [FoldBatchNorm()])
    assert [layer.name for layer in folded.layers[1:]] == ["wide", "relu", "out"]
    np.testing.assert_allclose(outputs(folded), outputs(model), rtol=1e-4, atol=1e-5)


def test_two_in_a_row_become_a_dense_layer() -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, Projection(3, name="b")(Projection(12, name="a")(inputs)))
    randomise(model, 0)
    merged = ks.apply_passes(model, [MergeBlocks()])
    assert [type(layer).__name__ for layer in merged.layers[1:]] == ["Dense"]
    np.testing.assert_allclose(outputs(merged), outputs(model), rtol=1e-4, atol=1e-5)


def test_it_is_pruned_and_compensated_by_least_squares() -> None:
    model = network()
    data = np.random.default_rng(1).normal(size=(256, 6)).astype("float32")

    def error(compensate: str) -> float:
        small = ks.Pipeline([PruneChannels(macs=0.5, compensate=compensate)]).run(model, data=data).model
        assert small.get_layer("wide").width == small.get_layer("out").matrix.shape[1] < 16
        return float(np.abs(outputs(small) - outputs(model)).mean())

    assert error("least_squares") < 0.9 * error("none")


def test_zeros_are_put_into_its_kernel_and_dead_channels_go() -> None:
    model = network(norm=False)
    model.get_layer("wide").offset.assign(np.zeros(16))
    sparse = ks.apply_passes(model, [Sparsify(0.5, structure="output_channel", where="wide")])
    rows = np.asarray(sparse.get_layer("wide").matrix)
    assert (rows == 0).all(axis=1).sum() == 8
    small = ks.apply_passes(sparse, [RemoveDeadChannels()])
    assert small.get_layer("wide").width == 8
    np.testing.assert_allclose(outputs(small), outputs(sparse), rtol=1e-4, atol=1e-5)


def test_several_kinds_at_once_and_the_librarys_own_come_back() -> None:
    own = ProjectionRule()
    register_rule(("Dense", "ops.add"), own)
    assert isinstance(rule_for("Dense"), ProjectionRule)
    assert isinstance(rule_for("ops.add"), ProjectionRule)
    for kind in ("Dense", "ops.add"):
        unregister_rule(kind)
    assert type(rule_for("Dense")).__module__ == "kerasurgeon.layers.dense"
    with pytest.raises(ks.OptionError, match="No rule was registered"):
        unregister_rule("Dense")


@pytest.mark.parametrize("kind", [5, [], ["Dense", 5], "", layers.Dense(3)])
def test_what_is_no_kind_is_refused(kind: Any) -> None:
    with pytest.raises(ks.OptionError, match="registered for a kind"):
        register_rule(kind, ProjectionRule())


def test_without_the_answer_a_layer_is_left_alone() -> None:
    class Silent(ProjectionRule):
        def linear(self, layer: Any) -> Any:
            return Rule.linear(self, layer)

    register_rule(Projection, Silent())
    model = network()
    with pytest.raises(CannotTell, match="does not say whether it is linear"):
        Silent().linear(lift(model).layer_of("wide"))
    result = ks.Pipeline([FoldBatchNorm()]).run(model)
    assert [layer.name for layer in result.model.layers] == [layer.name for layer in model.layers]
