"""Checkpoints of TensorFlow: which array becomes which variable, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerasurgeon as ks
from tests.keras_io.checkpoints import write_checkpoint

NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def network() -> keras.Model:
    """The beginning of a MobileNetV3 and a head for segmentation, with Keras' names."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(name="conv_bn")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="expanded_conv_depthwise")(x)
    x = layers.BatchNormalization(name="expanded_conv_depthwise_bn")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, name="expanded_conv_squeeze_excite_conv")(gate)
    gate = layers.Conv2D(4, 1, name="expanded_conv_squeeze_excite_conv_1")(gate)
    x = layers.SeparableConv2D(6, 3, name="expanded_conv_1_expand")(layers.Multiply()([x, gate]))
    return keras.Model(image, layers.Conv2D(5, 1, name="logits_semantic")(x), name="net")


SHAPES: dict[str, tuple[int, ...]] = {
    "MobilenetV3/Conv/weights": (3, 3, 3, 4),
    **{f"MobilenetV3/Conv/BatchNorm/{name}": (4,) for name in NORM},
    "MobilenetV3/expanded_conv/depthwise/depthwise_weights": (3, 3, 4, 1),
    **{f"MobilenetV3/expanded_conv/depthwise/BatchNorm/{name}": (4,) for name in NORM},
    "MobilenetV3/expanded_conv/squeeze_excite/Conv/weights": (1, 1, 4, 4),
    "MobilenetV3/expanded_conv/squeeze_excite/Conv/biases": (4,),
    "MobilenetV3/expanded_conv/squeeze_excite/Conv_1/weights": (1, 1, 4, 4),
    "MobilenetV3/expanded_conv/squeeze_excite/Conv_1/biases": (4,),
    "MobilenetV3/expanded_conv_1/expand/depthwise_weights": (3, 3, 4, 1),
    "MobilenetV3/expanded_conv_1/expand/pointwise_weights": (1, 1, 4, 6),
    "MobilenetV3/expanded_conv_1/expand/biases": (6,),
    "logits/semantic/weights": (1, 1, 6, 5),
    "logits/semantic/biases": (5,),
}
"""What the network has in a checkpoint of DeepLab, in the order of its variables in Keras."""

TRAINING = {
    "global_step": (),
    "MobilenetV3/Conv/weights/Momentum": (3, 3, 3, 4),
    "MobilenetV3/Conv/weights/ExponentialMovingAverage": (3, 3, 3, 4),
    "MobilenetV3/Conv/BatchNorm/gamma/RMSProp_1": (4,),
}


def arrays(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: np.abs(rng.normal(size=shape)).astype("float32") for name, shape in shapes.items()}


def test_every_variable_is_found_by_name_and_kind(tmp_path: Path) -> None:
    model, saved = network(), arrays(SHAPES | TRAINING)
    before = [np.asarray(weight).copy() for weight in model.weights]
    write_checkpoint(tmp_path / "model.ckpt-7", saved)
    for given in ("model.ckpt-7", "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"):
        result = ks.load_checkpoint(model, tmp_path / given)
    order = [weight for layer in result.model.layers for weight in layer.weights]
    assert len(order) == len(SHAPES) == len(result.rows)
    for weight, name in zip(order, SHAPES, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), saved[name], err_msg=name)
    assert result.complete
    assert (result.unused, result.left_out) == ((), len(TRAINING))
    for weight, array in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), array)
    with pytest.raises(ks.ModelFileError, match="nothing that the network needs"):
        ks.load_checkpoint(model, tmp_path / "model.ckpt-7", scope="MobilenetV2")


def test_what_does_not_fit_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    shapes = dict(SHAPES)
    shapes["logits/semantic/weights"], shapes["logits/semantic/biases"] = (1, 1, 6, 21), (21,)
    del shapes["MobilenetV3/Conv/BatchNorm/gamma"]
    shapes["aspp0/weights"] = (1, 1, 6, 8)
    model, saved = network(), arrays(shapes)
    write_checkpoint(tmp_path / "model.ckpt", saved)
    with pytest.raises(ks.ModelFileError, match="does not have all") as refused:
        ks.load_checkpoint(model, tmp_path / "model.ckpt")
    assert "partial=True" in str(refused.value)
    result = ks.load_checkpoint(model, tmp_path / "model.ckpt", partial=True)
    found = {row.variable: (row.status, row.saved) for row in result.rows if row.status != "read"}
    assert found == {
        "conv_bn/gamma": ("missing", None),
        "logits_semantic/kernel": ("shape", (1, 1, 6, 21)),
        "logits_semantic/bias": ("shape", (21,)),
    }
    # Nothing else is taken for what is missing, and the shape of one is no reason to take it from elsewhere.
    assert set(result.unused) == {"aspp0/weights", "logits/semantic/weights", "logits/semantic/biases"}
    new = {weight.path: np.asarray(weight) for weight in result.model.weights}
    for weight in model.weights:
        if weight.path in found:
            np.testing.assert_array_equal(new[weight.path], np.asarray(weight))
    assert "logits_semantic/bias: is (5,), logits/semantic/biases in the checkpoint is (21,)" in str(result)
    assert len(result.to_dict()["variables"]) == len(SHAPES)


def dense(name: str = "conv") -> keras.Model:
    return keras.Sequential([keras.Input((3,)), layers.Dense(2, name=name)])


def test_what_may_be_two_things_is_not_read(tmp_path: Path) -> None:
    saved = arrays({f"{scope}/conv/{kind}": shape for scope in "ab" for kind, shape in DENSE.items()})
    write_checkpoint(tmp_path / "two", saved)
    with pytest.raises(ks.ModelFileError, match="may be a/conv/weights or b/conv/weights"):
        ks.load_checkpoint(dense(), tmp_path / "two", partial=True)
    read = ks.load_checkpoint(dense(), tmp_path / "two", scope="b").model
    np.testing.assert_array_equal(np.asarray(read.layers[0].kernel), saved["b/conv/weights"])
    # Two layers of one name, and one for both.
    inner, image = dense(), keras.Input((3,))
    both = keras.Model(image, [inner(image), dense().layers[0](image)])
    write_checkpoint(tmp_path / "one", arrays({f"conv/{kind}": shape for kind, shape in DENSE.items()}))
    with pytest.raises(ks.ModelFileError, match="conv/kernel: may be"):
        ks.load_checkpoint(both, tmp_path / "one", partial=True)


DENSE = {"weights": (3, 2), "biases": (2,)}


def twins() -> keras.Model:
    """Two models inside a third, whose layers have one name, which a layer outside has, too."""

    def inner(name: str) -> keras.Model:
        image = keras.Input((3,))
        return keras.Model(image, layers.Dense(2, name="conv")(image), name=name)

    image = keras.Input((3,))
    joined = layers.Concatenate()([inner("left")(image), inner("right")(image)])
    return keras.Model(image, layers.Dense(2, name="conv")(joined), name="net")


def test_the_names_of_models_inside_tell_layers_apart(tmp_path: Path) -> None:
    places = {"net/left/": DENSE, "net/right/": DENSE, "net/": {"weights": (4, 2), "biases": (2,)}}
    saved = arrays({f"{place}conv/{kind}": shape for place, own in places.items() for kind, shape in own.items()})
    write_checkpoint(tmp_path / "nested", saved)
    result = ks.load_checkpoint(twins(), tmp_path / "nested")
    assert [row.variable for row in result.rows[:2]] == ["left/conv/kernel", "left/conv/bias"]
    for name, place in (("left", "net/left/"), ("right", "net/right/"), (None, "net/")):
        layer = (result.model.get_layer(name) if name else result.model).get_layer("conv")
        np.testing.assert_array_equal(np.asarray(layer.kernel), saved[f"{place}conv/weights"])
        np.testing.assert_array_equal(np.asarray(layer.bias), saved[f"{place}conv/biases"])
    # Where nothing but the order of objects tells, it is said, and can be said. The biases are all zero.
    model = twins()
    tf.train.Checkpoint(model=model).save(str(tmp_path / "run" / "step"))
    with pytest.raises(ks.ModelFileError, match=r"left/conv/bias: may be model/\S+/1/conv/bias or model/") as refused:
        ks.load_checkpoint(twins(), tmp_path / "run")
    assert "model_inside/layer" in str(refused.value)
    rename = {r"^model/_operations/1/.*/conv": "left/conv", r"^model/_operations/2/.*/conv": "right/conv"}
    read = ks.load_checkpoint(twins(), tmp_path / "run", rename=rename)
    assert read.complete
    for weight, there in zip(model.weights, read.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(there))


def test_a_model_inside_that_the_checkpoint_does_not_name(tmp_path: Path) -> None:
    saved = arrays({f"MobilenetV3/conv/{kind}": shape for kind, shape in DENSE.items()})
    write_checkpoint(tmp_path / "flat", saved)
    image = keras.Input((3,))
    result = ks.load_checkpoint(keras.Model(image, dense()(image)), tmp_path / "flat")
    assert result.complete
    np.testing.assert_array_equal(
        np.asarray(result.model.layers[1].layers[0].kernel), saved["MobilenetV3/conv/weights"]
    )


def test_names_are_changed_and_dense_layers_read_from_convolutions(tmp_path: Path) -> None:
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(3, 1, use_bias=False, name="block_1_expand")(image)
    x = layers.BatchNormalization(name="bn_block_1")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(2, name="predictions")(x))
    shapes = {
        "MobilenetV2/expanded_conv_1/expand/weights": (1, 1, 3, 3),
        **{f"MobilenetV2/expanded_conv_1/BatchNorm/{name}": (3,) for name in NORM},
        "MobilenetV2/Logits/Conv2d_1c_1x1/weights": (1, 1, 3, 2),
        "MobilenetV2/Logits/Conv2d_1c_1x1/biases": (2,),
    }
    saved = arrays(shapes)
    write_checkpoint(tmp_path / "model.ckpt", saved)
    rename = {r"expanded_conv_(\d+)": r"block_\1", "Logits/.*": "predictions"}
    result = ks.load_checkpoint(model, tmp_path / "model.ckpt", rename=rename)
    assert [row.names[0] for row in result.rows] == list(shapes)
    head = result.model.get_layer("predictions").kernel
    np.testing.assert_array_equal(np.asarray(head), saved["MobilenetV2/Logits/Conv2d_1c_1x1/weights"][0, 0])
    with pytest.raises(ks.OptionError, match="no regular expression"):
        ks.load_checkpoint(model, tmp_path / "model.ckpt", rename={"(": ""})


def test_checkpoints_of_objects_and_saved_models(tmp_path: Path) -> None:
    model = network()
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 8, 8, 3)), np.ones((2, 4, 4, 5)))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(np.abs(rng.normal(size=weight.shape)))
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "run" / "step"))
    tf.saved_model.save(model, str(tmp_path / "saved"))
    for folder in ("run", "saved"):
        result = ks.load_checkpoint(network(), tmp_path / folder)
        assert result.complete, str(result)
        assert result.unused == ()
        for weight, there in zip(model.weights, result.model.weights, strict=True):
            np.testing.assert_array_equal(np.asarray(weight), np.asarray(there), err_msg=weight.path)
    np.testing.assert_allclose(result.model(np.ones((1, 8, 8, 3))), model(np.ones((1, 8, 8, 3))), rtol=1e-6)


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "cut", arrays({"conv/weights": (3, 2), "conv/biases": (2,)}))
    (tmp_path / "cut.data-00000-of-00001").write_bytes(b"1234")
    (tmp_path / "other.index").write_bytes(b"no checkpoint" * 20)
    for name in ("nothing", "other", ".", "cut", "a\0b"):
        with pytest.raises(ks.ModelFileError, match="cannot be read"):
            ks.load_checkpoint(dense(), tmp_path / name)
