"""The models that the search is over: what they are made of, what is trained, what they cost."""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, GraphError, LiftError, MissingExtraError, OptionError, RoundError
from kerasurgeon.workflows.tuner import AutoCompress, CompressedAccuracy, Cuts
from tests.tuner.networks import CLASSES, SIZE, images, inverted, separable

CUT = "stem_relu,dw_5"


def values(**chosen: Any) -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    for name, value in chosen.items():
        hp.Fixed(name, value)
    return hp


# Nothing here is trained long enough for a graph to pay.
EAGER = {"run_eagerly": True}


def weights(model: keras.Model) -> list[np.ndarray]:
    return list(model.get_weights())


def same(one: keras.Model, other: keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_the_space() -> None:
    hypermodel = AutoCompress(separable(), CLASSES, cuts=Cuts(0.0, 1.0), units=(4, 32, 8), lr=(1e-5, 1e-2))
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    space = {entry.name: entry for entry in hp.space}
    assert set(space) == {"translator", "units", "lr"}
    assert space["translator"].values == list(hypermodel.choices)
    assert hypermodel.choices[0] == "none" == space["translator"].default
    assert CUT in hypermodel.choices
    assert (space["units"].min_value, space["units"].max_value, space["units"].step) == (4, 32, 8)
    assert space["units"].default == 4
    assert (space["lr"].min_value, space["lr"].max_value, space["lr"].sampling) == (1e-5, 1e-2, "log")
    assert (hypermodel.objective.name, hypermodel.objective.direction) == ("val_acc_comp", "max")


def test_nothing_cut_is_the_backbone_with_a_head() -> None:
    backbone = separable()
    model = AutoCompress(backbone, CLASSES).build(values(translator="none", units=5, lr=1e-3))
    x, _ = images(6)
    hidden, last = model.get_layer("head_units"), model.get_layer("head_classes")
    features = np.asarray(backbone(x, training=False), "float64").mean(axis=(1, 2))
    (kernel, bias), (rows, offset) = hidden.get_weights(), last.get_weights()
    scores = (features @ kernel + bias) @ rows + offset
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    wanted = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(x, training=False), wanted, atol=1e-5)
    assert hidden.kernel.shape == (16, 5)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(1e-3)


def test_a_cut_takes_out_what_is_between_and_puts_in_a_pooling_and_a_1x1_convolution() -> None:
    backbone = separable()
    model = AutoCompress(backbone, CLASSES).build(values(translator=CUT, units=4, lr=1e-3))
    names = {layer.name for layer in model.layers}
    assert "dw_5" in names
    assert "dw_2" not in names
    assert "pw_3" not in names
    # From 8 channels at 12 x 12 to 16 at 3 x 3.
    gone = sum(
        layer.count_params()
        for layer in backbone.layers
        if layer.name[:4] in {f"{k}_{i}" for k in ("dw", "pw") for i in range(1, 5)}
    )
    head = 16 * 4 + 4 + 4 * CLASSES + CLASSES
    assert model.count_params() == backbone.count_params() - gone + (8 * 16 + 16) + head
    pool = next(layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D))
    assert tuple(pool.pool_size) == tuple(pool.strides) == (4, 4)
    for name in ("stem", "dw_5", "pw_5"):
        assert np.array_equal(model.get_layer(name).kernel, backbone.get_layer(name).kernel)


@pytest.mark.spread(2)
@pytest.mark.parametrize("make", [separable, inverted])
def test_every_choice_is_built_trained_and_leaves_the_backbone_alone(make: Any) -> None:
    backbone = make()
    backbone.trainable = True
    before, config = weights(backbone), backbone.get_config()
    hypermodel = AutoCompress(backbone, CLASSES, cuts=Cuts(0.0, 1.0, most=3), compile_options=EAGER)
    x, y = images(16)
    for choice in hypermodel.choices:
        model = hypermodel.build(values(translator=choice, units=4, lr=1e-2))
        trainable = {layer.name for layer in model.layers if layer.trainable_variables}
        # What the translator is made of has the name of what it stands for, which has weights of its own no more.
        assert len(trainable) == (2 if choice == "none" else 3), choice
        kept = {layer.name: layer.get_weights() for layer in model.layers if layer.name not in trainable}
        hypermodel.fit(values(translator=choice), model, x, y, validation_data=(x, y), epochs=1, verbose=0)
        for name, arrays in kept.items():
            assert all(map(np.array_equal, arrays, model.get_layer(name).get_weights())), name
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(backbone), strict=True))
    assert backbone.get_config() == config
    assert all(layer.trainable for layer in backbone.layers)


def test_a_backbone_that_is_not_frozen_is_trained() -> None:
    backbone = separable()
    hypermodel = AutoCompress(backbone, CLASSES, freeze=False, compile_options=EAGER)
    model = hypermodel.build(values(translator=CUT, units=4, lr=1e-2))
    x, y = images(16)
    hypermodel.fit(values(translator=CUT), model, x, y, validation_data=(x, y), epochs=1, verbose=0)
    assert not np.array_equal(model.get_layer("stem").kernel, backbone.get_layer("stem").kernel)


def test_the_costs_and_what_they_are_compared_with() -> None:
    backbone = separable()
    head = 16 * 12 + 12 + 12 * CLASSES + CLASSES
    hypermodel = AutoCompress(backbone, CLASSES, units=(4, 12, 4))
    assert hypermodel.max_cost == backbone.count_params() + head
    hp = values(translator=CUT, units=4, lr=1e-3)
    model = hypermodel.build(hp)
    assert hypermodel.costs(hp, model) == {"parameters": model.count_params(), "cost": model.count_params()}
    (metric,) = [m for m in flat_metrics(model) if isinstance(m, CompressedAccuracy)]
    assert (metric.cost, metric.max_cost, metric.tau) == (model.count_params(), hypermodel.max_cost, 0.8)

    by_macs = AutoCompress(backbone, CLASSES, cost="macs", tau=0.5, units=(4, 12, 4))
    model = by_macs.build(hp)
    stem, pixels = SIZE * SIZE * 8 * 27, 3 * 3
    bridge, last = pixels * 8 * 16, pixels * (16 * 9 + 16 * 16)
    assert by_macs.costs(hp, model)["cost"] == stem + bridge + last + 16 * 4 + 4 * CLASSES
    assert by_macs.max_cost == ks.cost(backbone).macs + 16 * 12 + 12 * CLASSES


def flat_metrics(model: keras.Model) -> list[Any]:
    x, y = images(4)
    model.evaluate(x, y, verbose=0)
    return [inner for metric in model.metrics for inner in getattr(metric, "metrics", [metric])]


def test_a_cost_of_ones_own_is_asked_for_once_for_each_model() -> None:
    asked = []

    def layers_of(model: keras.Model) -> float:
        asked.append(model.name)
        return np.float32(len(model.layers))  # type: ignore[return-value]

    hypermodel = AutoCompress(separable(), CLASSES, cost=layers_of, max_cost=100)
    for rate in (1e-3, 1e-4):
        hypermodel.build(values(translator=CUT, units=4, lr=rate))
    assert len(asked) == 1
    assert hypermodel.cost_name == "layers_of"
    assert hypermodel.max_cost == 100


@pytest.mark.sweep
def test_seeds() -> None:
    x, y = images(16)

    def trained(seed: int | None, builds: int = 1) -> keras.Model:
        hypermodel = AutoCompress(separable(), CLASSES, seed=seed, compile_options=EAGER)
        hp = values(translator=CUT, units=4, lr=1e-2)
        state, numbers = random.getstate(), str(np.random.get_state())  # noqa: NPY002
        for _ in range(builds):
            model = hypermodel.build(hp)
            hypermodel.fit(hp, model, x, y, validation_data=(x, y), epochs=1, batch_size=4, verbose=0)
        untouched = random.getstate() == state and str(np.random.get_state()) == numbers  # noqa: NPY002
        assert untouched or seed is None
        return model

    first = trained(3)
    assert same(first, trained(3))
    assert not same(first, trained(4))
    second = trained(3, builds=2)  # another execution of the trial
    assert not same(first, second)
    assert same(second, trained(3, builds=2))
    assert not same(trained(None), trained(None))


def test_fitted_translators_are_the_least_squares_solution() -> None:
    backbone, (x, _) = separable(), images(64)
    hypermodel = AutoCompress(backbone, CLASSES, fit_translators=x)
    model = hypermodel.build(values(translator=CUT, units=4, lr=1e-3))
    reader = keras.Model(backbone.input, [backbone.get_layer(n).output for n in ("stem_relu", "pw_4_relu")])
    entry, wanted = (np.asarray(array, "float64") for array in reader(x, training=False))
    pooled = entry.reshape(len(x), 3, 4, 3, 4, 8).mean(axis=(2, 4)).reshape(-1, 8)
    rows = np.concatenate([pooled, np.ones((len(pooled), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(rows, wanted.reshape(-1, 16), rcond=None)
    (bridge,) = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D) and layer.trainable]
    # The ridge holds it back a little.
    np.testing.assert_allclose(bridge.get_weights()[0][0, 0], solution[:-1], atol=2e-2)
    cut = keras.Model(model.input, model.get_layer("dw_5").input)
    error = np.square(np.asarray(cut(x, training=False)) - wanted).sum(axis=-1).mean()
    best = np.square(rows @ solution - wanted.reshape(-1, 16)).sum(axis=-1).mean()
    assert error == pytest.approx(best, rel=1e-2)
    assert error < np.square(wanted - wanted.mean(axis=(0, 1, 2))).sum(axis=-1).mean()
    again = hypermodel.build(values(translator=CUT, units=8, lr=1e-3))
    assert np.array_equal(again.get_layer(bridge.name).kernel, bridge.kernel)


def test_overriding() -> None:
    class Wider(AutoCompress):
        def create_head(self, hp: Any, features: Any) -> Any:
            x = keras.layers.GlobalMaxPooling2D()(features)
            x = keras.layers.Dropout(hp.Float("drop", 0.1, 0.5), name="drop")(x)
            return keras.layers.Dense(self.classes, activation="softmax")(x)

    hp = keras_tuner.HyperParameters()
    model = Wider(separable(), CLASSES, optimizer=keras.optimizers.SGD, loss="kl_divergence").build(hp)
    assert set(hp.values) == {"translator", "drop", "lr"}
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert model.loss == "kl_divergence"
    assert model.get_layer("drop").rate == pytest.approx(0.1)


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", ["sparse", "one_hot"])
def test_the_kind_of_the_labels_is_told_from_the_data(kind: str) -> None:
    x, y = images(16)
    y = y if kind == "sparse" else np.eye(CLASSES, dtype="float32")[y]
    hypermodel = AutoCompress(separable(), CLASSES, compile_options=EAGER)
    hp = values(translator="none", units=4, lr=1e-2)
    model = hypermodel.build(hp)
    history = hypermodel.fit(hp, model, x, y, validation_split=0.5, epochs=2, verbose=0).history
    assert hypermodel.labels == kind
    assert model.loss == {"sparse": "sparse_categorical_crossentropy", "one_hot": "categorical_crossentropy"}[kind]
    share = 1 - model.count_params() / hypermodel.max_cost
    np.testing.assert_allclose(
        history["val_acc_comp"], 0.8 * np.array(history["val_accuracy"]) + 0.2 * share, atol=1e-6
    )
    assert history["parameters"] == [model.count_params()] * 2


def test_labels_that_do_not_fit_the_classes() -> None:
    x, y = images(16)
    hp = values(translator="none", units=4, lr=1e-2)
    cases: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (y + 1, {}, r"no class of the model[\s\S]*got: 3 \("),
        (np.eye(5)[y], {}, r"shape \(16, 5\)"),
        (np.eye(CLASSES)[y], {"labels": "sparse"}, "the kind of them"),
        (None, {}, "There are no labels"),
    )
    for labels, options, said in cases:
        hypermodel = AutoCompress(separable(), CLASSES, **options)
        with pytest.raises(OptionError, match=said) as caught:
            hypermodel.fit(hp, hypermodel.build(hp), x, labels, validation_split=0.5, verbose=0)
        assert isinstance(caught.value, keras_tuner.errors.FatalError)  # no tuner goes on behind it
    hypermodel = AutoCompress(separable(), CLASSES)
    with pytest.raises(OptionError, match="validation_data"):
        hypermodel.fit(hp, hypermodel.build(hp), x, y, validation_data=(x, y + 1), verbose=0)
    with pytest.raises(OptionError, match="needs data to validate on"):
        hypermodel.fit(hp, hypermodel.build(hp), x, y, verbose=0)


def test_backbones_by_function_and_by_name() -> None:
    by_function = AutoCompress(separable, CLASSES)
    assert CUT in by_function.choices
    by_name = AutoCompress("MobileNet", CLASSES, weights=None, input_shape=(32, 32, 3), cuts=Cuts(most=3))
    model = by_name.build(values(translator=by_name.choices[1], units=4, lr=1e-3))
    assert model.output_shape == (None, CLASSES)
    assert len(by_name.choices) == 4


def test_a_backbone_inside_another_model_is_looked_into() -> None:
    image = keras.Input((SIZE, SIZE, 3), name="raw")
    nested = keras.Model(image, separable()(keras.layers.Rescaling(0.5)(image)), name="nested")
    hypermodel = AutoCompress(nested, CLASSES, cuts=Cuts(0.0, 1.0))
    assert any(choice.endswith("dw_5") for choice in hypermodel.choices)
    hypermodel.build(values(translator=hypermodel.choices[-1], units=4, lr=1e-3))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def two_outputs() -> keras.Model:
    backbone = separable()
    return keras.Model(backbone.input, [backbone.output, backbone.get_layer("pw_3").output])


@pytest.mark.parametrize(
    ("backbone", "error", "said"),
    [
        (Subclassed(), LiftError, "subclass"),
        (two_outputs, OptionError, "2 outputs"),
        (lambda: 3, OptionError, "a function that returned 3"),
        (3, OptionError, "This is no backbone"),
        ("MobileNetV7", OptionError, "did you mean 'MobileNet"),
    ],
)
def test_what_is_no_backbone(backbone: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        AutoCompress(backbone, CLASSES, weights=None)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 1.5}, r"'tau'[\s\S]*a number in \[0, 1\]"),
        ({"tau": None}, "'tau'"),
        ({"cost": "flops"}, r"'cost'[\s\S]*'params' or 'macs'"),
        ({"cost": 3}, "'cost'"),
        ({"max_cost": 0}, "'max_cost'"),
        ({"classes": 1}, "'classes'"),
        ({"labels": "ids"}, "'labels'"),
        ({"units": (8, 4, 1)}, "'units'"),
        ({"lr": (0.0, 1.0)}, "'lr'"),
        ({"freeze": 1}, "'freeze'"),
        ({"optimizer": 3}, "'optimizer'"),
        ({"cuts": Cuts(least_saved=0.95, most_saved=0.96)}, "No cut of this backbone"),
        ({"cuts": "dw_1"}, "'cuts'"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        AutoCompress(separable(), **{"classes": CLASSES, **options})


def test_what_goes_wrong_later() -> None:
    hp = values(translator="none", units=4, lr=1e-2)
    with pytest.raises(OptionError, match="no optimizer 'adamm'"):
        AutoCompress(separable(), CLASSES, optimizer="adamm").build(hp)
    with pytest.raises(RoundError, match="a finite number from 0"):
        AutoCompress(separable(), CLASSES, cost=lambda model: float("nan")).build(hp)
    with pytest.raises(OptionError, match="is no cut of this backbone"):
        AutoCompress(separable(), CLASSES).build(values(translator="dw_1,dw_2"))
    with pytest.raises(GraphError, match="dw_77"):
        AutoCompress(separable(), CLASSES, cuts=[("stem_relu", "dw_77")])


def test_a_trial_that_diverges_is_no_success() -> None:
    """The largest of some NaN is the first class, which would make every label of it right."""
    x, y = images(16)
    hp = values(translator="none", units=4, lr=1e-2)
    hypermodel = AutoCompress(separable(), CLASSES, loss=lambda truth, given: keras.ops.mean(given) * float("nan"))
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="val_acc_comp is NaN in every epoch"):
        hypermodel.fit(hp, hypermodel.build(hp), x, y * 0, validation_split=0.5, verbose=0)


def test_macs_that_cannot_be_told() -> None:
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="one")(image)
    x = keras.layers.Conv2D(16, 3, padding="same", name="two")(x)
    backbone = keras.Model(image, keras.layers.Conv2D(4, 3, name="three")(keras.layers.ReLU()(x)))
    cuts = [("one", "three")]
    hp = values(translator="none", units=4, lr=1e-2)
    with pytest.raises(BudgetError, match=r"cost='macs'[\s\S]*pass sizes="):
        AutoCompress(backbone, CLASSES, cost="macs", cuts=cuts).build(hp)
    with pytest.raises(BudgetError, match="AutoCompress: MACs cannot be budgeted"):
        AutoCompress(backbone, CLASSES, cost="macs")
    sized = AutoCompress(backbone, CLASSES, cost="macs", cuts=cuts, sizes=(12, 10, 3))
    expected = 10 * 8 * (27 * 4 + 36 * 16) + 8 * 6 * 9 * 16 * 4 + 4 * 4 + 4 * CLASSES
    assert sized.costs(hp, sized.build(hp))["cost"] == expected
    AutoCompress(backbone, CLASSES, cuts=cuts).build(values(translator="one,three", units=4, lr=1e-2))


def test_without_keras_tuner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("kerasurgeon.workflows.tuner")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    registered = dict(keras.saving.get_custom_objects())
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module("kerasurgeon.workflows.tuner")
    keras.saving.get_custom_objects().update(registered)  # what has been imported registers its classes anew
    assert "kerasurgeon.workflows.tuner needs the package keras-tuner" in str(caught.value)
    assert "pip install 'kerasurgeon[tuner]'" in str(caught.value)
