"""Layers and ops that move positions about: labels are moved as the data are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.reshaping import reshaped
from kerasurgeon.rules.answers import Moved, Movement, Permuted, Regrouped
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Labels
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Array, Order, Shuffled, Size, natural
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import register_rule
from kerasurgeon.rules.rule import Free


class Reshape(Free):
    """Reshape and ``ops.reshape``.

    Args:
        key: The entry of the config with the target sizes.
        batch: How many leading axes the entry leaves out.
    """

    def onnx(self, call: OnnxCall) -> None:
        """A Reshape."""
        write_regrouped(call)

    def __init__(self, key: str, *, batch: int) -> None:
        super().__init__(keeps_batch=bool(batch))
        self.key, self.batch = key, batch

    def movement(self, layer: Layer, rank: int) -> Regrouped:
        """Regrouped."""
        return Regrouped(by_count=True, keeps_batch=bool(self.batch))

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are reshaped, and the target sizes follow what is kept."""
        result = reshaped(call, call.input, call.shape, same=self.batch)
        wanted = call.config[self.key]
        if result.factors:
            entries = tuple(wanted) if not isinstance(wanted, int) else (wanted,)

            def change(keep: Keep) -> dict[str, tuple[int | None, ...]]:
                sizes = keep.shape(result)[self.batch :]
                return {
                    self.key: tuple(
                        old if old is None or old == -1 else new for old, new in zip(entries, sizes, strict=True)
                    )
                }

            call.change(change)
        return result


class Ravel(Free):
    """``ops.ravel``."""

    def onnx(self, call: OnnxCall) -> None:
        """A Reshape."""
        write_regrouped(call)

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def movement(self, layer: Layer, rank: int) -> Regrouped:
        """Regrouped."""
        return Regrouped(by_count=True, keeps_batch=False)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are flattened, where the batch is known."""
        return reshaped(call, call.input, call.shape)


def write_regrouped(call: OnnxCall) -> None:
    """Write the first operand in the shape of the result."""
    sizes: list[Size] = [-1 if size is None else size for size in call.output.shape]
    if sizes.count(-1) > 1 and sizes[0] == -1:
        sizes[0] = call.size(call.input, 0)
    if sizes.count(-1) > 1:
        raise CannotTell("several sizes of its result are unknown")
    call.give(call.reshape(call.read(call.input), sizes))


class Flatten(Free):
    """Flatten: channels last, whatever the data format."""

    def onnx(self, call: OnnxCall) -> None:
        """A Reshape; a Dense behind it takes the positions in the order in which they lie."""
        operand, rank = call.input, call.input.rank
        last = (0, *range(2, rank), 1) if call.config["data_format"] == "channels_first" and rank > 2 else natural(rank)
        length = call.output.shape[1]
        sizes: list[Size] = [call.size(operand, 0), -1] if length is None else [-1, length]

        def flat(order: Order) -> str:
            return call.reshape(call.read(operand, order), sizes)

        lying = operand.order
        if lying == last or lying[0] != 0 or length is None:
            return call.give(flat(last))
        places: Array = np.arange(length).reshape([operand.shape[axis] or 0 for axis in last[1:]])
        positions = places.transpose([last.index(axis) - 1 for axis in lying[1:]]).reshape(-1)
        if np.array_equal(positions, np.arange(positions.size)):
            return call.give(flat(last))
        return call.give_later(lambda: (flat(last), natural(2)), Shuffled(flat(lying), positions))

    def movement(self, layer: Layer, rank: int) -> Movement:
        """Regrouped, unless the channels are moved first."""
        if layer.config["data_format"] == "channels_first" and rank > 2:
            return Moved("moves the channels to the end before it flattens")
        return Regrouped(by_count=True, keeps_batch=True)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels are flattened."""
        labels = call.input
        if call.config["data_format"] == "channels_first" and labels.rank > 1:
            labels = transposed(labels, (0, *range(2, labels.rank), 1))
        return reshaped(call, labels, call.shape, same=1)


class Permute(Free):
    """Permute, ``ops.transpose``, ``ops.moveaxis``, ``ops.swapaxes``."""

    def onnx(self, call: OnnxCall) -> None:
        """Nothing: the axes are called otherwise. Who reads them in another order turns them."""
        order = axis_order(call.layer, call.input.rank)
        lying = call.input.order
        call.give(call.read(call.input, lying), tuple(order.index(axis) for axis in lying))

    def __init__(self, *, keeps_batch: bool = False) -> None:
        super().__init__(keeps_batch=keeps_batch)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels move with their axes."""
        return transposed(call.input, axis_order(call.layer, call.input.rank))

    def movement(self, layer: Layer, rank: int) -> Permuted:
        """Permuted."""
        order = axis_order(layer, rank)
        if "dims" in layer.config:
            return Permuted(order, "dims", leading=1)
        return Permuted(order, "axes" if "axes" in layer.config else None)


class InsertedAxes(Free):
    """``ops.expand_dims``, ``ops.squeeze``: axes of size one come and go."""

    def onnx(self, call: OnnxCall) -> None:
        """Unsqueeze and Squeeze."""
        labels, axis = call.input, call.config.get("axis")
        wide = max(labels.rank, len(call.output.shape))
        if axis is None:
            named = [place for place, size in enumerate(labels.shape) if size == 1]
        else:
            named = sorted({int(place) % wide for place in np.atleast_1d(axis)})
        change = call.squeeze if labels.rank > len(call.output.shape) else call.unsqueeze
        call.give(change(call.read(labels), named))

    def __init__(self) -> None:
        super().__init__(keeps_batch=False)

    def movement(self, layer: Layer, rank: int) -> Regrouped:
        """Regrouped."""
        return Regrouped(by_count=False, keeps_batch=False)

    def channels(self, call: ChannelCall) -> Labels:
        """Labels move with their axes; a channel axis of size one that goes is frozen."""
        labels, axis = call.input, call.config.get("axis")
        wide = max(labels.rank, len(call.shape))
        if axis is None:
            named = {place for place, size in enumerate(labels.shape) if size == 1}
        else:
            named = {int(place) % wide for place in np.atleast_1d(axis)}
        if labels.rank < len(call.shape):
            left = [place for place in range(wide) if place not in named]
            return labels.moved(call.shape, dict(enumerate(left)))
        factors = [factor for factor in labels.factors if not named.issuperset(factor.axes)]
        for factor in labels.factors:
            if factor not in factors:
                call.freeze(factor.ids, Reason.PICKED)
        kept = [f if named.isdisjoint(f.axes) else call.collapse(f, set(f.axes) - named) for f in factors]
        left = [place for place in range(wide) if place not in named]
        return Labels(labels.shape, tuple(kept), labels.why).moved(
            call.shape, {own: place for place, own in enumerate(left)}
        )


class RepeatVector(Free):
    """RepeatVector: a new axis after the batch."""

    def onnx(self, call: OnnxCall) -> None:
        """A Tile of the operand with one more axis."""
        x = call.unsqueeze(call.read(call.input), [1])
        call.give(call.op("Tile", x, call.integers(1, int(call.config["n"]), 1)))

    def movement(self, layer: Layer, rank: int) -> Moved:
        """Repeated."""
        return Moved()

    def channels(self, call: ChannelCall) -> Labels:
        """As they were, one axis on; the new axis becomes as long as what it meets."""
        ids = call.spare(int(call.config["n"]))
        call.count(n=ids)
        moved = call.input.moved(call.shape, {1: 2})
        return Labels(call.shape, (Factor((1,), ids), *moved.factors), moved.why)


def axis_order(layer: Layer, rank: int) -> tuple[int, ...]:
    """Which axis of the operand each axis of the result was."""
    config = layer.config
    if "dims" in config:
        return (0, *(int(axis) for axis in config["dims"]))
    if "axes" in config:
        axes = config["axes"]
        return tuple(range(rank))[::-1] if axes is None else tuple(int(axis) % rank for axis in axes)
    order = list(range(rank))
    if "axis1" in config:
        one, other = config["axis1"] % rank, config["axis2"] % rank
        order[one], order[other] = order[other], order[one]
        return tuple(order)
    source, target = (np.atleast_1d(config[key]) % rank for key in ("source", "destination"))
    order = [axis for axis in order if axis not in source]
    for place, axis in sorted(zip(target.tolist(), source.tolist(), strict=True)):
        order.insert(place, axis)
    return tuple(order)


def transposed(labels: Labels, order: Sequence[int]) -> Labels:
    """Labels with their axes in another order: axis ``i`` of the result was axis ``order[i]``."""
    places = {axis: place for place, axis in enumerate(order)}
    shape = tuple(labels.shape[axis] for axis in order)
    return labels.moved(shape, places)


register_rule("Reshape", Reshape("target_shape", batch=1))
register_rule("ops.reshape", Reshape("newshape", batch=0))
register_rule("Flatten", Flatten())
register_rule("Permute", Permute(keeps_batch=True))
register_rule(("ops.transpose", "ops.moveaxis", "ops.swapaxes"), Permute())
register_rule(("ops.expand_dims", "ops.squeeze"), InsertedAxes())
register_rule("ops.ravel", Ravel())
register_rule("RepeatVector", RepeatVector())
