"""InsertBlock: where blocks go, that the built-in ones change nothing, and that they can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import ApplyBlocks, InsertBlock
from tests.applications import application_inputs, shared_application
from tests.passes.checking import assert_lives, changed, difference, kinds, model_of, reasons, run, state_of

pytestmark = pytest.mark.usefixtures("own_names")


def network() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="conv_1")(inputs)
    x = layers.Conv2D(8, 3, strides=2, name="conv_2", activation="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return model_of(inputs, layers.Dense(4, name="scores")(layers.Dense(16, name="hidden")(x)), seed=1)


def make_gelu() -> keras.Layer:
    return layers.Activation("gelu")


def make_scaled(spec: ks.TensorSpec) -> keras.Model:
    inputs = keras.Input(batch_shape=spec.shape, dtype=spec.dtype)
    return keras.Model(inputs, layers.Rescaling(3.0)(inputs))


def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("at", "block", "made"),
    [
        ("conv_1", "residual", ["Conv2D", "BatchNormalization", "ReLU"] * 2 + ["Conv2D", "BatchNormalization", "Add"]),
        (
            "conv_2",
            "inverted-residual",
            [*["BatchNormalization", "Conv2D", "ReLU"] * 2, "DepthwiseConv2D", "BatchNormalization", "Add"],
        ),
        ("hidden", "residual", ["Dense", "BatchNormalization", "ReLU", "Dense", "BatchNormalization", "Add"]),
        ("image", "identity", ["Identity"]),
    ],
)
def test_built_in_blocks_change_nothing(at: str, block: str, made: list[str], tmp_path: Path) -> None:
    model = network()
    before = state_of(model)
    result = run(InsertBlock(at, block), model, verify="exact")
    assert state_of(model) == before
    assert difference(model, result.model, images()) == 0
    assert "which gives back what it reads" in changed(result)[at]
    assert sorted(kinds(result.model)) == sorted(kinds(model) + made)
    names = [layer.name for layer in result.model.layers]
    assert names.index(at) < names.index(next(name for name in names if name.startswith("block_1_")))
    assert_lives(result.model, tmp_path)


def test_a_residual_block_learns() -> None:
    model = network()
    result = run(InsertBlock("conv_2", "residual"), model).model
    gamma = next(weight for weight in result.weights if "project_bn" in weight.path and "gamma" in weight.path)
    np.testing.assert_array_equal(gamma, np.zeros(8))
    result.compile("sgd", "mse", run_eagerly=True)
    result.fit(images(), np.ones((5, 4)), epochs=2, verbose=0)
    assert np.abs(np.asarray(gamma)).max() > 0


def test_several_places_by_pattern() -> None:
    model = network()
    result = run(InsertBlock("conv_*"), model)
    assert list(changed(result)) == ["conv_1", "conv_2"]
    assert difference(model, result.model, images()) == 0
    first, second = (result.model.get_layer(f"block_{number}_window").get_weights()[0] for number in (1, 2))
    assert not np.array_equal(first, second)  # seeds of their own
    result = run(InsertBlock("*"), model)
    assert "scores" in reasons(result)
    assert "hidden" in changed(result)


@pytest.mark.parametrize(
    "block", [layers.ReLU(), layers.ReLU, lambda: layers.ReLU(), lambda spec: layers.ReLU(), "keras.layers:ReLU"]
)
def test_blocks_of_ones_own(block: Any) -> None:
    model = network()
    result = run(InsertBlock("conv_1", block), model)
    assert "gives back" not in changed(result)["conv_1"]
    parts = {layer.name: layer for layer in model.layers}
    x = layers.ReLU()(parts["conv_1"](images()))
    for name in ("conv_2", "pool", "hidden", "scores"):
        x = parts[name](x)
    np.testing.assert_allclose(result.model(images()), x, atol=1e-6)


def test_models_and_built_layers_bring_their_weights() -> None:
    model = network()
    inner_in = keras.Input((8, 8, 8))
    inner = model_of(inner_in, layers.Conv2D(8, 1, name="mix")(inner_in), seed=9)
    for block in (inner, inner.get_layer("mix")):
        result = run(InsertBlock("conv_1", block), model)
        (made,) = [layer for layer in result.model.layers if layer.name.startswith("block_1")]
        np.testing.assert_array_equal(made.kernel, inner.get_layer("mix").kernel)
    result = run(InsertBlock("conv_1", make_scaled), model)
    assert "Rescaling" in kinds(result.model)


def test_other_widths_where_the_next_layer_can_take_them() -> None:
    inputs = keras.Input((6,))
    model = model_of(inputs, layers.Activation("relu", name="out")(layers.Dense(4, name="a")(inputs)))
    wider = run(InsertBlock("a", layers.Dense(9)), model)
    assert wider.model.output_shape == (None, 9)
    with pytest.raises(PassError):
        run(InsertBlock("conv_1", layers.Conv2D(3, 1)), network())


def test_recipes_plans_and_seeds(tmp_path: Path) -> None:
    model = network()
    pipeline = ks.Pipeline([InsertBlock(("conv_1", "hidden"), "residual")])
    first = pipeline.run(model, seed=4)
    again = ks.Pipeline.from_recipe(first.recipe).run(model)
    other = pipeline.run(model, seed=5)
    weights = [[one.tobytes() for one in made.model.get_weights()] for made in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]
    (plan,) = first.report.passes[0].plans
    assert [step.action for step in plan.steps] == ["insert", "insert"]
    plan.save(tmp_path / "plan.json")
    applied = run(ApplyBlocks(tmp_path / "plan.json"), model).model
    assert [one.tobytes() for one in applied.get_weights()] == weights[0]


def test_half_precision_sequences_and_channels_first() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((12, 6))
    model = model_of(inputs, layers.Dense(3, name="out")(layers.Conv1D(8, 3, name="conv")(inputs)))
    result = run(InsertBlock("conv"), model).model
    assert difference(model, result) == 0
    keras.config.set_dtype_policy("float32")
    inputs = keras.Input((3, 8, 8))
    conv = layers.Conv2D(4, 3, data_format="channels_first", name="conv")
    model = model_of(inputs, layers.ReLU(name="out")(conv(inputs)))
    result = run(InsertBlock("conv"), model).model
    assert difference(model, result) == 0
    assert result.get_layer("block_1_window").data_format == "channels_first"


def test_mistakes() -> None:
    model = network()
    with pytest.raises(OptionError, match=r"(?s)'block' cannot be used.*did you mean 'residual'"):
        InsertBlock("conv_1", "residuals")
    with pytest.raises(OptionError, match="'block' cannot be used"):
        InsertBlock("conv_1", 3)
    for at in ("", (), 3, ("a", 1)):
        with pytest.raises(OptionError, match="'at' cannot be used"):
            InsertBlock(at)
    for at, said in (
        ("conv1", "did you mean 'conv_1'"),
        ("cnov_*", "no node's name matches"),
        ("scores", "is an output of the model"),
    ):
        with pytest.raises(PassError, match=said):
            run(InsertBlock(at), model)
    with pytest.raises(PassError, match="made for images"):
        run(InsertBlock("hidden", "inverted-residual"), model)
    with pytest.raises(PassError, match="did not return a Keras layer"):
        run(InsertBlock("hidden", lambda: 3), model)


def test_in_a_large_network() -> None:
    model = shared_application("MobileNetV2")
    result = run(InsertBlock("block_[45]_add", "inverted-residual"), model)
    assert len(changed(result)) == 2
    assert difference(model, result.model, application_inputs(model)) == 0
