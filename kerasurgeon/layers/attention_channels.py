"""How channels pass through layers of projections and attention: heads, widths of heads, and what is read."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Ids, Labels
from kerasurgeon.rules.reasons import Reason


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
    for name, features, made, width in (
        ("query", query, own, summed),
        ("key", key, shared, summed),
        ("value", value, shared, values),
        ("gate", query, own, values),
    ):
        inside = name == "query"  # zeros in the query's kernel alone take a width out of the scores
        call.weight(f"{name}/kernel", {0: features, 1: made, 2: width}, contracts=(0, 2) if inside else 0)
        call.weight(f"{name}/bias", {0: made, 1: width}, contracts=1 if inside else ())
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
