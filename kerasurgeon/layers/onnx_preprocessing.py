"""Preprocessing layers and ops on images, written to ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasurgeon.layers.onnx_resizing import images_first
from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall


def write_discretised(call: OnnxCall) -> None:
    """Write Discretization: how many borders are not above a number."""
    borders = call.config.get("bin_boundaries")
    if borders is None:
        raise CannotTell("its config does not say where its bins end")
    dtype = "float64" if call.input.dtype == "float64" else "float32"
    x = term(call, call.input, None, dtype).unsqueeze(call.input.rank)
    below = x >= np.asarray(borders, dtype)
    places = below.to("int32").reduce("ReduceSum", [call.input.rank], keepdims=False)
    _encoded(call, places.to("int64"), call.config["output_mode"], len(borders) + 1, None)


def write_categories(call: OnnxCall) -> None:
    """Write CategoryEncoding."""
    weights = call.as_tensor(call.operand(1, "count_weights"))
    number, mode = call.config.get("num_tokens"), call.config["output_mode"]
    if number is None or mode == "int":
        raise CannotTell("the number of its categories is not told")
    factors = None if weights is None else term(call, weights, None, call.output.dtype)
    _encoded(call, term(call, call.input, None, "int64"), mode, int(number), factors)


def write_looked_up(call: OnnxCall) -> None:
    """Write IntegerLookup: a number's place in the vocabulary that the config holds, or the number at a place.

    What Keras refuses when it runs, numbers outside the vocabulary where there is no place for them, gives -1.
    """
    config, words, mode = call.config, call.config.get("vocabulary"), call.config["output_mode"]
    mask, others, rank = config.get("mask_token"), int(config["num_oov_indices"]), call.input.rank
    if not isinstance(words, (list, tuple)):
        raise CannotTell("its vocabulary is not in its config")
    if mode == "tf_idf" or (others > 1 and config.get("oov_method", "floormod") != "floormod"):
        raise CannotTell("ONNX has no hash function" if mode != "tf_idf" else "its weights are not in its config")
    first = int(mask is not None and mode == "int")
    special = [mask] * first + [config.get("oov_token", -1)] * others
    known = np.asarray(words[len(special) :] if list(words[: len(special)]) == special else words, np.int64)
    places = np.arange(known.size) + len(special)
    x = term(call, call.input, None, "int64")
    keys, values = (places, known) if config.get("invert") else (known, places)
    missing = int(config["oov_token"]) if config.get("invert") else -1
    there = x.unsqueeze(rank).equals(keys).to("int64") * (values - missing)
    found = there.reduce("ReduceSum", [rank], keepdims=False) + missing
    if config.get("invert"):
        return give(call, found if mask is None else x.equals(0).where(found.other(int(mask)), found))
    if others:
        bucket = x.op("Mod", others) + first if others > 1 else found.other(first)
        found = (found < 0).where(bucket, found)
    depth = 0 if mode == "int" else int(call.output.shape[-1] or 0)
    if mask is not None:  # in its own place, or in none
        found = x.equals(int(mask)).where(found.other(depth), found)
    _encoded(call, found, mode, depth, None)


def _encoded(call: OnnxCall, ids: Term, mode: str, depth: int, weights: Term | None) -> None:
    if call.config.get("sparse"):
        raise CannotTell("it gives a sparse tensor")
    rank = call.input.rank
    if mode == "int":
        return give(call, ids)
    if mode == "one_hot":
        if rank > 1 and call.input.shape[-1] == 1:
            ids, rank = ids.squeeze(rank - 1), rank - 1
        return give(call, ids.unsqueeze(rank).equals(np.arange(depth)))
    if rank != 2:
        raise CannotTell(f"it encodes as {mode} an operand of {rank} axes")
    hot = ids.unsqueeze(2).equals(np.arange(depth)).to(call.output.dtype)
    if mode == "multi_hot":
        return give(call, hot.reduce("ReduceMax", [1], keepdims=False))
    hot = hot if weights is None else hot * weights.unsqueeze(2)
    return give(call, hot.reduce("ReduceSum", [1], keepdims=False))


def write_contrast(call: OnnxCall) -> None:
    """Write AutoContrast: every channel stretched over the whole range of values."""
    if call.input.rank != 4:
        raise CannotTell("it reads no batch of images")
    low, high = (float(each) for each in call.config.get("value_range", (0, 255)))
    order = call.input.order
    x = term(call, call.input, order, call.output.dtype)
    places = [order.index(axis) for axis in (1, 2)]
    scaled = ((x - low) * (1 / (high - low))) * 255.0
    least, most = (scaled.reduce(kind, places) for kind in ("ReduceMin", "ReduceMax"))
    apart = most - least
    factor = 255.0 / apart.equals(0.0).where(1.0, apart)
    made = ((scaled * factor) - least * factor).op("Max", 0.0).op("Min", 255.0)
    made = made * ((high - low) / 255.0) + low
    give(call, apart.equals(0.0).where(x, made), order)


def write_border(call: OnnxCall) -> None:
    """Write ``ops.image.crop_images`` and ``ops.image.pad_images``."""
    config, operand = call.config, call.input
    crops = call.kind == "ops.crop_images"
    word = "cropping" if crops else "padding"
    axes = images_first(config, operand.rank)[-2:]
    sides: dict[int, tuple[int, int]] = {}
    for axis, first, second, target in zip(
        axes, ("top", "left"), ("bottom", "right"), ("height", "width"), strict=True
    ):
        front, behind, wanted = (config.get(key) for key in (f"{first}_{word}", f"{second}_{word}", f"target_{target}"))
        size = operand.shape[axis]
        if front is None or behind is None:
            if wanted is None or size is None or (front is None and behind is None):
                raise CannotTell("what it changes depends on sizes that are unknown")
            apart = int((size - wanted) if crops else (wanted - size))
            front = apart - int(behind or 0) if front is None else front
            behind = apart - int(front) if behind is None else behind
        sides[axis] = (int(front or 0), int(behind or 0))
    order = operand.order
    x = term(call, operand, order)
    if crops:
        for axis, (front, behind) in sides.items():
            x = x.slice(order.index(axis), front, -behind or None) if front or behind else x
        return give(call, x, order)
    amounts = [sides.get(axis, (0, 0))[side] for side in (0, 1) for axis in order]
    return give(call, x.named(call.op("Pad", x.name, call.integers(*amounts))), order)


LAYERS: Mapping[str, Any] = {
    "Discretization": write_discretised,
    "CategoryEncoding": write_categories,
    "IntegerLookup": write_looked_up,
    "AutoContrast": write_contrast,
}
"""How a layer is written, by its kind."""

WHY_NOT: Mapping[str, str] = {
    "InputLayer": "an input is not computed",
    "StringLookup": "it reads strings",
    "TextVectorization": "it reads strings",
    "Hashing": "ONNX has no hash function",
    "HashedCrossing": "ONNX has no hash function",
    "ContrastLimitedAdaptiveHistogramEqualization": "ONNX has no operator that counts values into a histogram",
}
"""Why a layer cannot be written, by its kind."""
