"""Sparsity during training: the schedule by its formula, zeros that stay, plain models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.passes import RemoveDeadChannels, Sparsify
from kerasurgeon.sparsity.schedule import SparsitySchedule
from tests.passes.checking import assert_lives, difference, model_of

layers = keras.layers


def small_net() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", name="one")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    inner = keras.Input((6, 6, 8))
    nested = keras.Model(inner, layers.Conv2D(8, 3, name="two")(inner), name="nested")
    x = layers.Flatten()(layers.SeparableConv2D(8, 3, name="three")(nested(x)))
    return model_of(inputs, layers.Dense(4, name="scores")(x))


def data(count: int = 32) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 6, 6, 3)).astype("float32"), rng.normal(size=(count, 4)).astype("float32")


def kernel(model: keras.Model, name: str) -> Any:
    layer = model.get_layer("nested").get_layer(name) if name == "two" else model.get_layer(name)
    return keras.ops.convert_to_numpy(layer.pointwise_kernel if name == "three" else layer.kernel)


def zeros(model: keras.Model, name: str) -> float:
    return float((kernel(model, name) == 0).mean())


@pytest.mark.parametrize(("initial", "begin", "end", "power"), [(0.0, 0, 100, 3), (0.2, 10, 60, 3), (0.5, 5, 6, 1)])
def test_the_polynomial_is_that_of_zhu_and_gupta(initial: float, begin: int, end: int, power: float) -> None:
    schedule = SparsitySchedule(0.9, initial, begin, end, 7, power=power)
    for t in range(end + 20):
        expected = 0.0 if t < begin else 0.9 + (initial - 0.9) * (1 - min(1, (t - begin) / (end - begin))) ** power
        assert schedule.at(t) == pytest.approx(expected, abs=1e-12)


def test_when_masks_are_made_anew() -> None:
    polynomial, constant = SparsitySchedule(0.9, 0.0, 3, 20, 5), SparsitySchedule(0.9, 0.0, 3, 20, 5, "constant")
    made: dict[str, list[int]] = {}
    for schedule in (polynomial, constant):
        last = None
        for step in range(40):
            if schedule.due(step, last):
                last = step
                made.setdefault(schedule.kind, []).append(step)
    assert made == {"polynomial": [3, 8, 13, 18, 20], "constant": [3]}
    assert [constant.at(step) for step in (0, 2, 3, 50)] == [0.0, 0.0, 0.9, 0.9]


@pytest.mark.usefixtures("untraced")
@pytest.mark.spread(2)
@pytest.mark.parametrize("optimizer", ["adam", "ema"])
def test_gradual_sparsity_reaches_its_end(optimizer: str, tmp_path: Path) -> None:
    model = small_net()
    moving = keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True)
    model.compile(moving if optimizer == "ema" else optimizer, "mse")
    seen: list[float] = []
    callback = ks.GradualSparsity(0.75, begin_step=2, end_step=10, frequency=3, where="!scores", pointwise=True)
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(zeros(model, "one")))
    model.fit(*data(), batch_size=8, epochs=4, verbose=0, callbacks=[callback, watch])
    # Masks are made when the optimizer has taken 2, 5, 8 and 10 steps.
    expected = [0.75 - 0.75 * (1 - step / 8) ** 3 for step in (0, 3, 6, 8)]
    steps = [expected[0]] * 4 + [expected[1]] * 3 + [expected[2]] * 2 + [expected[3]] * 7
    np.testing.assert_allclose(seen, steps, atol=0.5 / kernel(model, "one").size + 1e-9)
    assert [zeros(model, name) for name in ("one", "two", "three")] == pytest.approx([0.75] * 3, abs=0.01)
    assert callback.sparsity == pytest.approx({"one": 0.75, "two": 0.75, "three": 0.75}, abs=0.01)
    assert zeros(model, "scores") == 0
    assert_lives(model, tmp_path)


@pytest.mark.usefixtures("untraced")
@pytest.mark.spread(2)
@pytest.mark.parametrize("structure", ["filter", "2:4"])
def test_gradual_structures(structure: str) -> None:
    model = small_net()
    model.compile("adam", "mse")
    options: dict[str, Any] = {"where": ("two", "nope*"), "schedule": "constant", "begin_step": 1}
    model.fit(*data(), verbose=0, epochs=3, callbacks=[ks.GradualSparsity(0.5, structure=structure, **options)])
    array = kernel(model, "two") == 0
    assert array.mean() == pytest.approx(0.5)
    if structure == "filter":
        assert (array.all(axis=-1) == array.any(axis=-1)).all()
    else:
        assert (array.reshape(3, 3, 2, 4, 8).sum(axis=3) == 2).all()


@pytest.mark.spread(2)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_zeros_stay_zero(optimizer: str) -> None:
    model = ks.apply_passes(small_net(), [Sparsify(0.6, pointwise=True)])
    model.compile(optimizer, "mse")
    before = {name: kernel(model, name) for name in ("one", "two", "three", "scores")}
    model.fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[ks.KeepZeros()])
    for name, array in before.items():
        after = kernel(model, name)
        assert (after[array == 0] == 0).all()
        assert (after[array != 0] != array[array != 0]).mean() > 0.9
    model.fit(*data(), batch_size=8, verbose=0)  # nothing of it is left in the model
    assert zeros(model, "one") < 0.1


@pytest.mark.usefixtures("untraced")
def test_filters_that_were_zeroed_stay_dead_and_go() -> None:
    model = ks.apply_passes(small_net(), [Sparsify(0.5, structure="output_channel", where="one")])
    model.compile("adam", "mse")
    model.fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[ks.KeepZeros()])
    small = ks.apply_passes(model, [RemoveDeadChannels()])
    assert kernel(small, "one").shape == (3, 3, 3, 4)
    assert difference(model, small) < 1e-5


def test_fresh_biases_are_trained() -> None:
    model = small_net()
    model.get_layer("one").bias.assign(np.zeros(8))
    model.compile("sgd", "mse")
    model.fit(*data(), verbose=0, callbacks=[ks.KeepZeros()])
    assert np.asarray(model.get_layer("scores").bias).all()


@pytest.mark.parametrize(
    "options",
    [
        {"final_sparsity": 1.0}, {"final_sparsity": "0.5"}, {"end_step": -1}, {"begin_step": 5, "end_step": 4},
        {"frequency": 0}, {"schedule": "cosine"}, {"power": 0}, {"structure": "rows"}, {"scope": "model"},
        {"criterion": "l3"}, {"kinds": "LSTM"}, {"where": 3}, {"pointwise": 1},
    ],
)  # fmt: skip
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        ks.GradualSparsity(**options)


def test_no_kernel_to_mask() -> None:
    model = small_net()
    model.compile("sgd", "mse")
    with pytest.raises(OptionError, match="no kernel to mask"):
        model.fit(*data(), verbose=0, callbacks=[ks.GradualSparsity(0.5, where="none")])
