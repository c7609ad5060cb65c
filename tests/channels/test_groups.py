"""Groups: what goes together, where it is held, what it costs, and why it may not go."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.channels import analyse, groups
from kerasurgeon.rules.reasons import Reason
from tests.channels.networks import conv, residual


def test_members_are_every_axis_that_holds_a_channel() -> None:
    found = groups(residual())
    assert [group.name for group in found] == ["stem", "a1", "b1", "head"]
    members = {(member.layer, member.weight, member.axis) for member in found["a1"].members}
    assert members == {
        ("a1", "kernel", 3),
        ("a1", "bias", 0),
        *(("bn1", key, 0) for key in ("gamma", "beta", "moving_mean", "moving_variance")),
        ("a2", "kernel", 2),
    }
    assert {source.name for source in found["b2"].sources} == {"stem", "a2", "b2"}
    assert [member.layer for member in found["b1"].members if member.contracted] == ["b2"]


def test_costs_are_what_a_cut_of_the_group_saves() -> None:
    """The group's parameters are what is left out when all of it goes but one channel, scaled up to all."""
    model = residual()
    group = groups(model)["a1"]
    by_hand = 3 * 3 * 8 * 6 + 6 + 4 * 6 + 6 * 8
    assert group.parameters == by_hand
    assert group.bytes == 4 * by_hand
    assert group.macs == 144 * (3 * 3 * 8 * 6 + 6 * 8)
    small = ks.cut(model, ks.ChannelPlan({"a1": [0, 1, 2]}))
    assert ks.cost(model).parameters - ks.cost(small).parameters == by_hand // 2


def test_why_groups_are_frozen() -> None:
    found = groups(residual())
    assert found["head"].frozen == "it belongs to an output of the model (head)"
    assert found["stem"].frozen == ""
    assert found["head"].free.sum() == 0


def test_a_custom_layer_without_a_rule_is_a_barrier_until_it_has_one() -> None:
    class Scaled(keras.Layer):
        def build(self, shape: tuple[int | None, ...]) -> None:
            self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

        def call(self, inputs: object) -> object:
            return inputs * self.scale

    inputs = keras.Input((8, 8, 3))
    x = Scaled(name="scaled")(conv(6, name="one")(inputs))
    model = keras.Model(inputs, conv(2, name="two")(x))
    channels = analyse(model)
    group = groups(channels)["one"]
    assert group.frozen == f"{Reason.NO_RULE} (scaled)"
    assert "register_rule" in channels.barriers["scaled"]

    class ScaledRule(ks.rules.Rule):
        def channels(self, call: ks.rules.ChannelCall) -> ks.rules.Labels:
            call.weight("scale", {0: call.along(call.input, -1)})
            return call.input

    ks.register_rule(Scaled, ScaledRule())
    try:
        assert groups(model)["one"].frozen == ""
        small = ks.cut(model, ks.ChannelPlan({"one": [0, 5]}))
        assert small.get_layer("scaled").scale.shape == (2,)
    finally:
        ks.rules.unregister_rule(Scaled)


def test_a_rule_that_forgets_a_weight_does_not_cut_it_wrongly() -> None:
    class Forgetful(ks.rules.Rule):
        def channels(self, call: ks.rules.ChannelCall) -> ks.rules.Labels:
            return call.input

    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(conv(6, name="one")(inputs))
    model = keras.Model(inputs, conv(2, name="two")(x))
    ks.register_rule(layers.BatchNormalization, Forgetful())
    try:
        channels = analyse(model)
        assert "gamma" in channels.barriers["norm"]
        assert groups(channels)["one"].frozen.startswith(str(Reason.CANNOT_TELL))
    finally:
        ks.rules.unregister_rule(layers.BatchNormalization)


def test_layers_left_alone() -> None:
    channels = analyse(residual(), frozen=["a1"])
    assert groups(channels)["a1"].frozen == f"{Reason.REQUEST} (a1)"


@pytest.mark.parametrize("key", ["nothing", 17])
def test_missing_groups(key: str | int) -> None:
    with pytest.raises((KeyError, IndexError)):
        groups(residual())[key]


def test_table_and_data() -> None:
    found = groups(residual())
    assert "stem, a2, b2" in str(found)
    data = found.to_dict()
    assert data[0]["units"] == 8
    assert data[0]["may_go"] == 8
    assert np.isclose(data[0]["bytes"], found[0].bytes)
