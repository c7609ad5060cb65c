"""Attention: projections, scores, weighted sums.

Masks, causal or not, and sliding windows save nothing here: the kernels compute every score and mask it
afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import keras

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.layers.activations import hold_vector_apart
from kerasurgeon.layers.contracting import Kernel, Tensor, constant, contract
from kerasurgeon.layers.onnx_attention import (
    write_dot_attention,
    write_dot_product,
    write_grouped_query,
    write_multi_head,
)
from kerasurgeon.layers.projecting import Projecting
from kerasurgeon.rules.call import Call, CannotTell, elements
from kerasurgeon.rules.channel_call import ChannelCall, Operands
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
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


class MultiHeadAttention(Projecting):
    """MultiHeadAttention, over any attention axes, with or without a gate."""

    def onnx(self, call: OnnxCall) -> None:
        """Products of matrices and a Softmax."""
        write_multi_head(call)

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

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """Heads, key widths, value widths and output channels."""
        return multi_head_attention(call)


class GroupedQueryAttention(Projecting):
    """GroupQueryAttention: fewer heads for key and value, repeated for the scores."""

    def onnx(self, call: OnnxCall) -> None:
        """Products of matrices and a Softmax."""
        write_grouped_query(call)

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

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """Groups of heads, and their width."""
        return grouped_query_attention(call)


class DotAttention(_Attention):
    """Attention: scores are dot products, or sums of tanh (``score_mode="concat"``), which count as 0."""

    def onnx(self, call: OnnxCall) -> None:
        """Products of matrices and a Softmax."""
        write_dot_attention(call)

    def macs(self, call: Call) -> int:
        """Scores and their weighted sum."""
        query, value, *rest = call.operand(0, "inputs")
        key = rest[0] if rest else value
        scores = elements(query.shape[:-1]) * elements(key.shape[-2:-1])
        summed = scores * elements(value.shape[-1:])
        return summed + (scores * elements(query.shape[-1:]) if self._has_products(call) else 0)

    def channels(self, call: ChannelCall) -> tuple[Labels, ...]:
        """What scores are summed over is tied in query and key; the channels of the value pass."""
        query, value, *rest = call.operand(0, "inputs")
        key = rest[0] if rest else value
        given = (query, value, *rest)
        if any(not isinstance(labels, Labels) or labels.array is not None for labels in given):
            raise CannotTell("an operand is no tensor")
        freeze_masks(call, given)
        positions = {"query": 0, "value": 1, "key": len(given) - 1}
        batch = "ABCDEFGH"[: query.rank - 2]
        # Steps are weighed against one another: they stay.
        spared = [call.only(labels, *range(query.rank - 2), -1) for labels in (query, key, value)]
        terms = (f"{batch}td", f"{batch}sd", f"{batch}sv")
        operands = [
            Tensor(positions[name], labels, letters)
            for name, labels, letters in zip(("query", "key", "value"), spared, terms, strict=True)
        ]
        self._score(call, operands)
        output = contract(call, operands, self._kernels(call), f"{batch}tv")
        return (output,) if len(call.outputs) == 1 else (output, Labels(call.outputs[1].shape))

    def _score(self, call: ChannelCall, operands: list[Tensor]) -> None:
        """Sums of tanh are over what is zero in query and key alike."""
        call.weight("scale", {})
        call.weight("concat_score_weight", {})
        if call.config.get("score_mode", "dot") == "concat":
            for tensor in operands[:2]:
                call.mask(tensor.labels, -1, tensor.position)

    def _kernels(self, call: ChannelCall) -> list[Kernel]:
        return []

    def _has_products(self, call: Call) -> bool:
        return bool(call.config.get("score_mode", "dot") == "dot")


class AdditiveAttention(DotAttention):
    """AdditiveAttention: its scores are element-wise sums, so that the weighted sum alone counts."""

    def onnx(self, call: OnnxCall) -> None:
        """A sum of tanh, a Softmax, a product."""
        write_dot_attention(call, additive=True)

    def _score(self, call: ChannelCall, operands: list[Tensor]) -> None:
        if "scale" not in call.weights:
            for tensor in operands[:2]:
                call.mask(tensor.labels, -1, tensor.position)

    def _kernels(self, call: ChannelCall) -> list[Kernel]:
        """The weights of the sum, one per channel of query and key."""
        scale = call.weights.get("scale")
        if scale is None:
            return []
        return [
            Kernel("d", scale.shape, lambda axes, summed: call.weight("scale", axes, contracts=summed), zeroed=True)
        ]

    def _has_products(self, call: Call) -> bool:
        return False


class DotProductAttentionOp(_Attention):
    """``ops.dot_product_attention``: (batch, steps, heads, width) operands."""

    def onnx(self, call: OnnxCall) -> None:
        """Products of matrices and a Softmax."""
        write_dot_product(call)

    def macs(self, call: Call) -> int:
        """Scores and their weighted sum, per head of the query."""
        query, key, value = (call.tensor(index, name) for index, name in enumerate(("query", "key", "value")))
        scores = elements(query.shape[:-1]) * elements(key.shape[1:2])
        return scores * (elements(query.shape[-1:]) + elements(value.shape[-1:]))

    def channels(self, call: ChannelCall) -> Labels:
        """Heads go whole; widths that are labelled by themselves go from all three operands."""
        if len(call.args) < 3 or any(not isinstance(x, Labels) or x.array is not None for x in call.args[:3]):
            raise CannotTell("its query, key or value is no tensor")
        query, key, value = (call.only(labels, 0, 2, 3) for labels in call.args[:3])  # steps stay
        if query.shape[-1] != value.shape[-1]:
            raise CannotTell("its value is not as wide as its query, whose shape Keras takes for that of the result")
        shared = query.shape[2] != key.shape[2]
        if shared and any(labels.factor(2) is not None for labels in (query, key, value)):
            raise CannotTell("several heads of the query share one of the key")
        tensors = [Tensor(0, query, "btnd"), Tensor(1, key, "bsnd"), Tensor(2, value, "bsnv")]
        kernels = []
        for labels in (call.operand(3, "bias"), call.operand(4, "mask")):
            if isinstance(labels, Labels) and labels.array is not None:
                kernels.append(constant(call, labels, "bnts"))
            elif isinstance(labels, Labels):
                position = next(place for place, operand in enumerate(call.inputs) if operand is labels)
                tensors.append(Tensor(position, call.only(labels, 0, 1), "bnts"))
        result = contract(call, tensors, kernels, "btnv")
        self._tie_widths(call, query, result)
        if call.operand(5, "scale") is None:
            self._keep_temperature(call, query)
        return result

    def _tie_widths(self, call: ChannelCall, query: Labels, result: Labels) -> None:
        """Keras takes the query's shape for that of the result."""
        several = [labels.factor(3) for labels in (query, result)]
        alone = [factor for factor in several if factor is not None and factor.axes == (3,)]
        if len(alone) == 2:
            call.tie(alone[0].ids, alone[1].ids)
        elif alone:
            call.freeze(alone[0].ids, Reason.FIXED_AXIS)

    def _keep_temperature(self, call: ChannelCall, query: Labels) -> None:
        """Without a scale, scores are divided by the square root of the width: that of before stays."""
        width = query.shape[3] or 1

        def change(keep: Keep, operands: Operands) -> Operands:
            args, kwargs = operands
            if keep.shape(query)[3] == width:
                return operands
            return args[:5], {**kwargs, "scale": width**-0.5}

        call.change_operands(change)


def operands(call: ChannelCall) -> tuple[Labels, Labels, Labels]:
    """Query, key and value: the key is the value where it is not given.

    Raises:
        CannotTell: One of them is no tensor.
    """
    query, value = call.operand(0, "query"), call.operand(1, "value")
    key = call.operand(2, "key")
    key = value if key is None else key
    if not all(isinstance(labels, Labels) and labels.array is None for labels in (query, key, value)):
        raise CannotTell("its query, key or value is no tensor")
    return query, key, value


def reads(call: ChannelCall, labels: Labels) -> Ids | None:
    """The labels along the last axis; others are frozen."""
    return call.along(call.only(labels, -1), -1)


def freeze_masks(call: ChannelCall, used: Iterable[Labels]) -> None:
    """Freeze whatever masks and other operands than those used carry."""
    known = {id(labels) for labels in used}
    for labels in call.inputs:
        if id(labels) not in known:
            call.only(labels)


def hold_mask(call: ChannelCall, heads: Ids, rank: int, axis: int) -> None:
    """Let the attention mask follow the heads, where it has one part per head.

    Args:
        call: The call.
        heads: Labels of the heads.
        rank: Number of axes of the scores.
        axis: Which of them the heads are.
    """
    mask = call.operand(6, "attention_mask")
    if not isinstance(mask, Labels) or mask.rank < rank or mask.shape[axis] == 1:
        return
    if mask.array is not None:
        call.constant(mask, {axis: heads})
    else:
        call.tie(heads, call.along_or_fixed(mask, axis))


def projections(
    call: ChannelCall, read: tuple[Labels, Labels, Labels], *, heads: tuple[Ids, Ids], widths: tuple[Ids, Ids]
) -> Ids | None:
    """Say who holds what of the projections from (features) to (heads, width) before the scores.

    Args:
        call: The call.
        read: Query, key and value.
        heads: Labels of the heads of the query, and of key and value.
        widths: Labels of the widths of query and key, over which the scores sum, and of the value.

    Returns:
        The labels of the query's features, ``None`` if they cannot shrink.
    """
    query, key, value = (reads(call, labels) for labels in read)
    (own, shared), (summed, values) = heads, widths
    for name, labels, features, made, width in (
        ("query", read[0], query, own, summed),
        ("key", read[2], key, shared, summed),
        ("value", read[1], value, shared, values),
        ("gate", read[0], query, own, values),
    ):
        inside = name == "query"  # zeros in the query's kernel alone take a width out of the scores
        call.weight(f"{name}/kernel", {0: features, 1: made, 2: width}, contracts=(0, 2) if inside else 0)
        call.weight(f"{name}/bias", {0: made, 1: width}, contracts=1 if inside else ())
        if f"{name}/bias" in call.weights:
            hold_vector_apart(call, [(made, made.size), (width, width.size)], labels.shape[1])
    return query


def keep_temperature(call: ChannelCall, widths: Ids) -> None:
    """Scores are divided by the square root of the width in the config: the query makes up for a smaller one."""
    for key in ("query/kernel", "query/bias"):
        if key in call.weights:
            call.rescale(key, lambda keep: sqrt(keep.count(widths) / len(widths)))


def multi_head_attention(call: ChannelCall) -> tuple[Labels, ...]:
    """MultiHeadAttention: heads, key widths, value widths and output channels shrink independently."""
    query, key, value = operands(call)
    config = call.config
    width: int = config["key_dim"]
    heads = call.fresh(config["num_heads"], "heads")
    keys = call.fresh(width, "key_dim")
    values = call.fresh(config["value_dim"] or width, "value_dim")
    read = projections(call, (query, key, value), heads=(heads, heads), widths=(keys, values))
    shape = config["output_shape"] or (query.shape[-1],)
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    made = [call.fresh(size, "" if len(sizes) == 1 else f"output{place}") for place, size in enumerate(sizes)]
    call.weight(
        "attention_output/kernel",
        {0: heads, 1: values, **{place + 2: ids for place, ids in enumerate(made)}},
        contracts=(0, 1),
    )
    call.weight("attention_output/bias", dict(enumerate(made)))
    keep_temperature(call, keys)
    call.count(num_heads=heads, key_dim=keys, value_dim=values)

    def follow(keep: Keep) -> dict[str, object]:
        kept = tuple(keep.count(ids) for ids in made)
        features = query.shape[-1] if read is None else keep.count(read)
        changes: dict[str, object] = {}
        if config["output_shape"] or kept != (features,):  # without a shape, the output is as wide as the query
            changes["output_shape"] = kept
        if not config["value_dim"] and keep.count(keys) != width:
            changes["value_dim"] = keep.count(values)
        return changes

    call.change(follow)
    attended = len(config["attention_axes"] or range(1, query.rank - 1))
    rank = query.rank + attended
    hold_mask(call, heads, rank, rank - 2 * attended - 1)
    freeze_masks(call, (query, key, value, call.operand(6, "attention_mask")))
    first = query.rank - 1
    output = call.output({first + place: ids for place, ids in enumerate(made)})
    return _with_scores(call, output, heads, usual=query.rank == 3)


def grouped_query_attention(call: ChannelCall) -> tuple[Labels, ...]:
    """GroupQueryAttention: a head of key and value goes with all heads of the query that share it."""
    query, key, value = operands(call)
    config = call.config
    heads = call.fresh(config["num_query_heads"], "heads")
    shared = call.fresh(config["num_key_value_heads"], "key_value_heads")
    call.tie(heads.reshape(len(shared), -1), shared[:, None])
    widths = call.fresh(config["head_dim"], "head_dim")
    projections(call, (query, key, value), heads=(heads, shared), widths=(widths, widths))
    # It takes operands of one width alone, and gives one of that width.
    made = call.fresh(len(call.weights["attention_output/kernel"].array[0, 0]))
    for labels in (query, value):
        call.tie(made, call.along_or_fixed(labels, -1))
    call.weight("attention_output/kernel", {0: heads, 1: widths, 2: made}, contracts=(0, 1))
    call.weight("attention_output/bias", {0: made})
    keep_temperature(call, widths)
    call.count(num_query_heads=heads, num_key_value_heads=shared, head_dim=widths)
    hold_mask(call, heads, 4, 1)
    freeze_masks(call, (query, key, value, call.operand(6, "attention_mask")))
    return _with_scores(call, call.output(made), heads, usual=True)


def _with_scores(call: ChannelCall, output: Labels, heads: Ids, *, usual: bool) -> tuple[Labels, ...]:
    """With ``return_attention_scores``, the scores of (batch, heads, steps, steps) are a second output."""
    if len(call.outputs) == 1:
        return (output,)
    if usual:
        return output, call.output(heads, 1, index=1)
    call.freeze(heads, Reason.FIXED_AXIS)  # Keras gives a wrong shape for scores over several axes
    return output, Labels(call.outputs[1].shape)


register_rule("MultiHeadAttention", MultiHeadAttention())
register_rule(keras.layers.GroupQueryAttention, GroupedQueryAttention())  # its class is called otherwise
register_rule("Attention", DotAttention())
register_rule("AdditiveAttention", AdditiveAttention())
register_rule("ops.dot_product_attention", DotProductAttentionOp())
