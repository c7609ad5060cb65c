"""SetOutputStride: the dense output, subsampled, is what the network gave; weights stay."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import GraphError, OptionError, PassError
from kerasurgeon.passes import SetOutputStride
from kerasurgeon.testing import assert_pass
from tests.passes.checking import changed, kinds, outputs_of, reasons, run

layers = keras.layers


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path else rng.normal(size=weight.shape)
        weight.assign(values * (0.3 if values.ndim > 1 else 1.0))
    return model


def offset_of(
    dense: np.ndarray, old: np.ndarray, rates: tuple[int, ...], first: int = 1, rtol: float = 1e-5
) -> tuple[int, ...]:
    """Where the old output lies in the dense one, everywhere, exactly; raises if it lies nowhere."""
    for offset in np.ndindex(*rates):
        index = tuple(slice(start, None, rate) for start, rate in zip(offset, rates, strict=True))
        found = dense[(slice(None),) * first + index]
        sizes = tuple(slice(0, size) for size in old.shape[first : first + len(rates)])
        found = found[(slice(None),) * first + sizes]
        if found.shape == old.shape and np.abs(found - old).max() <= rtol * np.abs(old).max():
            return tuple(offset)
    raise AssertionError(f"{old.shape} lies nowhere in {dense.shape}")


def check(
    model: keras.Model, stride: int, *, rates: tuple[int, ...], first: int = 1, seed: int = 0, rtol: float = 1e-5
) -> Any:
    """The result of the pass, after comparing outputs."""
    randomise(model, seed)
    inputs = np.random.default_rng(1).normal(size=(2, *model.inputs[0].shape[1:])).astype("float32")
    result = run(SetOutputStride(stride), model)
    (old,), (dense,) = outputs_of(model, inputs), outputs_of(result.model, inputs)
    assert np.abs(old).max() > 1e-3
    offset_of(dense, old, rates, first, rtol)
    return result


def chain(*steps: Any, shape: tuple[int, ...] = (16, 24, 3)) -> keras.Model:
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


@pytest.mark.spread(2)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_strided_convolutions_one_after_the_other(padding: str, kernel: int) -> None:
    model = chain(
        layers.Conv2D(4, kernel, 2, padding=padding, name="a"),
        layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2, name="b"),
        layers.SeparableConv2D(5, 3, padding="same", name="c"),
        layers.Conv2D(4, 2, padding="same", name="d"),
        layers.BatchNormalization(),
        layers.ReLU(),
        shape=(32, 24, 3),
    )
    result = check(model, 2, rates=(2, 2))
    assert changed(result)["b"] == "stride 2 becomes 1"
    assert changed(result)["c"] == "dilation 1 becomes 2"
    assert "a" not in changed(result)
    check(model, 1, rates=(4, 4))


def test_explicit_padding_becomes_symmetric() -> None:
    model = chain(
        layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad"),
        layers.DepthwiseConv2D(3, 2, padding="valid", name="conv"),
        layers.ZeroPadding2D(((1, 2), (1, 2)), name="pad5"),
        layers.DepthwiseConv2D(5, 1, padding="valid", name="conv5"),
    )
    result = check(model, 1, rates=(2, 2))
    assert result.model.get_layer("pad").padding == ((1, 1), (1, 1))
    assert result.model.get_layer("pad5").padding == ((2, 4), (2, 4))
    assert result.model.get_layer("conv5").dilation_rate == (2, 2)
    assert result.model.output.shape[1:3] == (14, 22)


@pytest.mark.parametrize("pool", [layers.MaxPooling2D, layers.AveragePooling2D])
@pytest.mark.parametrize(("size", "padding"), [(2, "valid"), (2, "same"), (3, "same"), (3, "valid")])
def test_poolings_with_gaps_between_their_taps(pool: Any, size: int, padding: str) -> None:
    model = chain(
        layers.Conv2D(4, 3, 2, padding="same"),
        pool(size, 2, padding=padding, name="one"),
        pool(size, 1, padding=padding, name="two"),
        pool(size, 2, padding=padding, name="three"),
        shape=(32, 48, 3),
    )
    result = check(model, 2, rates=(4, 4))
    assert "two" not in [layer.name for layer in result.model.layers], "slices stand for it"
    keras.models.clone_model(result.model)


def test_poolings_of_images_of_unknown_size() -> None:
    inputs = keras.Input((None, None, 2))
    x = layers.AveragePooling2D(2, 2, padding="same")(inputs)
    x = layers.AveragePooling2D(3, 1, padding="same")(x)
    model = keras.Model(inputs, layers.MaxPooling2D(3, 1, padding="same")(x))
    dense = run(SetOutputStride(1), model).model
    images = np.random.default_rng(0).normal(size=(1, 12, 16, 2)).astype("float32")
    offset_of(outputs_of(dense, images)[0], outputs_of(model, images)[0], (2, 2))


def test_branches_that_would_be_shifted_keep_their_padding_where_it_was() -> None:
    inputs = keras.Input((16, 16, 4))
    x = layers.Conv2D(4, 3, 2, padding="same", name="conv")(inputs)
    y = layers.Conv2D(4, 1, 2, name="shortcut")(inputs)
    z = layers.MaxPooling2D(3, 2, padding="same", name="pool")(inputs)
    model = keras.Model(inputs, layers.Conv2D(3, 3, padding="same", name="last")(layers.Add()([x, y, z])))
    result = check(model, 1, rates=(2, 2))
    assert changed(result)["conv"] == "stride 2 becomes 1, padded by (0, 2)"
    assert result.model.get_layer("conv_pad").padding == ((0, 2), (0, 2))


def test_channels_first_and_one_and_three_dimensions() -> None:
    first = {"data_format": "channels_first"}
    inputs = keras.Input((3, 16, 12))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), **first)(inputs)
    x = layers.MaxPooling2D(3, 2, **first, name="pool")(x)
    model = keras.Model(inputs, x)
    dense = run(SetOutputStride(1), model).model
    assert dense.output.shape == (None, 3, 16, 12)
    assert dense.get_layer("pool").strides == (1, 1)
    line = chain(
        layers.Conv1D(4, 3, 2, padding="causal"), layers.Conv1D(4, 3, 2, padding="same"), layers.MaxPooling1D(2, 1),
        shape=(32, 3),
    )  # fmt: skip
    check(line, 1, rates=(4,))
    cube = chain(layers.Conv3D(2, 3, 2, padding="same"), layers.Conv3D(2, 3, padding="same"), shape=(8, 6, 8, 1))
    check(cube, 1, rates=(2, 2, 2))


def test_what_looks_at_the_whole_map_passes() -> None:
    inputs = keras.Input((16, 16, 4))
    x = layers.Conv2D(8, 3, 2, padding="same", name="conv")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply()([x, gate])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    result = run(SetOutputStride(1), model)
    assert set(changed(result)) == {"conv"}
    assert kinds(result.model) == kinds(model)


def test_nothing_to_do_is_said() -> None:
    model = chain(layers.Conv2D(4, 3, 2, padding="same"))
    result = run(SetOutputStride(2), model)
    assert reasons(result) == {model.name: "its output stride is not above 2"}


def test_what_every_pass_holds_to() -> None:
    model = randomise(chain(layers.Conv2D(4, 3, 2, padding="same"), layers.Conv2D(4, 3, padding="same")))
    assert_pass(SetOutputStride(1), model, changes=2)


@pytest.mark.parametrize("value", [0, -8, 1.5, "8", True, None])
def test_bad_strides(value: Any) -> None:
    with pytest.raises(OptionError, match="stride"):
        SetOutputStride(value)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (layers.Flatten(), "Flatten"),
        (layers.Conv2DTranspose(3, 3, 2), "Conv2DTranspose"),
        (layers.UpSampling2D(2), "UpSampling2D"),
    ],
)
def test_what_cannot_read_a_denser_tensor_is_named(last: Any, message: str) -> None:
    model = chain(layers.Conv2D(4, 3, 2, padding="same"), last)
    with pytest.raises(PassError, match=message) as caught:
        run(SetOutputStride(1), model)
    assert isinstance(caught.value.__cause__, GraphError)


def test_a_layer_called_at_two_densities_is_refused() -> None:
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(3, 3, 2, padding="same")(shared(inputs))
    with pytest.raises(PassError, match="'shared' is called several times"):
        run(SetOutputStride(1), keras.Model(inputs, shared(x)))


def test_tensors_of_different_strides_are_not_joined() -> None:
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(3, 3, 2, padding="same")(inputs)
    y = layers.Resizing(8, 8)(inputs)
    with pytest.raises(PassError, match="joins tensors of different strides"):
        run(SetOutputStride(1), keras.Model(inputs, layers.Add()([x, y])))


def test_float64_is_not_rounded_to_float32() -> None:
    """A mean of what lies inside, near the border: one over the number of taps has no last bit."""
    keras.config.set_dtype_policy("float64")
    model = chain(layers.Conv2D(4, 3, 2, "same"), layers.AveragePooling2D(3, 1, "same"), layers.Conv2D(4, 3))
    check(model, 1, rates=(2, 2), rtol=1e-13)


# Without gates that look at the whole map, so that every position is the same.
EXACT = ("MobileNet", "MobileNetV2", "ResNet50", "DenseNet121", "InceptionV3", "NASNetMobile", "Xception", "VGG16")


CASES = [
    pytest.param(name, stride, marks=() if (name, stride) == ("MobileNetV2", 8) else pytest.mark.sweep)
    for name in EXACT
    for stride in (16, 8)
]


@pytest.mark.parametrize(("name", "stride"), CASES)
def test_networks(name: str, stride: int) -> None:
    """In float64: the last bit of every weight alone moves MobileNetV2's outputs by a tenth of them in float32."""
    keras.config.set_dtype_policy("float64")
    size = 139 if name == "InceptionV3" else 96
    build = getattr(keras.applications, name)
    model = build(weights=None, include_top=False, input_shape=(size, size, 3))
    check(model, stride, rates=(32 // stride,) * 2, rtol=1e-9)
