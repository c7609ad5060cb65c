"""ReplaceWithTranslator: several cuts, names, refusals."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import ReplaceWithTranslator
from kerasurgeon.testing import assert_pass
from tests.blocks.networks import residual_net
from tests.passes.checking import changed, run
from tests.zoo.sampling import randomise


@pytest.fixture
def model() -> keras.Model:
    net = residual_net((17, 16))
    randomise(net, 0)
    return net


def test_one_cut(model: keras.Model) -> None:
    result = assert_pass(ReplaceWithTranslator(("stem_relu", "head")), model, changes=1, again=False)
    assert [layer.name for layer in result.model.layers] == [
        "image",
        "stem",
        "stem_bn",
        "stem_relu",
        "translator_1_pool",
        "block3_add",
        "head",
        "head_bn",
        "head_relu",
        "pool",
        "scores",
    ]
    pool, conv = result.model.get_layer("translator_1_pool"), result.model.get_layer("block3_add")
    assert (pool.pool_size, pool.strides) == ((1, 2), (2, 2))  # 17 -> 9: one row is left before the last step
    assert (conv.filters, conv.kernel_size, conv.use_bias) == (12, (1, 1), True)
    assert conv.activation is keras.activations.relu
    (bridge,) = result.report.passes[0].plans[0].bridges
    assert (bridge.entry, bridge.exit, bridge.layers) == (
        "stem_relu",
        "block3_add",
        ("translator_1_pool", "block3_add"),
    )


def test_several_cuts(model: keras.Model) -> None:
    result = run(ReplaceWithTranslator([("stem_relu", "block2_a"), ("block2_b_bn", "head")], "linear"), model)
    assert list(changed(result)) == ["block1_add", "block3_add"]
    assert "translator_2, a translator, in place of block2_b_bn|head (6 nodes)" in changed(result)["block3_add"]
    assert "translator_1_pool" not in [layer.name for layer in result.model.layers]  # the same size
    one, two = (result.model.get_layer(name) for name in ("block1_add", "block3_add"))
    assert (one.filters, two.filters) == (8, 12)
    assert one.activation is keras.activations.linear


def test_weights_follow_from_the_seed(model: keras.Model) -> None:
    pass_ = ReplaceWithTranslator(("stem_relu", "head"))
    one, two, other = (
        run(pass_, model, seed=seed).model.get_layer("block3_add").get_weights()[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("cuts", "parts"),
    [
        ([("stem_relu", "head"), ("block1_add", "head")], ["overlap"]),
        (("head", "stem"), ["does not come before"]),
        (("stem", "block1_b"), ["other tensors cross"]),
        (("stem", "hea"), ["did you mean 'head'"]),
        (("head", "pool"), ["nothing between"]),
    ],
)
def test_refusals(model: keras.Model, cuts: Any, parts: list[str]) -> None:
    if cuts == ("head", "pool"):
        cuts = ("head_relu", "pool")
    with pytest.raises(PassError) as raised:
        run(ReplaceWithTranslator(cuts), model)
    for part in parts:
        assert part in str(raised.value), str(raised.value)


def test_an_activation_that_there_is_not(model: keras.Model) -> None:
    with pytest.raises(PassError, match="'activation'"):
        run(ReplaceWithTranslator(("stem_relu", "head"), "rellu"), model)


@pytest.mark.parametrize(
    "cuts", [(), "a,b", ("a",), [("a", "b", "c")], [("a", 1)], None, [("a", "")], ["ab", "cd", "ef"]]
)
def test_cuts_that_cannot_be_used(cuts: Any) -> None:
    with pytest.raises(OptionError, match="'cuts'"):
        ReplaceWithTranslator(cuts)
