"""Knowledge quotients: compared with networks rebuilt by hand, and what happens to bad input and interruptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.blocks.measuring import knowledge_quotients
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.errors import FileError, GraphError, MissingExtraError, OptionError, PassError, PlanError
from tests.passes.checking import model_of, state_of

CLASSES = 4


def part(x: Any, name: str, filters: int, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def residual(x: Any, name: str) -> Any:
    y = part(x, f"{name}_a", 6)
    y = layers.Conv2D(6, 3, padding="same", name=f"{name}_b_conv")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def network(without: str = "", bridge: Any = None) -> keras.Model:
    """A small residual network, or the same without a block, a 1x1 convolution behind a pooling in its place."""

    def block(x: Any, name: str, make: Any) -> Any:
        if name != without:
            return make(x)
        return x if bridge is None else bridge(x)

    inputs = keras.Input((8, 8, 3), name="image")
    x = part(inputs, "stem", 6)
    x = block(x, "one", lambda x: residual(x, "one"))
    x = block(x, "two", lambda x: residual(x, "two"))
    x = block(
        x, "down", lambda x: layers.Conv2D(8, 3, strides=2, padding="same", name="down_conv", activation="relu")(x)
    )
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return model_of(inputs, layers.Dense(CLASSES, name="scores", activation="softmax")(x), seed=3)


def without(model: keras.Model, name: str, bridge: Any = None) -> keras.Model:
    """The network rebuilt by hand, with the weights of the same layers."""
    smaller = network(name, bridge)
    for layer in smaller.layers:
        if layer.weights and layer.name in [other.name for other in model.layers]:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return smaller


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """With scores that differ from image to image, so that quotients do."""
    made = network()
    images = np.random.default_rng(1).normal(size=(100, 8, 8, 3)).astype("float32")
    features = np.asarray(keras.Model(made.input, made.get_layer("pool").output)(images))
    features = features - features.mean(axis=0)
    directions = np.linalg.svd(features, full_matrices=False)
    kernel = (directions.Vh[:CLASSES] / directions.S[:CLASSES, None]).T * 30
    centre = np.asarray(keras.Model(made.input, made.get_layer("pool").output)(images)).mean(axis=0)
    made.get_layer("scores").set_weights([kernel, -centre @ kernel])
    return made


@pytest.fixture(scope="module")
def data(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(150, 8, 8, 3)).astype("float32")
    labels = np.asarray(model(images)).argmax(axis=-1)
    assert np.bincount(labels).min() > 15
    labels[::7] = (labels[::7] + 1) % CLASSES  # not all of them right
    return images, labels


def accuracy(model: keras.Model, data: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.mean(np.asarray(model(data[0])).argmax(axis=-1) == data[1]))


WHICH = ("one", "two", "down_conv..down_conv")


@pytest.mark.spread(3)
@pytest.mark.parametrize("way", ["data", "batches", "evaluate"])
def test_quotients_are_those_of_networks_rebuilt_by_hand(model: keras.Model, data: Any, way: str) -> None:
    images, labels = data
    options: dict[str, Any] = {
        "data": {"data": data},
        "batches": {"data": [(images[:70], labels[:70, None]), (images[70:], labels[70:, None])]},
        "evaluate": {"evaluate": lambda changed: accuracy(changed, data)},
    }[way]
    before = state_of(model)
    found = knowledge_quotients(model, which=("one", "two"), **options)
    assert state_of(model) == before
    base = accuracy(model, data)
    assert found.value == pytest.approx(base, abs=1e-6)
    assert [row.region for row in found] == ["one", "two"]
    for row in found:
        smaller = without(model, row.region)
        assert row.method == "drop"
        assert row.value == pytest.approx(accuracy(smaller, data), abs=1e-6)
        assert row.quotient > 0.1
        assert row.quotient == pytest.approx(1 - accuracy(smaller, data) / base, abs=1e-6)
        assert row.parameters_saved == model.count_params() - smaller.count_params()
        assert row.macs_saved == 2 * 8 * 8 * 9 * 6 * 6


@pytest.mark.parametrize("way", ["data", "evaluate"])
def test_what_cannot_go_is_replaced_by_the_best_linear_map(model: keras.Model, data: Any, way: str) -> None:
    options = (
        {"data": data} if way == "data" else {"data": data[0], "evaluate": lambda changed: accuracy(changed, data)}
    )
    found = knowledge_quotients(model, which="down_conv..down_conv", **options)
    (row,) = found
    assert row.method == "projection"
    # The same least squares by hand, from the tensors at the region's ends.
    ends = keras.Model(model.input, [model.get_layer("two_add").output, model.get_layer("down_conv").output])
    entry, exit = (np.asarray(tensor, "float64") for tensor in ends(data[0]))
    pooled = entry.reshape(-1, 4, 2, 4, 2, 6).mean(axis=(2, 4)).reshape(-1, 6)
    wanted = exit.reshape(-1, 8)
    centre, mean = pooled.mean(axis=0), wanted.mean(axis=0)
    held = np.sqrt(1e-4 * np.square(pooled - centre).sum() / 6) * np.eye(6)
    kernel, *_ = np.linalg.lstsq(np.r_[pooled - centre, held], np.r_[wanted - mean, np.zeros((6, 8))], rcond=None)

    def bridge(x: Any) -> Any:
        return layers.Conv2D(8, 1, name="linear")(layers.AveragePooling2D(2)(x))

    smaller = without(model, "down", bridge)
    smaller.get_layer("linear").set_weights([kernel.reshape(1, 1, 6, 8), mean - centre @ kernel])
    assert row.value == pytest.approx(accuracy(smaller, data), abs=1e-6)
    assert row.parameters_saved == (9 * 6 + 1) * 8 - (6 + 1) * 8
    assert row.macs_saved == 4 * 4 * 6 * 8 * (9 - 1)
    residuals = wanted - mean - (pooled - centre) @ kernel
    assert row.fit_error == pytest.approx(np.square(residuals).sum() / np.square(wanted - mean).sum(), rel=1e-3)


def test_every_region_has_a_row_or_a_reason(model: keras.Model, data: Any) -> None:
    told: list[tuple[float, str]] = []
    found = knowledge_quotients(model, data=data, progress=lambda done, message: told.append((done, message)))
    names = {row.region for row in found}
    assert {"one", "two"} <= names
    assert any(row.method == "projection" for row in found)
    fractions = [done for done, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    text = str(found)
    for row in found:
        assert row.region in text
        assert found[row.region].quotient == min(other.quotient for other in found if other.region == row.region)
    assert [row.quotient for row in found.ranked()] == sorted(row.quotient for row in found)
    alone = knowledge_quotients(model, evaluate=lambda changed: accuracy(changed, data))
    assert {row.method for row in alone} == {"drop"}
    assert set(alone.left.values()) == {"a bridge needs data to be fitted to"}


def test_several_methods_and_metrics(model: keras.Model, data: Any) -> None:
    images, labels = data
    found = knowledge_quotients(
        model,
        data=data,
        which="one",
        method=("drop", "scale", "affine", "projection"),
        metric=keras.metrics.SparseTopKCategoricalAccuracy(2),
    )
    assert [row.method for row in found] == ["drop", "scale", "affine", "projection"]
    errors = [row.fit_error for row in found]
    assert errors[0] is None
    assert errors[1:] == sorted((error for error in errors if error is not None), reverse=True)
    ranks = (-np.asarray(model(images))).argsort(axis=-1)[:, :2]
    assert found.value == pytest.approx(np.mean([label in rank for label, rank in zip(labels, ranks, strict=True)]))

    def share_of_class_two(labels: np.ndarray, predictions: np.ndarray) -> float:
        assert len(labels) == len(predictions) == 150
        return float(np.mean(predictions.argmax(axis=-1) == 2)) + 0.1

    by_function = knowledge_quotients(model, data=data, which="one", metric=share_of_class_two)
    smaller = np.asarray(without(model, "one")(images)).argmax(axis=-1)
    assert by_function["one"].value == pytest.approx(np.mean(smaller == 2) + 0.1)


def test_one_hot_labels_and_one_probability() -> None:
    inputs = keras.Input((6,))
    x = layers.Dense(6, activation="relu", name="a")(inputs)
    x = layers.Dense(6, activation="relu", name="b")(x)
    binary = model_of(inputs, layers.Dense(1, activation="sigmoid")(x))
    features = np.random.default_rng(0).normal(size=(90, 6)).astype("float32")
    sure = (np.asarray(binary(features)) > 0.5).astype(int)
    assert knowledge_quotients(binary, data=(features, sure), which="a..b").value == 1.0
    classes = model_of(inputs, layers.Dense(3, activation="softmax")(x))
    one_hot = np.eye(3)[np.asarray(classes(features)).argmax(axis=-1)]
    assert knowledge_quotients(classes, data=(features, one_hot), which="a..b").value == 1.0


def test_latency_is_measured_region_by_region(model: keras.Model, data: Any) -> None:
    seen: list[int] = []

    def latency_of(part: keras.Model) -> float:
        seen.append(part.count_params())
        return float(part.count_params() / 100 + 1)

    found = knowledge_quotients(model, data=data, which=WHICH, latency_of=latency_of)
    assert found.latency == model.count_params() / 100 + 1
    for row in found:
        bridge = 0 if row.method == "drop" else (6 + 1) * 8 / 100 + 1
        assert row.latency_saved == pytest.approx(row.parameters_saved / 100 + 1 + (bridge and bridge - 1) - bridge)
    assert found.choose(latency=0.9).measure == "latency"
    with pytest.raises(PassError, match="gives no latency"):
        knowledge_quotients(model, data=data, which="one", latency_of=lambda _: float("nan"))


# ---- files -----------------------------------------------------------------------------------------------------------


def test_saved_and_loaded(model: keras.Model, data: Any, tmp_path: Path) -> None:
    found = knowledge_quotients(model, data=data, which=WHICH)
    found.save(tmp_path / "quotients.json")
    again = Quotients.load(tmp_path / "quotients.json")
    assert again == found
    assert json.loads((tmp_path / "quotients.json").read_text()) == found.to_dict()
    assert [item.name for item in tmp_path.iterdir()] == ["quotients.json"]


def test_goes_on_after_an_interruption(model: keras.Model, data: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    calls: list[int] = []

    def evaluate(changed: keras.Model) -> float:
        calls.append(len(calls))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return accuracy(changed, data)

    with pytest.raises(KeyboardInterrupt):
        knowledge_quotients(model, data=data, evaluate=evaluate, which=WHICH, log=log)
    assert [row.region for row in Quotients.load(log)] == ["one"]
    found = knowledge_quotients(model, data=data, evaluate=evaluate, which=WHICH, log=log)
    assert len(calls) == 5  # whole, one, two (interrupted); two, down
    plain = knowledge_quotients(model, data=data, evaluate=lambda changed: accuracy(changed, data), which=WHICH)
    assert [(row.region, row.value) for row in found] == [(row.region, row.value) for row in plain]
    assert knowledge_quotients(model, data=data, evaluate=evaluate, which=WHICH, log=log) == found
    assert len(calls) == 5


def test_a_log_grows_with_the_regions_asked_for(model: keras.Model, data: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    knowledge_quotients(model, data=data, which="two", log=log)
    assert [row.region for row in knowledge_quotients(model, data=data, which="one", log=log)] == ["one"]
    assert {row.region for row in Quotients.load(log)} == {"one", "two"}


def test_logs_of_others_and_broken_ones_are_refused(model: keras.Model, data: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    knowledge_quotients(model, data=data, which="two", log=log)
    other = keras.models.clone_model(model)
    with pytest.raises(PlanError, match="of other quotients"):
        knowledge_quotients(other, data=data, which="two", log=log)
    with pytest.raises(PlanError, match="of other quotients"):
        knowledge_quotients(model, data=(data[0], data[1][::-1]), which="two", log=log)
    log.write_text("{")
    with pytest.raises(PlanError, match="cannot be read"):
        knowledge_quotients(model, data=data, which="two", log=log)
    log.write_text('{"format": "other"}')
    with pytest.raises(PlanError, match="table of quotients has an unknown format"):
        Quotients.load(log)
    with pytest.raises(FileError, match="cannot be written"):
        knowledge_quotients(model, data=data, which="two", log=tmp_path / "no" / "folder.json")


def test_plot(model: keras.Model, data: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = knowledge_quotients(model, data=data)
    path = found.plot(tmp_path / "quotients.png", chosen=found.choose(macs=0.8))
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in found.plot(tmp_path / "quotients.svg", depth=0).read_bytes()[:600]
    with pytest.raises(OptionError, match="cannot be written"):
        found.plot(tmp_path / "quotients.txt")


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import builtins

    plain = builtins.__import__

    def without_it(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_it)
    with pytest.raises(MissingExtraError, match=r"pip install 'kerasurgeon\[plot\]'"):
        Quotients("net", 1.0, 1, 1).plot(tmp_path / "it.png")


# ---- mistakes --------------------------------------------------------------------------------------------------------


def error(kind: type[Exception], model: keras.Model, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        knowledge_quotients(model, **options)
    return str(caught.value)


def test_labels(model: keras.Model, data: Any) -> None:
    images, labels = data
    assert "An evaluation is needed" in error(OptionError, model)
    assert "has no labels" in error(OptionError, model, data=images)
    assert "has no labels" in error(OptionError, model, data=[images[:5], images[5:]])
    assert "only once" in error(OptionError, model, data=iter([(images, labels)]))
    text = error(OptionError, model, data=(images, labels + 3))
    assert "no class of the model" in text
    assert "from 0 to 3" in text
    assert "no class of the model" in error(OptionError, model, data=(images, labels - 1))
    assert "no class ids" in error(OptionError, model, data=(images, labels + 0.5))
    text = error(OptionError, model, data=(images, np.zeros((150, 7), int)))
    assert "do not fit the model's output" in text
    for wrong in (labels[:-1], np.append(labels, 0)):
        text = error(OptionError, model, data=(images, wrong))
        assert "not as many labels as samples" in text
    assert "is empty" in error(OptionError, model, data=(images[:0], labels[:0]))


def test_inputs(model: keras.Model, data: Any) -> None:
    assert "does not fit the model's inputs" in error(OptionError, model, data=(data[0][:, :5], data[1]))
    broken = np.full_like(data[0], np.nan)
    assert "NaN" in error(OptionError, model, data=(broken, data[1]))


def test_evaluations(model: keras.Model, data: Any) -> None:
    assert "no finite number" in error(PassError, model, evaluate=lambda _: float("nan"))
    assert "ValueError: no" in error(PassError, model, evaluate=_fails)
    text = error(PassError, model, evaluate=lambda _: [0.1, 0.9])
    assert "gives no finite number" in text
    assert "1 / loss" in error(OptionError, model, evaluate=lambda _: -0.3)
    values = iter([0.5, float("inf")])
    text = error(PassError, model, evaluate=lambda _: next(values), which="one")
    assert "without region 'one'" in text
    assert "metric= cannot be used" in error(OptionError, model, data=data, metric="f2")
    assert "cannot be used" in error(OptionError, model, data=data, evaluate=3)


def test_regions_and_options(model: keras.Model, data: Any) -> None:
    assert "did you mean 'one'" in error(GraphError, model, data=data, which="ones")
    assert "matches 'three_*'" in error(GraphError, model, data=data, which="three_*")
    assert "method= cannot be used" in error(OptionError, model, data=data, method="linear")
    assert "cannot be used" in error(OptionError, model, data=data, min_nodes=0)
    assert "has no region of 500 nodes" in error(GraphError, model, data=data, min_nodes=500)
    found = knowledge_quotients(model, data=data, which="one")
    with pytest.raises(GraphError, match="no quotient of a region 'two'"):
        found["two"]
    two = keras.Model(model.input, [model.output, model.get_layer("pool").output])
    assert "with one output; this one has 2" in error(OptionError, two, data=data)


def _fails(model: keras.Model) -> float:
    raise ValueError("no")
