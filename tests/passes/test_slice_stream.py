"""SliceStream. The oracle is a transformer in numpy, which projects its stream by axes that it finds itself."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, OptionError, PassError
from kerasurgeon.passes import PruneChannels, SliceStream
from tests.passes.checking import assert_lives, difference, kinds, outputs_of, reasons, run, state_of
from tests.zoo import randomise

WORDS, WIDTH, STEPS, HEADS, BLOCKS = 20, 16, 7, 2, 2
Array = np.ndarray[Any, Any]


def ids(seed: int, count: int = 24, steps: int = STEPS) -> Any:
    return np.random.default_rng(seed).integers(0, WORDS, (count, steps)).astype("int32")


def norm(name: str, rms: bool) -> Any:
    return layers.RMSNormalization(name=name) if rms else layers.LayerNormalization(epsilon=0.02, name=name)


def places() -> Any:
    return np.arange(STEPS, dtype="int32")


def transformer(rms: bool = False, *, tied: bool = False) -> keras.Model:
    """A decoder without masks, norms first."""
    inputs = keras.Input((STEPS,), dtype="int32", name="ids")
    embedding = layers.ReversibleEmbedding if tied else layers.Embedding
    words = embedding(WORDS, WIDTH, name="words")
    x = words(inputs) + layers.Embedding(STEPS, WIDTH, name="places")(ops.zeros_like(inputs) + places())
    for block in range(BLOCKS):
        h = norm(f"before_{block}", rms)(x)
        y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"attend_{block}")(h, h)
        x = layers.Add(name=f"sum_{block}")([x, layers.Dropout(0.1, name=f"drop_{block}")(y)])
        h = layers.Dense(24, activation="relu", name=f"inner_{block}")(norm(f"between_{block}", rms)(x))
        x = x + layers.Dense(WIDTH, name=f"outer_{block}", use_bias=not rms)(h)
    h = norm("last", rms)(x)
    scores = words(h, reverse=True) if tied else layers.Dense(5, use_bias=False, name="scores")(h)
    model = keras.Model(inputs, scores, name="transformer")
    randomise(model, 1)
    return model


class Oracle:
    """The same network in numpy; every norm reads what ``project`` makes of the stream, and is watched."""

    def __init__(self, model: keras.Model, rms: bool) -> None:
        self.weights = {
            weight.path: np.asarray(weight, "float64") for layer in model.layers for weight in layer.weights
        }
        self.rms, self.seen = rms, list[Array]()
        self.projection = np.eye(WIDTH)

    def norm(self, name: str, x: Array) -> Array:
        if not self.rms:
            x = x - x.mean(-1, keepdims=True)
        self.seen.append(x.reshape(-1, WIDTH))
        x = x @ self.projection
        root = np.sqrt(np.square(x).mean(-1, keepdims=True) + (1e-6 if self.rms else 0.02))
        if self.rms:
            return np.asarray(x / root * self.weights[f"{name}/scale"])
        return np.asarray(x / root * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"])

    def attention(self, name: str, h: Array) -> Array:
        def part(which: str) -> Array:
            kernel, bias = (self.weights[f"{name}/{which}/{key}"] for key in ("kernel", "bias"))
            return np.asarray(np.einsum("btc,chk->bthk", h, kernel) + bias)

        query, key, value = map(part, ("query", "key", "value"))
        scores = np.exp(np.einsum("bthk,bshk->bhts", query, key) / np.sqrt(WIDTH // HEADS))
        mixed = np.einsum("bhts,bshk->bthk", scores / scores.sum(-1, keepdims=True), value)
        kernel, bias = (self.weights[f"{name}/attention_output/{key}"] for key in ("kernel", "bias"))
        return np.asarray(np.einsum("bthk,hkc->btc", mixed, kernel) + bias)

    def dense(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self.weights[f"{name}/kernel"] + self.weights.get(f"{name}/bias", 0.0))

    def __call__(self, tokens: Array) -> Array:
        self.seen = []
        x = self.weights["words/embeddings"][tokens] + self.weights["places/embeddings"]
        for block in range(BLOCKS):
            x = x + self.attention(f"attend_{block}", self.norm(f"before_{block}", x))
            h = np.maximum(self.dense(f"inner_{block}", self.norm(f"between_{block}", x)), 0)
            x = x + self.dense(f"outer_{block}", h)
        return self.dense("scores", self.norm("last", x))

    def project(self, data: Array, kept: int) -> None:
        """Keep the first principal axes of what the norms see on some data, at length one."""
        self.projection = np.eye(WIDTH)
        self(data)
        rows = np.concatenate([x / np.linalg.norm(x, axis=-1, keepdims=True) for x in self.seen])
        axes = np.linalg.svd(rows, full_matrices=False)[2][:kept]
        self.projection = axes.T @ axes


def far(one: Any, other: Any) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(one - other).max() / np.abs(one).max())


@pytest.fixture(scope="module", params=[False, True], ids=["layer norm", "rms norm"])
def network(request: pytest.FixtureRequest) -> tuple[keras.Model, Oracle]:
    model = transformer(request.param)
    oracle = Oracle(model, request.param)
    assert far(oracle(ids(2)), outputs_of(model, ids(2))[0]) < 1e-5
    return model, oracle


@pytest.mark.spread(2)
def test_turned_streams_compute_what_they_did(network: tuple[keras.Model, Oracle]) -> None:
    model, _ = network
    before = state_of(model)
    result = run(SliceStream(ratio=0), model, data=ids(0))
    assert state_of(model) == before
    assert difference(model, result.model, ids(2)) < 5e-6
    assert "LayerNormalization" not in kinds(result.model)
    assert kinds(result.model).count("RMSNormalization") == 2 * BLOCKS + 1
    for name in ("before_0", "between_1", "last"):
        np.testing.assert_array_equal(result.model.get_layer(name).scale, np.ones(WIDTH))
    turned = np.asarray(result.model.get_layer("outer_0").kernel)
    assert not np.allclose(turned, np.asarray(model.get_layer("outer_0").kernel), atol=0.1)


@pytest.mark.spread(3)
@pytest.mark.parametrize("width", [4, 9, 15])
def test_sliced_networks_project_their_stream(network: tuple[keras.Model, Oracle], width: int) -> None:
    model, oracle = network
    small = run(SliceStream(width=width, compensate="none"), model, data=ids(0)).model
    assert small.get_layer("words").output_dim == small.get_layer("outer_1").units == width
    assert small.get_layer("inner_0").units == 24
    oracle.project(ids(0), width)
    assert far(oracle(ids(2)), outputs_of(small, ids(2))[0]) < 1e-5


def narrow(model: keras.Model, rank: int) -> None:
    """Let the stream lie in some of its dimensions."""
    axes = np.linalg.qr(np.random.default_rng(4).standard_normal((WIDTH, rank)))[0]
    writers = ("words", "places", *(f"outer_{block}" for block in range(BLOCKS)))
    weights = [weight for name in writers for weight in model.get_layer(name).weights]
    weights += [
        weight for block in range(BLOCKS) for weight in model.get_layer(f"attend_{block}")._output_dense.weights
    ]
    for weight in weights:
        weight.assign(np.asarray(weight) @ axes @ axes.T)


@pytest.mark.spread(2)
@pytest.mark.parametrize("compensate", ["none", "least_squares"])
def test_a_stream_of_low_rank_loses_nothing(compensate: str) -> None:
    model = transformer(rms=True)
    narrow(model, 8)
    small = run(SliceStream(ratio=0.5, compensate=compensate), model, data=ids(0)).model
    assert small.get_layer("outer_0").units == 8
    assert difference(model, small, ids(2)) < 1e-4


@pytest.mark.spread(2)
def test_least_squares_bring_readers_closer(network: tuple[keras.Model, Oracle]) -> None:
    """What the first kernel behind a norm of the stream gives."""
    model, _ = network

    def part(one: keras.Model) -> keras.Model:
        return keras.Model(one.input, one.get_layer("inner_0").output)

    errors = {}
    for way in ("none", "least_squares"):
        small = run(SliceStream(width=12, compensate=way), model, data=ids(0, 200)).model
        wanted, got = (outputs_of(part(one), ids(5, 100))[0] for one in (model, small))
        errors[way] = np.square(wanted - got).mean()
    assert errors["least_squares"] < 0.9 * errors["none"]


@pytest.mark.spread(2)
@pytest.mark.parametrize("rms", [False, True])
def test_tables_that_are_used_both_ways_stay_one(rms: bool, tmp_path: Path) -> None:
    model = transformer(rms, tied=True)
    turned = run(SliceStream(ratio=0), model, data=ids(0)).model
    assert difference(model, turned, ids(2)) < 5e-6
    assert len(turned.get_layer("words").weights) == 1
    small = ks.apply_passes(model, [SliceStream(ratio=0.25, compensate="none")], data=ids(0))
    assert small.get_layer("words").embeddings.shape == (WORDS, 12)
    assert len(small.get_layer("words").weights) == 1
    assert_lives(small, tmp_path)


class RMSNorm(layers.Layer):
    """Written out, with a scale."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-3) * self.scale


class LayerNorm(layers.Layer):
    """Written out in another way, with a scale and a shift."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.shift = self.add_weight(shape=(shape[-1],), name="shift")

    def call(self, x: Any) -> Any:
        x = x - ops.mean(x, axis=-1, keepdims=True)
        return x / ops.sqrt(ops.mean(x * x, axis=-1, keepdims=True) + 1e-3) * self.scale + self.shift


class Head(layers.Layer):
    """A norm, and scores by the table that words are read from."""

    def __init__(self, words: Any, norm: Callable[[], Any], **options: Any) -> None:
        super().__init__(**options)
        self.words, self.norm = words, norm()

    def build(self, shape: Any) -> None:
        self.norm.build(shape)

    def call(self, x: Any) -> Any:
        return ops.matmul(self.norm(x), ops.transpose(self.words.embeddings))


class Block(layers.Layer):
    """A gated perceptron behind a written norm."""

    def __init__(self, norm: Callable[[], Any], **options: Any) -> None:
        super().__init__(**options)
        self.norm = norm()
        self.gate, self.up, self.down = layers.Dense(24), layers.Dense(24), layers.Dense(WIDTH)

    def build(self, shape: Any) -> None:
        for layer in (self.norm, self.gate, self.up):
            layer.build(shape)
        self.down.build((*shape[:-1], 24))

    def call(self, x: Any) -> Any:
        h = self.norm(x)
        return x + self.down(ops.silu(self.gate(h)) * self.up(h))


def opened(written: Callable[[], Any]) -> keras.Model:
    """Composite layers around written norms, and a table that two layers hold."""
    inputs = keras.Input((STEPS,), dtype="int32")
    words = layers.Embedding(WORDS, WIDTH, name="words")
    x = Block(written, name="block_1")(Block(written, name="block_0")(words(inputs)))
    model = keras.Model(inputs, Head(words, written, name="head")(x))
    randomise(model, 2)
    return model


@pytest.mark.parametrize("written", [RMSNorm, LayerNorm])
def test_written_norms_become_layers(written: Callable[[], Any], tmp_path: Path) -> None:
    model = opened(written)
    turned = run(SliceStream(ratio=0), model, data=ids(0)).model
    assert difference(model, turned, ids(2)) < 1e-5
    assert "Rsqrt" not in kinds(turned)
    small = ks.apply_passes(model, [SliceStream(ratio=0.5, compensate="none")], data=ids(0))
    assert small.get_layer("words").output_dim == 8
    tables = {id(weight) for weight in small.weights if weight.shape == (WORDS, 8)}
    assert len(tables) == 1
    assert_lives(small, tmp_path)


def vit() -> keras.Model:
    """Patches, a constant that is added, attention; the first position and the mean of all are read."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Reshape((4, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4, name="patches")(inputs))
    x = ops.add(x, np.random.default_rng(3).standard_normal((1, 4, WIDTH)).astype("float32"))
    h = layers.LayerNormalization(name="before")(x)
    x = x + layers.MultiHeadAttention(2, 8, name="attend")(h, h)
    h = layers.LayerNormalization(name="between")(x)
    h = layers.EinsumDense("abc,cd->abd", (None, 32), bias_axes="d", activation="gelu", name="inner")(h)
    x = layers.Add()([x, 0.5 * layers.Dense(WIDTH, name="outer")(h)])
    x = layers.LayerNormalization(name="last")(x)
    x = layers.Dense(3, name="first")(x[:, 0]) + layers.Dense(3, name="mean")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, x)
    randomise(model, 1)
    return model


def test_patches_are_streams_too(tmp_path: Path) -> None:
    model = vit()
    data = np.random.default_rng(0).standard_normal((32, 8, 8, 3)).astype("float32")
    assert difference(model, run(SliceStream(ratio=0), model, data=data).model, data[:4]) < 5e-6
    small = ks.apply_passes(model, [SliceStream(ratio=0.25)], data=data)
    assert small.get_layer("patches").filters == 12
    for name in ("small.onnx", "small.tflite"):
        ks.export(small, tmp_path / name)  # runs the file, and compares
        assert (tmp_path / name).exists()
    assert_lives(small, tmp_path)


def stream(*between: Callable[[Any], Any], norms: Any = layers.LayerNormalization, **dense: Any) -> keras.Model:
    """A stream of two blocks of Dense layers on images; what is given stands in the middle of it."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 1, name="stem")(inputs)
    for block in range(2):
        h = layers.Dense(12, activation="relu")(norms(name=f"norm_{block}")(x))
        x = layers.Add(name=f"sum_{block}")([x, layers.Dense(8, name=f"write_{block}", **dense)(h)])
        for layer in between if not block else ():
            x = layer(x)
    x = norms(name="last")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def post_norm() -> keras.Model:
    inputs = keras.Input((5, 3))
    x = layers.Dense(8, name="stem")(inputs)
    x = layers.LayerNormalization(name="one")(x + layers.Dense(8)(layers.Dense(9, "relu")(x)))
    x = layers.LayerNormalization(name="two")(x + layers.Dense(8)(layers.Dense(9, "relu")(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


def returned() -> keras.Model:
    model = stream()
    return keras.Model(model.inputs, [*model.outputs, model.get_layer("sum_1").output])


def unnormed() -> keras.Model:
    model = stream()
    return keras.Model(model.inputs, [*model.outputs, layers.Dense(2, name="probe")(model.get_layer("sum_1").output)])


def masked() -> keras.Model:
    inputs = keras.Input((STEPS,), dtype="int32")
    x = layers.Embedding(WORDS, 8, mask_zero=True, name="words")(inputs)
    h = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4)(h, h)
    return keras.Model(inputs, layers.Dense(3)(layers.LayerNormalization()(x)))


def mixed() -> keras.Model:
    turn = iter((layers.LayerNormalization, layers.RMSNormalization, layers.LayerNormalization))
    return stream(norms=lambda **options: next(turn)(**options))


REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "post-norm": (post_norm, "the norms stand behind the sums"),
    "activation": (lambda: stream(layers.ReLU(name="relu")), "'relu'"),
    "activation of a writer": (lambda: stream(activation="gelu"), "straight from a kernel"),
    "depthwise": (lambda: stream(layers.DepthwiseConv2D(3, padding="same", name="dw")), "'dw'"),
    "batch norm": (lambda: stream(layers.BatchNormalization(name="bn")), "'bn'"),
    "group norm": (lambda: stream(layers.GroupNormalization(4, name="gn")), ""),
    "max pooling": (lambda: stream(layers.MaxPooling2D(2, name="pool")), "'pool'"),
    "a number": (lambda: stream(lambda x: x + 1.0), "the same for all channels"),
    "returned": (returned, "the model returns it"),
    "without a norm": (unnormed, "'probe' reads it without a norm"),
    "masks": (masked, "the mask that 'words' makes"),
    "norms of two kinds": (mixed, "some of its norms take away the mean"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_streams_are_left_alone(name: str) -> None:
    make, reason = REFUSED[name]
    model = make()
    result = run(SliceStream(ratio=0.5), model)
    found = reasons(result)
    assert any(reason in why for why in found.values()), found
    assert difference(model, result.model) == 0


def test_means_and_sums_are_passed() -> None:
    model = stream(layers.AveragePooling2D(2), layers.Dropout(0.2), lambda x: 2.0 * x)
    randomise(model, 0)
    data = np.random.default_rng(0).standard_normal((8, 6, 6, 3)).astype("float32")
    result = run(SliceStream(ratio=0), model, data=data)
    assert "RMSNormalization" in kinds(result.model)
    assert difference(model, result.model, data) < 5e-6


@pytest.mark.spread(2)
@pytest.mark.parametrize(("target", "value"), [("macs", 0.7), ("params", 0.75), ("bytes", 0.8), ("macs", 9_000)])
def test_budgets_are_met(target: str, value: float) -> None:
    model = transformer()
    options: dict[str, Any] = {target: value, "compensate": "none", "round_to": 1}
    small = ks.apply_passes(model, [SliceStream(**options)], data=ids(0))
    before, after = (
        {"macs": cost.macs, "params": cost.parameters, "bytes": cost.weight_bytes}[target]
        for cost in (ks.cost(model), ks.cost(small))
    )
    wanted = value * before if value <= 1 else value
    assert wanted * 0.85 < after <= wanted


def test_what_cannot_be_reached_is_refused() -> None:
    model = transformer()
    with pytest.raises(BudgetError, match="cannot be reached"):
        ks.apply_passes(model, [SliceStream(macs=0.01)], data=ids(0))
    small = ks.apply_passes(model, [SliceStream(macs=0.01, unreachable="nearest", compensate="none")], data=ids(0))
    assert small.get_layer("outer_0").units == 1
    with pytest.raises(BudgetError, match="no residual stream"):
        ks.apply_passes(stream(layers.ReLU()), [SliceStream(macs=0.5)])


def test_widths_are_rounded_and_streams_ignored() -> None:
    model = transformer()
    sliced = SliceStream(ratio=0.4, compensate="none")
    assert ks.apply_passes(model, [sliced], data=ids(0)).get_layer("outer_0").units == 8
    finer = SliceStream(ratio=0.4, compensate="none", round_to=1)
    assert ks.apply_passes(model, [finer], data=ids(0)).get_layer("outer_0").units == 10
    few = ks.apply_passes(stream(), [sliced], data=np.random.default_rng(0).random((4, 6, 6, 3)))
    assert few.get_layer("write_0").units == 5  # of 8: below 16 all widths pay alike
    result = run(SliceStream(ratio=0.4, ignore="outer_*"), model, data=ids(0))
    assert "ignore= names a layer of it" in reasons(result)["before_0"]
    assert result.model.get_layer("outer_0").units == WIDTH


def test_a_recipe_says_the_same(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[pass]]\nname = "kerasurgeon.passes:SliceStream"\nratio = 0.25\n')
    result = ks.Pipeline.from_recipe(recipe).run(transformer(), data=ids(0))
    (group,) = result.report.passes[0].groups
    assert (group.channels, group.kept) == (WIDTH, 12)
    assert any("16 -> 12 channels" in site.what for site in result.report.passes[0].sites)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs one target"),
        ({"ratio": 0.5, "width": 3}, "needs one target"),
        ({"ratio": 1.0}, "from 0 and below 1"),
        ({"ratio": -0.1}, "from 0 and below 1"),
        ({"width": 0}, "whole number from 1"),
        ({"width": 2.5}, "whole number from 1"),
        ({"macs": 0}, "what is kept"),
        ({"ratio": 0.5, "compensate": "batch_norm"}, "least_squares"),
        ({"ratio": 0.5, "round_to": 0}, "round_to"),
        ({"ratio": 0.5, "ignore": 3}, "name patterns"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        SliceStream(**options)


def test_data_is_asked_for() -> None:
    with pytest.raises(PassError, match="Calibration data is needed"):
        ks.apply_passes(transformer(), [SliceStream(ratio=0.5)])
    with pytest.raises(PassError, match="all samples are the same"):
        ks.apply_passes(transformer(), [SliceStream(ratio=0.5)], data=np.zeros((20, STEPS), "int32"))
    with pytest.raises(PassError, match="names no layer"):
        ks.apply_passes(transformer(), [SliceStream(ratio=0.5, ignore="nobody")], data=ids(0))


def test_what_was_sliced_is_pruned_and_turned_again() -> None:
    model = transformer()
    small = ks.apply_passes(model, [SliceStream(ratio=0.25)], data=ids(0))
    again = run(SliceStream(ratio=0), small, data=ids(0)).model
    assert difference(small, again, ids(2)) < 5e-6
    pruned = ks.apply_passes(small, [PruneChannels(ratio=0.2, ignore="words", compensate="none", importance="l2")])
    assert pruned.get_layer("inner_0").units < 24
