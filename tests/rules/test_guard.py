"""Rules of users that go wrong: each is named, with its kind and the call, and what was expected of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import RuleError
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules import CannotTell, Factor, Free, Labels, Reason, Rule, rule_for, unregister_rule
from kerasurgeon.rules.guard import CHECKS
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.tflite_call import TfliteCall


class Gate(keras.layers.Layer):
    """Half of the channels times the sigmoid of the others, scaled by a weight."""

    def __init__(self, channels: int = 8, **options: Any) -> None:
        super().__init__(**options)
        self.channels = channels

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(self.channels,), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        one, other = keras.ops.split(inputs, 2, axis=-1)
        return one * keras.ops.sigmoid(other) * self.scale

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] // 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels}


class Right(Rule):
    def channels(self, call: Any) -> Any:
        ids = call.along(call.input, -1)
        kept = ids[: len(ids) // 2]
        call.tie(kept, ids[len(ids) // 2 :])
        call.weight("scale", {0: kept})
        call.count(channels=kept)
        return call.output(kept)


@pytest.fixture
def model() -> Iterator[keras.Model]:
    inputs = keras.Input((8, 8, 3))
    x = Gate(name="gate")(layers.Conv2D(16, 3, name="conv")(inputs))
    yield keras.Model(inputs, layers.Conv2D(4, 3, name="last")(x))
    unregister_rule(Gate)


def channels_by(function: Callable[[Any, Any], Any]) -> Rule:
    class Own(Rule):
        def channels(self, call: Any) -> Any:
            ids = call.along(call.input, -1)
            kept = ids[: len(ids) // 2]
            call.weight("scale", {0: kept})
            return function(call, kept)

    return Own()


def by(**methods: Any) -> Rule:
    """The right rule with other methods."""
    own: Any = type("Own", (Right,), {name: (lambda given: lambda *_: given)(value) for name, value in methods.items()})
    rule: Rule = own()
    return rule


def cut(model: keras.Model) -> keras.Model:
    return ks.cut(model, ks.ChannelPlan({"conv": [0, 1, 2, 8, 9, 10]}))


def test_a_right_rule_is_left_alone(model: keras.Model) -> None:
    ks.register_rule(Gate, Right())
    small = cut(model)
    assert small.get_layer("gate").channels == 3
    assert isinstance(rule_for(Gate), Right)
    unregister_rule(Gate)
    ks.register_rule(Gate, Right())


def raises(call: Any, ids: Any) -> Any:
    raise KeyError("rank")


WRONG: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "an array": (lambda call, ids: ids, "its result is no labels"),
    "nothing": (lambda call, ids: None, "its result is no labels"),
    "a list": (lambda call, ids: [call.output(ids)], "its result is no labels"),
    "two for one": (lambda call, ids: (call.output(ids), call.output(ids)), "not labels for each output"),
    "too many": (lambda call, ids: call.output(np.tile(ids, 2)), "another number of labels"),
    "too few": (lambda call, ids: call.output(ids[:-1]), "another number of labels"),
    "of the input's shape": (lambda call, ids: call.input, "for another shape"),
    "of another rank": (lambda call, ids: Labels((None, 8), (Factor((1,), ids),)), "for another shape"),
    "an axis twice": (lambda call, ids: Labels(call.shape, (Factor((3,), ids), Factor((3,), ids))), "wrong axes"),
    "an axis too many": (lambda call, ids: Labels(call.shape, (Factor((4,), ids),)), "wrong axes"),
    "no factor": (lambda call, ids: Labels(call.shape, (ids,)), "factor that is none"),
    "of floats": (lambda call, ids: call.output(ids.astype("float32")), "is given no labels"),
    "a list of labels": (lambda call, ids: call.output(ids.tolist()), "is given no labels"),
    "made up": (lambda call, ids: call.output(np.arange(1000, 1008)), "labels that nobody made"),
    "negative": (lambda call, ids: call.output(ids - 100), "labels that nobody made"),
    "an exception": (raises, "failed: KeyError: 'rank'"),
    "a tie of other sizes": (lambda call, ids: call.tie(ids, ids[:3]), "failed: ValueError"),
    "a tie of lists": (lambda call, ids: (call.tie(ids * 1.0, ids), call.output(ids))[1], "call.tie"),
    "another weight axis": (lambda call, ids: call.weight("scale", {3: ids}), "axis 3 of an array with 1 axes"),
    "a weight too long": (
        lambda call, ids: (call.weight("scale", {0: ids[:4]}), call.output(ids))[1],
        "weight 'scale'",
    ),
    "an entry that is not there": (lambda call, ids: (call.count(width=ids), call.output(ids))[1], "the config lacks"),
    "a wrong count": (lambda call, ids: (call.count(channels=ids[:5]), call.output(ids))[1], "not the number of its"),
    "a reason that is text": (
        lambda call, ids: (call.freeze(ids, "why"), call.output(ids))[1],
        "a reason that is none",
    ),
    "a wrong change": (
        lambda call, ids: (call.change(lambda keep: 3), call.output(ids))[1],
        "no entries of the config",
    ),
    "a change that fails": (
        lambda call, ids: (call.change(lambda keep: keep[0]), call.output(ids))[1],
        "failed: TypeErr",
    ),
    "a wrong factor": (lambda call, ids: (call.rescale("scale", lambda keep: "2"), call.output(ids))[1], "no number"),
    "wrong operands": (
        lambda call, ids: (call.change_operands(lambda keep, o: o[0]), call.output(ids))[1],
        "no operands",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_are_named(name: str, model: keras.Model) -> None:
    function, said = WRONG[name]
    ks.register_rule(Gate, channels_by(function))
    with pytest.raises(RuleError) as caught:
        cut(model)
    text = str(caught.value)
    assert said in text
    assert "Own.channels(), the rule for custom:" in text
    assert "Gate" in text
    assert "'gate'" in text


def test_labels_of_another_call_are_refused(model: keras.Model) -> None:
    kept: list[Any] = []

    class Remembers(Rule):
        def channels(self, call: Any) -> Any:
            ids = call.along(call.input, -1)
            kept.append(ids)
            call.weight("scale", {0: call.fresh(8)})
            return call.output(np.arange(0, 8))  # those of the first convolution, which this call never saw

    x = layers.Conv2D(16, 1, name="first")(model.inputs[0])
    deep = keras.Model(model.inputs[0], Gate(name="gate")(layers.Conv2D(16, 1, name="second")(x)))
    ks.register_rule(Gate, Remembers())
    with pytest.raises(RuleError, match="labels of another call"):
        ks.groups(deep)


def test_an_exception_is_kept_as_the_cause(model: keras.Model) -> None:
    ks.register_rule(Gate, channels_by(raises))
    with pytest.raises(RuleError) as caught:
        ks.groups(model)
    assert isinstance(caught.value.__cause__, KeyError)


def test_cannot_tell_is_an_answer(model: keras.Model) -> None:
    class Unsure(Rule):
        def channels(self, call: Any) -> Any:
            raise CannotTell("it is Tuesday")

    ks.register_rule(Gate, Unsure())
    assert "rule of a layer cannot tell" in str(ks.groups(model)["conv"].frozen)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "12", None, [1], np.float32(2)])
def test_macs_are_a_whole_number(wrong: Any, model: keras.Model) -> None:
    ks.register_rule(Gate, by(macs=wrong))
    with pytest.raises(RuleError, match=r"Own.macs\(\).*a whole number from 0"[:12]):
        ks.cost(model)


def test_numbers_of_numpy_are_whole_numbers_too(model: keras.Model) -> None:
    ks.register_rule(Gate, by(macs=np.int64(7)))
    (row,) = [row for row in ks.cost(model).rows if row.name == "gate"]
    assert row.macs == 7
    assert type(row.macs) is int


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("keeps_batch", 1),
        ("keeps_batch", None),
        ("output_specs", None),
        ("output_specs", ((1, 6, 6, 8),)),
        ("output_specs", (TensorSpec((1, 6, 8), "float32"),)),
        ("output_specs", (TensorSpec((1, 6, 6, 9), "float32"),)),
        ("output_specs", (TensorSpec((1, 6, 6, 8), "int32"),)),
        ("output_specs", (TensorSpec((1, 6, 6, 8), "float32"),) * 2),
    ],
)
def test_batch_and_specs(method: str, wrong: Any, model: keras.Model) -> None:
    inputs = keras.Input((None, 8, 3))
    x = Gate(name="gate")(layers.Conv2D(16, 3, name="conv")(inputs))
    open_model = keras.Model(inputs, x)
    ks.register_rule(Gate, by(**{method: wrong}))
    with pytest.raises(RuleError, match=rf"Own.{method}\(\), the rule for custom:"):
        ks.cost(open_model)


@pytest.mark.parametrize("method", sorted(set(CHECKS) - {"channels"}))
def test_every_method_is_checked(method: str, model: keras.Model) -> None:
    """A strange answer and an exception of each, asked as the library asks."""

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    graph = ks.lift(model)
    call = ks.rules.call_of(graph, graph["gate"], {node.name: node.outputs for node in graph.nodes()})
    about: Any = call if method in ("macs", "output_specs", "identity") else graph.layer_of("gate")
    if method in ("onnx", "tflite"):
        writing = {"onnx": OnnxCall, "tflite": TfliteCall}[method]
        about = writing("gate", graph.layer_of("gate"), (), outputs=graph["gate"].outputs)
    asked_of_ranks = ("positions", "movement", "statistics", "normalisation", "carries")
    more = {"combination": (1,), **dict.fromkeys(asked_of_ranks, (4,))}.get(method, ())
    for rule, said in ((by(**{method: object()}), "cannot be used"), (by(), "")):
        if not said:
            rule = type("Own", (Right,), {method: fails})()
            said = "failed: ZeroDivisionError"
        ks.register_rule(Gate, rule)
        with pytest.raises(RuleError, match=rf"Own.{method}\(\), the rule for .*{said}"):
            getattr(rule_for(Gate), method)(about, *more)


def test_the_table_has_every_method_of_a_rule() -> None:
    methods = {name for name in vars(Rule) if not name.startswith("_") and callable(getattr(Rule, name))}
    assert methods == set(CHECKS)


def test_a_rule_of_the_library_is_asked_as_it_is(model: keras.Model) -> None:
    ks.register_rule(Gate, Right())
    assert type(rule_for("Conv2D")).__module__.startswith("kerasurgeon.layers")
    assert type(rule_for("Conv2D")).channels.__module__.startswith("kerasurgeon.layers")


def test_one_object_for_several_kinds_names_the_kind(model: keras.Model) -> None:
    rule = by(macs=-3)
    ks.register_rule((Gate, "ops.wrongly"), rule)
    with pytest.raises(RuleError, match="Gate"):
        ks.cost(model)
    unregister_rule("ops.wrongly")


def test_a_tie_to_an_axis_that_stays_freezes_the_other(model: keras.Model) -> None:
    class ScaledSum(layers.Layer):
        def call(self, one: Any, other: Any) -> Any:
            return one + 0.5 * other

    class SumRule(Free):
        def channels(self, call: Any) -> Any:
            first, second = call.inputs
            call.tie(call.along(first, -1), call.along(second, -1))
            return first

    ks.register_rule(Gate, Right())
    ks.register_rule(ScaledSum, SumRule())
    try:
        inputs = keras.Input((4, 4, 8))
        x = ScaledSum()(layers.Conv2D(8, 1, name="conv")(inputs), inputs)
        frozen = ks.groups(keras.Model(inputs, layers.Conv2D(2, 1)(x)))["conv"].frozen
        assert str(Reason.FIXED_AXIS) in str(frozen)
    finally:
        unregister_rule(ScaledSum)
