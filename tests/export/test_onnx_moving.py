"""What moves, joins, picks and multiplies, as ONNX writes it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.export.single_layers import SEQUENCE, Case, In, both, check

TWO = (In((4, 5, 3)), In((4, 5, 3)))
IDS = (In((5,), "int32", 0, 6),)
OPEN = (In((None, 4)),)
MATRICES = (In((4, 5)), In((5, 3)))
EIGHT = (In((4, 6, 8)),)
RNG = np.random.default_rng(5)
KERNEL = RNG.normal(size=(3, 2, 3, 4)).astype("float32")


def _layer(name: str, **options: Any) -> Any:
    return lambda *xs: getattr(layers, name)(**options)(*xs)


def _pair(name: str, **options: Any) -> Any:
    return lambda *xs: getattr(layers, name)(**options)(list(xs))


CASES = [
    *both(
        "Concatenate",
        lambda x, y: [
            layers.Concatenate()([x, y]),
            layers.Concatenate(axis=1)([x, y]),
            layers.Concatenate(axis=2)([x, x, y]),
        ],
        TWO,
    ),
    *both("concatenate with a constant", lambda x: ops.concatenate([x, ops.zeros_like(x), x], axis=-2)),
    *both("stack", lambda x, y: [ops.stack([x, y]), ops.stack([x, y], axis=-1), ops.stack([x, y, x], axis=2)], TWO),
    *both(
        "joins",
        lambda x, y: [ops.append(x, y, axis=1), ops.hstack([x, y]), ops.vstack([x, y]), ops.dstack([x, y])],
        TWO,
    ),
    Case(
        "joins of fewer axes",
        lambda x, y: [ops.hstack([x, y]), ops.vstack([x, y]), ops.dstack([x, y])],
        (In((4,)), In((4,))),
    ),
    Case("append everything", lambda x, y: ops.append(x, y), TWO),
    *both("tile", lambda x: [ops.tile(x, (1, 2, 1, 3)), ops.tile(x, (2, 1, 1, 1, 2)), ops.tile(x, [2])]),
    *both("repeat", lambda x: [ops.repeat(x, 2, axis=1), ops.repeat(x, 3, axis=-1)]),
    Case("repeat open sizes", lambda x: [ops.repeat(x, 2, axis=1), ops.repeat(x, 2, axis=0)], OPEN),
    Case("repeat unevenly", lambda x: ops.repeat(x, np.array([1, 0, 2, 3]), axis=2), (In((3, 4)),)),
    *both("flip", lambda x: [ops.flip(x, axis=1), ops.flip(x, axis=(2, -1)), ops.fliplr(x), ops.flipud(x)]),
    *both("roll", lambda x: [ops.roll(x, 2, axis=2), ops.roll(x, (-1, 7), axis=(1, 3))]),
    Case("roll everything", lambda x: ops.roll(x, 3), fixed=True),
    *both("broadcast_to", lambda x: ops.broadcast_to(x[:, :1], (2, 4, 5, 3)), fixed=True),
    *both(
        "split", lambda x: [*ops.split(x, 5, axis=2), *ops.split(x, [1, 2], axis=-1), *ops.array_split(x, 2, axis=2)]
    ),
    *both("splits of other axes", lambda x: [*ops.hsplit(x, 2), *ops.dsplit(x, [2])]),
    Case("vsplit", lambda x: ops.vsplit(x, 2), fixed=True),
    *both("unstack", lambda x: ops.unstack(x, axis=1) + ops.unstack(x, axis=-1)),
    *both(
        "get_item", lambda x: [x[:, 1], x[..., 0], x[:, 1:3, ::2], x[:, None, 2, -1:], x[:, ::-1, :, -1], x[:, -3:-1]]
    ),
    *both("get_item of the batch", lambda x: [x[0], x[-1, ..., 1:], x[1:, 0], x[None, 0]]),
    Case("get_item of open sizes", lambda x: [x[:, 0], x[:, -1], x[:, ::-1], x[:, 1:-1], x[:, :-1, 2]], OPEN),
    *both("slice", lambda x: ops.slice(x, (0, 1, 2, 0), (2, 2, 3, 2)), fixed=True),
    *both("slice_update", lambda x, y: ops.slice_update(x, (0, 1, 2, 0), y), (In((4, 5, 3)), In((2, 3, 2)))),
    *both(
        "take",
        lambda x: [ops.take(x, [2, 0, -1], axis=1), ops.take(x, 1, axis=-1), ops.take(x, [[0, 1], [2, 3]], axis=2)],
    ),
    Case("take everything", lambda x: ops.take(x, [3, 5])),
    Case("take by a tensor", lambda x: ops.take(np.arange(24, dtype="float32").reshape(6, 4), x, axis=0), IDS),
    *both("take_along_axis", lambda x: ops.take_along_axis(x, ops.argsort(x, axis=2), axis=2)),
    *both("take_along_axis, broadcast", lambda x: ops.take_along_axis(x, np.array([2, 0]).reshape(1, 2, 1, 1), axis=1)),
    Case(
        "one_hot", lambda x: [ops.one_hot(x, 5), ops.one_hot(x - 1, 4, axis=1), ops.one_hot(x, 6, dtype="int32")], IDS
    ),
    Case("multi_hot", lambda x: ops.multi_hot(x, 6, dtype="int32"), IDS),
    *both("tril and triu", lambda x: [ops.tril(x), ops.triu(x, 1), ops.tril(x, -1)]),
    Case("tril of open sizes", lambda x: [ops.tril(x), ops.triu(x, -1)], OPEN),
    *both(
        "diagonal and trace",
        lambda x: [ops.diagonal(x, axis1=1, axis2=2), ops.diagonal(x, 1, 2, 1), ops.trace(x, axis1=1, axis2=-1)],
    ),
    Case("diag", lambda x: [ops.diag(x[0]), ops.diag(x[0], 1), ops.diagflat(x[1], -1)], (In((4,)),)),
    Case(
        "linspace",
        lambda x, y: [ops.linspace(x, y, 5), ops.linspace(x, y, 4, endpoint=False, axis=-1), ops.logspace(x, y, 3)],
        (In((4,)), In((4,))),
        rtol=2e-5,
    ),
    Case("geomspace", lambda x, y: ops.geomspace(x, y, 4), (In((4,), low=0.5), In((4,), low=0.5)), rtol=2e-5),
    Case(
        "meshgrid",
        lambda x: [*ops.meshgrid(x[0], x[1, :2]), *ops.meshgrid(x[0], x[1, :2], x[2], indexing="ij")],
        (In((4,)),),
    ),
    Case("outer and kron", lambda x, y: [ops.outer(x[0], y[0]), ops.kron(x[0], y[1])], (In((4, 5)), In((2, 3)))),
    Case(
        "cross",
        lambda x, y: [
            ops.cross(x, y),
            ops.cross(x[..., :2], y),
            ops.cross(x[..., :2], y[..., :2]),
            ops.cross(x, y, axis=1),
        ],
        (In((3, 3)), In((3, 3))),
    ),
    *both("rot90", lambda x: [ops.rot90(x, k, axes=(1, 2)) for k in (1, 3)]),
    Case(
        "searchsorted",
        lambda x: [
            ops.searchsorted(np.array([-1.0, 0.0, 1.0], "float32"), x[0, 0, :, 0]),
            ops.searchsorted(np.array([-1.0, 0.0], "float32"), x[0, 0, :, 0], side="right"),
        ],
    ),
    *both("select", lambda x: ops.select([x > 1, x < -1], [x, x * 2.0], 0.5)),
    Case("size and ndim", lambda x: [ops.size(x) + ops.cast(ops.sum(x) * 0, "int32")]),
    *both("trapezoid", lambda x: [ops.trapezoid(x), ops.trapezoid(x, dx=0.5, axis=1)]),
    Case("vander", lambda x: [ops.vander(x[0], 4), ops.vander(x[0], 3, increasing=True)], (In((4,)),)),
    Case("full", lambda x: ops.full((2, 3), x[0, 0, 0, 0])),
    Case("extract_sequences", lambda x: ops.extract_sequences(x, 4, 2), (In((10,)),)),
    Case(
        "binary_crossentropy",
        lambda x, y: [ops.binary_crossentropy(x, y), ops.binary_crossentropy(x, y * 9, from_logits=True)],
        (In((4,), low=0, high=1), In((4,), low=0, high=1)),
    ),
    Case(
        "categorical_crossentropy",
        lambda x, y: [ops.categorical_crossentropy(x, y), ops.categorical_crossentropy(x, y * 9, from_logits=True)],
        (In((4,), low=0, high=1), In((4,), low=0, high=1)),
    ),
    Case(
        "sparse_categorical_crossentropy",
        lambda x, y: [ops.sparse_categorical_crossentropy(x, y, from_logits=True)],
        (In((1,), "int32", 0, 4), In((4,), low=0.01, high=1)),
    ),
    Case("psnr, allclose", lambda x, y: [ops.psnr(x, y, 2.0), ops.allclose(x, y), ops.allclose(x, x + 0.0)], TWO),
    Case("in_top_k", lambda x, y: ops.in_top_k(x[:, 0], y, 2), (In((1,), "int32", 0, 5), In((5,)))),
    *both(
        "colours",
        lambda x: [ops.image.rgb_to_grayscale(x), ops.image.rgb_to_hsv(x), ops.image.hsv_to_rgb(x)],
        (In((4, 5, 3), low=0, high=1),),
    ),
    Case(
        "scatter",
        lambda x: [
            ops.scatter(np.array([[1], [3], [1]]), x[:3, 0], (5,)),
            ops.scatter_update(x, np.array([[0], [1]]), x[1:3, :]),
        ],
        (In((4,)),),
    ),
    Case(
        "scatter_update with add",
        lambda x: ops.scatter_update(x, np.array([[0, 1], [1, 2]]), x[0, :2], reduction="add"),
        (In((4,)),),
    ),
    Case(
        "segments",
        lambda x: [
            ops.segment_sum(x[0], np.array([0, 2, 1, 2]), num_segments=4),
            ops.segment_max(x[0], np.array([0, 2, 1, 2]), num_segments=3),
            ops.segment_min(x[0], np.array([0, 2, 1, 2]), num_segments=3),
            ops.segment_prod(x[0], np.array([0, 2, 1, 2]), num_segments=3),
        ],
        (In((4, 3)),),
    ),
    Case(
        "convert_to_tensor",
        lambda x: [ops.convert_to_tensor(x), ops.array(x), ops.empty_like(x) * 0.0, ops.stop_gradient(x)],
    ),
    *both("depth_to_space", lambda x: [ops.depth_to_space(x, 2), ops.space_to_depth(x, 2)], EIGHT),
    *both(
        "extract_patches",
        lambda x: [ops.image.extract_patches(x, 2), ops.image.extract_patches(x, (3, 2), strides=1, padding="same")],
    ),
    # Axes
    *both(
        "axes",
        lambda x: [
            ops.transpose(x, (0, 2, 1, 3)),
            ops.moveaxis(x, 1, -1),
            ops.swapaxes(x, 1, 3),
            ops.expand_dims(x, 1),
            ops.expand_dims(x, -1),
            ops.squeeze(x[:, :1], 1),
        ],
    ),
    *both(
        "shapes",
        lambda x: [
            ops.reshape(x, (-1, 20, 3)),
            layers.Reshape((5, 12))(x),
            layers.Flatten()(x),
            layers.Permute((3, 1, 2))(x),
        ],
    ),
    Case("ravel", lambda x: ops.ravel(x), fixed=True),
    Case("RepeatVector", _layer("RepeatVector", n=3), (In((4,)),)),
    # Products
    *both(
        "matmul", lambda x, y: [ops.matmul(x, ops.swapaxes(y, -1, -2)), ops.matmul(x, np.ones((3, 2), "float32"))], TWO
    ),
    Case(
        "matmul of vectors",
        lambda x: [ops.matmul(x, np.ones(4, "float32")), ops.matmul(np.ones(6, "float32"), x)],
        SEQUENCE,
    ),
    Case(
        "matmul of ints",
        lambda x: ops.matmul(x, np.arange(8).reshape(4, 2).astype("int32")),
        (In((3, 4), "int32", -5, 5),),
    ),
    Case(
        "dot and inner",
        lambda x: [
            ops.dot(x, np.ones((4, 2), "float32")),
            ops.dot(x, np.ones((3, 4, 2), "float32")),
            ops.inner(x, np.ones((2, 4), "float32")),
            ops.dot(x, np.float32(2.0)),
        ],
        (In((3, 4)),),
    ),
    Case("vdot", lambda x, y: ops.vdot(x, y), TWO),
    *both(
        "tensordot",
        lambda x: [
            ops.tensordot(x, np.ones((5, 3, 2), "float32"), 2),
            ops.tensordot(x, np.ones((2, 5, 4), "float32"), axes=[[1, 2], [2, 1]]),
            ops.tensordot(x, np.ones((4, 2), "float32"), axes=[[1], [0]]),
        ],
    ),
    *both(
        "einsum",
        lambda x, y: [
            ops.einsum("bijc,bkjc->bik", x, y),
            ops.einsum("bijc->bji", x),
            ops.einsum("...c,...c->...", x, y),
            ops.einsum("bijc,cd->bijd", x, np.ones((3, 2), "float32")),
        ],
        TWO,
    ),
    Case(
        "einsum of matrices",
        lambda x, y: [
            ops.einsum("bij,bjk->bik", x, y),
            ops.einsum("bij,bjk->bki", x, y),
            ops.einsum("bij,bjk->ki", x, y),
            ops.einsum("bij,bjk", x, y),
        ],
        MATRICES,
    ),
    Case(
        "Dot", lambda x, y: [layers.Dot(axes=(2, 1))([x, y]), layers.Dot(axes=(2, 1), normalize=True)([x, y])], MATRICES
    ),
    Case("Dot of vectors", _pair("Dot", axes=1, normalize=True), (In((4,)), In((4,)))),
    *both("Dense", lambda x: [layers.Dense(7, activation="relu")(x), layers.Dense(2, use_bias=False)(x)]),
    Case(
        "EinsumDense",
        lambda x: [
            layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(x),
            layers.EinsumDense("abc,cde->abde", (None, 3, 2), bias_axes="de", activation="relu")(x),
            layers.EinsumDense("abc,bd->adc", (3, 4), bias_axes="dc")(x),
            layers.EinsumDense("abc,bcd->ad", 3, bias_axes="d")(x),
            layers.EinsumDense("...x,xy->...y", 3)(x),
        ],
        SEQUENCE,
    ),
    *both(
        "EinsumDense of images",
        _layer("EinsumDense", equation="abcx,xy->abcy", output_shape=(4, 5, 6), bias_axes="y"),
    ),
    Case(
        "Embedding",
        lambda x: [
            layers.Embedding(6, 4)(x),
            layers.Embedding(6, 3)(ops.cast(x, "float32")),
            layers.ReversibleEmbedding(6, 4)(x),
        ],
        IDS,
    ),
    Case(
        "ReversibleEmbedding reversed",
        lambda x: [
            layers.ReversibleEmbedding(6, 4)(x, reverse=True),
            layers.ReversibleEmbedding(6, 4, tie_weights=False, logit_soft_cap=2.0)(x, reverse=True),
        ],
        SEQUENCE,
    ),
    *both("Masking", lambda x: layers.Masking(0.5)(ops.round(x * 2) / 2), (In((6, 1)),)),
    # Convolutions as ops
    *[
        case
        for padding in ("valid", "same")
        for case in both(
            f"conv {padding}",
            lambda x, padding=padding: [
                ops.conv(x, KERNEL, 1, padding),
                ops.conv(x, KERNEL, 2, padding),
                ops.conv(x, KERNEL, 1, padding, dilation_rate=2 if padding == "same" else 1),
            ],
        )
    ],
    *both(
        "depthwise_conv",
        lambda x: [
            ops.depthwise_conv(x, KERNEL, 1, "same"),
            ops.separable_conv(x, KERNEL, np.ones((1, 1, 12, 5), "float32"), 1, "valid"),
        ],
    ),
    Case("conv with a computed kernel", lambda x, y: ops.conv(x, y[0], 1, "same"), (In((5, 6, 3)), In((3, 3, 3, 4)))),
    *both("SeparableConv2D", lambda x: layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2)(x)),
    Case("SeparableConv1D", lambda x: layers.SeparableConv1D(4, 3, padding="valid", activation="relu")(x), SEQUENCE),
    *both(
        "Conv2D",
        lambda x: [
            layers.Conv2D(4, 3, 2, "same")(x),
            layers.Conv2D(6, 2, groups=3)(x),
            layers.Conv2D(4, 2, dilation_rate=2, padding="same", activation="gelu")(x),
        ],
    ),
    Case(
        "Conv1D",
        lambda x: [
            layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(x),
            layers.DepthwiseConv1D(3, depth_multiplier=2)(x),
            layers.Conv1DTranspose(4, 3, 2)(x),
        ],
        SEQUENCE,
    ),
    *both(
        "DepthwiseConv2D",
        lambda x: [layers.DepthwiseConv2D(3, 2, "same")(x), layers.DepthwiseConv2D((2, 3), depth_multiplier=2)(x)],
    ),
    *both(
        "Conv2DTranspose",
        lambda x: [
            layers.Conv2DTranspose(4, 3, 2, "same")(x),
            layers.Conv2DTranspose(4, (2, 3), (3, 1), "valid")(x),
            layers.Conv2DTranspose(4, 3, 2, "same", output_padding=1)(x),
        ],
    ),
    *both("Conv3D", lambda x: [layers.Conv3D(3, 2)(x), layers.Conv3DTranspose(3, 2, 2)(x)], (In((3, 4, 5, 2)),)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_moving(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_kernels_of_whole_numbers(mode: str) -> None:
    def make(x: Any) -> Any:
        return layers.Dense(1)(layers.Dense(6, activation="relu")(x))

    _check_changed(make, SEQUENCE, lambda layer: layer.quantize(mode), keras.layers.Dense)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_tables_of_whole_numbers(mode: str) -> None:
    _check_changed(layers.Embedding(6, 5), IDS, lambda layer: layer.quantize(mode), keras.layers.Embedding)


def test_adapters() -> None:
    def adapt(layer: Any) -> None:
        layer.enable_lora(2)
        for weight in layer.weights:
            weight.assign(RNG.normal(size=weight.shape))

    def make(x: Any) -> Any:
        return layers.EinsumDense("abc,cd->abd", (None, 3))(layers.Dense(5)(layers.Embedding(6, 4)(x)))

    _check_changed(make, IDS, adapt, (layers.Dense, layers.EinsumDense, layers.Embedding))


def _check_changed(make: Any, inputs: Any, change: Any, cls: Any) -> None:
    """Write a model whose layers were changed after they were built."""
    from tests.export import single_layers

    def changed(case: Case) -> keras.Model:
        model = plain(case)
        for layer in model.layers:
            if isinstance(layer, cls):
                change(layer)
        return model

    plain = single_layers.model_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_layers, "model_of", changed)
        check(Case("changed", make, inputs))
