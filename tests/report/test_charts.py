"""Charts and pictures of a page as data."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from kerasurgeon.report.charts import curve_charts, front_of
from kerasurgeon.report.pictures import Curve
from kerasurgeon.report.segmentations import class_pixels, colour, image_pixels, png


def test_the_front_is_what_no_other_point_beats() -> None:
    rng = np.random.default_rng(0)
    points = [(float(a), float(b)) for a, b in rng.integers(0, 8, (40, 2))]
    wanted = {one for one in points if not any(a >= one[0] and b <= one[1] and (a, b) != one for a, b in points)}
    assert front_of(points) == sorted(wanted)
    assert front_of([]) == []


def test_curves_have_names_that_can_be_read() -> None:
    fields = ("loss", "morphnet_kept", "mean_iou")
    charts = curve_charts([Curve("morphnet", field, (1.0, 0.5), ()) for field in fields])
    assert [item["title"] for item in charts] == ["morphnet: loss", "morphnet: kept", "morphnet: mean iou"]


def test_pixels_are_those_that_a_reader_finds() -> None:
    image = pytest.importorskip("matplotlib.image")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 7, 3)).astype("uint8")
    np.testing.assert_array_equal(np.rint(255 * image.imread(BytesIO(png(pixels)))), pixels)


def test_classes_have_colours_of_their_own_and_void_is_grey() -> None:
    assert len({colour(index) for index in range(256)}) == 256
    assert [colour(index) for index in range(4)] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    shown = class_pixels(np.array([[0, 1], [255, 2]]), 3, 2)
    assert [tuple(each) for each in shown.reshape(-1, 3)] == [(0, 0, 0), (128, 0, 0), (128, 128, 128), (128, 128, 128)]


def test_images_of_any_range_and_size() -> None:
    grey = image_pixels(np.linspace(-3, 5, 16).reshape(4, 4, 1))
    assert (grey.min(), grey.max(), grey.shape) == (0, 255, (4, 4, 3))
    assert max(image_pixels(np.zeros((1000, 700, 3))).shape) <= 320
