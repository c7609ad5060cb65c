"""Twins with scales and gates: they compute what they should, are trained, and fold away."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasurgeon.channels import masked
from kerasurgeon.errors import OptionError
from kerasurgeon.morphnet import MorphNet, SteerStrength, with_gates, with_scales, without_scales
from kerasurgeon.morphnet.twin_layers import ChannelGate, ChannelScale
from tests.morphnet.couplings import CASES
from tests.morphnet.test_training import NO_LOSS, compiled, data, network


def images_for(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, *model.input.shape[1:])).astype("float32")


def close(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    one, other = np.asarray(one), np.asarray(other)
    assert np.abs(one - other).max() <= tolerance * max(np.abs(one).max(), 1e-6)


def own(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, (ChannelScale, ChannelGate))]


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", CASES)
def test_scales_change_nothing(name: str) -> None:
    model = CASES[name]().model
    images = images_for(model)
    scaled = with_scales(model)
    close(model(images), scaled(images), 0.0)
    close(model(images, training=True), scaled(images, training=True), 1e-6)
    rng = np.random.default_rng(0)
    for layer in scaled.layers:
        if isinstance(layer, ChannelScale):
            layer.gamma.assign(rng.normal(size=layer.gamma.shape))
    folded = without_scales(scaled)
    assert not own(folded)
    close(scaled(images), folded(images))


def test_scales_make_gamma_possible() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(scale=False, name="bn")(keras.layers.Conv2D(4, 3, name="first")(image))
    x = keras.layers.Conv2D(5, 3, activation="tanh", name="second")(x)
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    scaled = with_scales(model)
    assert own(scaled) == ["second_scale"]
    assert scaled.get_layer("bn").scale
    scaled.get_layer("second_scale").gamma.assign([0.5, 0.0, -2.0, 0.0, 1.0])
    images = images_for(model)
    before = scaled(images)
    with MorphNet(scaled, "gamma") as morph:
        assert morph.widths()["second"] == 3
        small = morph.shrink()
    assert not own(small)
    assert small.get_layer("second").filters == 3
    close(before, small(images))  # tanh(0) is 0, so that nothing is lost


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", [name for name in CASES if name != "shared"])
def test_gates(name: str) -> None:
    """What is shut gives nothing: the cut and folded model equals the twin in inference.

    Where a bias or a batch norm comes before what reads it, it equals the twin with dead channels masked.
    """
    twin = with_gates(CASES[name]().model, seed=3)
    rng = np.random.default_rng(1)
    gates = [layer for layer in twin.layers if isinstance(layer, ChannelGate)]
    assert gates
    for gate in gates:
        gate.logits.assign(rng.normal(size=gate.logits.shape))
    images = images_for(twin)
    expected = np.asarray(twin(images))
    close(expected, without_scales(twin)(images))
    with MorphNet(twin, "gates", floors=1) as morph:
        small = morph.shrink()
        plan = morph.plan()
        assert plan.kept
    assert not own(small)
    close(expected if name not in ("concatenation", "depthwise") else masked(twin, plan)(images), small(images))


def test_no_gate_where_a_layer_is_called_twice() -> None:
    assert not own(with_gates(CASES["shared"]().model))


def test_gate_numbers() -> None:
    """Probability, combination of gates that meet, gradient of the regulariser: by numpy."""
    model = network(4)
    twin = with_gates(model)
    names = own(twin)
    assert names == ["stem_gate", "a_gate", "b_gate"]
    rng = np.random.default_rng(2)
    logits = {name: rng.normal(size=4).astype("float32") for name in names}
    for name, value in logits.items():
        twin.get_layer(name).logits.assign(value)
    p = {name: 1 / (1 + np.exp(-value.astype("float64"))) for name, value in logits.items()}
    stem, inner = 1 - (1 - p["stem_gate"]) * (1 - p["b_gate"]), p["a_gate"]
    with MorphNet(twin, "gates", strength=2.0) as morph:
        n_s, n_a = int((stem > 0.5).sum()), int((inner > 0.5).sum())
        assert morph.widths() == {"stem": n_s, "a": n_a, "b": n_s, "head": 3}
        r_s, r_a = stem.sum(), inner.sum()
        penalty = 64 * 9 * 3 * r_s + 64 * 9 * (n_s * r_a + n_a * r_s) + 64 * (n_a * r_s + n_s * r_a) + 3 * r_s
        whole = 64 * 9 * 3 * 4 + 64 * 9 * 16 + 64 * 16 + 12
        assert morph.loss() == pytest.approx(2 * penalty / whole, rel=1e-5)
        with tf.GradientTape() as tape:
            loss = sum(twin.losses)
        slope = tape.gradient(loss, twin.get_layer("a_gate").logits.value)
        weight = 64 * 9 * n_s + 64 * n_s
        np.testing.assert_allclose(slope, 2 * weight * inner * (1 - inner) / whole, rtol=1e-4)


def test_gates_are_drawn_in_training() -> None:
    gate = ChannelGate(seed=5)
    ones = np.ones((1, 20_000), "float32")
    gate.build(ones.shape)
    gate.logits.assign(np.where(np.arange(20_000) % 2, 1.0, -1.0))
    drawn = np.asarray(gate(ones, training=True))[0]
    assert ((drawn < 1e-3) | (drawn > 1 - 1e-3)).mean() > 0.99
    share = 1 / (1 + np.exp(-1.0))
    assert drawn[1::2].mean() == pytest.approx(share, abs=0.02)
    assert drawn[::2].mean() == pytest.approx(1 - share, abs=0.02)
    assert not np.array_equal(drawn, np.asarray(gate(ones, training=True))[0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(gate(ones, training=True))
    np.testing.assert_allclose(tape.gradient(total, gate.logits.value), share * (1 - share), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(gate(ones))[0, :2], [0.0, share], rtol=1e-6)


def test_twins_are_saved(tmp_path: Any) -> None:
    for make in (with_scales, with_gates):
        twin = make(CASES["squeeze_excite"]().model)
        twin.save(tmp_path / "twin.keras")
        images = images_for(twin)
        close(twin(images), keras.saving.load_model(tmp_path / "twin.keras")(images), 0.0)


def test_gates_are_asked_for() -> None:
    with pytest.raises(OptionError, match=r"with_gates\(model\)"):
        MorphNet(network(), "gates")
    for options in ({"temperature": 0}, {"initial": "high"}, {"seed": -1}, {"straight_through": 1}):
        with pytest.raises(OptionError, match=f"'{next(iter(options))}'"):
            with_gates(network(), **options)


def test_steering_ends_at_the_target() -> None:
    """Without a task every strength wins in the end: steering must stop where it is told to."""
    model = network(16)
    rng = np.random.default_rng(0)
    for name in ("bn0", "bn1", "bn2"):
        model.get_layer(name).gamma.assign(rng.uniform(0.02, 0.6, 16))
    compiled(model)
    model.compile(keras.optimizers.SGD(0.02), NO_LOSS)
    images, labels = data(32)
    with MorphNet(model, "gamma", strength=0.1) as morph:
        steer = SteerStrength(morph, kept=0.5, until=0.7)
        history = model.fit(
            images, labels, batch_size=2, epochs=12, verbose=0, callbacks=[steer, morph.callback()]
        ).history
    kept = history["morphnet_kept"]
    assert kept[1] > 0.6
    assert 0.35 < kept[-1] <= 0.55
    assert morph.strength == 0.0


def test_steering_refuses() -> None:
    with MorphNet(network()) as morph:
        for options in ({"kept": 1.5}, {"kept": 0.5, "until": 0}, {"kept": 0.5, "gain": -1}, {"kept": 0.5, "every": 0}):
            with pytest.raises(OptionError, match=f"'{list(options)[-1]}'"):
                SteerStrength(morph, **options)  # type: ignore[arg-type]
