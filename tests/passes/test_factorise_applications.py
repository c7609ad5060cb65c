"""Factorised layers in the networks of keras.applications: every convolution and every Dense."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.authoring import Graph, emit, lift
from kerasurgeon.factors import METHODS, Factors, Shape, chain_macs
from kerasurgeon.factors.put import put
from kerasurgeon.factors.sites import Site, places
from kerasurgeon.factors.split_layers import build_layers, refusal
from tests.applications import application_inputs, shared_application
from tests.passes.checking import difference, rounding_noise
from tests.passes.factors_by_hand import keras_kernel
from tests.zoo import flatten_layers

Ranks = tuple[int, ...]


def full(limits: Ranks) -> Ranks:
    return limits


def half(limits: Ranks) -> Ranks:
    return tuple(max(1, rank // 2) for rank in limits)


def sites(graph: Graph) -> list[Site]:
    return [site for site in places(graph) if isinstance(site, Site)]


def usual(shape: Shape) -> str:
    return "svd" if shape.taps == 1 else "tucker"


def factorised(site: Site, method: str, choose: Callable[[Ranks], Ranks]) -> Factors | None:
    """A layer's factors by a method, where it takes the layer and the layers can be built."""
    chosen, shape = METHODS[method], site.shape
    if chosen.refusal(shape):
        return None
    ranks = choose(chosen.limits(shape))
    if refusal(site, chosen.stages(shape, ranks)):
        return None
    return chosen.prepare(site.kernel(), shape).factors(ranks)


def split(graph: Graph, method: str | None, choose: Callable[[Ranks], Ranks]) -> Iterator[tuple[Site, Factors]]:
    """Put factors in the place of all layers that a method takes; without a name, of all by the usual one."""
    for site in sites(graph):
        factors = factorised(site, method or usual(site.shape), choose)
        if factors is not None:
            put(graph, site.key, build_layers(site, factors))
            yield site, factors


def with_kernels(model: keras.Model, found: list[tuple[Site, Factors]]) -> Graph:
    """The model with the kernels that factors stand for in the place of its own."""
    graph = lift(model)
    for site, factors in found:
        graph.set_weight(site.key, "kernel", keras_kernel(factors))
    return graph


def check(name: str, methods: tuple[str | None, ...]) -> None:
    model = shared_application(name)
    inputs = application_inputs(model)
    convolving = [layer for layer in flatten_layers(model) if type(layer).__name__ in ("Conv2D", "Dense")]
    convolving = [layer for layer in convolving if getattr(layer, "groups", 1) == 1]  # others are depthwise
    graph = lift(model)
    assert len(list(split(graph, None, full))) == len(convolving) > 5
    amplifying = difference(model, emit(graph), inputs) > 1e-4
    for method in methods:
        graph = lift(model)
        found = list(split(graph, method, half))
        assert found
        changes = sum(
            chain_macs(site.shape, factors.stages, spans) - site.shape.macs(spans)
            for site, factors in found
            for spans in site.spans
        )
        assert ks.cost(graph).macs - ks.cost(model).macs == changes
        if method is None:
            assert not sites(graph)
        amplifying |= difference(emit(with_kernels(model, found)), emit(graph), inputs) > 1e-4
    if amplifying:  # a deep network with random weights may blow up any rounding
        check_in_float64(name, methods)


def check_in_float64(name: str, methods: tuple[str | None, ...]) -> None:
    """The same where rounding has no say; factors themselves are of float32's precision."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = shared_application(name)
    inputs = application_inputs(model).astype("float64")
    graph = lift(model)
    assert list(split(graph, None, full))
    assert difference(model, emit(graph), inputs) < 1e-4
    for method in methods:
        graph = lift(model)
        found = list(split(graph, method, half))
        twin = emit(with_kernels(model, found))
        worst = difference(twin, emit(graph), inputs)
        # Without the stem that its batch norms were set for, the network may blow up even these roundings.
        assert worst < 1e-9 or worst < 4 * rounding_noise(twin, inputs)


@pytest.mark.sweep
def test_one_application() -> None:
    check("MobileNetV2", (None,))


@pytest.mark.sweep
def test_applications(application: str) -> None:
    check(application, (None, "spatial", "separable"))


@pytest.mark.sweep
def test_every_method_on_some_layers() -> None:
    """One network where every method has its layers, with weights of its own for each group."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="stem")(inputs)
    x = keras.layers.Conv2D(16, (5, 3), groups=2, activation="relu", name="grouped")(x)
    x = keras.layers.Conv2DTranspose(12, 4, strides=2, padding="same", activation="relu", name="up")(x)
    x = keras.layers.Conv2D(20, 1, strides=2, name="skip")(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="head")(keras.layers.GlobalAveragePooling2D()(x)))
    data = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype("float32")
    takes = {
        "tucker": {"stem", "grouped", "up"},
        "svd": {"skip", "head"},
        "spatial": {"stem", "grouped", "up"},
        "separable": {"stem"},
        "cp": {"stem", "grouped"},
    }
    for method, names in takes.items():
        for choose in (full, half):
            graph = lift(model)
            found = list(split(graph, method, choose))
            assert {site.name for site, _ in found} == names
            assert difference(emit(with_kernels(model, found)), emit(graph), data) < 1e-4
            if choose is full and method != "cp":
                assert difference(model, emit(graph), data) < 1e-4
