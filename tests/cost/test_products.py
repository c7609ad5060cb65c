"""MACs of dense layers and of products of tensors."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasurgeon.costs import cost
from kerasurgeon.layers.einsum import contraction_macs
from kerasurgeon.rules import CannotTell
from tests.cost.counting import called, macs_of


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, "float32")


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
def test_dense(shape: tuple[int, ...], use_bias: bool) -> None:
    expected = int(np.prod(shape[:-1])) * 6 * 5
    assert macs_of(layers.Dense(5, use_bias=use_bias), shape) == expected


@pytest.mark.parametrize(
    ("equation", "shape", "output", "expected"),
    [
        ("ab,bc->ac", (6,), 5, 6 * 5),
        ("abc,cd->abd", (4, 6), (None, 5), 4 * 6 * 5),
        ("...x,xy->...y", (3, 4, 6), 5, 3 * 4 * 6 * 5),
        ("abc,cde->abde", (4, 6), (None, 2, 5), 4 * 6 * 2 * 5),
        ("abcd,cde->abe", (4, 2, 6), (None, 5), 4 * 2 * 6 * 5),
        ("abc,b->ac", (4, 6), (6,), 4 * 6),
        ("ab,b->ab", (6,), 6, 0),  # a scale: nothing is summed
    ],
)
def test_einsum_dense(equation: str, shape: tuple[int, ...], output: Any, expected: int) -> None:
    assert macs_of(layers.EinsumDense(equation, output_shape=output), shape) == expected


def test_sizes_that_einsum_dense_leaves_open_are_known_to_the_layers_behind_it() -> None:
    """Keras records (None, None, 5) although the operand has 4 steps."""
    model = called(
        lambda x: layers.Dense(3)(layers.LayerNormalization()(layers.EinsumDense("abc,cd->abd", (None, 5))(x))),
        (4, 6),
    )
    found = cost(model)
    assert model.layers[1].output.shape[1] is None
    assert found.unknown == ()
    assert found.macs == 4 * 6 * 5 + 4 * 5 * 3


def test_embedding_is_a_look_up_and_its_reverse_a_product() -> None:
    assert macs_of(layers.Embedding(100, 8), (5,)) == 0
    embedding = layers.ReversibleEmbedding(100, 8)
    assert macs_of(lambda x: embedding(embedding(x), reverse=True), (5,)) == 5 * 8 * 100


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (lambda a: ops.matmul(a, ones(6, 5)), [(4, 6)], 4 * 6 * 5),
        (lambda a: a @ ones(6, 5), [(4, 6)], 4 * 6 * 5),
        (lambda a, b: ops.matmul(a, b), [(4, 6), (6, 3)], 4 * 6 * 3),
        (lambda a, b: ops.matmul(a, b), [(2, 4, 6), (1, 6, 3)], 2 * 4 * 6 * 3),
        (lambda a: ops.matmul(a, ones(6)), [(4, 6)], 4 * 6),
        (lambda a: ops.dot(a, ones(6, 5)), [(4, 6)], 4 * 6 * 5),
        (lambda a: ops.dot(a, ones(2, 6, 5)), [(4, 6)], 4 * 6 * 2 * 5),
        (lambda a: ops.dot(a, 3.0), [(4, 6)], 0),
        (lambda a: ops.inner(a, ones(5, 6)), [(4, 6)], 4 * 6 * 5),
        (lambda a: ops.vdot(a[0, 0], a[0, 1]), [(4, 6)], 6),
        (lambda a: ops.tensordot(a, ones(6, 5), axes=1), [(4, 6)], 4 * 6 * 5),
        (lambda a: ops.tensordot(a, ones(4, 6, 5)), [(4, 6)], 4 * 6 * 5),
        (lambda a: ops.tensordot(a, ones(5, 4), axes=[[1], [1]]), [(4, 6)], 4 * 6 * 5),
        (lambda a: ops.tensordot(a, ones(5, 6), axes=[[2], [1]]), [(4, 6)], 4 * 6 * 5),
        (lambda a: ops.tensordot(a, ones(3), axes=0), [(4,)], 0),
        (lambda a: ops.outer(a, ones(3)), [(4,)], 0),
        (lambda a, b: ops.einsum("bik,bkj->bij", a, b), [(4, 6), (6, 3)], 4 * 6 * 3),
        (lambda a, b: ops.einsum("bhqd,bhkd->bhqk", a, b), [(2, 4, 6), (2, 5, 6)], 2 * 4 * 5 * 6),
        (lambda a, b: layers.Dot(axes=(2, 1))([a, b]), [(4, 6), (6, 3)], 4 * 6 * 3),
        (lambda a, b: layers.Dot(axes=-1)([a, b]), [(4, 6), (3, 6)], 4 * 6 * 3),
        (lambda a, b: layers.Dot(axes=1, normalize=True)([a, b]), [(6,), (6,)], 6),
    ],
)
def test_product(function: Any, shapes: list[tuple[int, ...]], expected: int) -> None:
    assert macs_of(function, *shapes) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("ij,jk", [(2, 3), (3, 4)], 24),
        ("ij,ij->", [(2, 3), (2, 3)], 6),
        ("ij,ij->ij", [(2, 3), (2, 3)], 0),
        ("i,j->ij", [(2,), (3,)], 0),
        ("ij->j", [(2, 3)], 0),
        ("ii->i", [(3, 3)], 0),
        # i and l stand in one operand only and are summed first: 3 * 4 products are left.
        ("ij,jkl->k", [(2, 3), (3, 4, 5)], 12),
        ("...ij,...jk->...ik", [(7, 8, 2, 3), (8, 3, 4)], 7 * 8 * 24),
        ("...i,ij->...j", [(5, 3), (3, 4)], 60),
        # Two at a time, the pair first whose result saves most: here (jk,kl), then (ij,jl), ...
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 3 * 4 * 5 + 2 * 3 * 5),
        # ... and here (ij,jk), although the other order would need fewer products.
        ("ij,jk,kl->il", [(50, 40), (40, 30), (30, 1)], 50 * 40 * 30 + 50 * 30 * 1),
        ("a,a,a->a", [(5,), (5,), (5,)], 0),
    ],
)
def test_contraction(equation: str, shapes: list[tuple[int, ...]], expected: int) -> None:
    assert contraction_macs(equation, shapes) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "reason"),
    [
        ("ij,jk->ik", [(2, 3)], "does not have 1 operands"),
        ("ij,jk->ik", [(2, 3, 4), (3, 4)], "does not fit"),
        ("ij,jk->ik", [(2, None), (None, 4)], "a size is unknown"),
    ],
)
def test_contraction_that_cannot_be_told(equation: str, shapes: list[Any], reason: str) -> None:
    with pytest.raises(CannotTell, match=reason):
        contraction_macs(equation, shapes)


def test_element_wise_layers_and_movement_are_free() -> None:
    inputs = keras.Input((8, 8, 4))
    x = layers.BatchNormalization()(inputs)
    x = layers.PReLU()(x) * 2.0 + ops.sigmoid(x)
    x = layers.Concatenate()([x, layers.MaxPooling2D(3, 1, padding="same")(x)])
    x = ops.transpose(ops.reshape(x, (-1, 64, 8)), (0, 2, 1))
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    found = cost(keras.Model(inputs, layers.Softmax()(x)))
    assert (found.macs, found.unknown) == (0, ())
