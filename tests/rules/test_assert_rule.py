"""assert_rule: right rules pass, rules that are wrong in one way are caught, with what they said and what was found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.keras_io.counting import counted_macs
from kerasurgeon.rules import Rule, elements, register_rule, unregister_rule
from kerasurgeon.testing import assert_rule


class LowRank(layers.Layer):
    """A dense layer through a rank, with a scale for each channel."""

    def __init__(self, units: int, rank: int, **options: Any) -> None:
        super().__init__(**options)
        self.units, self.rank = units, rank

    def build(self, shape: Any) -> None:
        self.first = self.add_weight(shape=(shape[-1], self.rank), name="first")
        self.second = self.add_weight(shape=(self.rank, self.units), name="second")
        self.scale = self.add_weight(shape=(self.units,), name="scale")

    def call(self, inputs: Any) -> Any:
        return ops.matmul(ops.matmul(inputs, self.first), self.second) * self.scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "rank": self.rank}


class Right(Rule):
    def macs(self, call: Any) -> Any:
        features, units = call.input.shape[-1], call.output.shape[-1]
        return elements(call.input.shape[:-1]) * call.config["rank"] * (features + units)

    def keeps_batch(self, layer: Any) -> bool:
        return True

    def channels(self, call: Any) -> Any:
        call.weight("first", {0: call.along(call.input, -1), 1: None}, contracts=0)
        made = call.fresh(call.shape[-1])
        call.weight("second", {1: made})
        call.weight("scale", {0: made})
        call.count(units=made)
        return call.output(made)


class MacsOff(Right):
    def macs(self, call: Any) -> Any:
        return super().macs(call) + 1


class MacsPerSample(Right):
    def macs(self, call: Any) -> Any:
        return super().macs(call) // call.input.shape[0]


class MacsByConfig(Right):
    """Right until the layer is cut: the features of the uncut layer stand in the rule."""

    def macs(self, call: Any) -> Any:
        return elements(call.input.shape[:-1]) * call.config["rank"] * (12 + call.output.shape[-1])


class NoCount(Right):
    def channels(self, call: Any) -> Any:
        found = super().channels(call)
        call.counts.clear()
        return found


class NotSummed(Right):
    """What the cut takes out of the input is not masked in the twin."""

    def channels(self, call: Any) -> Any:
        found = super().channels(call)
        call.held[0].contracted = False
        return found


class ForgetsScale(Right):
    def channels(self, call: Any) -> Any:
        found = super().channels(call)
        call.held[:] = [held for held in call.held if held.owner != "scale"]
        return found


class Reversed(Right):
    """The scale's labels in the wrong order."""

    def channels(self, call: Any) -> Any:
        found = super().channels(call)
        (scale,) = [held for held in call.held if held.owner == "scale"]
        scale.ids = scale.ids[::-1]
        return found


class Nothing(Rule):
    def channels(self, call: Any) -> Any:
        return call.along(call.input, -1)


class Freezes(Right):
    def channels(self, call: Any) -> Any:
        from kerasurgeon.rules import Reason

        found = super().channels(call)
        call.freeze(found.factors[0].ids, Reason.MIXED)
        call.freeze(call.along(call.input, -1), Reason.MIXED)
        return found


@pytest.fixture(autouse=True)
def _no_rules_left() -> Iterator[None]:
    yield
    for cls in (LowRank, Fold, Shift):
        with contextlib.suppress(ValueError):
            unregister_rule(cls)


def check(rule: Rule, **options: Any) -> int:
    register_rule(LowRank, rule)
    return assert_rule(LowRank(9, 3, name="low"), (5, 12), **options)


def test_a_right_rule_passes() -> None:
    assert check(Right()) > 5


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (MacsOff(), r"macs\(\) says 631 for a batch of 2; counted were 630 in a forward pass of 'low'"),
        (MacsPerSample(), r"macs\(\) says 315 for a batch of 2; counted were 630"),
        (MacsByConfig(), r"after a cut: macs\(\) says"),
        (NoCount(), "after a cut the layer cannot be made"),
        (NotSummed(), "differs from its masked twin by"),
        (ForgetsScale(), "after a cut the layer cannot be made"),
        (Reversed(), "differs from its masked twin by"),
        (Nothing(), "its result is no labels"),
        (Freezes(), "nothing can be cut: .*mixes the positions"),
        (Rule(), "does not say how channels pass; cuts=0"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Rule) else "",
)
def test_a_rule_that_is_wrong_in_one_way_is_caught(rule: Rule, said: str) -> None:
    with pytest.raises(AssertionError, match=said) as caught:
        check(rule)
    assert f"{type(rule).__name__}" in str(caught.value)
    assert "LowRank" in str(caught.value)


def test_the_message_has_what_the_rule_said() -> None:
    with pytest.raises(AssertionError, match="it said: output 0, axes") as caught:
        check(Reversed())
    assert "weight 'scale', axes (0,): 9 labels" in str(caught.value)
    assert "weight 'first', axes (0,), summed over: 12 labels" in str(caught.value)
    assert "config units: their number, 9" in str(caught.value)


def test_a_rule_of_costs_alone() -> None:
    class CostsOnly(Rule):
        macs = Right.macs

    assert check(CostsOnly(), cuts=0) == 0
    with pytest.raises(AssertionError, match="cuts=0 checks the rest alone"):
        check(CostsOnly())


class Fold(layers.Layer):
    """Folds an axis into the batch."""

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, (-1, inputs.shape[-1]))

    def compute_output_shape(self, shape: Any) -> Any:
        return (None, shape[-1])


class FoldRule(Rule):
    def channels(self, call: Any) -> Any:
        return call.output(call.along(call.input, -1))

    def output_specs(self, call: Any) -> Any:
        (spec,) = call.outputs
        return (type(spec)((elements(call.input.shape[:-1]), spec.shape[-1]), spec.dtype),)


def test_sizes_and_batch_are_compared_with_keras() -> None:
    register_rule(Fold, FoldRule())
    assert assert_rule(Fold(name="fold"), (5, 6)) > 0

    class SaysItKeeps(FoldRule):
        def keeps_batch(self, layer: Any) -> bool:
            return True

    register_rule(Fold, SaysItKeeps())
    with pytest.raises(AssertionError, match=r"keeps_batch\(\) says yes; for a batch of 2 Keras gives \(10, 6\)"):
        assert_rule(Fold(name="fold"), (5, 6))

    class WrongSize(FoldRule):
        def output_specs(self, call: Any) -> Any:
            (spec,) = call.outputs
            return (type(spec)((7, spec.shape[-1]), spec.dtype),)

    register_rule(Fold, WrongSize())
    with pytest.raises(AssertionError, match=r"output_specs\(\) says \(7, 6\); for a batch of 2 Keras gives \(10, 6\)"):
        assert_rule(Fold(name="fold"), (5, 6))


class Shift(layers.Layer):
    """A sum of one operand and the other with its channels rolled by one."""

    def call(self, one: Any, other: Any) -> Any:
        return one + ops.roll(other, 1, axis=-1)


class TiesStraight(Rule):
    def channels(self, call: Any) -> Any:
        one, other = call.inputs
        call.tie(call.along(one, -1), call.along(other, -1))
        return one


class TiesRolled(Rule):
    def channels(self, call: Any) -> Any:
        one, other = call.inputs
        call.tie(call.along(one, -1), np.roll(call.along(other, -1), 1))
        return one


def test_several_operands_and_a_tie_in_the_wrong_order() -> None:
    """A roll by one cannot be cut exactly by ties alone: positions shift, and the twin shows it."""

    def two(layer: Any, one: Any, other: Any) -> Any:
        return layer(one, other)

    for rule in (TiesStraight(), TiesRolled()):
        register_rule(Shift, rule)
        with pytest.raises(AssertionError, match="differs from its masked twin"):
            assert_rule(Shift(name="shift"), [(4, 6), (4, 6)], call=two, seed=1)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: layers.Conv2D(6, 3, strides=2, padding="same"), (9, 8, 4)),
        (lambda: layers.Conv2D(6, 3, groups=2), (9, 8, 4)),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 8, 4)),
        (lambda: layers.SeparableConv2D(6, 3), (9, 8, 4)),
        (lambda: layers.Conv2DTranspose(5, 3, strides=2), (6, 5, 4)),
        (lambda: layers.Conv1D(6, 3, dilation_rate=2), (9, 4)),
        (lambda: layers.Dense(6), (5, 4)),
        (lambda: layers.EinsumDense("abc,cd->abd", (None, 6)), (5, 4)),
        (lambda: layers.LSTM(5, return_sequences=True, unroll=True), (4, 6)),
        (lambda: layers.BatchNormalization(), (5, 4)),
        (lambda: layers.MaxPooling2D(2), (8, 8, 4)),
        (lambda: layers.Reshape((4, 12)), (2, 2, 12)),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else None,
)
def test_rules_of_the_library(layer: Any, shape: tuple[int, ...]) -> None:
    assert assert_rule(layer(), shape, cuts=1) > 0


def test_attention_and_products_by_their_cost() -> None:
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    assert_rule(attention, [(5, 8), (7, 8)], call=lambda layer, query, value: layer(query, value), cuts=0)
    assert_rule(layers.Dot(axes=(2, 2)), [(5, 8), (7, 8)], cuts=0)
    assert assert_rule(layers.Add(), [(5, 8), (5, 8)]) > 0
    assert assert_rule(layers.Embedding(4, 6), (5,), dtype="int32") > 0


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda a, b: ops.matmul(a, b), 2 * 3 * 5 * 4),
        (lambda a, b: ops.einsum("bij,bjk->bik", a, b), 2 * 3 * 5 * 4),
        (lambda a, b: ops.einsum("...ij,...jk->...ik", a, b), 2 * 3 * 5 * 4),
        (lambda a, b: ops.einsum("bij,bjk->bijk", a, b), 0),
        (lambda a, b: ops.tensordot(a, b, axes=[[2], [1]]), 2 * 3 * 2 * 5 * 4),
        (lambda a, b: ops.dot(a[0], b[0]), 3 * 5 * 4),
        (lambda a, b: ops.add(a, a) * 3.0, 0),
    ],
)
def test_the_counter(run: Any, expected: int) -> None:
    one, other = np.ones((2, 3, 4), "float32"), np.ones((2, 4, 5), "float32")
    with counted_macs() as found:
        run(ops.convert_to_tensor(one), ops.convert_to_tensor(other))
    assert sum(found) == expected
    with counted_macs() as again:
        pass
    assert again == []
    assert "counted" not in repr(keras.ops.matmul)
