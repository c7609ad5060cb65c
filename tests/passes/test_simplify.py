"""Simplify: what each rule does, what it leaves alone and why, and that the result computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.ops import core, nn
from keras.src.ops import numpy as arrays
from keras.src.utils import naming

from kerasurgeon.authoring import Graph, Node, Skip
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import Simplify, simplify
from kerasurgeon.rewrite.explain import explain
from kerasurgeon.simplify.rules import Rule, bypass
from tests.applications import application_inputs, shared_application
from tests.passes.checking import (
    assert_lives,
    changed,
    difference,
    kinds,
    model_of,
    outputs_of,
    reasons,
    run,
    state_of,
)
from tests.zoo import ZOO, build, sample_inputs

ALL = Simplify(training_layers=True, duplicates=True)
Make = Callable[[Any], Any]


def image(**options: Any) -> Any:
    return keras.Input((8, 8, 4), name="image", **options)


def between(make: Make, inputs: Any = None) -> keras.Model:
    """``make`` between two layers that stay, so that no input or output is in its way."""
    x = image() if inputs is None else inputs
    return model_of(x, layers.Dense(3, name="end")(make(layers.ReLU(name="begin")(x))))


def left_kinds(make: Make, pass_: Simplify = ALL, inputs: Any = None, rtol: float = 1e-6) -> list[str]:
    """The layers left of ``make``; the result must compute the same."""
    model = between(make, inputs)
    result = run(pass_, model)
    assert difference(model, result.model) <= rtol
    assert result.model.output_names == model.output_names
    assert not changed(run(pass_, result.model))
    return kinds(result.model)[1:-1]


def reason_for(make: Make, pass_: Simplify | None = None, inputs: Any = None, node: str = "it") -> str:
    model = between(make, inputs)
    result = run(pass_ or Simplify(), model)
    assert node in reasons(result), changed(result)
    return reasons(result)[node]


# ---- rewrites ----------------------------------------------------------------------------------------------------

NOTHING: dict[str, Make] = {
    "identity": layers.Identity(),
    "linear": layers.Activation("linear"),
    "copy": ops.copy,
    "dropout_0": layers.Dropout(0.0),
    "noise_0": layers.GaussianNoise(0.0),
    "no_activity": layers.ActivityRegularization(),
    "padding_0": layers.ZeroPadding2D(0),
    "cropping_0": layers.Cropping2D(0),
    "upsampling_1": layers.UpSampling2D(1),
    "upsampling_1_bilinear": layers.UpSampling2D(1, interpolation="bilinear"),
    "max_pooling_1": layers.MaxPooling2D(1),
    "average_pooling_1": layers.AveragePooling2D(1, padding="same"),
    "rescaling_1": layers.Rescaling(1.0),
    "rescaling_by_channel": layers.Rescaling([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
    "permute": layers.Permute((1, 2, 3)),
    "transpose": lambda x: ops.transpose(x, (0, 1, 2, 3)),
    "swapaxes": lambda x: ops.swapaxes(x, 2, -2),
    "moveaxis": lambda x: ops.moveaxis(x, 1, 1),
    "reshape": layers.Reshape((8, 8, 4)),
    "reshape_guessed": layers.Reshape((8, -1, 4)),
    "ops_reshape": lambda x: ops.reshape(x, (-1, 8, 8, 4)),
    "cast": lambda x: ops.cast(x, "float32"),
    "add_0": lambda x: x + 0.0,
    "0_add": lambda x: 0.0 + x,
    "add_zeros": lambda x: x + np.zeros((8, 1, 4), "float32"),
    "multiply_1": lambda x: x * 1.0,
    "1_multiply": lambda x: 1.0 * x,
    "subtract_0": lambda x: x - 0.0,
    "divide_1": lambda x: x / 1.0,
    "power_1": lambda x: x**1.0,
    "repeat_1": lambda x: ops.repeat(x, 1, axis=2),
    "tile_1": lambda x: ops.tile(x, (1, 1, 1, 1)),
    "slice": lambda x: x[:, 0:8, :, -4:],
    "ellipsis": lambda x: x[..., :],
    "concatenate_1": lambda x: ops.concatenate([x], axis=-1),
    "pad_0": lambda x: layers.ZeroPadding2D(((0, 0), (0, 0)))(x),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", NOTHING)
def test_removes_what_does_nothing(name: str) -> None:
    assert left_kinds(NOTHING[name], Simplify()) == []


NOTHING_ELSEWHERE: dict[str, tuple[tuple[int, ...], Make]] = {
    "flatten_vector": ((6,), layers.Flatten()),
    "padding_1d": ((8, 3), layers.ZeroPadding1D(0)),
    "cropping_3d": ((4, 4, 4, 2), layers.Cropping3D(0)),
    "pooling_1d": ((8, 3), layers.MaxPooling1D(1)),
    "upsampling_3d": ((4, 4, 4, 2), layers.UpSampling3D(1)),
}


@pytest.mark.parametrize("name", NOTHING_ELSEWHERE)
def test_removes_what_does_nothing_at_other_ranks(name: str) -> None:
    shape, make = NOTHING_ELSEWHERE[name]
    assert left_kinds(make, Simplify(), keras.Input(shape)) == []


TRAINING: dict[str, Make] = {
    **{kind: getattr(layers, kind)(0.3) for kind in ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise")},
    "SpatialDropout2D": layers.SpatialDropout2D(0.3),
    "ActivityRegularization": layers.ActivityRegularization(l2=0.1),
    "stop_gradient": ops.stop_gradient,
    **{kind: getattr(layers, kind)(0.2) for kind in ("RandomContrast", "RandomRotation", "RandomZoom", "RandomHue")},
    **{kind: getattr(layers, kind)() for kind in ("RandomFlip", "RandomErasing", "RandomShear", "AugMix")},
    **{kind: getattr(layers, kind)() for kind in ("CutMix", "MixUp", "RandAugment", "RandomGrayscale")},
    "RandomTranslation": layers.RandomTranslation(0.1, 0.1),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", TRAINING)
def test_removes_what_works_in_training_on_request(name: str) -> None:
    inputs = keras.Input((8, 8, 3))
    assert left_kinds(TRAINING[name], Simplify(training_layers=True), inputs) == []
    again = reasons(run(Simplify(), between(TRAINING[name], inputs)))
    assert list(again.values()) == ["it does something in training, which only training_layers=True gives up"]


def conv(**options: Any) -> Any:
    return layers.Conv2D(3, 3, name="conv", **options)


ROWS: dict[str, tuple[Make, list[str]]] = {
    "reshapes": (lambda x: layers.Reshape((4, 64))(layers.Reshape((64, 4))(x)), ["Reshape"]),
    "flatten_reshape": (lambda x: layers.Reshape((16, 16))(layers.Flatten()(x)), ["Reshape"]),
    "reshape_flatten": (lambda x: layers.Flatten()(layers.Reshape((16, 16))(x)), ["Flatten"]),
    "ops_reshape_reshape": (lambda x: layers.Reshape((4, 64))(ops.reshape(x, (-1, 256))), ["Reshape"]),
    "there_and_back": (lambda x: layers.Reshape((8, 8, 4))(layers.Flatten()(x)), []),
    "expand_squeeze": (lambda x: ops.squeeze(ops.expand_dims(x, 1), 1), []),
    "expand_squeeze_end": (lambda x: ops.squeeze(ops.expand_dims(x, -1), (4,)), []),
    "expand_reshape": (lambda x: layers.Reshape((64, 4))(ops.expand_dims(x, -1)), ["Reshape"]),
    "permute_permute": (lambda x: layers.Permute((2, 3, 1))(layers.Permute((2, 1, 3))(x)), ["Permute"]),
    "permute_back": (lambda x: layers.Permute((3, 1, 2))(layers.Permute((2, 3, 1))(x)), []),
    "transpose_permute": (lambda x: layers.Permute((3, 1, 2))(ops.transpose(x, (0, 2, 1, 3))), ["Permute"]),
    "swap_transpose": (lambda x: ops.transpose(ops.swapaxes(x, 1, 3), (0, 2, 1, 3)), ["Transpose"]),
    "move_transpose": (lambda x: ops.transpose(ops.moveaxis(x, 1, 3), (0, 3, 1, 2)), []),
    "move_several": (lambda x: ops.transpose(ops.moveaxis(x, (1, 2), (3, 1)), (0, 1, 3, 2)), ["Transpose"]),
    "rescalings": (lambda x: layers.Rescaling(2.0, 1.0)(layers.Rescaling(0.5, -3.0)(x)), ["Rescaling"]),
    "rescalings_cancel": (lambda x: layers.Rescaling(2.0, -2.0)(layers.Rescaling(0.5, 1.0)(x)), []),
    "rescaling_lists": (
        lambda x: layers.Rescaling(2.0)(layers.Rescaling([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 1.0])(x)),
        ["Rescaling"],
    ),
    "paddings": (lambda x: layers.ZeroPadding2D(((0, 1), (2, 3)))(layers.ZeroPadding2D(1)(x)), ["ZeroPadding2D"]),
    "croppings": (lambda x: layers.Cropping2D(((0, 1), (2, 0)))(layers.Cropping2D(1)(x)), ["Cropping2D"]),
    "cropping_undoes": (lambda x: layers.Cropping2D((1, 2))(layers.ZeroPadding2D((1, 2))(x)), []),
    "cropping_less": (lambda x: layers.Cropping2D(1)(layers.ZeroPadding2D((1, 2))(x)), ["ZeroPadding2D"]),
    "cropping_more": (lambda x: layers.Cropping2D((2, 1))(layers.ZeroPadding2D(1)(x)), ["Cropping2D"]),
    "padding_conv": (lambda x: conv()(layers.ZeroPadding2D(1)(x)), ["Conv2D"]),
    "pad_conv": (lambda x: conv()(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))), ["Conv2D"]),
    "paddings_conv": (
        lambda x: conv()(layers.ZeroPadding2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(((0, 1), (1, 0)))(x))),
        ["Conv2D"],
    ),
    "duplicates": (lambda x: layers.Add()([ops.relu(x), ops.relu(x)]), ["Relu", "Add"]),
    "duplicate_layers": (lambda x: layers.Add()([layers.ELU(0.5)(x), layers.ELU(0.5)(x)]), ["ELU", "Add"]),
    "no_duplicates": (lambda x: layers.Add()([layers.ELU(0.5)(x), layers.ELU(0.7)(x)]), ["ELU", "ELU", "Add"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_merges_neighbours(name: str) -> None:
    make, expected = ROWS[name]
    assert left_kinds(make) == expected


def test_computes_constants() -> None:
    naming.reset_uids()
    x = keras.Input(batch_shape=(2, 4), name="x")
    model = model_of(x, layers.Dense(3)(layers.ReLU()(x) * (ops.zeros_like(x) + 2.0) + ops.full_like(x, 0.5)))
    result = run(Simplify(), model)
    assert kinds(result.model) == ["ReLU", "Multiply", "Add", "Dense"]
    assert difference(model, result.model) == 0
    assert changed(result)["zeros_like"].startswith("computed, with what follows from it: 'zeros_like', 'add'")
    assert_constant_leaves(result.model)


def assert_constant_leaves(model: keras.Model) -> None:
    operation = next(each for each in model.operations if type(each).__name__ == "Multiply")
    operands = operation._inbound_nodes[0].arguments.args
    constant = next(each for each in operands if not isinstance(each, keras.KerasTensor))
    np.testing.assert_array_equal(constant, np.full((2, 4), 2.0))


def test_nodes_that_no_output_needs_go() -> None:
    x = keras.Input(batch_shape=(2, 4), name="x")
    y = layers.Dense(4, name="only_its_shape")(x)
    model = model_of(x, layers.Dense(3)(x * ops.ones_like(y) * 3.0))
    result = run(Simplify(), model)
    assert changed(result)["only_its_shape"] == "removed: no output of the model depends on it"
    assert "only_its_shape" not in [layer.name for layer in result.model.layers]


def test_options_switch_rules_off() -> None:
    model = between(lambda x: layers.Activation("linear", name="it")(layers.Dropout(0.2, name="drop")(x)))
    off = dict.fromkeys(Simplify().options, False)
    result = run(Simplify(**off), model)
    assert not changed(result)
    assert list(reasons(result).values()) == ["it has nothing that the rules look at"]
    assert set(changed(run(Simplify(**{**off, "identities": True}), model))) == {"it"}
    assert set(changed(run(Simplify(**{**off, "training_layers": True}), model))) == {"drop"}


def test_the_layer_before_takes_the_name_of_an_output() -> None:
    x = image()
    y = layers.Conv2D(3, 3, name="conv")(x)
    model = model_of(x, {"a": layers.Activation("linear", name="a")(y)})
    result = run(Simplify(), model).model
    assert result.output_names == ["a"]
    assert list(result.output) == ["a"]
    assert kinds(result) == ["Conv2D"]


def test_nested_models_stay_nested() -> None:
    inner_input = image()
    y = layers.Dropout(0.5)(layers.Conv2D(4, 3, name="conv")(layers.Identity()(inner_input)))
    body = keras.Model(inner_input, layers.Activation("linear")(y), name="body")
    x = keras.Input((8, 8, 4), name="x")
    model = model_of(x, layers.Dense(3)(layers.Dropout(0.1)(body(x))))
    result = run(ALL, model)
    assert len(changed(result)) == 4
    assert [layer.name for layer in result.model.get_layer("body").layers] == ["image", "conv"]
    assert difference(model, result.model) == 0


def test_nested_models_called_twice_stay_shared() -> None:
    inner_input = image()
    body = keras.Model(inner_input, layers.Dense(4)(layers.Dropout(0.5)(layers.ReLU()(inner_input))), name="body")
    x = keras.Input((8, 8, 4), name="x")
    model = model_of(x, body(body(x)))
    result = run(ALL, model)
    assert len(changed(result)) == 2
    assert len(result.model.weights) == 2
    assert difference(model, result.model) == 0


def test_a_nested_model_of_nothing_goes() -> None:
    body = keras.Sequential([keras.Input((8, 8, 4)), layers.Dropout(0.5), layers.Identity()], name="body")
    assert left_kinds(body) == []


def test_padding_reaches_into_a_nested_convolution() -> None:
    inner_input = keras.Input((10, 10, 4), name="inner")
    body = keras.Model(inner_input, layers.Conv2D(3, 3, name="conv")(inner_input), name="body")
    model = between(lambda x: body(layers.ZeroPadding2D(1, name="pad")(x)))
    result = run(Simplify(), model)
    assert changed(result) == {"pad": "merged into 'body/conv', which pads 'same'"}
    assert difference(model, result.model) < 1e-6
    assert result.model.get_layer("body").get_layer("conv").padding == "same"


def test_a_rule_is_added_in_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def relu_of_relu(graph: Graph, node: Node) -> str:
        return bypass(graph, node, "its input has no negative values")

    def follows_another(graph: Graph, node: Node) -> bool:
        return graph.kind(graph.producer(node.inputs[0])) == "ReLU"

    mine = Rule("identities", frozenset({"ReLU"}), relu_of_relu, follows_another)
    monkeypatch.setattr(simplify, "RULES", (*simplify.RULES, mine))
    assert left_kinds(lambda x: layers.ReLU()(layers.ReLU()(x)), Simplify()) == []


# ---- refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", Simplify().options)
def test_refuses_options_that_are_not_true_or_false(option: str) -> None:
    with pytest.raises(OptionError, match=option):
        Simplify(**{option: "yes"})  # type: ignore[arg-type]  # what is tested


REFUSED: dict[str, tuple[Make, str]] = {
    "activation": (layers.Activation("relu", name="it"), "its activation is 'relu', not linear"),
    "strides": (layers.MaxPooling2D(1, strides=2, name="it"), "its strides are (2, 2), not 1"),
    "pool_size": (layers.MaxPooling2D(2, strides=1, name="it"), "its pool_size is (2, 2), not 1"),
    "size": (layers.UpSampling2D(2, name="it"), "its size is (2, 2), not 1"),
    "rescaling": (layers.Rescaling(2.0, name="it"), "it multiplies by 2.0 and adds 0.0"),
    "casting": (layers.Identity(name="it", dtype="float16"), "it turns (?, 8, 8, 4) float32 into"),
    "cast": (lambda x: core.Cast("float16", name="it")(x), "it turns (?, 8, 8, 4) float32 into"),
    "part": (lambda x: arrays.GetItem(name="it")(x, (slice(None), slice(0, 4))), "it takes a part of axis 1"),
    "position": (lambda x: arrays.GetItem(name="it")(x, (slice(None), 0)), "it takes single positions"),
    "shape": (layers.Reshape((64, 4), name="it"), "it turns (?, 8, 8, 4) float32 into (?, 64, 4) float32"),
    "not_a_reshape": (layers.Flatten(name="it"), "what it reads is computed by ReLU, not another reshape"),
    "permutes": (layers.Permute((2, 1, 3), name="it"), "it permutes the axes to (0, 2, 1, 3)"),
    "not_a_permutation": (layers.Permute((2, 1, 3), name="it"), "computed by ReLU, not another permutation"),
    "transposing_flatten": (
        lambda x: layers.Flatten(data_format="channels_first", name="it")(layers.Reshape((4, 8, 8))(x)),
        "'it' moves the channels to the end before it flattens",
    ),
    "adds_an_axis": (
        lambda x: arrays.ExpandDims(1, name="it")(layers.Flatten(name="first")(x)),
        "it adds or removes an axis of the shape that 'first' makes",
    ),
    "batch_reshaped": (
        lambda x: layers.Reshape((2, 2), name="it")(arrays.Reshape((-1, 4), name="first")(x)),
        "'first' reshapes the batch axis, too",
    ),
    "read_twice": (
        lambda x: used_twice(x, layers.Flatten(name="first"), layers.Reshape((16, 16), name="it")),
        "'first' before it stays: its result is used 2 times",
    ),
    "batch_moved": (
        lambda x: layers.Permute((2, 1, 3), name="it")(arrays.Transpose((1, 0, 2, 3), name="first")(x)),
        "'first' moves the batch axis",
    ),
    "cannot_say": (
        lambda x: arrays.Swapaxes(1, 2, name="it")(arrays.Transpose((0, 2, 3, 1), name="first")(x)),
        "ops.swapaxes cannot say what both do together",
    ),
    "pooling_pads": (
        lambda x: layers.MaxPooling2D(2, name="pool")(layers.ZeroPadding2D(1, name="it")(x)),
        "'pool' is MaxPooling2D: what it pads with itself does not count as zeros",
    ),
    "average_pads": (
        lambda x: layers.AveragePooling2D(2, name="pool")(layers.ZeroPadding2D(1, name="it")(x)),
        "'pool' is AveragePooling2D: what it pads",
    ),
    "no_convolution": (
        lambda x: layers.ReLU(name="relu")(layers.ZeroPadding2D(1, name="it")(x)),
        "'relu' behind it is ReLU, not a convolution",
    ),
    "pads_already": (
        lambda x: conv(padding="same")(layers.ZeroPadding2D(1, name="it")(x)),
        "'conv' pads by itself already",
    ),
    "other_format": (
        lambda x: conv(data_format="channels_first")(layers.ZeroPadding2D(1, name="it")(x)),
        "'conv' has the other data format, channels_first",
    ),
    "other_padding": (
        lambda x: conv(strides=2)(layers.ZeroPadding2D(1, name="it")(x)),
        "it adds (1, 1) to axis 0, where 'conv' would add (0, 1)",
    ),
    "not_zeros": (
        lambda x: conv()(arrays.Pad(((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect", name="it")(x)),
        "it pads with something else than zeros",
    ),
    "other_value": (
        lambda x: conv()(arrays.Pad(((0, 0), (1, 1), (1, 1), (0, 0)), name="it")(x, constant_values=1.0)),
        "it pads with something else than zeros",
    ),
    "channels": (
        lambda x: conv()(arrays.Pad(((0, 0), (1, 1), (1, 1), (0, 2)), name="it")(x)),
        "it pads the batch or the channels",
    ),
    "padding_used_twice": (
        lambda x: layers.Add()(
            [layers.Conv2D(3, 3)(y := layers.ZeroPadding2D(1, name="it")(x)), layers.Conv2D(3, 3)(y)]
        ),
        "its result is used 2 times",
    ),
    "no_padding": (layers.Cropping2D(1, name="it"), "what it reads is computed by ReLU, not a padding"),
    "no_second_padding": (layers.ZeroPadding2D(1, name="it"), "computed by ReLU, not another padding"),
    "no_second_cropping": (layers.Cropping2D(1, name="it"), "computed by ReLU, not another cropping"),
    "cropping_format": (
        lambda x: layers.Cropping2D(1, data_format="channels_first", name="it")(layers.ZeroPadding2D(1, name="pad")(x)),
        "'pad' has the other data format",
    ),
    "cuts_both_ways": (
        lambda x: layers.Cropping2D(((2, 0), (1, 1)), name="it")(layers.ZeroPadding2D(1, name="pad")(x)),
        "it cuts more than 'pad' adds at one side and less at another",
    ),
    "not_rescaled": (layers.Rescaling(2.0, name="it"), "computed by ReLU, not another Rescaling"),
    "rescaling_dtypes": (
        lambda x: layers.Rescaling(2.0, name="it")(layers.Rescaling(2.0, dtype="float16", name="first")(x)),
        "'first' computes in float16, it computes in float32",
    ),
    "unknown_shape": (lambda x: x + arrays.OnesLike(name="it")(x), "its shape (?, 8, 8, 4) float32 is not known"),
}


def used_twice(x: Any, first: Make, second: Make) -> Any:
    y = first(x)
    return layers.Concatenate()([layers.GlobalMaxPooling1D()(second(y)), layers.ReLU()(y)])


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    make, expected = REFUSED[name]
    inputs = keras.Input((4, 4, 4), name="image") if name == "batch_reshaped" else None
    if name == "other_format":
        inputs = keras.Input((6, 6, 6), name="image")
    assert expected in reason_for(make, inputs=inputs)


def test_refuses_training_mode() -> None:
    assert reason_for(lambda x: layers.Dropout(0.5, name="it")(x, training=True), ALL).startswith(
        "it is called in training mode"
    )


def test_refuses_a_nested_model_in_training_mode() -> None:
    body = keras.Sequential([keras.Input((8, 8, 4)), layers.Dropout(0.5, name="drop"), layers.Dense(3)], name="body")
    reason = reason_for(lambda x: body(x, training=True), ALL, node="body/drop")
    assert reason.startswith("nested model 'body' is called in training mode")


def test_refuses_to_empty_a_model() -> None:
    x = image()
    model = keras.Model(x, layers.Identity(name="it")(x))
    result = run(ALL, model)
    assert reasons(result) == {"it": "it is all that stands between an input and an output of the model"}
    assert result.model.output_names == ["it"]


def test_refuses_to_merge_two_outputs() -> None:
    x = image()
    y = layers.ReLU(name="relu")(x)
    result = run(ALL, keras.Model(x, [y, layers.Identity(name="it")(y)]))
    assert reasons(result)["it"] == "the model returns its result and that of 'relu' under two names"
    assert result.model.output_names == ["relu", "it"]


def test_refuses_an_output_whose_name_nobody_can_take() -> None:
    x = image()
    body = keras.Sequential([keras.Input((8, 8, 4)), layers.Dense(3, name="dense")], name="body")
    result = run(ALL, keras.Model(x, layers.Identity(name="it")(body(x))))
    assert reasons(result)["it"] == "it gives an output of the model its name, which 'body/dense' cannot take over"


def test_refuses_to_pass_a_nested_models_input_through() -> None:
    inner_input = image()
    outputs = [layers.Dense(4)(inner_input), layers.Identity(name="it")(inner_input)]
    body = keras.Model(inner_input, outputs, name="body")
    assert "nested model 'body' would return begin twice or unchanged" in reason_for(
        lambda x: layers.Add()(body(x)), node="body/it"
    )


def test_refuses_to_let_a_mask_through() -> None:
    x = keras.Input((6,), dtype="int32", name="tokens")
    with pytest.warns(UserWarning, match="does not support masking"):
        y = layers.Reshape((6, 4), name="it")(layers.Embedding(10, 4, mask_zero=True, name="embedding")(x))
    assert reasons(run(ALL, model_of(x, layers.LSTM(3)(y))))["it"].startswith("it ends the mask that 'embedding' makes")


@pytest.mark.parametrize(
    ("first", "shared"),
    [
        (layers.Permute((2, 1, 3)), layers.Permute((3, 1, 2))),
        (layers.ZeroPadding2D(1), layers.ZeroPadding2D(2)),
        (layers.Rescaling(2.0), layers.Rescaling(3.0)),
    ],
)
def test_refuses_shared_layers(first: Any, shared: Any) -> None:
    model = between(lambda x: layers.ReLU()(shared(first(layers.ReLU()(shared(x))))))
    found = reasons(run(Simplify(), model))
    assert sum("is shared: it is called 2 times" in reason for reason in found.values()) == 1


def test_refuses_a_padding_before_a_shared_convolution() -> None:
    shared = layers.Conv2D(4, 3, name="conv")
    make = lambda x: shared(layers.ReLU()(shared(layers.ZeroPadding2D(1, name="it")(x))))  # noqa: E731
    assert "layer 'conv' is shared: it is called 2 times" in reason_for(make)


def test_refuses_a_padding_that_is_an_output() -> None:
    x = image()
    y = layers.ZeroPadding2D(1, name="it")(x)
    assert "it is an output of the model" in reasons(run(ALL, model_of(x, [y, layers.Conv2D(3, 3)(y)])))["it"]


def test_refuses_strides_at_an_unknown_size() -> None:
    x = keras.Input((None, None, 4))
    reason = reason_for(lambda y: conv(strides=2)(layers.ZeroPadding2D(1, name="it")(y)), inputs=x)
    assert "how 'conv' would pad depends on the size of axis 0, which is unknown" in reason


def test_refuses_several_unknown_sizes() -> None:
    x = keras.Input((None, None, 4))
    reason = reason_for(lambda y: arrays.Reshape((-1, 4), name="it")(y), inputs=x)
    assert "it turns" in reason


def test_refuses_to_merge_across_the_border_of_a_nested_model() -> None:
    body = keras.Sequential([keras.Input((256,)), layers.Reshape((16, 16), name="it")], name="body")
    reason = reason_for(lambda x: body(layers.Flatten(name="first")(x)), node="body/it")
    assert "'first' before it is in another nested model" in reason


FOLDED: dict[str, tuple[Make, str]] = {
    "output": (lambda x: [x, ops.exp(arrays.ZerosLike(name="it")(x))], "'exp' is an output of the model"),
    "layer": (
        lambda x: [x + layers.Dense(4, name="fed")(arrays.ZerosLike(name="it")(x))],
        "'fed' would read nothing but constants",
    ),
    "large": (lambda x: [x + arrays.ZerosLike(name="it")(ops.tile(x, (1, 40_000)))[:, :4]], "more than 65536"),
    "bfloat16": (
        lambda x: [x + ops.cast(arrays.ZerosLike(name="it")(ops.cast(x, "bfloat16")), "float32")],
        "Keras cannot save a constant of bfloat16",
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_refuses_constants(name: str) -> None:
    naming.reset_uids()
    x = keras.Input(batch_shape=(2, 4), name="x")
    make, expected = FOLDED[name]
    result = run(Simplify(), model_of(x, make(layers.Dense(4)(x))))
    assert expected in reasons(result)["it"]


def test_refuses_a_constant_that_enters_a_nested_model() -> None:
    inner = [keras.Input(batch_shape=(2, 4), name="one"), keras.Input(batch_shape=(2, 4), name="two")]
    body = keras.Model(inner, inner[0] * inner[1], name="body")
    x = keras.Input(batch_shape=(2, 4), name="x")
    model = model_of(x, layers.Dense(3)(body([x, arrays.OnesLike(name="it")(x)])))
    result = run(Simplify(), model)
    assert reasons(result)["it"] == "'it' crosses the border of nested model 'body'"
    assert difference(model, result.model) == 0


def test_weights_are_not_constants() -> None:
    x = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    model = model_of(x, ops.matmul(dense(x), dense.kernel))
    result = run(Simplify(), model)
    assert not changed(result)
    assert difference(model, result.model) == 0


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: [nn.Relu(name="one")(x), nn.Relu(name="it")(x)], "gives an output of the model its name"),
        (lambda x: [nested_relu(x) + nn.Relu(name="it")(x)], "but in another nested model"),
    ],
)
def test_refuses_duplicates(make: Make, expected: str) -> None:
    x = keras.Input((4,))
    found = reasons(run(ALL, model_of(x, make(layers.Dense(4)(x)))))
    assert any(expected in reason for reason in found.values()), found


def nested_relu(x: Any) -> Any:
    inner = keras.Input((4,))
    return keras.Model(inner, layers.Dense(4)(ops.relu(inner)), name="body")(x)


def test_a_rule_that_changes_and_then_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def sloppy(graph: Graph, node: Node) -> str:
        graph.rename(node, "renamed")
        raise Skip("too late")

    monkeypatch.setattr(simplify, "RULES", (Rule("identities", frozenset({"ReLU"}), sloppy),))
    with pytest.raises(PassError, match="changed the graph and then left it alone: too late"):
        run(Simplify(), between(layers.ReLU()))


# ---- numerics ----------------------------------------------------------------------------------------------------


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What TensorFlow documents for padding="SAME"."""
    if dilation > 1:
        kernel = (kernel - 1) * dilation + 1
    total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
    return total // 2, total - total // 2


@pytest.mark.spread(3)
@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (4, 1, 1), (3, 2, 1), (5, 3, 1), (3, 1, 2), (1, 2, 1)]
)
@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (0, 1)])
def test_padding_is_merged_exactly_where_same_padding_is_equal(
    size: int, kernel: int, stride: int, dilation: int, extra: tuple[int, int]
) -> None:
    front, behind = (a + b for a, b in zip(same_padding(size, kernel, stride, dilation), extra, strict=True))
    x = keras.Input((size, 2))
    make = layers.Conv1D(3, kernel, strides=stride, dilation_rate=dilation, name="conv")
    model = model_of(x, layers.ReLU()(make(layers.ZeroPadding1D((front, behind), name="pad")(x))))
    result = run(Simplify(), model)
    assert difference(model, result.model) < 1e-6
    if extra == (0, 0):
        assert kinds(result.model) == ["Conv1D", "ReLU"]
    elif "ZeroPadding1D" not in kinds(result.model):
        # Other zeros may be merged only where no window reads them, or as causal padding.
        assert extra == (0, 1) or result.model.get_layer("conv").padding == "causal"


BORDERED: dict[str, tuple[tuple[int | None, ...], Any, Make]] = {
    "conv1d_causal": ((8, 3), layers.ZeroPadding1D((4, 0)), layers.Conv1D(4, 3, dilation_rate=2, strides=1)),
    "conv1d_causal_strided": ((9, 3), layers.ZeroPadding1D((2, 0)), layers.Conv1D(4, 3, strides=2)),
    "conv2d_groups": ((8, 8, 4), layers.ZeroPadding2D(1), layers.Conv2D(4, 3, groups=2)),
    "conv2d_uneven": ((7, 8, 3), layers.ZeroPadding2D(((1, 1), (0, 1))), layers.Conv2D(4, 3, strides=2)),
    "conv2d_kernel": ((8, 8, 3), layers.ZeroPadding2D((2, 0)), layers.Conv2D(4, (5, 1), use_bias=False)),
    "conv2d_free": ((None, None, 3), layers.ZeroPadding2D(1), layers.Conv2D(4, 3)),
    "conv3d": ((4, 4, 4, 2), layers.ZeroPadding3D(1), layers.Conv3D(3, 3)),
    "depthwise1d": ((8, 3), layers.ZeroPadding1D(1), layers.DepthwiseConv1D(3)),
    "depthwise2d": ((8, 8, 3), layers.ZeroPadding2D(((0, 1), (0, 1))), layers.DepthwiseConv2D(3, strides=2)),
    "depthwise2d_dilated": ((8, 8, 3), layers.ZeroPadding2D(2), layers.DepthwiseConv2D(3, dilation_rate=2)),
    "separable1d": ((8, 3), layers.ZeroPadding1D(1), layers.SeparableConv1D(4, 3)),
    "separable2d": ((8, 8, 3), layers.ZeroPadding2D(1), layers.SeparableConv2D(4, 3)),
    "conv2d_channels_first": (
        (3, 9, 9),
        layers.ZeroPadding2D(1, data_format="channels_first"),
        layers.Conv2D(4, 3, strides=2, data_format="channels_first"),
    ),
}


@pytest.mark.parametrize("name", BORDERED)
def test_padding_into_every_convolution(name: str) -> None:
    shape, padding, make = BORDERED[name]
    x = keras.Input(shape)
    model = model_of(x, layers.ReLU()(make(padding(x))))
    result = run(Simplify(), model)
    assert len(kinds(result.model)) == 2
    assert difference(model, result.model) < 1e-6


@pytest.mark.parametrize("rank", [1, 3])
def test_borders_at_other_ranks(rank: int) -> None:
    pad, crop = (getattr(layers, f"{kind}{rank}D") for kind in ("ZeroPadding", "Cropping"))
    inputs = keras.Input((*(6,) * rank, 2))
    assert left_kinds(lambda x: crop(1)(pad(1)(x)), inputs=inputs) == []
    assert left_kinds(lambda x: crop(1)(pad(2)(x)), inputs=inputs) == [f"ZeroPadding{rank}D"]
    assert left_kinds(lambda x: pad(1)(pad(2)(x)), inputs=inputs) == [f"ZeroPadding{rank}D"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtypes(policy: str) -> None:
    with_policy = {"dtype": policy}
    x = image(dtype="float64" if policy == "float64" else "float32")
    y = layers.Conv2D(3, 3, **with_policy)(
        layers.ZeroPadding2D(1, **with_policy)(layers.Dropout(0.1, **with_policy)(x))
    )
    y = layers.Flatten(**with_policy)(layers.Reshape((16, 12), **with_policy)(y))
    model = model_of(x, layers.Dense(3, **with_policy)(layers.Activation("linear", **with_policy)(y)))
    result = run(ALL, model)
    assert difference(model, result.model) < 1e-2
    assert [output.dtype for output in result.model.outputs] == [output.dtype for output in model.outputs]
    # What casts the input stays: without it the padding would compute in another type.
    assert ("Dropout" in kinds(result.model)) == (policy != "float64")


# ---- contract ----------------------------------------------------------------------------------------------------


def busy() -> keras.Model:
    x = image()
    y = layers.Dropout(0.2)(
        layers.Conv2D(4, 3)(layers.ZeroPadding2D(1)(layers.Rescaling(0.5)(layers.Rescaling(2.0)(x))))
    )
    y = layers.Activation("linear")(layers.BatchNormalization()(y))
    y = layers.Flatten()(layers.Reshape((16, 16))(y))
    model = model_of(x, layers.Dense(3, name="result")(layers.Dropout(0.1)(y)))
    model.compile("adam", "mse", metrics=["mae"])
    model.layers[4].trainable = False
    return model


def test_the_model_given_is_untouched() -> None:
    model = busy()
    before = state_of(model)
    run(ALL, model, verify="exact")
    assert state_of(model) == before


def test_the_result_lives_and_stays_compiled(tmp_path: Path) -> None:
    model = busy()
    result = run(ALL, model).model
    assert kinds(result) == ["Conv2D", "BatchNormalization", "Flatten", "Dense"]
    assert difference(model, result) < 1e-6
    assert result.compiled
    assert result.output_names == ["result"]
    assert_lives(result, tmp_path)


def test_constants_survive_saving(tmp_path: Path) -> None:
    x = keras.Input(batch_shape=(2, 4), name="x")
    model = model_of(x, layers.Dense(3)(x * (ops.zeros_like(x) + 2.0)))
    assert_lives(run(Simplify(), model).model, tmp_path)


def test_it_says_what_it_would_do_without_doing_it() -> None:
    model = busy()
    told = explain(ALL, model)
    assert {site.node: site.what for site in told.sites if site.changed} == changed(run(ALL, model))


def names_of_outputs(model: keras.Model) -> Any:
    return getattr(model, "output_names", None)


@pytest.mark.spread(30)
@pytest.mark.parametrize("name", [name for name in ZOO if name != "custom_without_config"])
def test_zoo(name: str) -> None:
    model = build(name)
    tags = ZOO[name].tags
    inputs = sample_inputs(model)
    expected = outputs_of(model, inputs) if "stateful" not in tags else None
    result = run(ALL, model).model
    assert names_of_outputs(result) == names_of_outputs(model)
    if expected is not None:
        allowed = 5e-2 if "low_precision" in tags else 1e-4
        for one, other in zip(expected, outputs_of(result, inputs), strict=True):
            assert np.abs(one - other).max(initial=0.0) <= allowed * np.abs(one).max(initial=1e-6)
    if not {"unsaveable", "always_random"} & tags:
        assert not changed(run(ALL, result))


@pytest.mark.sweep
@pytest.mark.parametrize("architecture", ["MobileNetV2", "ResNet50V2"])
def test_some_applications(architecture: str) -> None:
    model = shared_application(architecture)
    result = run(ALL, model)
    assert difference(model, result.model, application_inputs(model)) < 1e-5
    # (0, 1) before a stride of 2 is what a convolution pads itself; (1, 1) and ResNet's (3, 3) are not.
    padded = {kind for kind in kinds(result.model) if kind == "ZeroPadding2D"}
    assert sum(what.startswith("merged into") for what in changed(result).values()) > 3
    assert bool(padded) == (architecture == "ResNet50V2")


@pytest.mark.sweep
def test_applications(application: str) -> None:
    model = shared_application(application)
    result = run(Simplify(training_layers=True), model)
    assert difference(model, result.model, application_inputs(model)) < 1e-4
    assert result.model.output_names == model.output_names
    assert not changed(run(Simplify(training_layers=True), result.model))
