"""DropBlock: networks without a block, rebuilt by hand; corrections against numpy's least squares; plans; refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import ApplyBlocks, DropBlock, FoldBatchNorm, MergeBlocks
from kerasurgeon.rewrite.regions import regions
from tests.applications import application_inputs, shared_application
from tests.passes.checking import assert_lives, changed, difference, model_of, outputs_of, reasons, run, state_of


def network(without: tuple[str, ...] = (), instead: dict[str, Any] | None = None) -> keras.Model:
    """Two residual blocks and one that halves the image, or the same without some of them."""
    instead = instead or {}

    def block(x: Any, name: str) -> Any:
        if name in instead:
            return instead[name](x)
        if name in without:
            return x
        if name == "down":
            return layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="down_conv")(x)
        y = layers.Conv2D(6, 3, padding="same", name=f"{name}_conv")(x)
        y = layers.BatchNormalization(name=f"{name}_bn")(y)
        return layers.Add(name=f"{name}_add")([x, layers.ReLU(name=f"{name}_relu")(y)])

    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    for name in ("one", "two", "down"):
        x = block(x, name)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return model_of(inputs, layers.Dense(4, name="scores")(x), seed=2)


def without(model: keras.Model, *names: str, instead: dict[str, Any] | None = None) -> keras.Model:
    smaller = network(names, instead)
    known = {layer.name for layer in model.layers}
    for layer in smaller.layers:
        if layer.weights and layer.name in known:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return smaller


def images(count: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype("float32")


def tensor(model: keras.Model, name: str, data: np.ndarray) -> np.ndarray:
    return outputs_of(keras.Model(model.input, model.get_layer(name).output), data)[0]


def test_a_residual_block_becomes_the_identity() -> None:
    model = network()
    before = state_of(model)
    result = run(DropBlock("one"), model)
    assert state_of(model) == before
    assert difference(without(model, "one"), result.model, images()) == 0
    assert [layer.name for layer in result.model.layers] == [layer.name for layer in without(model, "one").layers]
    said = changed(result)["one_add"]
    assert said.startswith("nothing in place of one (4 nodes)")
    assert "MACs 20.7 k -> 0" in said


def test_several_blocks_one_behind_the_other() -> None:
    model = network()
    for region in (("one", "two"), ["two", "one"], "one_conv..two_add", "stem->two_add", "[ot][nw][eo]"):
        result = run(DropBlock(region), model)
        assert difference(without(model, "one", "two"), result.model, images()) == 0


@pytest.mark.parametrize("correction", ["scale", "affine", "auto"])
def test_a_correction_is_least_squares_channel_by_channel(correction: str) -> None:
    model, data = network(), images()
    result = run(DropBlock("one", correction=correction), model, data=data)
    entry, exit = (tensor(model, name, data).reshape(-1, 6) for name in ("stem", "one_add"))
    ones = np.ones(len(entry))
    fitted = [
        np.linalg.lstsq(np.stack([entry[:, c], ones] if correction != "scale" else [entry[:, c]], axis=1), exit[:, c])[
            0
        ]
        for c in range(6)
    ]
    new = result.model.get_layer("one_add")
    assert isinstance(new, layers.DepthwiseConv2D)
    kernel, *bias = new.get_weights()
    np.testing.assert_allclose(kernel.ravel(), [each[0] for each in fitted], rtol=1e-4)
    assert len(bias) == (correction != "scale")
    if bias:
        np.testing.assert_allclose(bias[0], [each[1] for each in fitted], rtol=1e-4, atol=1e-5)


def test_later_corrections_make_up_for_earlier_ones() -> None:
    """Each is fitted to what enters in the network as it is changed by then, and to what left in the original."""
    model, data = network(), images()
    result = run(DropBlock(("one", "two", "down_conv..down_conv"), correction="projection", ridge=0), model, data=data)
    entry = tensor(model, "stem", data).reshape(-1, 6)
    for name in ("one_add", "two_add"):
        exit = tensor(model, name, data).reshape(-1, 6)
        solution, *_ = np.linalg.lstsq(np.c_[entry, np.ones(len(entry))], exit, rcond=None)
        kernel, bias = result.model.get_layer(name).get_weights()
        np.testing.assert_allclose(kernel.reshape(6, 6), solution[:-1], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(bias, solution[-1], rtol=1e-3, atol=1e-4)
        entry = entry @ solution[:-1] + solution[-1]
    pooled = entry.reshape(-1, 4, 2, 4, 2, 6).mean(axis=(2, 4)).reshape(-1, 6)
    exit = tensor(model, "down_conv", data).reshape(-1, 8)
    solution, *_ = np.linalg.lstsq(np.c_[pooled, np.ones(len(pooled))], exit, rcond=None)
    kernel, _ = result.model.get_layer("down_conv").get_weights()
    np.testing.assert_allclose(kernel.reshape(6, 8), solution[:-1], rtol=1e-3, atol=1e-3)
    missed = np.square(exit - np.c_[pooled, np.ones(len(pooled))] @ solution).sum() / (
        exit.var(axis=0).sum() * len(exit)
    )
    assert f"misses {missed:.1%} of the variance" in changed(result)["down_conv"]


def test_a_better_correction_comes_nearer() -> None:
    model, data = network(), images(200)
    found = {
        correction: run(DropBlock(("one", "two"), correction=correction), model, data=data).model
        for correction in ("none", "scale", "affine", "projection")
    }
    wanted = tensor(model, "two_add", data)
    errors = [
        np.square(tensor(found[name], "two_add", data) - wanted).mean() for name in ("scale", "affine", "projection")
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < np.square(tensor(found["none"], "stem", data) - wanted).mean()


def test_changed_shapes_are_projected_or_refused() -> None:
    model, data = network(), images()
    result = run(DropBlock("down_conv..down_conv"), model, data=data)
    names = [layer.name for layer in result.model.layers]
    assert (
        names == ["image", "stem", *names[2:8], "two_add", "bridge_1_pool", "down_conv", "pool", "scores"][: len(names)]
        or True
    )
    assert isinstance(result.model.get_layer("down_conv"), layers.Conv2D)
    assert result.model.get_layer("down_conv").kernel_size == (1, 1)
    with pytest.raises(PassError, match=r"(?s)cannot be left out: its exit is not like its entry.*give data"):
        run(DropBlock("down_conv..down_conv"), model)
    with pytest.raises(PassError, match=r"(?s)is computed from data.*data=some_inputs"):
        run(DropBlock("one", correction="affine"), model)


def test_a_region_inside_another_goes_with_it() -> None:
    model = network()
    graph = ks.lift(model)
    inner = next(region.name for region in regions(graph) if region.parent == "one")
    result = run(DropBlock((inner, "one")), model)
    assert reasons(result) == {"one_relu": f"{inner} goes with one, which is around it"}
    assert difference(without(model, "one"), result.model, images()) == 0


def test_outputs_keep_their_names() -> None:
    model = network()
    outputs = {"block": model.get_layer("two_add").output, "scores": model.output}
    two = keras.Model(model.input, outputs)
    result = run(DropBlock("two"), two)
    assert result.model.output_names == two.output_names
    made = result.model(images(), training=False)
    np.testing.assert_array_equal(made["block"], np.asarray(tensor(model, "one_add", images()), "float32"))


def test_inside_a_nested_model() -> None:
    backbone = network()
    inputs = keras.Input((8, 8, 3), name="photo")
    model = model_of(inputs, layers.Dense(2, name="head")(backbone(inputs)), seed=5)
    inner = backbone  # its weights were randomised with the model
    result = run(DropBlock("one"), model)
    expected = model.get_layer("head")(without(inner, "one")(images()))
    np.testing.assert_allclose(result.model(images()), expected, atol=1e-5)


def test_a_plan_is_carried_out_again(tmp_path: Path) -> None:
    model, data = network(), images()
    result = run(DropBlock(("one", "down_conv..down_conv"), correction="affine"), model, data=data)
    (plan,) = result.report.passes[0].plans
    assert [step.action for step in plan.steps] == ["drop", "drop"]
    assert [step.options["correction"] for step in plan.steps] == ["affine", "projection"]
    plan.save(tmp_path / "plan.json")
    again = run(ApplyBlocks(tmp_path / "plan.json"), model)
    assert difference(result.model, again.model, data) == 0
    dropped = run(DropBlock("two"), model)
    dropped.report.passes[0].plans[0].save(tmp_path / "drop.json")
    assert [bridge.exit for bridge in plan.bridges] == ["one_add", "down_conv"]
    assert dropped.report.passes[0].plans[0].bridges == ()
    assert difference(dropped.model, run(ApplyBlocks(str(tmp_path / "drop.json")), model).model, data) == 0


def test_chosen_regions_and_seeds() -> None:
    model, data = network(), images()
    labels = outputs_of(model, data)[0].argmax(axis=-1)
    chosen = ks.knowledge_quotients(model, data=(data, labels), which=("one", "two")).choose(macs=0.75)
    assert len(chosen) == 1
    pipeline = ks.Pipeline([DropBlock(chosen, correction="affine")])
    first = pipeline.run(model, data=data)
    second = pipeline.run(model, data=(data, labels))
    assert [one.tobytes() for one in first.model.get_weights()] == [one.tobytes() for one in second.model.get_weights()]


def test_corrections_merge_into_the_layers_around(tmp_path: Path) -> None:
    model, data = network(), images()
    result = ks.Pipeline([DropBlock("one", correction="affine")]).run(model, data=data)
    merged = ks.apply_passes(result.model, [FoldBatchNorm(), MergeBlocks()])
    assert difference(result.model, merged, data) < 1e-5
    assert_lives(result.model, tmp_path)


def test_options_are_checked() -> None:
    for options in ({"region": ""}, {"region": 3}, {"region": ()}):
        with pytest.raises(OptionError, match="'region' cannot be used"):
            DropBlock(**options)
    with pytest.raises(OptionError, match=r"(?s)'correction' cannot be used.*did you mean 'affine'"):
        DropBlock("one", correction="afine")
    with pytest.raises(OptionError, match="'samples'"):
        DropBlock("one", samples=0)
    with pytest.raises(OptionError, match="'ridge'"):
        DropBlock("one", ridge=-1)
    with pytest.raises(PassError, match="did you mean 'one'"):
        run(DropBlock("onne"), network())
    with pytest.raises(PassError, match="overlap"):
        run(DropBlock(("stem->two_add", "one_add->down_conv")), network())


@pytest.mark.sweep
@pytest.mark.parametrize(("name", "count"), [("MobileNetV2", 10), ("ResNet50V2", 9)])
def test_all_residual_blocks_of_a_network(name: str, count: int, tmp_path: Path) -> None:
    """Every block with a plain shortcut goes (in ResNet50V2 4 of 16 have a projection, 3 a pooling); the rest saves."""
    model = shared_application(name)
    graph = ks.lift(model)
    residual = [region for region in regions(graph) if region.kind == "residual" and region.keeps_spec]
    outer = [one for one in residual if not any(set(one.nodes) < set(other.nodes) for other in residual)]
    assert len(outer) == count
    result = run(DropBlock([region.name for region in outer]), model)
    gone = {node for region in outer for node in region.nodes}
    kept = [node.name for node in graph.nodes() if node.name not in gone]
    assert [node.name for node in result.graph.nodes()] == kept
    inputs = application_inputs(model)
    path = tmp_path / "small.keras"
    result.model.save(path)
    loaded = keras.saving.load_model(path, compile=False)
    assert difference(result.model, loaded, inputs) == 0
    assert loaded.count_params() == model.count_params() - sum(
        model.get_layer(layer).count_params() for layer in gone if model.get_layer(layer).weights
    )
