"""Attention: projections, scores, weighted sums.

Masks, causal or not, and sliding windows save nothing here: the kernels compute every score and mask it
afterwards.
"""

from __future__ import annotations

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import Call, elements
from kerasurgeon.rules.rule import Rule


class _Attention(Rule):
    def keeps_batch(self, layer: Layer) -> bool:
        """Always."""
        return True


def _operands(call: Call) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    """Query, key and value: the key is the value where it is not given."""
    query, value = call.tensor(0, "query"), call.tensor(1, "value")
    key = call.operand(2, "key")
    return query, key if isinstance(key, TensorSpec) else value, value


class MultiHeadAttention(_Attention):
    """MultiHeadAttention, over any attention axes, with or without a gate."""

    def macs(self, call: Call) -> int:
        """Four projections (five with a gate), and per head ``T x S`` scores and their weighted sum."""
        config = call.config
        query, key, value = _operands(call)
        heads: int = config["num_heads"]
        key_dim: int = config["key_dim"]
        value_dim: int = config["value_dim"] or key_dim
        shape = config["output_shape"]
        out = elements(query.shape[-1:]) if not shape else elements([shape] if isinstance(shape, int) else shape)
        steps = elements(query.shape[:-1])
        total = elements(query.shape) * heads * key_dim
        total += elements(key.shape) * heads * key_dim + elements(value.shape) * heads * value_dim
        total += steps * heads * value_dim * out
        if config.get("use_gate"):
            total += elements(query.shape) * heads * value_dim
        attended = config["attention_axes"] or range(1, len(query.shape) - 1)
        axes = {axis % len(query.shape) for axis in attended}
        sources = elements(key.shape[axis] for axis in axes)
        return total + steps * sources * heads * (key_dim + value_dim)


class GroupedQueryAttention(_Attention):
    """GroupQueryAttention: fewer heads for key and value, repeated for the scores."""

    def macs(self, call: Call) -> int:
        """As for ``MultiHeadAttention``, with the projections of key and value shared."""
        config = call.config
        query, key, value = _operands(call)
        heads: int = config["num_query_heads"]
        shared: int = config["num_key_value_heads"]
        width: int = config["head_dim"]
        total = (elements(key.shape) + elements(value.shape)) * shared * width
        # Query and output projections mirror one another; the gate is one more of the first.
        total += elements(query.shape) * heads * width * (3 if config.get("use_gate") else 2)
        steps, sources = elements(query.shape[:-1]), elements(key.shape[1:2])
        return total + steps * sources * heads * 2 * width


class DotAttention(_Attention):
    """Attention: scores are dot products, or sums of tanh (``score_mode="concat"``), which count as 0."""

    def macs(self, call: Call) -> int:
        """Scores and their weighted sum."""
        query, value, *rest = call.operand(0, "inputs")
        key = rest[0] if rest else value
        scores = elements(query.shape[:-1]) * elements(key.shape[-2:-1])
        summed = scores * elements(value.shape[-1:])
        return summed + (scores * elements(query.shape[-1:]) if self._has_products(call) else 0)

    def _has_products(self, call: Call) -> bool:
        return bool(call.config.get("score_mode", "dot") == "dot")


class AdditiveAttention(DotAttention):
    """AdditiveAttention: its scores are element-wise sums, so that the weighted sum alone counts."""

    def _has_products(self, call: Call) -> bool:
        return False


class DotProductAttentionOp(_Attention):
    """``ops.dot_product_attention``: (batch, steps, heads, width) operands."""

    def macs(self, call: Call) -> int:
        """Scores and their weighted sum, per head of the query."""
        query, key, value = (call.tensor(index, name) for index, name in enumerate(("query", "key", "value")))
        scores = elements(query.shape[:-1]) * elements(key.shape[1:2])
        return scores * (elements(query.shape[-1:]) + elements(value.shape[-1:]))
