"""MACs of attention, with every projection written out."""

from __future__ import annotations

from typing import Any

import pytest
from keras import layers, ops

from tests.cost.counting import macs_of

T, S, D, E = 5, 7, 12, 9  # target and source steps, widths of query and value


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("value_dim", "output"), [(None, None), (6, None), (6, 10)])
def test_multi_head(value_dim: int | None, output: int | None, use_bias: bool) -> None:
    heads, width, out = 3, 4, output or D
    value_width = value_dim or width
    layer = layers.MultiHeadAttention(heads, width, value_dim=value_dim, output_shape=output, use_bias=use_bias)
    query = T * D * heads * width
    key = S * E * heads * width
    value = S * E * heads * value_width
    scores = T * S * heads * width
    weighted = T * S * heads * value_width
    result = T * heads * value_width * out
    assert macs_of(layer, (T, D), (S, E)) == query + key + value + scores + weighted + result


def test_multi_head_with_key_mask_and_scores() -> None:
    layer = layers.MultiHeadAttention(2, 4)
    plain = T * D * 8 + S * 6 * 8 + S * E * 8 + 2 * (T * S * 8) + T * 8 * D

    def call(query: Any, value: Any, key: Any) -> Any:
        return layer(query, value, key=key, return_attention_scores=True, use_causal_mask=True)

    assert macs_of(call, (T, D), (S, E), (S, 6)) == plain


def test_multi_head_over_chosen_axes() -> None:
    """Attention along axis 2 of (batch, rows, columns, features): every row attends for itself."""
    rows, columns, width = 3, 5, 8
    layer = layers.MultiHeadAttention(2, 4, attention_axes=(2,))
    projections = 4 * rows * columns * width * 8
    attended = rows * columns * columns * 8 * 2
    assert macs_of(lambda x: layer(x, x), (rows, columns, width)) == projections + attended


def test_multi_head_over_all_axes() -> None:
    rows, columns, width = 3, 5, 8
    layer = layers.MultiHeadAttention(2, 4)
    attended = (rows * columns) ** 2 * 8 * 2
    assert macs_of(lambda x: layer(x, x), (rows, columns, width)) == 4 * rows * columns * width * 8 + attended


@pytest.mark.parametrize("gate", [False, True])
def test_gates(gate: bool) -> None:
    multi = layers.MultiHeadAttention(2, 4, value_dim=3, use_gate=gate)
    base = T * D * 8 + T * D * 8 + T * D * 6 + T * T * (8 + 6) + T * 6 * D
    assert macs_of(lambda x: multi(x, x), (T, D)) == base + (T * D * 6 if gate else 0)
    grouped = layers.GroupQueryAttention(4, 6, 2, use_gate=gate)
    base = T * D * 24 + 2 * T * D * 8 + 2 * T * T * 24 + T * 24 * D
    assert macs_of(lambda x: grouped(x, x), (T, D)) == base + (T * D * 24 if gate else 0)


def test_grouped_query() -> None:
    layer = layers.GroupQueryAttention(head_dim=4, num_query_heads=6, num_key_value_heads=2)
    projections = T * D * 6 * 4 + 2 * (S * D * 2 * 4) + T * 6 * 4 * D
    assert macs_of(layer, (T, D), (S, D)) == projections + 2 * (T * S * 6 * 4)


def test_layers_without_projections() -> None:
    scores, weighted = T * S * D, T * S * D
    assert macs_of(lambda q, v: layers.Attention()([q, v]), (T, D), (S, D)) == scores + weighted
    assert macs_of(lambda q, v, k: layers.Attention()([q, v, k]), (T, D), (S, E), (S, D)) == (scores + T * S * E)
    # Scores of sums: tanh and additions, no products of linear maps.
    assert macs_of(lambda q, v: layers.Attention(score_mode="concat")([q, v]), (T, D), (S, D)) == weighted
    assert macs_of(lambda q, v: layers.AdditiveAttention()([q, v]), (T, D), (S, D)) == weighted


def test_op() -> None:
    heads, width = 3, 4
    shapes = [(T, heads, width), (S, heads, width), (S, heads, width)]
    assert macs_of(lambda *x: ops.dot_product_attention(*x), *shapes) == 2 * T * S * heads * width
