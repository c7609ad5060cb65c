"""Preprocessing layers and what does nothing in inference, as ONNX writes them."""

from __future__ import annotations

from typing import Any

import pytest
from keras import layers, ops

from tests.export.single_layers import IMAGE, Case, In, both, check

PICTURES = (In((6, 8, 3), low=0, high=255),)
NOTHING = (
    "RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomElasticTransform "
    "RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective "
    "RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom "
    "Solarization"
)
OPTIONS: dict[str, Any] = {
    "RandomBrightness": {"factor": 0.2},
    "RandomColorDegeneration": {"factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomHue": {"factor": 0.2},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.2},
    "RandomSaturation": {"factor": 0.2},
    "RandomSharpness": {"factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
}
CASES = [
    *[
        Case(name, lambda x, name=name: getattr(layers, name)(**OPTIONS.get(name, {}))(x), PICTURES)
        for name in NOTHING.split()
    ],
    *[Case(name, lambda x, name=name: getattr(layers, name)()(x), PICTURES) for name in ("AugMix", "CutMix", "MixUp")],
    *[
        case
        for name in ("Dropout", "GaussianDropout", "AlphaDropout", "GaussianNoise", "SpatialDropout2D")
        for case in both(name, lambda x, name=name: getattr(layers, name)(0.5)(x) + 1.0)
    ],
    *both(
        "ActivityRegularization and Identity", lambda x: layers.Identity()(layers.ActivityRegularization(0.1)(x)) * 2.0
    ),
    *both("AutoContrast", lambda x: layers.AutoContrast()(x), PICTURES),
    *both(
        "crop_images",
        lambda x: [
            ops.image.crop_images(x, 1, 2, target_height=3, target_width=4),
            ops.image.crop_images(x, top_cropping=1, bottom_cropping=2, left_cropping=0, right_cropping=3),
        ],
        PICTURES,
    ),
    *both(
        "pad_images",
        lambda x: [
            ops.image.pad_images(x, 1, 2, target_height=9, target_width=11),
            ops.image.pad_images(x, top_padding=1, bottom_padding=2, left_padding=0, right_padding=3),
        ],
        PICTURES,
    ),
    *[
        Case(
            f"Discretization {mode}",
            lambda x, mode=mode: layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5], output_mode=mode)(x),
            (In((4,)),),
        )
        for mode in ("int", "one_hot", "multi_hot", "count")
    ],
    Case("Discretization of images", lambda x: layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5])(x), IMAGE),
    *[
        Case(
            f"CategoryEncoding {mode}",
            lambda x, mode=mode: layers.CategoryEncoding(5, mode)(x),
            (In((4,), "int32", 0, 5),),
        )
        for mode in ("multi_hot", "count")
    ],
    Case("CategoryEncoding one_hot", lambda x: layers.CategoryEncoding(5, "one_hot")(x), (In((1,), "int32", 0, 5),)),
    Case(
        "CategoryEncoding with weights",
        lambda x, w: layers.CategoryEncoding(5, "count")(x, count_weights=w),
        (In((4,), "int32", 0, 5), In((4,))),
    ),
    Case("IntegerLookup", lambda x: layers.IntegerLookup(vocabulary=[3, 5, 9])(x), (In((4,), "int64", 0, 10),)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_preprocessing(case: Case) -> None:
    check(case)
