"""Pictures of a page: images, and class ids in colours, as PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_LARGEST = 320  # pixels of the longer side
_VOID = (128, 128, 128)


def pictures(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    names: Iterable[Sequence[str]] = (),
    note: str = "",
) -> dict[str, Any]:
    """Rows of pictures of a page.

    Args:
        title: What stands above.
        heads: What each column shows.
        rows: Pictures, as ``data:`` addresses.
        names: Names of classes, each with its colour.
        note: What stands below.
    """
    made = {"title": title, "heads": list(heads), "rows": [list(row) for row in rows]}
    return {**made, "names": [list(each) for each in names], "note": note}


def image_pixels(image: Array) -> Array:
    """An image ``(height, width, channels)`` of any range as 8 bits: the least value is black, the largest white."""
    pixels = _small(np.asarray(image, "float32"))
    low, high = float(pixels.min()), float(pixels.max())
    scaled = np.rint(255 * (pixels - low) / ((high - low) or 1)).astype("uint8")
    return scaled[..., :3] if scaled.shape[-1] >= 3 else np.repeat(scaled[..., :1], 3, axis=-1)


def class_pixels(classes: Array, count: int, ignored: int | None = None) -> Array:
    """Class ids ``(height, width)`` as colours; those that do not count are grey."""
    ids = _small(np.asarray(classes))
    colours = np.array([colour(index) for index in range(count)], "uint8")
    void = (ids < 0) | (ids >= count) | (ids == (-1 if ignored is None else ignored))
    return np.where(void[..., None], np.array(_VOID, "uint8"), colours[np.clip(ids, 0, count - 1).astype(int)])


def colour(index: int) -> tuple[int, int, int]:
    """The colour of a class: black for the first, and as far apart as bits spread over channels are."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red, green, blue = (old | ((index >> bit & 1) << shift) for old, bit in ((red, 0), (green, 1), (blue, 2)))
        index >>= 3
    return red, green, blue


def hex_colour(index: int) -> str:
    """The same, as pages write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour(index))


def _small(array: Array) -> Array:
    step = -(-max(array.shape[:2]) // _LARGEST)
    return array[::step, ::step]


def png(pixels: Array) -> bytes:
    """Pixels ``(height, width, 3)`` of 8 bits as a PNG."""
    height, width = pixels.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), "uint8"), pixels.reshape(height, 3 * width)], axis=1)

    def part(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b"")


__all__ = ["class_pixels", "colour", "hex_colour", "image_pixels", "pictures", "png"]
