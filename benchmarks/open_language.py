"""What pruning makes of small language models that were trained: the second table of docs/opening.md.

    python benchmarks/open_language.py [NAME ...] [--write docs/opening.md]

Networks in the shapes of GPT2, BERT and Llama, as layers around layers, are trained on sentences of a grammar (seeded),
opened, pruned to 70 % of their MACs and trained further for 80 steps, with the original as the teacher.
Losses are cross-entropies per token, in nats, of sentences that no training has seen; BERT's of the tokens that are
hidden from it.

- MACs: what is left, counted in the TensorFlow graphs that Keras makes of both networks.
- pruned: ``PruneChannels(macs=0.7)``, ``compensate="none"`` and ``"least_squares"`` by training tokens.
- distilled: each of them, trained further.
- trained on: the original, trained further from the same sentences for the same number of steps, without a teacher.

With ``--write`` the lines of these networks in the file's table are replaced.
"""

# mypy: disallow-subclassing-any=False

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels
from kerasurgeon.recover import DarkKnowledge

HEAD = """| network | MACs | original | pruned | with least squares | distilled | both | trained on |
|---|---|---|---|---|---|---|---|
"""
WIDTH, HEADS, HIDDEN, BLOCKS, STEPS, BATCH = 32, 4, 128, 2, 24, 32
TRAINED, FURTHER, FITTED, MASKED = 480, 80, 256, 0.25
NAMES = ["anna", "bert", "carla", "dora", "emil", "frida"]
SINGULAR, PLURAL = (
    ["dog", "cat", "bird", "child", "farmer", "king"],
    ["dogs", "cats", "birds", "children", "farmers", "kings"],
)
SEES, SEE = ["sees", "likes", "chases", "hears"], ["see", "like", "chase", "hear"]
SLEEPS, SLEEP = ["sleeps", "runs", "sings"], ["sleep", "run", "sing"]
ADJECTIVES, PLACES = ["old", "young", "red", "small", "happy"], ["garden", "forest", "house", "river"]
OTHERS = ["a", "the", "this", "these", "near", "in", "that", "says", "again", "."]
WORDS = ["<hidden>", *NAMES, *SINGULAR, *PLURAL, *SEES, *SEE, *SLEEPS, *SLEEP, *ADJECTIVES, *PLACES, *OTHERS]


class Grammar:
    """Sentences whose verbs agree with nouns that may stand far before them, and that end with whom they began with."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def one(self, words: list[str]) -> str:
        """A word, the first ones more often."""
        return self.rng.choices(words, [1 / rank for rank in range(1, len(words) + 1)])[0]

    def noun(self, many: bool, deep: int) -> list[str]:
        """A noun with what belongs to it."""
        words = [self.one(["these", "the"] if many else ["a", "the", "this"])]
        words += [self.one(ADJECTIVES)] if self.rng.random() < 0.4 else []
        words.append(self.one(PLURAL if many else SINGULAR))
        if deep and self.rng.random() < 0.5:
            words += ["that", self.one(SEE if many else SEES), *self.noun(self.rng.random() < 0.5, deep - 1)]
        elif self.rng.random() < 0.3:
            words += [self.one(["near", "in"]), "the", self.one(PLACES)]
        return words

    def sentence(self) -> list[str]:
        """A sentence."""
        name, many = self.one(NAMES), bool(self.rng.random() < 0.5)
        words = [name, "says", "that", *self.noun(many, 2)]
        if self.rng.random() < 0.5:
            words += [self.one(SLEEP if many else SLEEPS)]
        else:
            words += [self.one(SEE if many else SEES), *self.noun(self.rng.random() < 0.5, 0)]
        return [*words, "again", name, "."]

    def windows(self, count: int) -> Any:
        """Ids ``(count, STEPS + 1)``."""
        ids = {word: index for index, word in enumerate(WORDS)}
        found: list[int] = []
        while len(found) < count * (STEPS + 1):
            found += [ids[word] for word in self.sentence()]
        return np.asarray(found[: count * (STEPS + 1)], "int32").reshape(count, STEPS + 1)


class Tokens(layers.Layer):
    """Words, and the places at which they stand."""

    def build(self, shape: Any) -> None:
        """Two tables."""
        self.words, self.places = layers.Embedding(len(WORDS), WIDTH), layers.Embedding(STEPS, WIDTH)
        self.words.build(shape)
        self.places.build(shape)

    def call(self, ids: Any) -> Any:
        """Their sum."""
        return self.words(ids) + self.places(ops.arange(ops.shape(ids)[-1]))


class Untokens(layers.Layer):
    """Scores of all words, by the table that they were read from."""

    def __init__(self, tokens: Any, **options: Any) -> None:
        super().__init__(**options)
        self.tokens = tokens

    def call(self, x: Any) -> Any:
        """A product with the table, turned."""
        return ops.matmul(x, ops.transpose(self.tokens.words.embeddings))


class Causal(layers.Layer):
    """A block of GPT2: norms first, one Dense layer for queries, keys and values, a causal mask by hand."""

    def build(self, shape: Any) -> None:
        """The layers."""
        self.before, self.between = layers.LayerNormalization(), layers.LayerNormalization()
        self.attend, self.project = layers.Dense(3 * WIDTH), layers.Dense(WIDTH)
        self.inner, self.outer = layers.Dense(HIDDEN, activation="gelu"), layers.Dense(WIDTH)
        for layer in (self.before, self.between, self.attend, self.project, self.inner):
            layer.build(shape)
        self.outer.build((*shape[:-1], HIDDEN))

    def call(self, x: Any) -> Any:
        """Attention, then a perceptron."""
        batch, steps = ops.shape(x)[:2]
        query, key, value = (
            ops.reshape(part, (batch, steps, HEADS, WIDTH // HEADS))
            for part in ops.split(self.attend(self.before(x)), 3, axis=-1)
        )
        scores = ops.einsum("btnh,bsnh->bnts", query, key) / (WIDTH // HEADS) ** 0.5
        place = ops.arange(steps)
        scores = ops.softmax(ops.where(place[:, None] >= place[None, :], scores, -1e9), axis=-1)
        y = ops.einsum("bnts,bsnh->btnh", scores, value)
        x = x + self.project(ops.reshape(y, (batch, steps, WIDTH)))
        return x + self.outer(self.inner(self.between(x)))


class Bidirectional(layers.Layer):
    """A block of BERT: Keras' attention, norms behind."""

    def build(self, shape: Any) -> None:
        """The layers."""
        self.attend = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        self.first, self.second = layers.LayerNormalization(), layers.LayerNormalization()
        self.inner, self.outer = layers.Dense(HIDDEN, activation="gelu"), layers.Dense(WIDTH)
        self.attend.build(shape, shape)
        for layer in (self.first, self.second, self.inner):
            layer.build(shape)
        self.outer.build((*shape[:-1], HIDDEN))

    def call(self, x: Any) -> Any:
        """Attention, then a perceptron."""
        x = self.first(x + self.attend(x, x))
        return self.second(x + self.outer(self.inner(x)))


class RMSNorm(layers.Layer):
    """A norm without a mean, by hand."""

    def build(self, shape: Any) -> None:
        """A scale for each channel."""
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        """Divided by the root of the mean square."""
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6) * self.scale


class Gated(layers.Layer):
    """A block of Llama: RMS norms, rotary places, half as many heads of keys and values, a gated perceptron."""

    def build(self, shape: Any) -> None:
        """The layers."""
        self.before, self.between = RMSNorm(), RMSNorm()
        self.query, self.project, self.down = (layers.Dense(WIDTH, use_bias=False) for _ in range(3))
        self.key, self.value = (layers.Dense(WIDTH // 2, use_bias=False) for _ in range(2))
        self.gate, self.up = (layers.Dense(HIDDEN * 2 // 3, use_bias=False) for _ in range(2))
        for layer in (self.before, self.between, self.query, self.key, self.value, self.project, self.gate, self.up):
            layer.build(shape)
        self.down.build((*shape[:-1], HIDDEN * 2 // 3))

    def heads(self, x: Any, count: int, turned: bool) -> Any:
        """Channels as heads, turned by their places."""
        batch, steps = ops.shape(x)[:2]
        x = ops.reshape(x, (batch, steps, count, WIDTH // HEADS))
        if not turned:
            return x
        speeds = 100.0 ** (-np.arange(WIDTH // HEADS // 2) * 2.0 * HEADS / WIDTH)
        angles = ops.cast(ops.arange(steps), "float32")[:, None] * ops.convert_to_tensor(speeds.astype("float32"))
        angles = ops.expand_dims(ops.concatenate([angles, angles], axis=-1), 1)
        first, second = ops.split(x, 2, axis=-1)
        return x * ops.cos(angles) + ops.concatenate([-second, first], axis=-1) * ops.sin(angles)

    def call(self, x: Any) -> Any:
        """Attention, then a perceptron."""
        batch, steps = ops.shape(x)[:2]
        h = self.before(x)
        query = self.heads(self.query(h), HEADS, True)
        key, value = self.heads(self.key(h), HEADS // 2, True), self.heads(self.value(h), HEADS // 2, False)
        key, value = ops.repeat(key, 2, axis=2), ops.repeat(value, 2, axis=2)
        scores = ops.einsum("btnh,bsnh->bnts", query, key) / (WIDTH // HEADS) ** 0.5
        place = ops.arange(steps)
        scores = ops.softmax(ops.where(place[:, None] >= place[None, :], scores, -1e9), axis=-1)
        y = ops.reshape(ops.einsum("bnts,bsnh->btnh", scores, value), (batch, steps, WIDTH))
        x = x + self.project(y)
        h = self.between(x)
        return x + self.down(ops.silu(self.gate(h)) * self.up(h))


def gpt2() -> keras.Model:
    """Learned places, the table of words used twice."""
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    tokens = Tokens(name="tokens")
    x = tokens(ids)
    for index in range(BLOCKS):
        x = Causal(name=f"block_{index}")(x)
    x = layers.LayerNormalization(name="last")(x)
    return keras.Model(ids, Untokens(tokens, name="scores")(x), name="gpt2")


def bert() -> keras.Model:
    """Learned places, a head for hidden words."""
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    x = layers.LayerNormalization(name="first")(Tokens(name="tokens")(ids))
    for index in range(BLOCKS):
        x = Bidirectional(name=f"block_{index}")(x)
    x = layers.LayerNormalization(name="last")(layers.Dense(WIDTH, activation="gelu", name="head")(x))
    return keras.Model(ids, layers.Dense(len(WORDS), name="scores")(x), name="bert")


def llama() -> keras.Model:
    """No places but those that turn queries and keys."""
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    x = layers.Embedding(len(WORDS), WIDTH, name="words")(ids)
    for index in range(BLOCKS):
        x = Gated(name=f"block_{index}")(x)
    return keras.Model(
        ids, layers.Dense(len(WORDS), use_bias=False, name="scores")(RMSNorm(name="last")(x)), name="llama"
    )


NETWORKS: dict[str, Callable[[], keras.Model]] = {"GPT2": gpt2, "BERT": bert, "Llama": llama}


def data(name: str, windows: int, seed: int) -> tuple[Any, Any, Any]:
    """What a network reads, what it is to say, and which of that counts."""
    ids = Grammar(seed).windows(windows)
    if name != "BERT":
        return ids[:, :-1], ids[:, 1:], np.ones((windows, STEPS), "float32")
    ids = ids[:, 1:]
    hidden = np.random.default_rng(seed).random(ids.shape) < MASKED
    return np.where(hidden, 0, ids), ids, hidden.astype("float32")


def loss_of(model: keras.Model, held_out: tuple[Any, Any, Any]) -> float:
    """Cross-entropy per token that counts."""
    inputs, wanted, counts = held_out
    scores = np.asarray(ops.convert_to_numpy(model.predict(inputs, batch_size=64, verbose=0)), "float64")
    scores -= scores.max(axis=-1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return float(-(np.take_along_axis(logs, wanted[..., None], axis=-1)[..., 0] * counts).sum() / counts.sum())


def measure(name: str) -> str:
    """One network: its line."""
    import tensorflow as tf
    from opening import multiplications

    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()  # Keras then does without XLA, too, which takes long to compile
    model = NETWORKS[name]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, TRAINED, warmup_target=4e-3, warmup_steps=TRAINED // 20)
    model.compile(keras.optimizers.Adam(rate), loss)
    held_out = data(name, 256, seed=1)
    inputs, wanted, counts = data(name, TRAINED * BATCH, seed=2)
    model.fit(inputs, wanted, sample_weight=counts, batch_size=BATCH, verbose=0)
    more = data(name, FURTHER * BATCH, seed=3)

    def further(student: keras.Model, **options: Any) -> keras.Model:
        adam = keras.optimizers.Adam(2e-3)
        return ks.fine_tune(student, more, epochs=1, batch_size=BATCH, optimizer=adam, verbose=0, **options).model

    losses: dict[str, float] = {}

    def tell(cell: str, one: keras.Model) -> None:
        losses[cell] = loss_of(one, held_out)
        print(f"    {name}, {cell}: {losses[cell]:.3f} ({time.process_time():.0f} s)", file=sys.stderr, flush=True)

    tell("original", model)
    small = []
    for way, pruned, distilled in (("none", "pruned", "distilled"), ("least_squares", "with least squares", "both")):
        prune = PruneChannels(macs=0.7, compensate=way)
        small.append(ks.apply_passes(model, [prune], data=more[0][:FITTED]))
        tell(pruned, small[-1])
        taught = further(small[-1], teacher=model, distillation=[DarkKnowledge(temperature=2, strength=1)])
        tell(distilled, taught)
    tell("trained on", further(model))
    shapes: list[tuple[int | None, ...]] = [(None, STEPS)]
    before, *after = (multiplications(one, shapes) for one in (model, *small))
    kept = sorted({f"{100 * one / before:.0f} %" for one in after})
    cells = [cell.strip() for cell in HEAD.splitlines()[0].strip("|").split("|")][2:]
    return f"| {name} | " + " | ".join([", ".join(kept), *(f"{losses[cell]:.3f}" for cell in cells)]) + " |"


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    from opening import put

    for name in NETWORKS:
        if not options.names or name in options.names:
            started = time.perf_counter()
            line = measure(name)
            print(line, f"({time.perf_counter() - started:.0f} s)", flush=True)
            if options.write:
                put(options.write, "## Language models that were trained\n", HEAD, list(NETWORKS), line)


if __name__ == "__main__":
    main()
