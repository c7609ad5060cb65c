"""How patterns are written, what they bind, and which kinds and operands they match."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras.src.utils import naming

from kerasurgeon.errors import GraphError, OptionError
from kerasurgeon.ir import Value
from kerasurgeon.rewrite.matching import find, match_at, near_misses
from kerasurgeon.rewrite.patterns import (
    any_op,
    anything,
    constant,
    layers,
    one_of,
    ops,
    optional,
)
from tests.rewrite.pattern_cases import CONV_BN, conv_bn, graph_of, image, only, why_not


class Doubling(keras.layers.Layer):
    """A layer that is not Keras'."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


@pytest.fixture(autouse=True)
def _numbering_of_names_starts_anew() -> None:
    naming.reset_uids()


# ---- bindings ----------------------------------------------------------------------------------------------


def test_a_match_binds_nodes_and_tensors_by_name() -> None:
    graph = conv_bn()
    match = only(graph, CONV_BN)
    assert match
    assert match["conv"] == match.node("conv") == graph["conv"]
    assert match["x"] == match.value("x") == Value("image")
    assert match.value("conv") == Value("conv")
    assert match.root == graph["bn"]
    assert [node.name for node in match.nodes] == ["conv", "bn"]
    assert list(match.bindings) == ["bn", "conv", "x"]
    assert "conv" in match
    assert "pad" not in match
    assert str(match) == "match at 'bn' (bn='bn', conv='conv', x=tensor image)"


def test_asking_a_match_for_the_wrong_thing_says_what_there_is() -> None:
    match = only(conv_bn(), CONV_BN)
    with pytest.raises(GraphError, match="did you mean 'conv'"):
        match["cnv"]
    with pytest.raises(GraphError, match=r"'x' is no node(.|\n)*got: tensor image"):
        match.node("x")
    with pytest.raises(GraphError, match="'conv' is no constant"):
        match.array("conv")


def test_matches_come_in_topological_order_and_leave_the_graph_alone() -> None:
    x = y = image()
    for index in range(4):
        y = keras.layers.Conv2D(3, 3, padding="same", name=f"conv{index}")(y)
        y = keras.layers.BatchNormalization(name=f"bn{index}")(y)
    graph = graph_of(x, y)
    before = graph.revision
    assert [match.root.name for match in find(graph, CONV_BN)] == ["bn0", "bn1", "bn2", "bn3"]
    assert near_misses(graph, layers.Conv2D(layers.Dense()))
    assert graph.revision == before
    assert find(graph, CONV_BN)[0].revision == before


def test_a_match_without_names_is_true_and_a_near_miss_false() -> None:
    graph = conv_bn()
    assert match_at(graph, layers.BatchNormalization(layers.Conv2D()), "bn")
    assert not match_at(graph, layers.BatchNormalization(layers.Dense()), graph["bn"])


def test_the_same_name_must_find_the_same_tensor() -> None:
    x = image()
    hard_swish = ops.multiply(anything("x"), layers.ReLU(ops.add(anything("x"), constant(3.0))))
    good = graph_of(x, x * keras.layers.ReLU(6.0)(x + 3.0))
    assert only(good, hard_swish).value("x") == Value("image")
    other = keras.layers.Conv2D(3, 1, name="other")(x)
    bad = graph_of(x, other * keras.layers.ReLU(6.0)(x + 3.0))
    assert why_not(bad, hard_swish).reason == "'x' would be both tensor other and tensor image"


def test_one_pattern_object_used_twice_is_one_tensor() -> None:
    x = image()
    inner = layers.Conv2D(anything("x"))
    swish = ops.multiply(inner, ops.sigmoid(inner))
    y = keras.layers.Conv2D(3, 1, name="one")(x)
    other = keras.layers.Conv2D(3, 1, name="two")(x)
    match = only(graph_of(x, y * keras.ops.sigmoid(y)), swish)
    assert [node.name for node in match.nodes] == ["one", "sigmoid", "multiply"]
    reason = why_not(graph_of(x, y * keras.ops.sigmoid(other)), swish).reason
    assert reason == "operand 'x' of 'sigmoid_1' is tensor two, not tensor one"


def test_two_parts_of_a_pattern_cannot_be_one_node() -> None:
    x = image()
    y = keras.layers.Conv2D(3, 1, name="conv")(x)
    graph = graph_of(x, keras.layers.Add(name="add")([y, y]))
    two = layers.Add(layers.Conv2D().bind("a"), layers.Conv2D().bind("b"))
    assert why_not(graph, two).reason == "'conv' is matched by another part of the pattern already"
    assert only(graph, layers.Add(layers.Conv2D().bind("a"), layers.Conv2D().bind("a")))


# ---- kinds -------------------------------------------------------------------------------------------------


def test_names_are_checked_when_a_pattern_is_written() -> None:
    with pytest.raises(OptionError, match=r"keras.layers has no 'Conv2d'(.|\n)*'Conv2D'"):
        layers.Conv2d()
    with pytest.raises(OptionError, match=r"keras.ops has no 'ad'(.|\n)*'add'"):
        ops.ad(anything())
    with pytest.raises(OptionError, match=r"MultiHeadAttention has no operand 'querry'(.|\n)*'query'"):
        layers.MultiHeadAttention(querry=anything())
    with pytest.raises(OptionError, match=r"cannot be the name of a layer(.|\n)*layers.Conv2D\(\)"):
        layers.BatchNormalization(layers.Conv2D)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="cannot be 'x'"):
        layers.BatchNormalization("x")  # type: ignore[arg-type]
    assert "Conv2D" in dir(layers)
    assert "add" in dir(ops)


def test_a_pattern_remembers_where_it_was_written() -> None:
    pattern = layers.BatchNormalization(layers.Conv2D(anything("x")))
    for part in pattern.walk():
        assert part.origin.startswith(__file__)
    assert pattern.bind("bn").origin == pattern.origin
    assert str(pattern) == "BatchNormalization(Conv2D(x))"


def test_alias_names_of_layers_and_ops_mean_what_they_make() -> None:
    x = image()
    graph = graph_of(x, keras.ops.abs(keras.layers.MaxPool2D()(keras.ops.swish(x / (x + 1)))))
    assert find(graph, layers.MaxPool2D())
    assert find(graph, ops.abs())
    assert find(graph, ops.swish())
    assert find(graph, ops.divide())


def test_several_kinds_and_several_patterns() -> None:
    x = image()
    y = keras.layers.Conv2D(4, 3, name="full")(x)
    y = keras.layers.DepthwiseConv2D(3, name="depthwise")(keras.layers.ReLU(name="relu")(y))
    graph = graph_of(x, y)
    assert len(find(graph, layers.one_of("Conv2D", "DepthwiseConv2D")(anything()))) == 2
    either = one_of(layers.DepthwiseConv2D(layers.ReLU().bind("act")), layers.Conv2D(anything("x"))).bind("c")
    first, second = find(graph, either)
    assert first.node("c").name == "full"
    assert first["act"] is None
    assert second.node("act").name == "relu"
    assert second["x"] is None
    nested = layers.ReLU(one_of(layers.Dense(), layers.Conv2D()).bind("c"))
    assert only(graph, nested).node("c").name == "full"


def test_any_op_by_class_and_by_test() -> None:
    x = image()
    graph = graph_of(x, Doubling(name="twice")(keras.layers.ReLU(name="relu")(x)))
    assert only(graph, any_op(layers.ReLU(), cls=Doubling)).root.name == "twice"
    assert [m.root.name for m in find(graph, any_op(where=lambda node, _: node.name == "relu"))] == ["relu"]
    assert len(find(graph, any_op())) == 3


def test_a_root_must_be_a_call() -> None:
    for pattern in (anything(), constant(), optional(layers.ReLU()), one_of(layers.ReLU(), anything())):
        with pytest.raises(OptionError, match="for its root"):
            find(conv_bn(), pattern)
    with pytest.raises(OptionError, match="nothing to choose from"):
        one_of()


def test_there_must_be_such_a_node() -> None:
    with pytest.raises(GraphError, match="did you mean 'conv'"):
        match_at(conv_bn(), CONV_BN, "cnv")


# ---- operands ----------------------------------------------------------------------------------------------


def test_lists_of_operands_are_flattened() -> None:
    x = image()
    graph = graph_of(x, keras.layers.Concatenate()([keras.layers.ReLU()(x), x]))
    for pattern in (
        layers.Concatenate([layers.ReLU(), anything("x")]),
        layers.Concatenate(layers.ReLU(), anything("x")),
    ):
        assert only(graph, pattern).value("x") == Value("image")
    assert not find(graph, layers.Concatenate(anything(), layers.ReLU()))


def test_other_operands_are_refused_unless_the_pattern_is_open() -> None:
    x = image()
    graph = graph_of(x, keras.layers.Concatenate(name="cat")([keras.layers.ReLU()(x), x, x]))
    assert why_not(graph, layers.Concatenate(layers.ReLU())).reason == "'cat' has 3 operands, not 1"
    assert find(graph, layers.Concatenate(layers.ReLU(), ...))
    assert find(graph, layers.Concatenate())
    four = layers.Concatenate(*(anything() for _ in range(4)), ...)
    assert why_not(graph, four).reason == "'cat' has 3 operands, not at least 4"


def test_operands_by_keyword_or_by_position() -> None:
    q, v = keras.Input((4, 6), name="q"), keras.Input((4, 6), name="v")
    graph = graph_of([q, v], keras.layers.MultiHeadAttention(2, 3, name="mha")(value=v, query=q, training=False))
    assert only(graph, layers.MultiHeadAttention(anything("a"), anything("b"))).value("b") == Value("v")
    assert only(graph, layers.MultiHeadAttention(query=anything("a"), value=anything("b"))).value("a") == Value("q")
    assert only(graph, layers.MultiHeadAttention(anything("a"), value=anything("b"))).value("a") == Value("q")
    assert only(graph, layers.MultiHeadAttention(..., query=anything("a")))
    assert why_not(graph, layers.MultiHeadAttention(query=anything())).reason == "'mha' has 1 operand more, not 0"
    keyed = layers.MultiHeadAttention(..., key=anything("k"))
    assert why_not(graph, keyed).reason == "'mha' has 0 operands 'key', not 1"


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Maximum", "Minimum"])
def test_operands_of_commutative_layers_match_in_any_order(kind: str) -> None:
    x = image()
    relu, sigmoid = keras.layers.ReLU(name="r")(x), keras.layers.Activation("sigmoid", name="s")(x)
    graph = graph_of(x, getattr(keras.layers, kind)()([relu, sigmoid, x]))
    for order in ("rsx", "srx", "xsr"):
        parts = {"r": layers.ReLU().bind("r"), "s": layers.Activation().bind("s"), "x": anything("x")}
        match = only(graph, getattr(layers, kind)([parts[letter] for letter in order]))
        assert match.node("r").name == "r"
        assert match.node("s").name == "s"


def test_permutations_are_taken_back_when_a_later_part_does_not_fit() -> None:
    x = image()
    relu, conv = keras.layers.ReLU(name="r")(x), keras.layers.Conv2D(3, 1, name="c")(x)
    graph = graph_of(x, (relu + conv) * relu)
    x_first = ops.multiply(ops.add(anything("a"), anything("b")), anything("a"))
    match = only(graph, x_first)
    assert (match.value("a"), match.value("b")) == (Value("r"), Value("c"))


def test_ordered_ops_keep_their_order() -> None:
    x = image()
    graph = graph_of(x, 3.0 - x)
    assert find(graph, ops.subtract(constant(3.0), anything("x")))
    miss = why_not(graph, ops.subtract(anything("x"), 3.0))
    assert miss.reason == "operand 'x1' of 'subtract' is 3.0, not a tensor"


def test_too_many_permutations_are_given_up() -> None:
    x = image()
    ways = [keras.layers.ReLU(name=f"r{i}")(x) for i in range(9)]
    graph = graph_of(x, keras.layers.Add(name="add")(ways))
    impossible = layers.Add([*(layers.ReLU() for _ in range(8)), layers.Dense()])
    miss = why_not(graph, impossible)
    assert "gave up after" in miss.reason
    assert miss.matched == 9
