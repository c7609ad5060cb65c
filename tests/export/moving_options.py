"""Ops that move, join, pick, multiply and see, alone in a model, once per set of options, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from keras import ops

from tests.export.op_options import WHOLE, called_each, elements, of_list, ops_of, reductions, typed
from tests.export.options import IMAGES, OPEN, named
from tests.export.single_layers import Case, In

ALL = ("float32", "int64", "uint8", "bool")
RNG = np.random.default_rng(5)
KERNEL = RNG.normal(size=(3, 2, 4, 6)).astype("float32")


def moves() -> Iterator[Case]:
    """What moves, joins, repeats and splits."""
    for dtype in ALL:
        x, pair = (typed(dtype),), (typed(dtype), typed(dtype))
        yield from of_list("concatenate", pair, {"axis": 1}, {"axis": -1})
        yield from of_list("stack", pair, {"axis": 1}, {"axis": -1})
        yield from of_list("hstack", pair)
        yield from of_list("vstack", pair)
        yield from of_list("dstack", pair)
        yield from ops_of("append", pair, {"axis": 1}, {})
        yield from ops_of("tile", x, {"repeats": (1, 2, 1, 3)}, {"repeats": 2}, {"repeats": (2, 1, 1, 2, 1)})
        yield from ops_of("repeat", x, {"repeats": 2, "axis": 1}, {"repeats": 3, "axis": -1})
        yield from ops_of("repeat", x, {"repeats": np.array([1, 0, 2, 3]), "axis": 1})
        yield from ops_of("flip", x, {"axis": 1}, {"axis": (2, -1)}, {})
        yield from ops_of("fliplr", x)
        yield from ops_of("flipud", x)
        yield from ops_of("roll", x, {"shift": 2, "axis": 2}, {"shift": (-1, 7), "axis": (1, 3)})
        yield from ops_of("rot90", x, *({"k": k, "axes": (1, 2)} for k in (1, 3, -1)))
        yield from ops_of("rot90", (typed(dtype, (4, 4)),), {"k": 2, "axes": (1, 2)})
        yield from ops_of("split", x, {"indices_or_sections": 5, "axis": 2}, {"indices_or_sections": [1, 2], "axis": 3})
        yield from ops_of("array_split", x, {"indices_or_sections": 2, "axis": 2})
        yield from ops_of("hsplit", x, {"indices_or_sections": 2})
        yield from ops_of("dsplit", x, {"indices_or_sections": [2]})
        yield from ops_of("unstack", x, {"axis": 1}, {"axis": -1})
        yield from ops_of("expand_dims", x, {"axis": 1}, {"axis": -1})
        yield from ops_of("squeeze", (typed(dtype, (1, 5, 1)),), {"axis": 1}, {"axis": (1, 3)})
        yield from ops_of("transpose", x, {"axes": (0, 3, 1, 2)})
        yield from ops_of("moveaxis", x, {"source": 1, "destination": -1})
        yield from ops_of("swapaxes", x, {"axis1": 1, "axis2": 3})
        yield from ops_of("reshape", x, {"newshape": (-1, 20, 3)}, {"newshape": (-1, 3, 4, 5)})
        yield from ops_of("ravel", x, fixed=True)
        yield from ops_of("vsplit", x, {"indices_or_sections": 2}, fixed=True)
        yield from ops_of("roll", x, {"shift": 3}, fixed=True)
        yield from ops_of("repeat", x, {"repeats": 2}, fixed=True)
        yield from ops_of("broadcast_to", (typed(dtype, (1, 5, 3)),), {"shape": (2, 4, 5, 3)}, fixed=True)
        for mode in ("constant", "reflect", "symmetric"):
            yield from ops_of("pad", x, {"pad_width": ((0, 0), (1, 2), (2, 0), (0, 1)), "mode": mode})
        if dtype != "bool":
            yield from ops_of("pad", x, {"pad_width": ((0, 0), (1, 2), (0, 0), (0, 1)), "constant_values": 7})
        yield from ops_of("tril", x, {}, {"k": 1})
        yield from ops_of("triu", x, {}, {"k": -1})
        yield from ops_of("diagonal", x, {"axis1": 1, "axis2": 2}, {"axis1": 2, "axis2": 1, "offset": 1})
        yield from called_each("diag", lambda x: [ops.diag(x[0]), ops.diag(x[0], 1)], (typed(dtype, (4,)),))
        yield from called_each("diagflat", lambda x: ops.diagflat(x[1], -1), (typed(dtype, (4,)),))
    for dtype in ("float32", "int32"):
        x = (typed(dtype, (None, 4)),)
        yield from ops_of("flip", x, {"axis": 1})
        yield from ops_of("repeat", x, {"repeats": 2, "axis": 1}, {"repeats": 2, "axis": 0})
        yield from ops_of("tile", x, {"repeats": (1, 2, 1)})
        yield from ops_of("roll", x, {"shift": 2, "axis": 1})
        yield from ops_of("tril", x)
        yield from ops_of("pad", x, {"pad_width": ((0, 0), (1, 2), (1, 1))})
        for mode in ("reflect", "symmetric"):
            yield from ops_of("pad", x, {"pad_width": ((0, 0), (2, 1), (1, 1)), "mode": mode})
        yield from of_list("concatenate", (*x, *x), {"axis": 1})
        yield from of_list("stack", (*x, *x), {"axis": 1})
        yield from ops_of("unstack", x, {"axis": -1})
        yield from ops_of("split", x, {"indices_or_sections": 2, "axis": -1})
        yield from ops_of("transpose", x, {"axes": (0, 2, 1)})
    lines = {"num": 4, "endpoint": False, "axis": -1}
    for dtype in ("float32", "int32"):
        pair = (typed(dtype, (4,), low=1, high=4), typed(dtype, (4,), low=1, high=4))
        yield from ops_of("linspace", pair, {"num": 5}, lines, rtol=2e-5)
        yield from ops_of("logspace", pair, {"num": 3}, {**lines, "base": 2}, rtol=2e-5)
        yield from ops_of("geomspace", pair, {"num": 4}, rtol=2e-5)
        yield from called_each("meshgrid", lambda x: ops.meshgrid(x[0], x[1, :2]), (typed(dtype, (4,)),))
        yield from called_each("meshgrid.ij", lambda x: ops.meshgrid(x[0], x[1], indexing="ij"), (typed(dtype, (4,)),))
        yield from called_each(
            "arange", lambda x, dtype=dtype: ops.arange(0, 7, 2, dtype=dtype) + x, (typed(dtype, (4,)),)
        )


def picks() -> Iterator[Case]:
    """What picks and overwrites."""
    items = {
        "one": lambda x: x[:, 1],
        "last": lambda x: x[..., -1],
        "steps": lambda x: x[:, 1:3, ::2],
        "backwards": lambda x: x[:, ::-1, 3:0:-2],
        "new": lambda x: x[:, None, 2, -1:],
        "of the batch": lambda x: x[0, ..., 1:],
        "none": lambda x: x[:, 2:2],
    }
    for dtype in ALL:
        x = (typed(dtype),)
        for name, make in items.items():
            yield from called_each(f"get_item.{name}", make, x)
        yield from ops_of("take", x, {"indices": [2, 0, -1], "axis": 1}, {"indices": 1, "axis": -1})
        yield from ops_of("take", x, {"indices": [[0, 1], [2, 3]], "axis": 2}, {"indices": [3, 5]})
        yield from ops_of("slice", x, {"start_indices": (0, 1, 2, 0), "shape": (2, 2, 3, 2)}, fixed=True)
        new = (typed(dtype), typed(dtype, (2, 3, 2)))
        yield from called_each("slice_update", lambda x, y: ops.slice_update(x, (0, 1, 2, 0), y), new)
        at = np.array([2, 0]).reshape(1, 2, 1, 1)
        yield from ops_of("take_along_axis", x, {"indices": at, "axis": 1})
        yield from ops_of("take_along_axis", (typed(dtype), typed("int32", low=0, high=5)), {"axis": 2})
        yield from called_each("take_along_axis.argsort", lambda x: ops.take_along_axis(x, ops.argsort(x, 2), 2), x)
        for reduction in (None, "add", "max", "min", "mul") if dtype != "bool" else (None,):
            yield from ops_of(
                "scatter_update",
                (typed(dtype, (4,)),),
                {
                    "indices": np.array([[0, 1], [1, 2]]),
                    "updates": np.array([3, 1]).astype(dtype),
                    "reduction": reduction,
                },
                opset=18,
            )
        indices = np.array([[1], [3], [1]])
        yield from called_each("scatter", lambda x, at=indices: ops.scatter(at, x[:3, 0], (5,)), (typed(dtype, (4,)),))
        rows = np.array([[1], [0]])
        yield from called_each(
            "scatter.rows", lambda x, at=rows: ops.scatter(at, x, (5, 4)), (typed(dtype, (4,)),), fixed=True
        )
    for dtype in ("float32", "int32"):
        opened = (typed(dtype, (None, 4)),)
        for name, make in {
            "one": lambda x: x[:, 0],
            "last": lambda x: x[:, -1],
            "backwards": lambda x: x[:, ::-1],
            "inside": lambda x: x[:, 1:-1],
            "steps": lambda x: x[:, ::2, 1],
        }.items():
            yield from called_each(f"get_item.{name}", make, opened)
        yield from ops_of("take", opened, {"indices": [0, 1], "axis": 1}, {"indices": -1, "axis": 1})
    for dtype in ("int32", "int64"):
        ids = (typed(dtype, (5,), low=0, high=6),)
        table = np.arange(24, dtype="float32").reshape(6, 4)
        yield from called_each("take.of a table", lambda x, table=table: ops.take(table, x, axis=0), ids)
        yield from ops_of("one_hot", ids, {"num_classes": 5}, {"num_classes": 4, "axis": 1})
        yield from ops_of("one_hot", ids, {"num_classes": 6, "dtype": "int32"}, {"num_classes": 6, "dtype": "bool"})
        yield from ops_of("multi_hot", ids, {"num_classes": 6, "dtype": "int32"})
        yield from ops_of("multi_hot", ids, {"num_classes": 6, "dtype": "float32"})
        yield from called_each(
            "searchsorted", lambda x: ops.searchsorted(np.array([1, 3, 4], x.dtype), x[0]), (typed(dtype, (5,)),)
        )
    borders = np.array([-1.0, 0.0, 1.0], "float32")
    for side in ("left", "right"):
        yield from called_each(
            f"searchsorted.{side}",
            lambda x, side=side: ops.searchsorted(borders, x[0], side=side),
            (typed("float32", (4,)),),
        )
    yield from ops_of("in_top_k", (typed("int32", (), low=0, high=5), typed("float32", (5,))), {"k": 2})
    yield from ops_of("extract_sequences", (typed("float32", (10,)),), {"sequence_length": 4, "sequence_stride": 2})


def products() -> Iterator[Case]:
    """Products of matrices and their like."""
    for dtype in ("float32", *WHOLE, "int8"):
        two, most = np.arange(15).reshape(3, 5).astype(dtype) % 3, 5  # products that every type holds
        yield from ops_of("matmul", (typed(dtype, (4, 3), high=most), typed(dtype, (3, 5), high=most)))
        yield from ops_of("matmul", (typed(dtype, (4, 3)),), {"then": (two,)}, {"then": (two[:, 0],)})
        yield from ops_of("matmul", (typed(dtype, (2, 4, 3), high=most), typed(dtype, (1, 3, 5), high=most)))
        yield from ops_of("dot", (typed(dtype, (4, 3), high=most),), {"then": (two,)})
        yield from ops_of("inner", (typed(dtype, (4, 5), high=most),), {"then": (two,)})
        yield from ops_of("tensordot", (typed(dtype, high=most),), {"then": (two,), "axes": [[3], [0]]})
        yield from ops_of("tensordot", (typed(dtype, high=most),), {"then": (two,), "axes": [[2, 3], [1, 0]]})
        yield from ops_of("vdot", (typed(dtype), typed(dtype)))
        yield from called_each("outer", lambda x: ops.outer(x[0], x[1]), (typed(dtype, (4,)),))
        yield from called_each("kron", lambda x, y: ops.kron(x[0], y[1]), (typed(dtype, (4, 5)), typed(dtype, (2, 3))))
        yield from ops_of("cross", (typed(dtype, (2, 3)), typed(dtype, (2, 3))))
        if dtype in ("float32", "int32"):
            pair = (typed(dtype, (4, 5)), typed(dtype, (5, 3)))
            for equation in ("bij,bjk->bik", "bij,bjk->bki", "bij,bjk->ki", "bij,bjk->k", "bij,bjk"):
                yield from ops_of("einsum", pair, {"first": (equation,)})
            yield from ops_of("einsum", (typed(dtype, (4, 4)),), {"first": ("bij->bji",)}, {"first": ("bij->b",)})
            same = (typed(dtype), typed(dtype))
            yield from ops_of(
                "einsum",
                same,
                {"first": ("...c,...c->...",)},
                {"first": ("bijc,bijc->bijc",)},
                {"first": ("bijc,bikc->bijk",)},
            )
            yield from ops_of("einsum", (typed(dtype, (3,)), typed(dtype, (4,))), {"first": ("bi,bj->bij",)})
            three = (typed(dtype, (3,)), typed(dtype, (3, 4)), typed(dtype, (4,)))
            yield from ops_of("einsum", three, {"first": ("bi,bij,bj->b",)})
    yield from ops_of("einsum", (typed("float32", (4, 4)),), {"first": ("bii->bi",)}, {"first": ("bii->b",)})
    yield from ops_of(
        "einsum", (typed("float32", (None, 4)), typed("float32", (None, 4))), {"first": ("bij,bkj->bik",)}
    )
    yield from ops_of("matmul", (typed("float32", (None, 4)), typed("float32", (4, None))))
    yield from ops_of("matmul", (typed("int32", (4, 3)), typed("float32", (3, 5))))
    yield from called_each("vander", lambda x: ops.vander(x[0], 4), (typed("float32", (4,)),), (typed("int32", (4,)),))


def sights() -> Iterator[Case]:
    """Ops of neural networks and images."""
    images = IMAGES
    for padding in ("valid", "same"):
        yield from ops_of("conv", images, *({"then": (KERNEL,), "strides": s, "padding": padding} for s in (1, 2)))
        yield from ops_of("depthwise_conv", images, {"then": (KERNEL[..., :2],), "padding": padding})
        yield from ops_of(
            "max_pool", images, {"pool_size": 2, "padding": padding}, {"pool_size": 3, "strides": 1, "padding": padding}
        )
        yield from ops_of("average_pool", images, {"pool_size": 2, "padding": padding})
    yield from ops_of("adaptive_average_pool", images, {"output_size": (3, 3)})
    yield from ops_of("adaptive_max_pool", images, {"output_size": (3, 3)})
    for mode in ("nearest", "bilinear", "bicubic", "lanczos3", "area"):
        yield from ops_of("image.resize", images, {"size": (5, 12), "interpolation": mode}, rtol=2e-5)
    yield from ops_of("image.resize", images, {"size": (5, 12), "antialias": True}, rtol=2e-5)
    for mode in ("bilinear", "bicubic", "lanczos3"):
        yield from ops_of("image.resize", OPEN[2], {"size": (5, 12), "interpolation": mode}, rtol=2e-5)
    yield from ops_of("image.resize", OPEN[2], {"size": (5, 12), "crop_to_aspect_ratio": True}, rtol=2e-5)
    yield from ops_of(
        "image.crop_images", images, {"top_cropping": 1, "left_cropping": 2, "target_height": 4, "target_width": 5}
    )
    yield from ops_of(
        "image.pad_images", images, {"top_padding": 1, "left_padding": 2, "target_height": 9, "target_width": 13}
    )
    yield from ops_of("image.extract_patches", images, {"size": 2}, {"size": (3, 2), "strides": 1, "padding": "same"})
    colours = (In((4, 5, 3), low=0, high=1),)
    for name in ("rgb_to_grayscale", "rgb_to_hsv", "hsv_to_rgb"):
        yield from ops_of(f"image.{name}", colours, {}, rtol=2e-5)
    yield from ops_of("image.rgb_to_grayscale", (typed("uint8"),))
    yield from ops_of("depth_to_space", (In((4, 6, 8)),), {"block_size": 2})
    yield from ops_of("space_to_depth", (In((4, 6, 8)),), {"block_size": 2})
    yield from ops_of("normalize", (typed("float32"),), {}, {"axis": 1, "order": 1}, {"axis": 2, "order": 3})
    yield from ops_of("layer_normalization", (typed("float32"),), {}, {"axis": 1})
    yield from ops_of("rms_normalization", (typed("float32"),), {}, {"axis": 1})
    yield from ops_of(
        "batch_normalization",
        images,
        {"mean": RNG.normal(size=4).astype("float32"), "variance": np.ones(4, "float32"), "axis": -1},
    )
    heads = (In((5, 2, 3)),) * 3
    yield from ops_of("dot_product_attention", heads, {}, {"is_causal": True}, rtol=2e-5)
    yield from ops_of("psnr", (typed("float32"), typed("float32")), {"max_val": 2.0}, rtol=2e-5)
    shares = (In((4,), low=0.01, high=1), In((4,), low=0.01, high=1))
    yield from ops_of("binary_crossentropy", shares, {}, {"from_logits": True}, rtol=2e-5)
    yield from ops_of("categorical_crossentropy", shares, {}, {"from_logits": True}, rtol=2e-5)
    for kind in ("binary", "categorical"):  # Keras looks for what they were made of, whichever of the two made them
        for made in ("sigmoid", "softmax"):
            yield from called_each(
                f"{kind}_crossentropy.{made}",
                lambda x, y, kind=kind, made=made: getattr(ops, f"{kind}_crossentropy")(x, getattr(ops, made)(y)),
                shares,
                rtol=2e-5,
            )
    yield from ops_of(
        "sparse_categorical_crossentropy", (In((1,), "int32", 0, 4), In((4,), low=0.01, high=1)), {"from_logits": True}
    )
    yield from ops_of("allclose", (typed("float32"), typed("float32")))


OPS: tuple[Case, ...] = tuple(
    case for family in (elements, reductions, moves, picks, products, sights) for case in named(family())
)
