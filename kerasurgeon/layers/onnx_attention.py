"""Attention written to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from string import ascii_letters

import numpy as np

from kerasurgeon.layers.onnx_contracting import einsum
from kerasurgeon.layers.onnx_dense import projected
from kerasurgeon.layers.onnx_reductions import log_sum_exp
from kerasurgeon.layers.onnx_terms import Term, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Size, Tensor

_PARTS = ("query", "key", "value", "gate", "attention_output")


def write_multi_head(call: OnnxCall) -> None:
    """Write MultiHeadAttention, over any attention axes, with or without a gate."""
    config, (query, key, value) = call.config, _operands(call)
    rank = query.rank
    attended = config["attention_axes"] or range(1, rank - 1)
    axes = [int(axis) % rank for axis in ([attended] if isinstance(attended, int) else attended)]
    if axes != sorted(axes):
        raise CannotTell("its attention axes do not ascend")
    if call.operand(3, "query_mask") is not None:
        raise CannotTell("it is given a query_mask, which Keras does not look at unless the query carries it")
    mask = _mask(call, query, value, config.get("sliding_window"))
    scale = 1 / sqrt(config["key_dim"])
    q, k, v = (_projection(call, part, each, scale) for part, each in zip(_PARTS, (query, key, value), strict=False))
    _attend(call, q, k, v, axes=axes, mask=mask, gate=_gate(call, query), rank=rank)


def write_grouped_query(call: OnnxCall) -> None:
    """Write GroupQueryAttention: the heads of key and value repeated."""
    config, (query, key, value) = call.config, _operands(call)
    mask = _mask(call, query, value, config.get("sliding_window"))
    heads, shared = int(config["num_query_heads"]), int(config["num_key_value_heads"])
    scale = 1 / sqrt(config["head_dim"])
    q, k, v = (_projection(call, part, each, scale) for part, each in zip(_PARTS, (query, key, value), strict=False))
    if heads != shared:
        at = np.repeat(np.arange(shared), heads // shared)
        k, v = k.gather(at, 2), v.gather(at, 2)
    _attend(call, q, k, v, axes=[1], mask=mask, gate=_gate(call, query), rank=3)


def _operands(call: OnnxCall) -> tuple[Tensor, Tensor, Tensor]:
    known = {f"{part}/{weight}" for part in _PARTS for weight in ("kernel", "bias")}
    others = sorted(set(call.weights) - known)
    if others:
        raise CannotTell(f"it computes with {', '.join(others)}")
    query, value = call.tensor(0, "query"), call.tensor(1, "value")
    key = call.operand(2, "key")
    return query, key if isinstance(key, Tensor) else value, value


def _projection(call: OnnxCall, part: str, operand: Tensor, scale: float) -> Term:
    kernel, bias = call.layer.array(f"{part}/kernel"), call.layer.array(f"{part}/bias")
    if kernel is None or kernel.dtype.kind in "iub":
        raise CannotTell(f"its {part} has no kernel" if kernel is None else f"the kernel of its {part} is quantised")
    factor = scale if part == "query" else 1.0  # scores are divided by the square root of the width
    x = term(call, operand, None, call.float)
    made = projected(x, operand.rank - 1, kernel, 1, kernel.shape[1:], f"{part}/kernel", factor)
    return made if bias is None else made + x.made_of(bias, f"{factor}", lambda source: source * factor, f"{part}/bias")


def _gate(call: OnnxCall, query: Tensor) -> Term | None:
    return _projection(call, "gate", query, 1.0).op("Sigmoid") if call.config.get("use_gate") else None


def _attend(
    call: OnnxCall,
    q: Term,
    k: Term,
    v: Term,
    *,
    axes: Sequence[int],
    mask: Term | None,
    gate: Term | None,
    rank: int,
) -> None:
    """Scores, their softmax, the weighted sum, and the projection to the result."""
    own = ascii_letters[: rank - 1]
    other = "".join(ascii_letters[rank + place] if place in axes else letter for place, letter in enumerate(own))
    batch = "".join(letter for place, letter in enumerate(own) if place not in axes)
    between = f"{batch}N{''.join(own[axis] for axis in axes)}{''.join(other[axis] for axis in axes)}"
    scores = einsum(f"{own}NH,{other}NH->{between}", q, k)
    probabilities = _softmax(scores, mask, len(between), len(axes))
    made = einsum(f"{between},{other}NV->{own}NV", probabilities, v)
    if gate is not None:
        made = made * gate
    kernel, bias = call.layer.array("attention_output/kernel"), call.layer.array("attention_output/bias")
    assert kernel is not None
    y = projected(made, rank - 1, kernel, 2, kernel.shape[2:], "attention_output/kernel")
    give(call, y if bias is None else y + bias)
    if len(call.outputs) > 1:
        steps = call.operand(1, "value").shape[1], call.outputs[1].shape[-1]
        if axes == [1] and rank == 3 and steps[0] != steps[1]:
            raise CannotTell("Keras tells another shape of its scores than they have")
        give(call, probabilities, index=1)


def _softmax(scores: Term, mask: Term | None, rank: int, axes: int) -> Term:
    """Over the last axes, of what a mask keeps."""
    if mask is not None:
        lowest = -3e4 if scores.dtype == "float16" else -1e9
        scores = mask.where(scores, lowest)
    if axes == 1:
        return scores.op("Softmax", axis=rank - 1)
    return (scores - log_sum_exp({}, scores, range(rank - axes, rank), True)).op("Exp")


def _mask(call: OnnxCall, query: Tensor, value: Tensor, window: int | None) -> Term | None:
    """All masks in one, in a shape that broadcasts against the scores."""
    found: Term | None = None

    def meet(other: Term) -> None:
        nonlocal found
        found = other if found is None else found & other

    for place, name, axis in ((3, "query_mask", 2), (4, "value_mask", 1), (5, "key_mask", 1)):
        given = call.as_tensor(call.operand(place, name))
        if given is not None:
            if query.rank != 3:
                raise CannotTell(f"it has a {name} and several attention axes")
            meet(term(call, given, None, "bool").unsqueeze(axis))
    if call.operand(9, "use_causal_mask", False):
        meet(_positions(call, call.size(query, 1), call.size(value, 1), None))
    if window is not None:
        meet(_positions(call, call.size(query, 1), call.size(value, 1), int(window)))
    attention = call.as_tensor(call.operand(6, "attention_mask"))
    ranks = 3
    if attention is not None:
        given_mask = term(call, attention, None, "bool")
        if found is not None and attention.rank != 3:
            raise CannotTell("its attention mask meets others that have other axes")
        ranks = attention.rank
        meet(given_mask)
    if found is None:
        return None
    attended = call.config.get("attention_axes")
    count = 1 if attended is None and query.rank == 3 else len(attended or range(1, query.rank - 1))
    lacking = query.rank + count - ranks
    return found.unsqueeze(*range(ranks - 2 * count, ranks - 2 * count + lacking)) if lacking else found


def _positions(call: OnnxCall, rows: Size, columns: Size, window: int | None) -> Term:
    """Truths of shape (1, rows, columns): which positions may be seen; those before, or those near."""
    if isinstance(rows, int) and isinstance(columns, int):
        apart = np.arange(rows)[:, None] - np.arange(columns)
        seen = apart >= 0 if window is None else np.abs(apart) < window
        return Term(call, call.constant(seen[None], "bool", "positions"), "bool")
    one, two = (counted(call, size) for size in (rows, columns))
    away = one.unsqueeze(1) - two.unsqueeze(0)
    return (away >= 0 if window is None else away.op("Abs") < window).unsqueeze(0)


def counted(call: OnnxCall, size: Size) -> Term:
    """The numbers from 0 up to a size."""
    zero, one = call.constant(0, "int64", "zero"), call.constant(1, "int64", "one")
    end = call.constant(size, "int64") if isinstance(size, int) else call.squeeze(size, [0])
    return Term(call, call.op("Range", zero, end, one), "int64")


def write_dot_product(call: OnnxCall) -> None:
    """Write ``ops.dot_product_attention``: (batch, steps, heads, width) operands."""
    config = call.config
    query, key, value = (call.tensor(place, name) for place, name in enumerate(("query", "key", "value")))
    if config.get("attn_logits_soft_cap") is not None:
        raise CannotTell("its scores are capped, which Keras does on some backends only")
    q, k, v = (term(call, operand, None, call.output.dtype) for operand in (query, key, value))
    heads, shared = query.shape[2], key.shape[2]
    if heads != shared:
        if heads is None or shared is None or heads % shared:
            raise CannotTell("its heads do not fit each other")
        at = np.repeat(np.arange(shared), heads // shared)
        k, v = k.gather(at, 2), v.gather(at, 2)
    given = call.operand(5, "scale")
    width = query.shape[3]
    if given is None and width is None:
        raise CannotTell("the width of its heads is unknown")
    scale = 1 / sqrt(width or 1) if given is None else given
    if isinstance(scale, Tensor):
        scale = term(call, scale, None, q.dtype)
    scores = einsum("BTNH,BSNH->BNTS", q * scale, k)
    bias, mask = call.as_tensor(call.operand(3, "bias")), call.as_tensor(call.operand(4, "mask"))
    if bias is not None:
        scores = scores + term(call, bias, None, q.dtype)
    found = None if mask is None else term(call, mask, None, "bool")
    if config.get("is_causal"):
        seen = _positions(call, call.size(query, 1), call.size(key, 1), None).unsqueeze(0)
        found = seen if found is None else found & seen
    give(call, einsum("BNTS,BSNH->BTNH", _softmax(scores, found, 4, 1), v))


def write_dot_attention(call: OnnxCall, *, additive: bool = False) -> None:
    """Write Attention and AdditiveAttention: scores between the steps of two sequences."""
    inputs = call.operand(0, "inputs")
    query, value = inputs[:2]
    key = inputs[2] if len(inputs) > 2 else value
    if not all(isinstance(each, Tensor) for each in (query, key, value)):
        raise CannotTell("an operand is no tensor")
    q, k, v = (term(call, each, None, call.float) for each in (query, key, value))
    rank, scale = query.rank, call.layer.array("scale")
    weight = call.layer.array("concat_score_weight")
    if not set(call.weights) <= {"scale", "concat_score_weight"}:
        raise CannotTell(f"it computes with {', '.join(sorted(call.weights))}")
    if additive or call.config.get("score_mode", "dot") == "concat":
        both = q.unsqueeze(rank - 1) + k.unsqueeze(rank - 2)
        if additive:
            both = both.op("Tanh")
            both = both if scale is None else both * scale
        else:
            both = (both if scale is None else both * scale).op("Tanh")
        scores = both.reduce("ReduceSum", [rank], keepdims=False)
        scores = scores if weight is None else scores * weight
    else:
        scores = q.matmul(k.transpose([*range(rank - 2), rank - 1, rank - 2]))
        scores = scores if scale is None else scores * scale
    masks = list(call.operand(1, "mask") or ())
    of_query, of_value = (call.as_tensor(masks[place]) if place < len(masks) else None for place in (0, 1))
    seen = None if of_value is None else term(call, of_value, None, "bool").unsqueeze(of_value.rank - 1)
    if call.operand(4, "use_causal_mask", False):
        before = _positions(call, call.size(query, rank - 2), call.size(key, rank - 2), None)
        seen = before if seen is None else seen & before
    if seen is not None:
        scores = seen.where(scores, scores - (65504.0 if scores.dtype == "float16" else 1e9))
    probabilities = scores.op("Softmax", axis=rank - 1)
    made = probabilities.matmul(v)
    if of_query is not None:
        made = term(call, of_query, None, "bool").unsqueeze(of_query.rank).where(made, 0.0)
    give(call, made)
    if len(call.outputs) > 1:
        give(call, probabilities, index=1)
