"""Poolings, up-samplings, resizing, norms and activations, as ONNX writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import layers, ops

from tests.export.single_layers import SEQUENCE, Case, In, both, check, together

VOLUME = (In((3, 4, 5, 2)),)
ROWS = (In((6, 4)),)
OPEN = (In((None, None, 3)),)
CHANNELS_FIRST = (In((3, 6, 8)),)
EVEN = (In((6, 8, 3)),)


def _layer(name: str, **options: Any) -> Any:
    return lambda *xs: getattr(layers, name)(**options)(*xs)


def _masked(layer: Any) -> Any:
    return lambda x, mask: layer(x, mask=mask)


def _resized(mode: str, size: tuple[int, int]) -> Any:
    return lambda x: ops.image.resize(x, size, interpolation=mode)


MODES = ("nearest", "bilinear", "bicubic", "lanczos3", "area")
ACTIVATIONS = (
    "celu elu gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid log_softmax relu relu6 selu "
    "sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh_shrink"
)
BY_NAME = "mish exponential linear tanh softmax relu gelu hard_swish sparse_plus squareplus log_sigmoid"

CASES = [
    *both("activations", together({name: getattr(ops, name) for name in ACTIVATIONS.split() if name != "glu"})),
    *both("activations by name", together({name: _layer("Activation", activation=name) for name in BY_NAME.split()})),
    *both("threshold", lambda x: ops.threshold(x, 0.3, -1.0)),
    *both(
        "options",
        lambda x: [
            ops.celu(x, 0.7),
            ops.elu(x, 0.7),
            ops.hard_shrink(x, 0.8),
            ops.soft_shrink(x, 0.8),
            ops.squareplus(x, 2),
            ops.gelu(x, approximate=False),
        ],
    ),
    *[case for axes in (1, 2) for case in both(f"softmax over {axes}", lambda x, axes=axes: ops.softmax(x, axis=axes))],
    *both("log_softmax and sparsemax over an axis", lambda x: [ops.log_softmax(x, axis=1), ops.sparsemax(x, axis=2)]),
    *both("Softmax over axes", _layer("Softmax", axis=(1, 2))),
    *both("Softmax with a mask", _masked(layers.Softmax(axis=2)), (In((4, 5, 3)), In((4, 5, 3), "bool"))),
    *both("Softmax with a mask of numbers", _masked(layers.Softmax()), (In((4, 5, 3)), In((1, 5, 3), "int32", 0, 2))),
    *both("ReLU with all options", _layer("ReLU", max_value=1.5, negative_slope=0.1, threshold=0.5)),
    *both("LeakyReLU and ELU", lambda x: [layers.LeakyReLU(0.3)(x), layers.ELU(0.5)(x)]),
    *both("PReLU", _layer("PReLU", alpha_initializer="ones")),
    *both("PReLU, shared", _layer("PReLU", shared_axes=[1, 2], alpha_initializer="ones")),
    *both("GroupNormalization", _layer("GroupNormalization", groups=2), (In((4, 5, 6)),)),
    *both("GroupNormalization of single channels", _layer("GroupNormalization", groups=-1, center=False)),
    *both("GroupNormalization over another axis", _layer("GroupNormalization", groups=2, axis=1, scale=False)),
    Case("GroupNormalization of a sequence", _layer("GroupNormalization", groups=2), SEQUENCE),
    *both("UnitNormalization", lambda x: [layers.UnitNormalization()(x), layers.UnitNormalization(axis=(1, 2))(x)]),
    *both(
        "normalize", lambda x: [ops.normalize(x), ops.normalize(x, axis=1, order=1), ops.normalize(x, axis=2, order=3)]
    ),
    *both("LayerNormalization", _layer("LayerNormalization")),
    *both(
        "LayerNormalization over axes",
        lambda x: [
            layers.LayerNormalization(axis=[1, 2])(x),
            layers.LayerNormalization(axis=1)(x),
            layers.LayerNormalization(axis=[2, 3])(x),
        ],
    ),
    *both("RMSNormalization", lambda x: [layers.RMSNormalization()(x), layers.RMSNormalization(axis=[2, 3])(x)]),
    *both(
        "layer_norm",
        lambda x: ops.layer_normalization(x, np.array([1, 2, 3], "float32"), np.array([0.5, 0, 1], "float32")),
    ),
    *both("layer_norm over axes", lambda x: ops.layer_normalization(x, axis=(1, 2), epsilon=1e-3)),
    *both("rms_norm", lambda x: ops.rms_normalization(x, np.array([1, 2, 3], "float32"), axis=-1)),
    *both(
        "batch_norm",
        lambda x: [
            ops.batch_normalization(
                x,
                np.ones(5, "float32"),
                np.full(5, 2, "float32"),
                2,
                np.ones(5, "float32"),
                np.arange(5, dtype="float32"),
            ),
            ops.batch_normalization(
                x,
                ops.mean(x, axis=(0, 1, 2)),
                ops.var(x, axis=(0, 1, 2)),
                -1,
                np.ones(3, "float32"),
                np.full(3, 2, "float32"),
            ),
        ],
    ),
    *both(
        "BatchNormalization",
        lambda x: [layers.BatchNormalization()(x * 2.0), layers.BatchNormalization(axis=1)(x * 2.0)],
    ),
    *both("Normalization", _layer("Normalization", mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 0.5])),
    *both("Rescaling", _layer("Rescaling", scale=[1.0, 2.0, 3.0], offset=0.5)),
    # Up-sampling and resizing. TensorFlow looks up the weights of bicubic interpolation in a table.
    *both(
        "UpSampling2D",
        together(
            {
                f"{mode} by {size}": _layer("UpSampling2D", size=size, interpolation=mode)
                for mode in MODES[:4]
                for size in ((2, 2), (3, 1))
            }
        ),
        rtol=2e-5,
    ),
    Case(
        "UpSampling2D of open sizes",
        together({mode: _layer("UpSampling2D", size=2, interpolation=mode) for mode in MODES[:3]}),
        OPEN,
        rtol=2e-5,
    ),
    *both("UpSampling1D", _layer("UpSampling1D", size=3), ROWS),
    *both("UpSampling3D", _layer("UpSampling3D", size=(2, 1, 3)), VOLUME),
    *[
        case
        for size in ((7, 9), (3, 2), (4, 10))
        for case in both(f"resize to {size}", together({mode: _resized(mode, size) for mode in MODES}), rtol=2e-5)
    ],
    *both("resize smoothly", lambda x: ops.image.resize(x, (3, 3), antialias=True), EVEN, rtol=2e-5),
    *both("resize cropped", lambda x: ops.image.resize(x, (5, 4), crop_to_aspect_ratio=True), EVEN),
    *both("resize padded", lambda x: ops.image.resize(x, (5, 4), pad_to_aspect_ratio=True, fill_value=2.0), EVEN),
    Case("resize open sizes", lambda x: ops.image.resize(x, (5, 4)), OPEN),
    Case(
        "resize whole numbers",
        lambda x: ops.image.resize(x, (5, 9), interpolation="nearest"),
        (In((4, 6, 3), "uint8", 0, 255),),
    ),
    *both("Resizing", _layer("Resizing", height=5, width=7)),
    *both(
        "Resizing, cropped, nearest",
        _layer("Resizing", height=5, width=7, interpolation="nearest", crop_to_aspect_ratio=True),
        EVEN,
    ),
    *both("CenterCrop", _layer("CenterCrop", height=3, width=5), EVEN),
    *both("CenterCrop of smaller images", _layer("CenterCrop", height=9, width=5), EVEN),
    *both("RandomCrop of its own size", _layer("RandomCrop", height=6, width=8), EVEN),
    *both(
        "adaptive pooling of rows",
        together(
            {
                f"{kind} {size}": _layer(f"Adaptive{kind}Pooling1D", output_size=size)
                for kind in ("Average", "Max")
                for size in (1, 2, 3, 5)
            }
        ),
        ROWS,
    ),
    *both(
        "adaptive pooling of images",
        together(
            {
                f"{kind} {size}": _layer(f"Adaptive{kind}Pooling2D", output_size=size)
                for kind in ("Average", "Max")
                for size in (2, (3, 5), (4, 3))
            }
        ),
        EVEN,
    ),
    *[
        case
        for kind in ("Average", "Max")
        for case in both(f"Adaptive{kind}Pooling3D", _layer(f"Adaptive{kind}Pooling3D", output_size=(2, 3, 2)), VOLUME)
    ],
    *[
        case
        for kind in ("Average", "Max")
        for case in both(
            f"Global{kind}Pooling",
            lambda x, kind=kind: [
                getattr(layers, f"Global{kind}Pooling2D")()(x),
                getattr(layers, f"Global{kind}Pooling2D")(keepdims=True)(x),
            ],
        )
    ],
    *both(
        "GlobalPooling1D",
        lambda x: [layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D(keepdims=True)(x)],
        ROWS,
    ),
    *both("GlobalPooling3D", lambda x: [layers.GlobalAveragePooling3D()(x), layers.GlobalMaxPooling3D()(x)], VOLUME),
    *both(
        "GlobalAveragePooling1D with a mask",
        lambda x, mask: [
            layers.GlobalAveragePooling1D()(x, mask=mask),
            layers.GlobalAveragePooling1D(keepdims=True)(x, mask=mask),
        ],
        (In((6, 4)), In((6,), values=[True, True, False], dtype="bool")),
    ),
    *[
        case
        for padding in ("valid", "same")
        for case in both(
            f"pools {padding}",
            lambda x, padding=padding: [
                ops.max_pool(x, 2, 2, padding),
                ops.average_pool(x, (3, 2), (2, 1), padding),
                layers.MaxPooling2D((3, 2), 1, padding)(x),
                layers.AveragePooling2D(3, 2, padding)(x),
            ],
            reference=padding == "valid",  # which crops by sides that are padded unequally
        )
    ],
    *both(
        "pools of other ranks", lambda x: [layers.MaxPooling1D(2)(x), layers.AveragePooling1D(3, 2, "same")(x)], ROWS
    ),
    *both("pools of volumes", lambda x: [layers.MaxPooling3D(2)(x), layers.AveragePooling3D(2, 1, "same")(x)], VOLUME),
    *both(
        "pad",
        lambda x: [
            ops.pad(x, ((0, 0), (1, 2), (0, 3), (1, 0))),
            ops.pad(x, ((0, 0), (1, 1), (0, 0), (2, 0)), constant_values=2.5),
        ],
    ),
    *both(
        "pad by reflection",
        lambda x: [
            ops.pad(x, ((0, 0), (1, 2), (0, 3), (1, 0)), mode="reflect"),
            ops.pad(x, ((0, 0), (1, 2), (4, 3), (1, 0)), mode="symmetric"),
        ],
    ),
    *both("pad before a convolution", lambda x: layers.Conv2D(4, 3)(ops.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0))))),
    Case("pad whole numbers", lambda x: ops.pad(x, ((0, 0), (1, 2))), (In((4,), "int32", -3, 4),)),
    *both(
        "ZeroPadding and Cropping",
        lambda x: [layers.ZeroPadding2D(((1, 2), (0, 1)))(x), layers.Cropping2D(((1, 1), (0, 2)))(x)],
    ),
    *both(
        "of one axis",
        lambda x: [layers.ZeroPadding1D(2)(x), layers.Cropping1D((1, 2))(x), layers.SpatialDropout1D(0.2)(x)],
        ROWS,
    ),
    *both(
        "of three axes",
        lambda x: [
            layers.ZeroPadding3D(1)(x),
            layers.Cropping3D(1)(layers.ZeroPadding3D(2)(x)),
            layers.SpatialDropout3D(0.5)(x),
        ],
        VOLUME,
    ),
    Case(
        "channels first",
        lambda x: [
            layers.UpSampling2D(2, data_format="channels_first", interpolation="bilinear")(x),
            layers.Resizing(3, 5, data_format="channels_first")(x),
            layers.GlobalAveragePooling2D("channels_first")(x),
            layers.AdaptiveAveragePooling2D(2, data_format="channels_first")(x),
            layers.GroupNormalization(3, axis=1)(x),
            layers.CenterCrop(2, 3, data_format="channels_first")(x),
            layers.GlobalAveragePooling1D("channels_first", keepdims=True)(x[:, :, :, 0]),
        ],
        CHANNELS_FIRST,
    ),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_images(case: Case) -> None:
    check(case)
