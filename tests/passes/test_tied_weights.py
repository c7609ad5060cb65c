"""A variable that a closed layer and an open one hold goes through every pass as one variable, unchanged."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.authoring import Pass
from kerasurgeon.passes import (
    Expand,
    Factorise,
    FoldBatchNorm,
    MergeBlocks,
    PruneChannels,
    RecalibrateBatchNorm,
    ReconstructWidths,
    RemoveDeadChannels,
    ReplaceLayers,
    Simplify,
    Sparsify,
    TuckerSplit,
)
from tests.zoo.sampling import randomise

IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8, 6)).astype("float32")


@keras.saving.register_keras_serializable("kerasurgeon_tied")
class Closed(layers.Layer):
    """Holds layers in a list and calls them one after the other, as training says: nothing sees into it."""

    def __init__(self, inners: Any, **options: Any) -> None:
        super().__init__(**options)
        made = [keras.saving.deserialize_keras_object(one) if isinstance(one, dict) else one for one in inners]
        self.inners = made

    def build(self, input_shape: Any) -> None:
        for inner in self.inners:
            if not inner.built:
                inner.build(input_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        x = 1.0 * inputs if training else inputs
        for inner in self.inners:
            x = ops.tanh(inner(x))
        return x

    def get_config(self) -> dict[str, Any]:
        inners = [keras.saving.serialize_keras_object(one) for one in self.inners]
        return {**super().get_config(), "inners": inners}


def conv(name: str, **options: Any) -> Any:
    return layers.Conv2D(6, 3, padding="same", use_bias=False, name=name, **options)


def network() -> keras.Model:
    """Around "conv" and "bn", which are closed in as well, all that the passes look for; and the same free of ties."""
    x = keras.Input((8, 8, 6))
    tied, norm = conv("conv"), layers.BatchNormalization(name="bn")
    y = Closed([tied, norm], name="closed")(conv("stem")(x))
    y = layers.ReLU()(norm(tied(layers.ZeroPadding2D(0, name="pad")(y))))
    y = layers.BatchNormalization(name="free_bn")(conv("free")(y))
    y = layers.Conv2D(6, 1, use_bias=False, name="second")(layers.Conv2D(6, 1, name="first")(layers.ReLU()(y)))
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(conv("last")(y)))
    model = keras.Model(x, layers.Dense(3, name="head")(y))
    randomise(model, 0)
    return model


def with_bias(layer: Any) -> Any:
    return layers.Conv2D.from_config({**layer.get_config(), "use_bias": True})


def wider(layer: Any) -> Any:
    return layers.Conv2D.from_config({**layer.get_config(), "kernel_size": (5, 5), "padding": "same"})


PASSES: dict[str, tuple[Pass, dict[str, Any]]] = {
    "fold": (FoldBatchNorm(), {}),
    "simplify": (Simplify(), {}),
    "merge": (MergeBlocks(), {}),
    "prune": (PruneChannels(ratio=0.5, scope="local"), {}),
    "prune and compensate": (PruneChannels(ratio=0.3, scope="local", compensate="data"), {"data": IMAGES}),
    "prune and fit": (PruneChannels(ratio=0.3, scope="local", compensate="least_squares"), {"data": IMAGES}),
    "factorise": (Factorise(ratio=0.5), {}),
    "factorise by outputs": (Factorise(params=0.7, minimise="output"), {"data": IMAGES}),
    "tucker": (TuckerSplit(ratio=0.5), {}),
    "zeros": (Sparsify(0.5), {}),
    "zeros in all": (Sparsify(0.5, scope="global"), {}),
    "channels of zeros": (Sparsify(0.3, structure="output_channel"), {}),
    "dead": (RemoveDeadChannels(), {}),
    "recalibrate": (RecalibrateBatchNorm(), {"data": IMAGES}),
    "expand": (Expand(width=1.5), {}),
    "fresh": (ReconstructWidths({"free": 3}, weights="fresh"), {}),
    "other layers, weights kept": (ReplaceLayers("Conv2D", with_bias), {}),
    "other layers, other weights": (ReplaceLayers("Conv2D", wider), {}),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", PASSES)
def test_what_is_tied_stays_tied(name: str) -> None:
    model = network()
    item, options = PASSES[name]
    result = ks.Pipeline([item]).run(model, **options)
    closed, tied = result.model.get_layer("closed"), result.model.get_layer("conv")
    norm = result.model.get_layer("bn")
    assert closed.inners[0].kernel is tied.kernel
    for variable, own in zip(closed.inners[1].weights, norm.weights, strict=True):
        assert variable is own
    unique = {id(weight): int(np.prod(weight.shape)) for weight in result.model.weights}
    assert result.model.count_params() == sum(unique.values()) == ks.cost(result.model).parameters
    assert result.report.passes[0].after.parameters == result.model.count_params()
    if name != "fresh":
        for layer in ("conv", "bn"):
            for before, after in zip(
                model.get_layer(layer).weights, result.model.get_layer(layer).weights, strict=False
            ):
                np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    wanted, got = (np.asarray(one(IMAGES)) for one in (model, result.model))
    assert got.shape == wanted.shape
    assert np.isfinite(got).all()
    if name in {"fold", "simplify", "merge", "dead", "expand", "other layers, weights kept"}:
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    changed = {site.node for site in result.report.passes[0].sites if site.changed}
    if name in {"fold", "merge", "factorise", "tucker", "zeros", "recalibrate"}:
        assert changed  # what is free of ties is worked on
        assert not changed & {"conv", "bn"}
        said = {site.node: site.what for site in result.report.passes[0].sites}
        told = [said[node] for node in ("conv", "bn") if node in said and name != "merge"]
        assert all("elsewhere" in reason or "another layer" in reason for reason in told)
        assert told or name == "merge"


def test_plans_may_not_cut_what_is_tied() -> None:
    with pytest.raises(ks.PlanError, match=r"conv"):
        ks.cut(network(), ks.ChannelPlan({"conv": [0, 1]}))


def test_trained_as_one() -> None:
    """The gradients of both uses go into one variable, as in the original."""
    model = network()
    twin = ks.emit(ks.lift(model))
    for one in (model, twin):
        one.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
        one.fit(IMAGES, np.ones((6, 3)), batch_size=6, epochs=2, shuffle=False, verbose=0)
    for before, after in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_allclose(np.asarray(after), np.asarray(before), rtol=1e-4, atol=1e-5)
