"""ReplaceLayers: what it selects, what it puts there with which weights, what it leaves alone and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.utils import naming

from kerasurgeon.authoring import Node, Skip, anything
from kerasurgeon.authoring import layers as patterns
from kerasurgeon.errors import OptionError, PassError, RecipeError, VerificationError
from kerasurgeon.passes import ReplaceLayers
from kerasurgeon.replacing import ReplaceSite, replacements
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.rewrite.recipe import Recipe
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

pytestmark = pytest.mark.usefixtures("own_names")

HERE = __name__
READY = "kerasurgeon.replacing.replacements"


class Doubling(layers.Layer):
    """A layer that is not Keras'."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


def to_elu(layer: Any) -> Any:
    return layers.ELU()


def is_wide(node: Node, layer: Any) -> bool | str:
    return layer.config["filters"] > 4 or "it is narrow"


def relu_of_conv() -> Any:
    return patterns.ReLU(patterns.Conv2D(anything("x")).bind("conv"))


NOT_A_PATTERN = "just text"


def image(**options: Any) -> Any:
    return keras.Input((9, 9, 3), name="image", **options)


def small() -> keras.Model:
    x = image()
    y = layers.Conv2D(6, 3, padding="same", name="wide")(x)
    y = layers.Activation("relu", name="first")(y)
    y = layers.Conv2D(4, 3, padding="same", name="narrow")(y)
    y = layers.Activation("hard_silu", name="second")(y)
    y = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="pool")(y))
    return model_of(x, y)


def same(layer: Any) -> Any:
    return layer


# ---- rewrites ----------------------------------------------------------------------------------------------------

SELECTED: dict[str, tuple[Any, Any, list[str]]] = {
    "kind": ("Conv2D", None, ["wide", "narrow"]),
    "alias": ("Convolution2D", None, ["wide", "narrow"]),
    "class": (layers.Conv2D, None, ["wide", "narrow"]),
    "base_class": (layers.Activation, None, ["first", "second"]),
    "name": ("wide", None, ["wide"]),
    "glob": ("*w*", None, ["wide", "narrow"]),
    "expression": (r"re:^(wide|pool)$", None, ["wide", "pool"]),
    "compiled_expression": (re.compile("ar"), None, ["narrow"]),
    "several": (("head", "Activation"), None, ["first", "second", "head"]),
    "pattern": (patterns.Conv2D(anything("x")), None, ["wide", "narrow"]),
    "path_to_class": ("keras.layers:Dense", None, ["head"]),
    "where_text": ("Activation", {"activation": "relu"}, ["first"]),
    "where_number": ("Conv2D", {"filters": 4, "use_bias": True}, ["narrow"]),
    "where_pair": ("Conv2D", {"kernel_size": (3, 3)}, ["wide", "narrow"]),
    "where_list": ("Conv2D", {"kernel_size": [3, 3]}, ["wide", "narrow"]),
    "where_one_for_all": ("Conv2D", {"kernel_size": 3}, ["wide", "narrow"]),
    "where_function": ("Conv2D", is_wide, ["wide"]),
    "where_path": ("Conv2D", f"{HERE}:is_wide", ["wide"]),
    "where_with_pattern": (patterns.Activation(anything()), {"activation": "relu"}, ["first"]),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", SELECTED)
def test_selects(name: str) -> None:
    pattern, where, expected = SELECTED[name]
    model = small()
    result = run(ReplaceLayers(pattern, same, where=where), model)
    assert list(changed(result)) == expected
    assert difference(model, result.model) < 1e-6
    assert [layer.name for layer in result.model.layers] == [layer.name for layer in model.layers]


def test_selects_ops_and_custom_layers() -> None:
    x = image()
    model = model_of(x, layers.Dense(2)(ops.relu(Doubling(name="double")(x))))
    assert kinds(run(ReplaceLayers("ops.relu", to_elu), model).model) == ["Doubling", "ELU", "Dense"]
    kind = f"custom:{Doubling.__module__}.Doubling"
    assert kinds(run(ReplaceLayers(kind, to_elu), model).model) == ["ELU", "Relu", "Dense"]


def test_gives_the_function_the_built_layer_and_the_site() -> None:
    model = small()
    seen: list[tuple[Any, ReplaceSite]] = []

    def look(layer: Any, site: ReplaceSite) -> str:
        seen.append((layer, site))
        return "only looking"

    result = run(ReplaceLayers("Conv2D", look), model)
    assert reasons(result) == {"wide": "only looking", "narrow": "only looking"}
    layer, site = seen[0]
    assert isinstance(layer, layers.Conv2D)
    assert layer is not model.get_layer("wide")
    np.testing.assert_array_equal(layer.kernel, model.get_layer("wide").kernel)
    assert (site.name, site.calls) == ("wide", 1)
    assert site.inputs[0].shape == (None, 9, 9, 3)
    assert site.outputs[0].shape == (None, 9, 9, 6)


def test_the_function_may_change_the_layer_that_it_is_given() -> None:
    model = small()

    def double(layer: Any, *, factor: float) -> Any:
        layer.kernel.assign(layer.kernel * factor)
        return layer

    result = run(ReplaceLayers("wide", double, arguments={"factor": 2.0}), model).model
    np.testing.assert_allclose(result.get_layer("wide").kernel, 2 * model.get_layer("wide").kernel)


def test_new_layers_carry_the_old_weights() -> None:
    model = small()

    def strided(layer: Any) -> Any:
        return layers.Conv2D.from_config({**layer.get_config(), "strides": 2})

    result = run(ReplaceLayers("wide", strided), model)
    assert changed(result)["wide"] == "replaced by Conv2D with the old kernel, bias"
    np.testing.assert_array_equal(result.model.get_layer("wide").kernel, model.get_layer("wide").kernel)
    fresh = run(ReplaceLayers("wide", strided, carry_weights=False), model)
    assert changed(fresh)["wide"] == "replaced by Conv2D with new kernel, bias"
    assert np.any(fresh.model.get_layer("wide").kernel != model.get_layer("wide").kernel)


def test_carries_what_fits_and_says_what_is_new() -> None:
    model = small()
    result = run(ReplaceLayers("head", lambda layer: layers.Dense(5, bias_initializer="ones")), model)
    assert changed(result)["head"] == "replaced by Dense with new kernel, bias"
    result = run(ReplaceLayers("wide", lambda _: layers.Conv2D(6, 5, padding="same")), model)
    assert changed(result)["wide"] == "replaced by Conv2D with the old bias and new kernel"
    np.testing.assert_array_equal(result.model.get_layer("wide").bias, model.get_layer("wide").bias)


def test_built_layers_bring_their_own_weights() -> None:
    model = small()
    mine = layers.Dense(3)
    mine.build((None, 4))
    result = run(ReplaceLayers("head", lambda _: mine), model)
    assert changed(result)["head"] == "replaced by Dense with its own kernel, bias"
    np.testing.assert_array_equal(result.model.get_layer("head").kernel, mine.kernel)


PUT: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "list": (lambda layer: [layers.Dense(5), layers.ReLU()], ["Dense", "ReLU"]),
    "unbuilt_model": (lambda layer: keras.Sequential([layers.Dense(5), layers.Dense(3)]), ["Dense", "Dense"]),
    "built_model": (
        lambda layer: keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.Dense(3)]),
        ["Dense", "Dense"],
    ),
    "functional": (lambda layer: functional_head(), ["Dense", "Tanh"]),
    "function": (lambda layer: lambda x: ops.relu(layers.Dense(3)(x)) + 1.0, ["Dense", "Relu", "Add"]),
    "around": (lambda layer: lambda x: layer(x) * 0.5, ["Dense", "Multiply"]),
}


def functional_head() -> keras.Model:
    x = keras.Input((4,))
    return keras.Model(x, ops.tanh(layers.Dense(3)(x)))


@pytest.mark.parametrize("name", PUT)
def test_puts_in_place(name: str) -> None:
    make, expected = PUT[name]
    model = small()
    result = run(ReplaceLayers("head", make), model)
    assert kinds(result.model)[5:] == expected
    assert result.model.output_names == ["head"]
    inputs = sample_inputs(model)
    if name == "around":
        np.testing.assert_allclose(outputs_of(result.model, inputs)[0], outputs_of(model, inputs)[0] / 2, rtol=1e-6)


def test_names_follow_the_layer_replaced_and_not_the_process() -> None:
    def make(layer: Any) -> Any:
        return [layers.Dense(5), layers.Dense(6, name="mine"), layers.ReLU(), layers.Dense(3)]

    for _ in range(2):  # Keras numbers its own names over the whole process
        result = run(ReplaceLayers("head", make), small()).model
        assert [layer.name for layer in result.layers[-4:]] == ["head_dense", "mine", "head_re_lu", "head"]


def test_a_shared_layer_is_replaced_once_and_stays_shared() -> None:
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    model = model_of(x, layers.Dense(2)(shared(shared(x))))
    called: list[str] = []

    def linear(layer: Any, site: ReplaceSite) -> Any:
        called.append(f"{site.name} {site.calls}")
        return layers.Dense(4, activation="tanh")

    result = run(ReplaceLayers("shared", linear), model).model
    assert called == ["shared 2"]
    assert len(result.weights) == 4
    assert len(result.layers[1]._inbound_nodes) == 2


def test_shared_layers_without_weights_are_replaced_by_functions_too() -> None:
    model = build("shared_activation")
    result = run(ReplaceLayers("ReLU", lambda _: lambda x: ops.maximum(x, 0.0)), model)
    assert "ReLU" not in kinds(result.model)
    assert difference(model, result.model) < 1e-6


def test_inside_nested_models() -> None:
    inner = image()
    body = keras.Model(inner, layers.Activation("hard_silu", name="act")(layers.Conv2D(4, 3)(inner)), name="body")
    x = keras.Input((9, 9, 3), name="x")
    model = model_of(x, layers.Dense(2)(body(x)))
    result = run(ReplaceLayers("Activation", replacements.hard_swish_to_relu6), model).model
    assert result.get_layer("body").get_layer("act").get_config()["activation"] == "relu6"


def test_a_nested_model_called_twice_stays_shared() -> None:
    inner = keras.Input((4,))
    body = keras.Model(inner, layers.Dense(4, name="dense")(layers.ReLU(name="act")(inner)), name="body")
    x = keras.Input((4,), name="x")
    model = model_of(x, body(body(x)))
    result = run(ReplaceLayers("Dense", lambda _: layers.Dense(4, activation="tanh")), model).model
    assert len(result.weights) == 2
    assert len([layer for layer in result.layers if isinstance(layer, keras.Model)]) == 1


def test_replaces_regions() -> None:
    x = image()
    y = layers.ReLU(name="relu")(layers.Conv2D(4, 3, name="conv")(x))
    model = model_of(x, layers.Dense(2)(y))
    seen: list[ReplaceSite] = []

    def fuse(layer: Any, site: ReplaceSite) -> Any:
        seen.append(site)
        conv = site.layers["conv"]
        fused = layers.Conv2D.from_config({**conv.get_config(), "activation": "relu"})
        fused.build((None, 9, 9, 3))
        fused.set_weights(conv.get_weights())
        return fused

    result = run(ReplaceLayers(relu_of_conv(), fuse, exact=True), model, verify="exact")
    assert kinds(result.model) == ["Conv2D", "Dense"]
    assert changed(result) == {"relu": "2 nodes replaced by Conv2D"}
    assert seen[0].inputs[0].shape == (None, 9, 9, 3)
    assert difference(model, result.model) < 1e-6
    by_path = run(ReplaceLayers(f"{HERE}:relu_of_conv", fuse), model)
    assert kinds(by_path.model) == ["Conv2D", "Dense"]


def test_layers_with_several_operands() -> None:
    x = keras.Input((4,))
    model = model_of(x, layers.Add(name="sum")([layers.Dense(4)(x), x]))
    result = run(ReplaceLayers("Add", lambda _: layers.Average()), model).model
    assert kinds(result) == ["Dense", "Average"]
    result = run(ReplaceLayers("Add", lambda _: lambda a, b: a * 2 + b), model).model
    assert result.output_names == ["sum"]


def test_multi_output_layers() -> None:
    x = keras.Input((5, 4))
    h, state, cell = layers.LSTM(3, return_state=True, name="lstm")(x)
    model = model_of(x, [h, layers.Add()([state, cell])])

    def faster(layer: Any) -> Any:
        return layers.LSTM.from_config({**layer.get_config(), "unroll": True})

    result = run(ReplaceLayers("LSTM", faster, exact=True), model, verify="exact").model
    assert result.get_layer("lstm").unroll
    assert difference(model, result) < 1e-6


# ---- refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": ""}, "must say which layers"),
        ({"pattern": None}, "must say which layers"),
        ({"pattern": ()}, "is empty"),
        ({"pattern": "re:("}, "no regular expression"),
        ({"pattern": f"{HERE}:NOT_A_PATTERN"}, "is no pattern"),
        ({"function": None}, "cannot be called"),
        ({"where": 3}, "cannot be called"),
        ({"arguments": 3}, "must hold keyword arguments"),
        ({"exact": "yes"}, "'exact' must be true or false"),
        ({"carry_weights": 1}, "'carry_weights' must be true or false"),
    ],
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ReplaceLayers(**{"pattern": "ReLU", "function": to_elu, **options})


@pytest.mark.parametrize("option", ["pattern", "function", "where"])
def test_refuses_paths_that_lead_nowhere(option: str) -> None:
    given: dict[str, Any] = {"pattern": "ReLU", "function": f"{HERE}:to_elu", option: "nowhere_at_all:thing"}
    with pytest.raises(RecipeError, match="nowhere_at_all"):
        ReplaceLayers(**given)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "none": ({"function": lambda _: None}, "head", "the function returned None"),
    "reason": ({"function": lambda _: "not today"}, "head", "not today"),
    "where": ({"where": {"units": 7}}, "head", "its units is 3, not 7"),
    "where_unknown": ({"where": {"unitz": 7}}, "head", "its config has no 'unitz'"),
    "where_false": ({"where": lambda _node, _layer: False}, "head", "where refuses it"),
    "where_reason": ({"pattern": "Conv2D", "where": is_wide, "function": same}, "narrow", "it is narrow"),
    "nothing": ({"pattern": "Dens"}, "functional", "nothing in it matches 'Dens': did you mean 'Dense'?"),
    "no_pattern": ({"pattern": layers.LSTM}, "functional", "nothing in it matches the pattern"),
    "near_miss": ({"pattern": relu_of_conv()}, "functional", "nothing in it matches the pattern"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_leaves_alone(name: str) -> None:
    options, node, expected = REFUSED[name]
    naming.reset_uids()
    result = run(ReplaceLayers(**{"pattern": "Dense", "function": to_elu, **options}), small())
    assert expected in reasons(result)[node]


def raising_skip(layer: Any) -> Any:
    raise Skip("raised by hand")


def test_leaves_alone_what_raises_skip() -> None:
    assert reasons(run(ReplaceLayers("head", raising_skip), small())) == {"head": "raised by hand"}


def test_says_why_a_pattern_nearly_matches() -> None:
    x = image()
    y = layers.Conv2D(4, 3, name="conv")(x)
    model = model_of(x, layers.Add()([layers.ReLU(name="relu")(y), y]))
    result = run(ReplaceLayers(relu_of_conv(), to_elu), model)
    assert reasons(result) == {"relu": "conv is also used by 'add'"}


def test_leaves_alone_shared_weights_that_could_not_be_shared_again() -> None:
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    model = model_of(x, shared(shared(x)))
    result = run(ReplaceLayers("shared", lambda layer: [layer, layers.ReLU()]), model)
    assert reasons(result) == {
        "shared": "its layer is called 2 times, and only a single layer could be shared likewise"
    }


def test_leaves_alone_what_overlaps() -> None:
    x = image()
    model = model_of(x, layers.Dense(2)(layers.ELU(name="two")(layers.ReLU(name="one")(x))))
    overlapping = ("ReLU", patterns.ELU(patterns.ReLU(anything("x"))))
    result = run(ReplaceLayers(overlapping, lambda _: layers.Softmax()), model)
    assert changed(result) == {"one": "replaced by Softmax"}
    assert reasons(result) == {"two": "a part of it was replaced with another match"}
    assert kinds(result.model) == ["Softmax", "ELU", "Dense"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _: 3, "returns something that is no layer"),
        (lambda _: [], "list of something else"),
        (lambda _: [3], "list of something else"),
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: lambda x: 3, "does not return Keras tensors"),
        (lambda _: layers.Reshape((5,)), "Keras refuses the call of new layer"),
        (lambda _: lambda x: (), "cannot be empty"),
    ],
)
def test_mistakes_of_the_function_are_errors_that_name_the_site(function: Any, message: str) -> None:
    model = small()
    before = state_of(model)
    with pytest.raises(PassError, match=message):
        run(ReplaceLayers("head", function), model)
    assert state_of(model) == before


def test_outputs_that_are_used_must_be_there() -> None:
    x = keras.Input((5, 4))
    h, state, cell = layers.LSTM(3, return_state=True, name="lstm")(x)
    model = model_of(x, [h, layers.Add()([state, cell])])
    with pytest.raises(PassError, match="What replaces 'lstm' has 1 outputs"):
        run(ReplaceLayers("LSTM", lambda _: layers.LSTM(3)), model)
    with pytest.raises(PassError, match="What replaces 'lstm' has 1 outputs"):
        run(ReplaceLayers("LSTM", lambda _: lambda x: layers.LSTM(3)(x)), model)


def test_leaves_alone_weights_that_others_use() -> None:
    x = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    model = model_of(x, ops.matmul(dense(x), dense.kernel))
    result = run(ReplaceLayers("dense", lambda _: layers.Softmax()), model)
    assert reasons(result) == {"dense": "the weights of 'dense' are used elsewhere too, and the new layer has others"}
    kept = run(ReplaceLayers("dense", lambda _: layers.Dense(4, activation="tanh")), model)
    assert changed(kept) == {"dense": "replaced by Dense with the old kernel, bias"}


def test_what_does_not_fit_further_on_is_an_error() -> None:
    with pytest.raises(PassError, match="Weight 'kernel' of layer 'head'"):
        run(ReplaceLayers("pool", lambda _: layers.Flatten()), small())


def test_exact_is_checked() -> None:
    with pytest.raises(VerificationError, match="claims to be exact"):
        run(ReplaceLayers("first", to_elu, exact=True), small(), verify="exact")
    run(ReplaceLayers("first", to_elu), small(), verify="exact")


# ---- numerics: the ready-made replacements -----------------------------------------------------------------------


def relu6(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(x, 0, 6))


def test_hard_swish_to_relu6() -> None:
    x = keras.Input((5,))
    model = model_of(x, layers.Activation("hard_swish", name="act")(x))
    result = run(ReplaceLayers("Activation", replacements.hard_swish_to_relu6), model).model
    inputs = np.linspace(-9, 9, 10).reshape(2, 5).astype("float32")
    np.testing.assert_allclose(outputs_of(result, inputs)[0], relu6(inputs))
    assert result.output_names == ["act"]


def test_activations_inside_layers_are_replaced_with_the_weights_carried() -> None:
    x = image()
    model = model_of(x, layers.Conv2D(4, 3, activation="hard_silu", name="conv")(x))
    result = run(ReplaceLayers("Conv2D", f"{READY}:hard_swish_to_relu6"), model)
    linear = keras.Model(x, layers.Conv2D.from_config({**model.layers[1].get_config(), "activation": None})(x))
    linear.set_weights(model.get_weights())
    inputs = 5 * sample_inputs(model)
    np.testing.assert_allclose(
        outputs_of(result.model, inputs)[0], relu6(outputs_of(linear, inputs)[0]), rtol=1e-5, atol=1e-6
    )


def test_swish_to_relu_and_another_slope() -> None:
    x = keras.Input((5,))
    model = model_of(x, layers.LeakyReLU(0.3)(layers.Activation("swish")(x)))
    step = run(ReplaceLayers("Activation", replacements.swish_to_relu), model).model
    step = run(ReplaceLayers("LeakyReLU", replacements.leaky_relu_slope, arguments={"slope": 0.01}), step).model
    assert step.layers[2].get_config()["negative_slope"] == pytest.approx(0.01)
    inputs = np.linspace(-9, 9, 10).reshape(2, 5).astype("float32")
    np.testing.assert_allclose(outputs_of(step, inputs)[0], np.maximum(inputs, 0))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_two_3x3_are_exact_with_enough_channels_between(data_format: str, use_bias: bool) -> None:
    x = keras.Input((9, 9, 2) if data_format == "channels_last" else (2, 9, 9))
    conv = layers.Conv2D(4, 5, activation="tanh", use_bias=use_bias, data_format=data_format, name="conv")
    model = model_of(x, conv(x))
    result = run(ReplaceLayers("Conv2D", replacements.two_3x3, arguments={"filters": 18}), model).model
    assert [layer.name for layer in result.layers[1:]] == ["conv_conv2d", "conv"]
    assert difference(model, result) < 1e-4
    again = run(ReplaceLayers("Conv2D", replacements.two_3x3, arguments={"filters": 18}), model).model
    assert all(np.array_equal(a, b) for a, b in zip(result.get_weights(), again.get_weights(), strict=True))


def test_two_3x3_beat_new_weights() -> None:
    x = keras.Input((12, 12, 6))
    model = model_of(x, layers.Conv2D(8, 5, padding="same", name="conv")(x))

    def unfitted(layer: Any) -> Any:
        return [layers.Conv2D(8, 3, padding="same"), layers.Conv2D(8, 3, padding="same")]

    fitted = difference(model, run(ReplaceLayers("conv", replacements.two_3x3), model).model)
    assert fitted < 0.8 * difference(model, run(ReplaceLayers("conv", unfitted), model).model)


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (layers.Conv2D(4, 3, name="conv"), "it is no Conv2D with 5x5 kernels"),
        (layers.Conv2D(4, 5, strides=2, name="conv"), "its strides is not 1"),
        (layers.Conv2D(4, 5, dilation_rate=2, name="conv"), "its dilation_rate is not 1"),
        (layers.Conv2D(3, 5, groups=3, name="conv"), "its groups is not 1"),
    ],
)
def test_two_3x3_refuses(conv: Any, reason: str) -> None:
    x = image()
    assert reasons(run(ReplaceLayers("conv", replacements.two_3x3), model_of(x, conv(x)))) == {"conv": reason}


def test_two_3x3_refuses_no_filters() -> None:
    x = image()
    model = model_of(x, layers.Conv2D(4, 5, name="conv")(x))
    result = run(ReplaceLayers("conv", replacements.two_3x3, arguments={"filters": -1}), model)
    assert reasons(result) == {"conv": "filters and rounds must be at least 1"}


SEPARABLE: dict[str, dict[str, Any]] = {
    "plain": {},
    "strided": {"strides": 2},
    "dilated": {"dilation_rate": 2},
    "same": {"padding": "same", "activation": "relu"},
    "no_bias": {"use_bias": False},
}


@pytest.mark.parametrize("name", SEPARABLE)
def test_separable_is_exact_at_full_rank(name: str) -> None:
    x = image()
    model = model_of(x, layers.Conv2D(12, 3, name="conv", **SEPARABLE[name])(x))
    pass_ = ReplaceLayers("Conv2D", replacements.separable, arguments={"depth_multiplier": 9})
    result = run(pass_, model).model
    assert kinds(result) == ["SeparableConv2D"]
    assert difference(model, result) < 1e-4
    low = run(ReplaceLayers("Conv2D", replacements.separable), model).model
    assert low.get_layer("conv").depth_multiplier == 1
    assert difference(model, result) < difference(model, low)


def test_separable_refuses() -> None:
    x = image()
    y = layers.Conv2D(3, 1, groups=3, name="grouped")(x)
    model = model_of(x, layers.Conv2D(3, 1, strides=(1, 2), name="strided")(y))
    assert reasons(run(ReplaceLayers("Conv2D", replacements.separable), model)) == {
        "grouped": "it is no Conv2D without groups",
        "strided": "its strides differ, which SeparableConv2D does not allow",
    }


WRITTEN: dict[str, Callable[[Any], Any]] = {
    "quotient": lambda x: x * (ops.relu6(x + 3.0) / 6.0),
    "factor": lambda x: x * (layers.ReLU(6.0)(x + 3.0) * (1 / 6)),
    "other_order": lambda x: (1 / 6) * layers.Activation("relu6")(3.0 + x) * x,
    "late_quotient": lambda x: ops.relu6(x + 3.0) * x / 6.0,
    "layer": lambda x: layers.Multiply()([x, ops.relu6(x + 3.0) / 6.0]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_hard_swish_in_ops_becomes_one_layer(name: str) -> None:
    x = image()
    model = model_of(x, layers.Dense(2)(WRITTEN[name](layers.Conv2D(4, 3)(x))))
    pass_ = ReplaceLayers(f"{READY}:hard_swish_written_out", f"{READY}:hard_swish_layer", exact=True)
    result = run(pass_, model, verify="exact").model
    assert kinds(result) == ["Conv2D", "Activation", "Dense"]
    assert difference(model, result) < 1e-6


def test_keepdims_instead_of_a_reshape() -> None:
    x = image()
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    model = model_of(x, layers.Conv2D(2, 1)(layers.Reshape((1, 1, 3))(pooled)))
    pattern = patterns.Reshape(patterns.GlobalAveragePooling2D(anything("x")))
    function = lambda layer: layers.GlobalAveragePooling2D(keepdims=True)  # noqa: E731
    result = run(ReplaceLayers(pattern, function, exact=True), model, verify="exact").model
    assert kinds(result) == ["GlobalAveragePooling2D", "Conv2D"]
    assert difference(model, result) < 1e-6


def test_mixed_precision_stays() -> None:
    x = image()
    model = model_of(
        x, layers.Activation("hard_silu", dtype="mixed_float16")(layers.Conv2D(4, 3, dtype="mixed_float16")(x))
    )
    result = run(ReplaceLayers("Activation", replacements.hard_swish_to_relu6), model).model
    assert result.outputs[0].dtype == "float16"


@pytest.mark.sweep
def test_mobilenet_v3_without_hard_swish() -> None:
    model = shared_application("MobileNetV3Small")
    result = run(ReplaceLayers("Activation", replacements.hard_swish_to_relu6), model)
    assert len(changed(result)) > 10
    assert not [
        layer for layer in result.model.layers if getattr(layer, "activation", None) is keras.activations.hard_silu
    ]
    assert np.isfinite(outputs_of(result.model, application_inputs(model))[0]).all()


# ---- contract ----------------------------------------------------------------------------------------------------

RECIPE = f"""
seed = 3

[[pass]]
name = "ReplaceLayers"
pattern = "Activation"
where = {{ activation = "hard_silu" }}
function = "{READY}:hard_swish_to_relu6"

[[pass]]
name = "ReplaceLayers"
pattern = ["LeakyReLU", "re:^leaky"]
function = "{READY}:leaky_relu_slope"
arguments = {{ slope = 0.2 }}
"""


def test_runs_from_a_recipe_and_writes_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    pipeline = Pipeline.from_recipe(path)
    result = pipeline.run(small())
    assert changed(result) == {"second": "replaced by Activation"}
    written = tmp_path / "written.toml"
    result.recipe.save(written)
    assert Pipeline.from_recipe(written).passes == pipeline.passes


def test_classes_and_functions_are_written_by_path() -> None:
    text = Recipe.of([ReplaceLayers(layers.ReLU, to_elu, where=is_wide)]).to_toml()
    assert f'function = "{HERE}:to_elu"' in text
    assert f'where = "{HERE}:is_wide"' in text
    with pytest.raises(RecipeError, match="cannot name"):
        Recipe.of([ReplaceLayers("ReLU", lambda layer: None)]).to_toml()


def test_the_model_given_is_untouched() -> None:
    model = small()
    model.compile("adam", "mse")
    before = state_of(model)
    run(ReplaceLayers("Conv2D", lambda layer: [layer, layers.ReLU()]), model)
    assert state_of(model) == before


def test_the_same_seed_gives_the_same_new_weights() -> None:
    make = ReplaceLayers("head", lambda _: layers.Dense(5))
    one, same_seed, other = (run(make, small(), seed=seed).model.get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same_seed, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_result_lives_and_stays_compiled(tmp_path: Path) -> None:
    model = small()
    model.compile("adam", "mse")
    result = run(ReplaceLayers("Conv2D", replacements.separable), model).model
    assert result.compiled
    assert_lives(result, tmp_path)


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if "unsaveable" not in case.tags][::3])
def test_zoo_layers_replaced_by_themselves(name: str) -> None:
    model = build(name)
    result = run(ReplaceLayers(("Conv2D", "Dense", "ReLU", "Activation", "Add", "LSTM"), same, exact=True), model)
    inputs = sample_inputs(model)
    if "stateful" in ZOO[name].tags:
        return
    for one, other in zip(outputs_of(model, inputs), outputs_of(result.model, inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
