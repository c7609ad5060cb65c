"""ReplaceWithShunt: regions named in every way, several shunts, reports, plans, recipes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError, PassError, RecipeError
from kerasurgeon.ir import TensorSpec
from kerasurgeon.keras_io import lift
from kerasurgeon.passes import ReplaceWithShunt
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.rewrite.regions import regions
from kerasurgeon.testing import assert_pass
from tests.blocks.networks import residual_net
from tests.passes.checking import changed, model_of, outputs_of, run, state_of
from tests.zoo.sampling import randomise

pytestmark = pytest.mark.usefixtures("own_names")


@pytest.fixture
def model() -> keras.Model:
    net = residual_net()
    randomise(net, 0)
    return net


def test_the_model_around_a_shunt_is_as_it_was(model: keras.Model) -> None:
    before = state_of(model)
    result = assert_pass(ReplaceWithShunt("block1"), model, changes=1, again=False)
    assert state_of(model) == before
    names = [layer.name for layer in result.model.layers]
    assert names[:3] == ["image", "stem", "stem_bn"]
    shunts = [name for name in names if name.startswith("shunt_1_")]
    assert len(shunts) == 15  # two bottlenecks of eight layers, of which the last is called as the block was
    assert isinstance(result.model.get_layer("block1_add"), keras.layers.BatchNormalization)
    for layer in model.layers:
        if not layer.name.startswith("block1"):
            for old, new in zip(layer.weights, result.model.get_layer(layer.name).weights, strict=True):
                assert np.array_equal(old.numpy(), new.numpy())


def test_what_is_before_the_shunt_computes_the_same(model: keras.Model) -> None:
    result = run(ReplaceWithShunt("block3", "4"), model)
    (bridge,) = result.report.passes[0].plans[0].bridges
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    original = keras.Model(model.input, model.get_layer(bridge.entry).output)
    small = keras.Model(result.model.input, result.model.get_layer(bridge.entry).output)
    assert np.array_equal(outputs_of(original, images)[0], outputs_of(small, images)[0])
    assert not np.allclose(outputs_of(model, images)[0], outputs_of(result.model, images)[0])


def test_the_report_says_what_is_saved(model: keras.Model) -> None:
    result = run(ReplaceWithShunt(["block1", "block3"], {"block1": 4, "*": "1"}), model)
    said = changed(result)
    assert list(said) == ["block1_add", "block3_add"]
    assert "shunt_1, a shunt of architecture '4', in place of block1 (6 nodes)" in said["block1_add"]
    assert "shunt_2, a shunt of architecture '1', in place of block3 (6 nodes)" in said["block3_add"]
    saved = 0.0
    for text in said.values():
        old, new = text.partition("MACs ")[2].partition(",")[0].split(" -> ")
        saved += _number(old) - _number(new)
    assert saved == pytest.approx(cost(model).macs - cost(result.model).macs, rel=0.02)


def _number(text: str) -> float:
    value, _, unit = text.partition(" ")
    return float(value) * {"": 1, "k": 1e3, "M": 1e6}[unit]


def test_weights_follow_from_the_seed(model: keras.Model) -> None:
    pass_ = ReplaceWithShunt(["block1", "block3"], "4")
    one, two, other = (Pipeline([pass_]).run(model, seed=seed, verify="types").model for seed in (3, 3, 4))
    assert [w.tobytes() for w in one.get_weights()] == [w.tobytes() for w in two.get_weights()]
    assert [w.tobytes() for w in one.get_weights()] != [w.tobytes() for w in other.get_weights()]
    kernels = [one.get_layer(f"shunt_{number}_depthwise_1").get_weights()[0].tobytes() for number in (1, 2)]
    assert kernels[0] != kernels[1]


def test_a_second_run_takes_the_next_name(model: keras.Model) -> None:
    first = run(ReplaceWithShunt("block1", "4"), model).model
    second = run(ReplaceWithShunt("block3", "4"), first).model
    names = {layer.name for layer in second.layers}
    assert {"shunt_1_expand_1", "shunt_2_expand_1"} <= names


def test_by_pattern_and_automatic(model: keras.Model) -> None:
    result = run(ReplaceWithShunt("block*", "auto"), model)
    plan = result.report.passes[0].plans[0]
    assert [step.options["arch"] for step in plan.steps] == ["1", "1", "1"]
    assert result.model.output_shape == model.output_shape


def test_regions_as_objects(model: keras.Model) -> None:
    region = next(region for region in regions(lift(model)) if region.name == "block1")
    pass_ = ReplaceWithShunt(region, "4")
    assert pass_.region == "stem_relu->block1_add"
    assert list(changed(run(pass_, model))) == ["block1_add"]


def test_inside_a_nested_model(tmp_path: Path) -> None:
    body = residual_net()
    inputs = keras.Input((16, 16, 3), name="photo")
    x = body(keras.layers.Rescaling(1 / 127.5, -1.0, name="scale")(inputs))
    model = model_of(inputs, keras.layers.Dense(3, name="top")(x))
    result = run(ReplaceWithShunt("block1_a..block2_b_bn", "1"), model)
    assert [layer.name for layer in result.model.layers] == ["photo", "scale", body.name, "top"]
    inner = result.model.get_layer(body.name)
    assert any(layer.name.startswith("shunt_1_") for layer in inner.layers)
    result.model.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    assert np.array_equal(outputs_of(loaded, images)[0], outputs_of(result.model, images)[0])


def test_recipes(model: keras.Model, tmp_path: Path) -> None:
    pass_ = ReplaceWithShunt(["block1", "block3"], {"block1": "4", "*": "1-se"})
    result = run(pass_, model, seed=5)
    for name in ("recipe.toml", "recipe.json"):
        result.recipe.save(tmp_path / name)
        again = Pipeline.from_recipe(tmp_path / name).run(model, seed=5, verify="types")
        pairs = zip(result.model.get_weights(), again.model.get_weights(), strict=True)
        assert all(one.tobytes() == two.tobytes() for one, two in pairs)


def dense_shunt(entry: TensorSpec, exit: TensorSpec) -> keras.Model:
    inputs = keras.Input(batch_shape=entry.shape, dtype=entry.dtype)
    x = keras.layers.Conv2D(exit.shape[-1], 3, padding="same", name="mine")(inputs)
    return keras.Model(inputs, keras.layers.ReLU(name="mine_relu")(x))


def test_functions_of_ones_own(model: keras.Model) -> None:
    one = run(ReplaceWithShunt("block1", dense_shunt), model, seed=2)
    two = run(ReplaceWithShunt("block1", f"{__name__}:dense_shunt"), model, seed=2)
    assert one.model.get_layer("shunt_1_mine").filters == 8
    pairs = zip(one.model.get_weights(), two.model.get_weights(), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in pairs)
    assert one.recipe.to_dict()["pass"][0]["arch"] == f"{__name__}:dense_shunt"


@pytest.mark.parametrize(
    ("region", "arch", "parts"),
    [
        ("block9", "1", ["no region 'block9'", "did you mean"]),
        (["block1", "stem->block1_add"], "1", ["overlap", "both hold"]),
        ("head->scores", "1", ["no image"]),
        ("image->block3_add", {"blo*": "1"}, ["No architecture is given for the region", "'*' stands for all others"]),
        ("block2->block3", "1", ["no node 'block2'"]),
    ],
)
def test_refusals_leave_the_model_alone(model: keras.Model, region: Any, arch: Any, parts: list[str]) -> None:
    before = state_of(model)
    with pytest.raises(PassError) as raised:
        run(ReplaceWithShunt(region, arch), model)
    for part in parts:
        assert part in str(raised.value), str(raised.value)
    assert state_of(model) == before


def test_too_many_halvings_name_what_can() -> None:
    inputs = keras.Input((32, 32, 4), name="image")
    x = inputs
    for number in range(3):
        x = keras.layers.Conv2D(4, 3, 2, "same", name=f"down{number}")(x)
    model = keras.Model(inputs, x)
    with pytest.raises(PassError, match="architecture '5' can") as raised:
        run(ReplaceWithShunt("down0..down2", "1"), model)
    assert "32x32 -> 4x4, 3 halvings" in str(raised.value)
    assert run(ReplaceWithShunt("down0..down2", "auto"), model).model.output_shape == (None, 4, 4, 4)


@pytest.mark.parametrize(
    ("region", "arch"),
    [(None, "1"), ("", "1"), ([], "1"), (3, "1"), ("block1", "6"), ("block1", {}), ("block1", {"a": 7}), ("a", None)],
)
def test_options_that_cannot_be_used(region: Any, arch: Any) -> None:
    with pytest.raises(OptionError, match="ReplaceWithShunt"):
        ReplaceWithShunt(region, arch)


def test_paths_that_cannot_be_imported() -> None:
    with pytest.raises(RecipeError, match="arch"):
        ReplaceWithShunt("block1", "nowhere:function")


def images_for(model: keras.Model, count: int = 64) -> Any:
    return np.random.default_rng(3).normal(size=(count, *model.input_shape[1:])).astype("float32")


def at(model: keras.Model, name: str, images: Any, training: bool = False) -> Any:
    """What a layer gives."""
    return np.asarray(keras.Model(model.input, model.get_layer(name).output)(images, training=training), "float64")


def missed(wanted: Any, got: Any) -> float:
    axes = tuple(range(wanted.ndim - 1))
    return float(np.square(wanted - got).sum() / np.square(wanted - wanted.mean(axis=axes)).sum())


@pytest.mark.spread(3)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("region", "arch"), [("block1", "4"), ("block2_a..block2_b_bn", "1")])
def test_a_fitted_shunt_makes_much_of_what_the_region_made(region: str, arch: str, data_format: str) -> None:
    model = residual_net(data_format=data_format)
    randomise(model, 0)
    images = images_for(model)
    result = Pipeline([ReplaceWithShunt(region, arch)]).run(model, data=images, seed=2)
    plain = Pipeline([ReplaceWithShunt(region, arch, fit="none")]).run(model, data=images, seed=2)
    (step,) = result.report.passes[0].plans[0].steps
    name = step.bridge.exit

    def rows(made: keras.Model, part: Any) -> Any:
        found = at(made, name, part)
        return np.moveaxis(found, 1, -1) if data_format == "channels_first" else found

    fitted = missed(rows(model, images), rows(result.model, images))
    assert fitted < 0.8 < missed(rows(model, images), rows(plain.model, images))
    # What the report says is of the samples that only chose the ridge.
    held_out = missed(rows(model, images[::8]), rows(result.model, images[::8]))
    assert step.options["error"] == pytest.approx(held_out, rel=0.15)
    assert f"misses {step.options['error']:.1%}" in changed(result)[name]


def test_the_matrix_is_the_best_there_is(model: keras.Model) -> None:
    images = images_for(model)
    result = Pipeline([ReplaceWithShunt("block1", "4")]).run(model, data=images, seed=2)
    features = at(result.model, "shunt_1_depthwise_1_relu", images).reshape(-1, 128)
    wanted = at(model, "block1_add", images).reshape(len(features), -1)
    got = at(result.model, "block1_add", images).reshape(wanted.shape)
    ones = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    best = ones @ np.linalg.lstsq(ones, wanted, rcond=None)[0]
    assert missed(wanted, best) <= missed(wanted, got) < missed(wanted, best) + 0.02
    # In training, the batch norm behind it sees the statistics that it holds.
    np.testing.assert_allclose(at(result.model, "block1_add", images, training=True).mean(), got.mean(), atol=0.05)


def test_a_later_shunt_sees_what_an_earlier_one_gives(model: keras.Model) -> None:
    images = images_for(model)
    both = Pipeline([ReplaceWithShunt(["block1", "block3"], "4")]).run(model, data=images, seed=2).model
    wanted, got = at(model, "block3_add", images), at(both, "block3_add", images)
    features = at(both, "shunt_2_depthwise_1_relu", images).reshape(-1, 128)
    ones = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    flat = wanted.reshape(len(ones), -1)
    best = ones @ np.linalg.lstsq(ones, flat, rcond=None)[0]
    assert missed(wanted, got) < missed(flat, best) + 0.02


def with_activation(entry: TensorSpec, exit: TensorSpec) -> keras.Model:
    inputs = keras.Input(batch_shape=entry.shape, dtype=entry.dtype)
    x = keras.layers.Conv2D(exit.shape[-1], 1, activation="relu", name="conv")(inputs)
    return keras.Model(inputs, x)


def with_bias(entry: TensorSpec, exit: TensorSpec) -> keras.Model:
    inputs = keras.Input(batch_shape=entry.shape, dtype=entry.dtype)
    return keras.Model(inputs, keras.layers.Conv2D(exit.shape[-1], 1, name="conv")(inputs))


def test_networks_of_ones_own(model: keras.Model) -> None:
    images = images_for(model)
    fitted = Pipeline([ReplaceWithShunt("block1", with_bias)]).run(model, data=images, seed=2)
    entry = at(model, "stem_relu", images).reshape(-1, 8)
    ones = np.concatenate([entry, np.ones((len(entry), 1))], axis=1)
    wanted = at(model, "block1_add", images).reshape(len(ones), -1)
    best = ones @ np.linalg.lstsq(ones, wanted, rcond=None)[0]
    assert missed(wanted, at(fitted.model, "block1_add", images).reshape(wanted.shape)) < missed(wanted, best) + 0.01
    kept = Pipeline([ReplaceWithShunt("block1", with_activation)]).run(model, data=images, seed=2)
    assert "misses" not in changed(kept)["block1_add"]


def test_fitting_without_data_or_with_such_as_is_none(model: keras.Model) -> None:
    with pytest.raises(PassError, match="takes data"):
        run(ReplaceWithShunt("block1", fit="least_squares"), model)
    with pytest.raises(OptionError, match="fit"):
        ReplaceWithShunt("block1", fit="always")
    images = images_for(model)
    images[3, 2, 1, 0] = np.nan
    with pytest.raises((OptionError, PassError), match="NaN"):
        Pipeline([ReplaceWithShunt("block1")]).run(model, data=images)
    one = Pipeline([ReplaceWithShunt("block1")]).run(model, data=images_for(model, 1))
    assert "misses" not in changed(one)["block1_add"]  # there is nothing to hold out


@pytest.mark.sweep
def test_fitting_can_be_repeated(model: keras.Model) -> None:
    images = images_for(model)
    one, two = (Pipeline([ReplaceWithShunt("block1")]).run(model, data=images, seed=4).model for _ in range(2))
    assert np.array_equal(outputs_of(one, images)[0], outputs_of(two, images)[0])


def test_images_may_come_as_a_dataset_of_keras(model: keras.Model) -> None:
    images = images_for(model)

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return images[32 * index : 32 * index + 32], np.zeros(32)

    one, two = (
        Pipeline([ReplaceWithShunt("block1", "4")]).run(model, data=data, seed=2) for data in (images, Batches())
    )
    assert np.array_equal(outputs_of(one.model, images)[0], outputs_of(two.model, images)[0])
