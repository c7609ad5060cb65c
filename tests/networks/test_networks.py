"""The networks: shapes, strides, weights, and what the LR-ASPP head computes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.regions import regions
from kerasurgeon.workflows.networks import inverted_bottlenecks, lraspp, mobilenet_v3


def tensor(model: keras.Model, name: str) -> Any:
    return model.get_layer(name).output


@pytest.mark.spread(6)
@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (61, 81)])
def test_segmentation_of_any_size(stride: int, size: tuple[int, int]) -> None:
    model = lraspp((*size, 3), 5, output_stride=stride)
    assert model.output.shape == (None, *size, 5)
    for name, at in (("head_conv", stride), ("scores", 8)):
        assert tensor(model, name).shape[1:3] == tuple(-(-length // at) for length in size)


def test_the_head() -> None:
    """Every branch computed again with numpy, from the backbone's two tensors."""
    model = lraspp((64, 96, 3), 4, output_stride=16, filters=8, activation="softmax")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.startswith(("head", "gate", "high", "low")):
            weight.assign(rng.uniform(0.2, 1.0, weight.shape) * 0.3)
    names = ("head_conv", "low_scores", "gated", "scores", "probabilities")
    parts = {name: tensor(model, name) for name in names}
    parts |= {"high": model.get_layer("head_conv").input, "low": model.get_layer("low_scores").input}
    images = rng.uniform(-1, 1, (1, 64, 96, 3)).astype("float32")
    found = {k: np.asarray(v) for k, v in keras.Model(model.input, parts)(images, training=False).items()}
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    high, low = found["high"], found["low"]
    assert high.shape == (1, 4, 6, 576)
    assert low.shape[1:3] == (8, 12)
    x = high @ weights["head_conv/kernel"][0, 0]
    x = (x - weights["head_bn/moving_mean"]) / np.sqrt(weights["head_bn/moving_variance"] + 1e-3)
    x = np.maximum(x * weights["head_bn/gamma"] + weights["head_bn/beta"], 0)
    # The map is smaller than the pool of 13 x 13: one window, so that the gate is the same everywhere.
    gate = high.mean((1, 2), keepdims=True) @ weights["gate_conv/kernel"][0, 0] + weights["gate_conv/bias"]
    x = x * np.clip(gate / 6 + 0.5, 0, 1)
    np.testing.assert_allclose(found["gated"], x, rtol=1e-4, atol=1e-5)
    large = np.asarray(keras.ops.image.resize(x, (8, 12), interpolation="bilinear"))
    scores = large @ weights["high_scores/kernel"][0, 0] + weights["high_scores/bias"]
    scores = scores + low @ weights["low_scores/kernel"][0, 0] + weights["low_scores/bias"]
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["probabilities"].sum(-1), 1, rtol=1e-5)


@pytest.mark.sweep
def test_weights_do_not_depend_on_the_output_stride() -> None:
    models = [mobilenet_v3("large", input_shape=(64, 64, 3), output_stride=stride) for stride in (32, 8)]
    assert [model.output.shape[1:3] for model in models] == [(2, 2), (8, 8)]
    shapes = [[(weight.path.split("/")[-1], weight.shape) for weight in model.weights] for model in models]
    assert shapes[0] == shapes[1]
    assert cost(models[1]).macs > 4 * cost(models[0]).macs


def test_momentum_is_that_of_all_batch_norms() -> None:
    model = lraspp((32, 32, 3), 2, momentum=0.7)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 30
    assert {layer.momentum for layer in norms} == {0.7}


@pytest.mark.sweep
def test_a_classifier_for_small_images() -> None:
    model = inverted_bottlenecks((32, 32, 1), 7, width=0.5, activation="softmax")
    assert model.output.shape == (None, 7)
    found = {region.name for region in regions(lift(model))}
    assert {"stage3_block2", "stage4_block4"} <= {name.removesuffix("_add") for name in found}
    deep = inverted_bottlenecks((32, 32, 1), 7, depth=2.0)
    blocks = [layer.name for layer in deep.layers if layer.name.endswith("_project")]
    assert len(blocks) == 2 * (1 + 2 + 3 + 4 + 3)
    assert inverted_bottlenecks((None, None, 3), last=None).output.shape == (None, 10)


@pytest.mark.parametrize(
    ("build", "options", "option"),
    [
        (lraspp, {"output_stride": 4}, "output_stride"),
        (lraspp, {"backbone": "medium"}, "size"),
        (lraspp, {"input_shape": (16, 64, 3)}, "input_shape"),
        (lraspp, {"input_shape": (None, None, 3)}, "input_shape"),
        (lraspp, {"classes": 0}, "classes"),
        (lraspp, {"activation": "relu"}, "activation"),
        (mobilenet_v3, {"size": "smal"}, "did you mean 'small'"),
        (inverted_bottlenecks, {"width": 0}, "width"),
        (inverted_bottlenecks, {"depth": -1}, "depth"),
        (inverted_bottlenecks, {"stages": [(1, 2, 3)]}, "stages"),
        (inverted_bottlenecks, {"activation": "relu"}, "activation"),
        (inverted_bottlenecks, {"classes": True}, "classes"),
    ],
)
def test_bad_options(build: Any, options: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError, match=option):
        build(**options)
