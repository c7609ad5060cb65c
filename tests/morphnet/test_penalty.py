"""The regulariser's value and gradient against loops over channels that were numbered by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasurgeon as ks
from kerasurgeon.morphnet import Hardware, MorphNet
from tests.morphnet.couplings import CASES, Case, cost_and_penalty, sizes

THRESHOLD = 1e-2


def values_of(case: Case) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy().astype("float64") for weight in case.model.weights}


def whole(case: Case, target: str) -> float:
    cost, _ = cost_and_penalty(getattr(case, target), {}, THRESHOLD)
    return cost


def gradients(model: keras.Model) -> tuple[float, dict[str, np.ndarray]]:
    with tf.GradientTape() as tape:
        loss = sum(model.losses)
    found = tape.gradient(loss, [weight.value for weight in model.trainable_weights], unconnected_gradients="zero")
    named = {
        weight.path: tf.convert_to_tensor(gradient).numpy()
        for weight, gradient in zip(model.trainable_weights, found, strict=True)
    }
    return float(loss), named


@pytest.mark.spread(2)
@pytest.mark.parametrize("algorithm", ["group_lasso", "gamma"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name: str, algorithm: str) -> None:
    case = CASES[name]()
    check(case, algorithm, "macs", 0.0)


@pytest.mark.parametrize("options", [("size", 0.0), ("macs", 0.3), ("macs", 1.0)])
def test_size_and_l1(options: tuple[str, float]) -> None:
    check(CASES["residual"](), "group_lasso", *options)


def check(case: Case, algorithm: str, target: str, l1_fraction: float) -> None:
    values = values_of(case)
    strength = 3.0
    with MorphNet(case.model, algorithm, target, strength=strength, l1_fraction=l1_fraction) as morph:
        loss, slopes = gradients(case.model)
        got_cost = morph.cost()
    size = sizes(case, values, algorithm, l1_fraction)
    assert any(value <= THRESHOLD for value in size.values())
    full = whole(case, target)
    cost, penalty = cost_and_penalty(getattr(case, target), size, THRESHOLD)
    assert morph.initial_cost == pytest.approx(full)
    assert got_cost == pytest.approx(cost)
    assert loss == pytest.approx(strength * penalty / full, rel=1e-5)

    # Widths are constants of the derivative: those at this point.
    def at(path: str, index: tuple[int, ...], step: float) -> float:
        moved = {**values, path: values[path].copy()}
        moved[path][index] += step
        return frozen_penalty(case, target, size, sizes(case, moved, algorithm, l1_fraction)) * strength / full

    rng = np.random.default_rng(0)
    seen = 0
    paths = [kernel[0] for kernel in case.kernels] if algorithm == "group_lasso" else [path for path, _ in case.gammas]
    for path in paths:
        for _ in range(8):
            index = tuple(int(rng.integers(length)) for length in values[path].shape)
            step = 1e-6 * max(abs(values[path][index]), 1e-3)
            slope = (at(path, index, step) - at(path, index, -step)) / (2 * step)
            assert slopes[path][index] == pytest.approx(slope, rel=2e-3, abs=2e-5), (path, index)
            seen += abs(slope) > 1e-4
    assert seen > 1
    untouched = set(slopes) - set(paths)
    assert untouched
    assert not any(np.any(slopes[path]) for path in untouched)


def frozen_penalty(case: Case, target: str, widths_at: dict[int, float], size: dict[int, float]) -> float:
    """The regulariser with numbers of alive channels as they are at another point."""
    total = 0.0
    for term in getattr(case, target):
        n_in = term.fixed_in + sum(widths_at.get(number, np.inf) > THRESHOLD for number in term.reads)
        n_out = term.fixed_out + sum(widths_at.get(number, np.inf) > THRESHOLD for number in term.makes)
        r_in = sum(size.get(number, 0.0) for number in term.reads)
        r_out = sum(size.get(number, 0.0) for number in term.makes)
        total += term.coefficient * (r_in + r_out if term.depthwise else n_in * r_out + n_out * r_in)
    return total


def test_zero_kernels_have_no_infinite_gradient() -> None:
    case = CASES["residual"]()
    kernel = next(weight for weight in case.model.weights if weight.path == "a/kernel")
    kernel.assign(np.zeros(kernel.shape))
    with MorphNet(case.model):
        loss, slopes = gradients(case.model)
    assert np.isfinite(loss)
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    assert not slopes["a/kernel"].any()


@pytest.mark.parametrize("target", ["macs", "size"])
def test_costs_are_those_of_the_cut_model(target: str) -> None:
    """What a mask is said to cost is what the model costs that is cut by it."""
    for name in ("residual", "concatenation", "depthwise", "squeeze_excite", "flatten"):
        case = CASES[name]()
        with MorphNet(case.model, "group_lasso", target, floors=1) as morph:
            cost = ks.cost(morph.shrink())
        assert morph.cost() == (cost.macs if target == "macs" else cost.parameters)


def test_latency_is_the_slower_of_arithmetic_and_traffic() -> None:
    """By hand, for two convolutions: the first is bound by memory, the second by arithmetic."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 1, name="light")(image)
    x = keras.layers.Conv2D(32, 5, padding="same", name="heavy", use_bias=False)(x)
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="last")(x))
    hardware = Hardware("toy", gflops=10, gbps=2)

    def operation(n_in: float, n_out: float, area: int, fixed_in: bool = False) -> tuple[float, float]:
        flops = 2 * 2 * 64 * area * n_in * n_out / (10 * 1e6)
        traffic = 4 * (2 * 64 * n_in + 2 * 64 * n_out + area * n_in * n_out) / (2 * 1e6)
        return flops, traffic

    with MorphNet(model, "group_lasso", "latency", hardware=hardware, batch_size=2, threshold=1e-2) as morph:
        sides = [operation(3, 16, 1), operation(16, 32, 25), operation(32, 2, 1)]
        assert [flops > traffic for flops, traffic in sides] == [False, True, False]
        assert morph.initial_cost == pytest.approx(sum(map(max, sides)))
        kernels = {layer.name: layer.kernel.numpy() for layer in model.layers if layer.weights}
        r = {name: np.sqrt((kernel**2).mean(axis=(0, 1, 2))).sum() for name, kernel in kernels.items()}
        one, two = r["light"], r["heavy"]
        memory, arithmetic = 4 / (2 * 1e6), 2 * 2 * 64 * 25 / (10 * 1e6)
        expected = memory * (128 * one + 3 * one)
        expected += arithmetic * (16 * two + 32 * one)
        expected += memory * (128 * two + 2 * two)
        assert morph.loss() == pytest.approx(expected / morph.initial_cost, rel=1e-4)


def test_activation_counts_channels() -> None:
    case = CASES["residual"]()
    with MorphNet(case.model, "group_lasso", "activation") as morph:
        size = sizes(case, values_of(case), "group_lasso")
        alive = {number: value > THRESHOLD for number, value in size.items()}
        stem, inner = sum(alive[n] for n in range(4)), sum(alive[n] for n in range(4, 9))
        assert morph.initial_cost == 4 + 5 + 4 + 2
        assert morph.cost() == stem + inner + stem + 2
        total = sum(2 * size[n] for n in range(4)) + sum(size[n] for n in range(4, 9))
        assert morph.loss() == pytest.approx(total / 15, rel=1e-5)


def test_alive_is_the_same_as_in_numpy() -> None:
    from kerasurgeon.morphnet import alive as masks

    for name, build in CASES.items():
        model: Any = build().model
        for algorithm in ("group_lasso", "gamma"):
            with MorphNet(model, algorithm) as morph:
                graph = ks.lift(model)
                assert (morph.alive() == masks.living(graph, morph.channels, algorithm)).all(), name
                known = ~np.isnan(morph.magnitudes())
                expected = masks.norms(graph, morph.channels, algorithm)
                np.testing.assert_allclose(morph.magnitudes()[known], expected[known], rtol=1e-5, atol=1e-9)
