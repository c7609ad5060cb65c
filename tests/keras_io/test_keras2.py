"""Files that Keras 2 has written compute here what they computed there, by numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import kerasurgeon as ks
from tests.keras_io import keras2_files as old
from tests.keras_io.keras2_files import Array, conv, dense, entry, layer, network, recurrent, stack, write_h5

Case = tuple[Any, old.Weights, list[Array], Callable[..., Any]]


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return (np.random.default_rng([seed, *shape]).normal(size=shape) * scale).astype("float32")


def plain_cnn() -> Case:
    norm = layer(
        "BatchNormalization",
        "bn",
        "conv",
        axis=[3],
        momentum=0.99,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer=old.ZEROS,
        gamma_initializer={"class_name": "Ones", "config": {}},
        moving_mean_initializer=old.ZEROS,
        moving_variance_initializer={"class_name": "Ones", "config": {}},
        beta_regularizer=None,
        fused=True,
        renorm=False,
    )
    config = network(
        [
            entry("images", 6, 6, 3),
            conv("conv", "images", filters=4, size=3, activation="relu"),
            norm,
            layer("Flatten", "flat", "bn", data_format="channels_last"),
            dense("scores", "flat", units=5, activation="softmax"),
        ],
        ["images"],
        ["scores"],
    )
    kernel, bias, weights, shift = random(3, 3, 3, 4), random(4), random(64, 5, scale=0.3), random(5)
    gamma, beta, mean, variance = random(4, seed=1), random(4, seed=2), random(4, seed=3), random(4, seed=4) ** 2
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays = zip(names, (gamma, beta, mean, variance), strict=True)
    stored = {
        "images": [],
        "conv": [("conv/kernel:0", kernel), ("conv/bias:0", bias)],
        "bn": [(f"bn/{name}:0", array) for name, array in arrays],
        "flat": [],
        "scores": [("scores/kernel:0", weights), ("scores/bias:0", shift)],
    }

    def expected(x: Array) -> Array:
        x = np.maximum(old.conv_valid(x, kernel, bias), 0)
        x = (x - mean) / np.sqrt(variance + 0.001) * gamma + beta
        return old.softmax(x.reshape(len(x), -1) @ weights + shift)

    return config, stored, [random(2, 6, 6, 3)], expected


def old_lstm() -> Case:
    config = stack(
        recurrent("LSTM", "lstm_1", units=4, batch_input_shape=[None, 5, 3], unit_forget_bias=True),
        dense("dense_1", units=2, activation="hard_sigmoid"),
        layer("Activation", "activation_1", activation="hard_sigmoid"),
    )
    kernel, inner, bias = random(3, 16), random(4, 16), random(16)
    weights, shift = random(4, 2), random(2)
    stored = {
        "lstm_1": [("lstm_1_1/kernel:0", kernel), ("lstm_1_1/recurrent_kernel:0", inner), ("lstm_1_1/bias:0", bias)],
        "dense_1": [("dense_1/kernel:0", weights), ("dense_1/bias:0", shift)],
        "activation_1": [],
    }

    def expected(x: Array) -> Array:
        h, _ = old.lstm(x, kernel, inner, bias, old.hard_sigmoid)
        return old.hard_sigmoid(old.hard_sigmoid(h @ weights + shift))

    return config, stored, [random(3, 5, 3)], expected


def old_gru() -> Case:
    config = stack(recurrent("GRU", "gru_1", units=4, batch_input_shape=[None, 5, 3]))
    kernel, inner, bias = random(3, 12), random(4, 12), random(12)
    stored = {"gru_1": [("gru_1/kernel:0", kernel), ("gru_1/recurrent_kernel:0", inner), ("gru_1/bias:0", bias)]}
    return config, stored, [random(3, 5, 3)], lambda x: old.gru(x, kernel, inner, bias, old.hard_sigmoid)


def two_ways() -> Case:
    inner = recurrent("LSTM", "lstm", units=2, recurrent_activation="sigmoid", time_major=False, implementation=2)
    both = layer(
        "Bidirectional",
        "both",
        layer={key: inner[key] for key in ("class_name", "config")},
        merge_mode="concat",
        batch_input_shape=[None, 5, 3],
    )
    arrays = [random(*shape, seed=seed) for seed in (1, 2) for shape in ((3, 8), (2, 8), (8,))]
    names = [f"both/{way}_lstm/lstm_cell_{i}/{name}:0" for i, way in enumerate(("forward", "backward"))
             for name in ("kernel", "recurrent_kernel", "bias")]  # fmt: skip

    def expected(x: Array) -> Array:
        one, _ = old.lstm(x, arrays[0], arrays[1], arrays[2], old.sigmoid)
        other, _ = old.lstm(x[:, ::-1], arrays[3], arrays[4], arrays[5], old.sigmoid)
        return np.concatenate([one, other], axis=-1)

    return stack(both), {"both": list(zip(names, arrays, strict=True))}, [random(2, 5, 3)], expected


def cudnn(kind: str) -> Case:
    """Each gate has a matrix of (units, inputs), stored row by row in a block of the kernel's columns."""
    gates, units = (4, 3) if kind == "LSTM" else (3, 3)
    first = [random(units, 2, seed=gate) for gate in range(gates)]
    second = [random(units, units, seed=gate) for gate in range(gates)]
    biases = random(2, gates * units)
    config = stack(
        layer(
            f"CuDNN{kind}",
            "cell",
            batch_input_shape=[None, 4, 2],
            units=units,
            return_sequences=False,
            return_state=False,
            go_backwards=False,
            stateful=False,
            kernel_initializer=old.OLD_GLOROT,
            bias_initializer=old.ZEROS,
            **({"unit_forget_bias": True} if kind == "LSTM" else {}),
        )
    )
    stored = {
        "cell": [
            ("cell/kernel:0", np.concatenate([matrix.reshape(2, units) for matrix in first], axis=-1)),
            ("cell/recurrent_kernel:0", np.concatenate(second, axis=-1)),
            ("cell/bias:0", biases.reshape(-1)),
        ]
    }
    kernel, inner = (np.concatenate([matrix.T for matrix in each], axis=-1) for each in (first, second))

    def expected(x: Array) -> Array:
        if kind == "GRU":
            return old.gru(x, kernel, inner, biases, old.sigmoid)
        return old.lstm(x, kernel, inner, biases.sum(axis=0), old.sigmoid)[0]

    return config, stored, [random(2, 4, 2)], expected


def functions() -> Case:
    def call(name: str, function: str, *node: Any) -> dict[str, Any]:
        return layer("TFOpLambda", name, list(node), function=function)

    spec = [{"start": None, "stop": None, "step": None}, {"start": 1, "stop": 3, "step": None}]
    config = network(
        [
            entry("x", 4),
            entry("y", 4),
            call("tf.math.multiply", "math.multiply", "x", 0, 0, {"y": 2.0, "name": None}),
            call("tf.math.subtract", "math.subtract", "_CONSTANT_VALUE", -1, 1.0, {"y": ["y", 0, 0], "name": None}),
            call("plus", "__operators__.add", "tf.math.multiply", 0, 0, {"y": ["tf.math.subtract", 0, 0]}),
            call("scaled", "math.truediv", "plus", 0, 0, {"y": [[1.0, 2.0, 4.0, 8.0]], "name": None}),
            call("joined", "concat", ["scaled", 0, 0, {"axis": -1}], ["y", 0, 0, {"axis": -1}]),
            layer("SlicingOpLambda", "part", ["joined", 0, 0, {"slice_spec": spec}], function="__operators__.getitem"),
            call("mean", "math.reduce_mean", "part", 0, 0, {"axis": [-1], "keepdims": True}),
            dense("out", "mean", units=2),
        ],
        ["x", "y"],
        ["out", "scaled"],
    )
    kernel, bias = random(1, 2), random(2)

    def expected(x: Array, y: Array) -> list[Array]:
        scaled = (2 * x + (1 - y)) / np.array([[1.0, 2.0, 4.0, 8.0]])
        part = np.concatenate([scaled, y], axis=-1)[:, 1:3]
        return [part.mean(-1, keepdims=True) @ kernel + bias, scaled]

    return (
        config,
        {"out": [("out/kernel:0", kernel), ("out/bias:0", bias)]},
        [random(3, 4), random(3, 4, seed=9)],
        expected,
    )


def siamese() -> Case:
    """A model inside, called twice: its calls are counted from 1; its frozen layer's weights come last."""
    tower = network(
        [
            entry("in", 3),
            {
                **(frozen := dense("one", "in", units=4, activation="relu")),
                "config": {**frozen["config"], "trainable": False},
            },
            dense("two", "one", units=4),
        ],
        ["in"],
        ["two"],
        kind="Model",
        name="tower",
    )
    config = network(
        [
            entry("a", 3),
            entry("b", 3),
            {**tower, "name": "tower", "inbound_nodes": [[["a", 0, 0, {}]], [["b", 0, 0, {}]]]},
            layer("Subtract", "minus", [["tower", 1, 0, {}], ["tower", 2, 0, {}]]),
        ],
        ["a", "b"],
        ["minus"],
        kind="Model",
    )
    one, two = (random(3, 4), random(4)), (random(4, 4), random(4, seed=5))
    stored = {
        "tower": [("two/kernel:0", two[0]), ("two/bias:0", two[1]), ("one/kernel:0", one[0]), ("one/bias:0", one[1])]
    }

    def tower_of(x: Array) -> Array:
        return np.asarray(np.maximum(x @ one[0] + one[1], 0) @ two[0] + two[1])

    return config, stored, [random(2, 3), random(2, 3, seed=7)], lambda a, b: tower_of(a) - tower_of(b)


def seq2seq() -> Case:
    """Initial states stand behind the inputs, in one list."""
    config = network(
        [
            entry("source", 5, 3),
            entry("target", 4, 2),
            recurrent("LSTM", "encoder", "source", units=3, return_state=True),
            recurrent("LSTM", "decoder", [["target", 0, 0, {}], ["encoder", 0, 1, {}], ["encoder", 0, 2, {}]], units=3),
        ],
        ["source", "target"],
        ["decoder"],
        kind="Model",
    )
    one = random(3, 12), random(3, 12, seed=1), random(12)
    two = random(2, 12), random(3, 12, seed=2), random(12, seed=3)
    names = ("kernel:0", "recurrent_kernel:0", "bias:0")
    stored = {"encoder": list(zip(names, one, strict=True)), "decoder": list(zip(names, two, strict=True))}

    def expected(source: Array, target: Array) -> Array:
        return old.lstm(target, *two, old.hard_sigmoid, state=old.lstm(source, *one, old.hard_sigmoid))[0]

    return config, stored, [random(2, 5, 3), random(2, 4, 2)], expected


CASES: dict[str, tuple[Callable[[], Case], str]] = {
    "plain_cnn": (plain_cnn, "2.4.0"),
    "old_lstm": (old_lstm, "2.2.4"),
    "old_gru": (old_gru, "2.1.6"),
    "two_ways": (two_ways, "2.8.0"),
    "cudnn_lstm": (lambda: cudnn("LSTM"), "2.2.4"),
    "cudnn_gru": (lambda: cudnn("GRU"), "2.2.4"),
    "functions": (functions, "2.8.0"),
    "siamese": (siamese, "2.2.4"),
    "seq2seq": (seq2seq, "2.2.4"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_computes_what_it_did(name: str, tmp_path: Path) -> None:
    make, version = CASES[name]
    config, weights, inputs, expected = make()
    model = ks.load_model(write_h5(tmp_path / "old.h5", config, weights, version=version))
    found = model(inputs[0] if len(inputs) == 1 else inputs)
    wanted = expected(*inputs)
    for one, other in zip(*((each if isinstance(each, list) else [each]) for each in (found, wanted)), strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=2e-5, atol=2e-6)
    # What comes of it is a model of Keras 3, without anything of kerasurgeon's.
    model.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras")(inputs[0] if len(inputs) == 1 else inputs)
    for one, other in zip(*((each if isinstance(each, list) else [each]) for each in (again, found)), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_options_that_keras_3_has_dropped(tmp_path: Path) -> None:
    """Against a network written here in Keras 3, given the same arrays."""
    separable = {
        "depthwise_initializer": old.GLOROT,
        "pointwise_initializer": old.GLOROT,
        "depth_multiplier": 1,
        "depthwise_regularizer": None,
    }
    policy = {"class_name": "Policy", "config": {"name": "float32"}, "module": "keras.mixed_precision"}
    config = stack(
        conv("up", filters=4, size=3, kind="Conv2DTranspose", output_padding=None, batch_input_shape=[None, 6, 6, 3]),
        conv("apart", filters=5, size=3, kind="SeparableConv2D", **separable),
        layer("LeakyReLU", "leaky", alpha=0.25, dtype=policy),
        layer("ThresholdedReLU", "cut", theta=0.5),
        layer("ReLU", "clip", max_value={"type": "ndarray", "value": 2.0}, negative_slope=0.0, threshold=0.0),
        layer("GlobalAveragePooling2D", "mean", data_format="channels_last"),
    )
    arrays = [random(3, 3, 4, 3), random(4), random(3, 3, 4, 1), random(1, 1, 4, 5), random(5)]
    stored = {
        "up": [("up/kernel:0", arrays[0]), ("up/bias:0", arrays[1])],
        "apart": list(zip(("depthwise_kernel:0", "pointwise_kernel:0", "bias:0"), arrays[2:], strict=True)),
    }
    model = ks.load_model(write_h5(tmp_path / "old.h5", config, stored, version="2.12.0"))
    by_hand = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2DTranspose(4, 3),
            keras.layers.SeparableConv2D(5, 3),
        ]
    )
    by_hand.set_weights(arrays)
    x = random(2, 6, 6, 3)
    y = np.asarray(by_hand(x))
    y = np.where(y > 0, y, 0.25 * y)
    y = np.minimum(np.where(y > 0.5, y, 0), 2.0)
    np.testing.assert_allclose(np.asarray(model(x)), y.mean((1, 2)), rtol=1e-5, atol=1e-6)


def squares(x: Any) -> Any:
    return x * x


def with_function() -> Any:
    code = ["4wEAAAAAAAAAAAAAAAEAAABTAAAAcwQAAAB8AFMA\n", None, None]
    return stack(
        layer("Lambda", "squared", batch_input_shape=[None, 3], function=code, function_type="lambda", arguments={}),
        dense("dense", units=2),
    )


def test_code_in_a_file_is_refused_or_replaced(tmp_path: Path) -> None:
    kernel, bias = random(3, 2), random(2)
    path = write_h5(tmp_path / "old.h5", with_function(), {"dense": [("kernel:0", kernel), ("bias:0", bias)]})
    with pytest.raises(ks.ModelFileError, match=r"'squared' has Python code of its own.*(.|\n)*custom_objects"):
        ks.load_model(path)
    model = ks.load_model(path, custom_objects={"squared": squares})
    x = random(2, 3)
    np.testing.assert_allclose(np.asarray(model(x)), (x * x) @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_a_config_with_weights_beside_it(tmp_path: Path) -> None:
    config, weights, (x,), expected = plain_cnn()
    (tmp_path / "model.json").write_text(json.dumps({**config, "keras_version": "2.4.0", "backend": "tensorflow"}))
    # The layers have other numbers than when the weights were saved: by order.
    other = {f"{name}_1": arrays for name, arrays in weights.items()}
    for name, stored in (("same", weights), ("numbered", other)):
        write_h5(tmp_path / f"{name}.h5", None, stored, alone=True)
        model = ks.load_model(tmp_path / "model.json", weights=tmp_path / f"{name}.h5")
        np.testing.assert_allclose(np.asarray(model(x)), expected(x), rtol=2e-5, atol=2e-6)
    with pytest.raises(ks.ModelFileError, match=r"holds no weights(.|\n)*weights="):
        ks.load_model(tmp_path / "model.json")


ADAM = {"name": "Adam", "learning_rate": 0.02, "decay": 0.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
TRAININGS: dict[str, Any] = {
    "2.4.0": {
        "loss": "categorical_crossentropy",
        "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "categorical_accuracy"}}]],
        "weighted_metrics": None,
        "loss_weights": None,
        "optimizer_config": {"class_name": "Adam", "config": {**ADAM, "amsgrad": False}},
    },
    "2.12.0": {
        "loss": {
            "class_name": "CategoricalCrossentropy",
            "config": {"reduction": "auto", "name": "c", "fn": "categorical_crossentropy"},
        },
        "metrics": ["accuracy"],
        "loss_weights": None,
        "optimizer_config": {
            "class_name": "Custom>Adam",
            "config": {**ADAM, "weight_decay": None, "jit_compile": True, "is_legacy_optimizer": False},
        },
    },
}


@pytest.mark.parametrize("version", TRAININGS)
def test_it_is_compiled_as_it_was(version: str, tmp_path: Path) -> None:
    config, weights, (x,), _ = plain_cnn()
    path = write_h5(tmp_path / "old.h5", config, weights, version=version, training=TRAININGS[version])
    model = ks.load_model(path)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    before = model.get_weights()[0].copy()
    probabilities = np.asarray(model(x))
    loss, *metrics = model.evaluate(x, np.eye(5)[[0, 1]], verbose=0)
    assert loss == pytest.approx(-np.log(probabilities[[0, 1], [0, 1]]).mean(), rel=1e-4)
    assert metrics == pytest.approx([(probabilities.argmax(-1) == [0, 1]).mean()])
    model.train_on_batch(x, np.eye(5)[[0, 1]])
    assert np.abs(model.get_weights()[0] - before).max() > 0.01


@keras.saving.register_keras_serializable("tests_keras2")
class Doubled(keras.layers.Layer):
    """Registered, or named by the user."""

    def call(self, x: Any) -> Any:
        return 2 * x


def test_the_last_files_of_keras_2(tmp_path: Path) -> None:
    """Those of 2.13 to 2.15 say modules; a custom layer is found by its registered name, or by the user's."""

    def modern(name: str, config: Any) -> Any:
        return {"module": f"keras.{name}", "registered_name": None, **config}

    scores = dense("scores", units=2)
    options = scores["config"]
    options |= {
        "kernel_initializer": modern("initializers", old.GLOROT),
        "kernel_regularizer": modern("regularizers", {"class_name": "L2", "config": {"l2": 0.01}}),
        "dtype": modern("mixed_precision", {"class_name": "Policy", "config": {"name": "float32"}}),
        "batch_input_shape": [None, 3],
    }
    custom = {"class_name": "Doubled", "config": {"name": "twice", "trainable": True, "dtype": "float32"}}
    kernel, bias, x = random(3, 2), random(2), random(4, 3)
    for entry_, known in (
        ({**custom, "module": "m", "registered_name": "tests_keras2>Doubled"}, {}),
        ({**custom, "class_name": "tests_keras2>Doubled"}, {}),
        ({**custom, "class_name": "Mine"}, {"Mine": Doubled}),
    ):
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": [modern("layers", scores), entry_]}}
        path = write_h5(tmp_path / "old.h5", config, {"scores": [("k", kernel), ("b", bias)]}, version="2.15.0")
        model = ks.load_model(path, custom_objects=known)
        np.testing.assert_allclose(np.asarray(model(x)), 2 * (x @ kernel + bias), rtol=1e-5, atol=1e-6)
        assert float(model.layers[0].kernel_regularizer.l2) == pytest.approx(0.01)


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    config, weights, _, _ = plain_cnn()
    wrong = {**weights, "scores": [("scores/kernel:0", random(60, 5)), ("scores/bias:0", random(5))]}
    with pytest.raises(ks.ModelFileError, match=r"'scores'(.|\n)*\(64, 5\)(.|\n)*\(60, 5\)"):
        ks.load_model(write_h5(tmp_path / "a.h5", config, wrong))
    with pytest.raises(ks.ModelFileError, match=r"'scores' has another number of weights"):
        ks.load_model(write_h5(tmp_path / "b.h5", config, {**weights, "scores": [("kernel:0", random(64, 5))]}))
    missing = {name: arrays for name, arrays in weights.items() if name != "scores"}
    with pytest.raises(ks.ModelFileError, match=r"another network(.|\n)*'scores'"):
        ks.load_model(write_h5(tmp_path / "c.h5", config, missing))

    def elsewhere(file: Any) -> None:
        del file["model_weights/scores"]
        file["model_weights/scores"] = h5py.ExternalLink("other.h5", "/scores")

    with pytest.raises(ks.ModelFileError, match="'scores', or in another file"):
        ks.load_model(changed(write_h5(tmp_path / "d.h5", config, weights), elsewhere))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            stack(recurrent("LSTM", "reader", units=2, time_major=True)),
            r"'reader' \(LSTM\) has an option(.|\n)*time_major",
        ),
        (stack(layer("LocallyConnected2D", "local", filters=2)), r"'local' is of a class(.|\n)*LocallyConnected2D"),
        (stack(dense("late", units=2)), "does not say what shape"),
        (
            network(
                [entry("x", 2), layer("TFOpLambda", "read", ["x", 0, 0, {}], function="io.read_file")], ["x"], ["read"]
            ),
            r"'read' calls a function of TensorFlow(.|\n)*tf.io.read_file",
        ),
        (network([entry("x", 2), dense("a", "b", units=2), dense("b", "a", units=2)], ["x"], ["b"]), "put in an order"),
        (
            stack(recurrent("LSTM", "odd", units=2, activation="hard_sigmoid", batch_input_shape=[None, 3, 2])),
            "'odd' uses the hard",
        ),
    ],
)
def test_what_has_no_equal_is_refused(config: Any, message: str, tmp_path: Path) -> None:
    arrays = {"odd": [("k", random(2, 8)), ("r", random(2, 8)), ("b", random(8))]} if "odd" in str(config) else {}
    with pytest.raises(ks.ModelFileError, match=message):
        ks.load_model(write_h5(tmp_path / "old.h5", config, arrays))


def test_a_saved_model_folder_is_refused_with_the_way(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ks.ModelFileError, match=r"tf_keras(.|\n)*kerasurgeon convert"):
        ks.load_model(tmp_path / "model")


def test_a_file_cannot_name_functions_that_do_harm(tmp_path: Path) -> None:
    bad = {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}
    config = stack(layer("Activation", "act", activation=bad, batch_input_shape=[None, 2]))
    with pytest.raises(ks.ModelFileError, match=r"keras\.utils\.get_file"):
        ks.load_model(write_h5(tmp_path / "old.h5", config, {}))


@pytest.mark.parametrize(
    ("layer", "shape", "extra"),
    [
        (keras.layers.DepthwiseConv2D, (8, 8, 3), {"groups": 1}),
        (keras.layers.LSTM, (6, 8), {"time_major": False, "implementation": 2}),
        (keras.layers.Conv2DTranspose, (8, 8, 3), {"groups": 1}),
    ],
)
def test_old_options_in_a_file_of_keras_3(layer: Any, shape: Any, extra: dict[str, Any], tmp_path: Path) -> None:
    made = (
        layer(3)
        if layer is keras.layers.LSTM
        else layer(3, kernel_size=3)
        if "Transpose" in layer.__name__
        else layer(3)
    )
    for number, model in enumerate(
        (
            keras.Sequential([keras.Input(shape), made]),
            keras.Model(x := keras.Input(shape), layer.from_config(made.get_config())(x)),
        )
    ):
        path = tmp_path / f"{number}.h5"
        model.save(path)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"][-1]["config"].update(extra)
            file.attrs["model_config"] = json.dumps(config).encode()
        inputs = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
        np.testing.assert_array_equal(np.asarray(ks.load_model(path)(inputs)), np.asarray(model(inputs)))
        with h5py.File(path, "r+") as file:
            config["config"]["layers"][-1]["config"][next(iter(extra))] = 7
            file.attrs["model_config"] = json.dumps(config).encode()
        with pytest.raises(ks.ModelFileError):
            ks.load_model(path)
