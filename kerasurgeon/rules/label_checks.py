"""What is asked of the labels of a user's rule: those it returns, and those that weights, config and ties hold."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.rules.answer_checks import Wrong, is_whole, shown
from kerasurgeon.rules.channel_call import ChannelCall, Held
from kerasurgeon.rules.labels import Factor, Ids, Labels
from kerasurgeon.rules.reasons import Reason

Later = Callable[[Callable[..., Any], Callable[[Any], None]], Callable[..., Any]]


def labels(found: Any, call: ChannelCall) -> Any:
    """Labels for each output, as many as its sizes; see ``before_channels`` for what needs to know the time before."""
    return before_channels(call, lambda function, _: function).checked(found)


def before_channels(call: ChannelCall, later: Later) -> Before:
    """What a call holds before its rule is asked.

    Args:
        call: The call.
        later: Wraps a function that the rule leaves for the cut, with what is asked of its result.
    """
    root = _root(call)
    recorded: tuple[list[Any], ...] = (
        call.pairs,
        call.frozen,
        call.inexact,
        call.grids,
        call.blocks,
        call.held,
        call.counts,
    )
    functions: tuple[list[Any], ...] = (call.changes, call.scales, call.operand_changes)
    return Before(call, root.next_label, tuple(map(len, recorded)), tuple(map(len, functions)), later)


@dataclass(frozen=True)
class Before:
    """A call as it was before its rule was asked.

    Attributes:
        call: The call.
        first: The first label that the rule can have made.
        recorded: How much was recorded of it already, by the layer around it.
        functions: How many functions were.
        later: Wraps those that the rule adds.
    """

    call: ChannelCall
    first: int
    recorded: tuple[int, ...]
    functions: tuple[int, ...]
    later: Later

    def checked(self, found: Any) -> Any:
        """The rule's result, if it and what was recorded can be used.

        Raises:
            Wrong: They cannot.
        """
        call = self.call
        several = found if isinstance(found, tuple) else (found,)
        for each in several:
            if not isinstance(each, Labels):
                hint = "Labels, as call.output(ids) and call.input are, or a tuple of them"
                raise Wrong("its result is no labels.", hint, shown(each))
        if call.outputs and len(several) != len(call.outputs):
            raise Wrong("not labels for each output.", f"{len(call.outputs)} Labels", f"{len(several)}")
        for index, each in enumerate(several):
            self._output(each, index)
        pairs, frozen, inexact, grids, blocks, held, counts = self.recorded
        for one, other in call.pairs[pairs:]:
            self._known(one, "call.tie()")
            self._known(other, "call.tie()")
        for ids, why in [*call.frozen[frozen:], *call.inexact[inexact:]]:
            self._known(ids, "call.freeze()")
            if not isinstance(why, tuple) or len(why) != 2 or not isinstance(why[0], Reason):
                raise Wrong("a reason that is none.", "a Reason of kerasurgeon.rules", shown(why))
        for ids, _ in call.grids[grids:]:
            self._known(ids, "call.grid()")
        for block in call.blocks[blocks:]:
            self._known(block.ids, "call.fresh()")
        for each in call.held[held:]:
            self._held(each)
        for path, ids in call.counts[counts:]:
            self._count(path, ids)
        self._guard_functions()
        return found

    def _output(self, each: Labels, index: int) -> None:
        which = "its result" if len(self.call.outputs) < 2 else f"its result for output {index}"
        shape = tuple(each.shape)
        if self.call.outputs:
            wanted = self.call.outputs[index].shape
            if len(shape) != len(wanted) or any(
                None not in pair and pair[0] != pair[1] for pair in zip(shape, wanted, strict=True)
            ):
                raise Wrong(f"{which} is for another shape.", f"Labels of shape {wanted}", str(shape))
        taken: set[int] = set()
        for factor in each.factors:
            if not isinstance(factor, Factor):
                raise Wrong(f"{which} has a factor that is none.", "Factor(axes, ids)", shown(factor))
            axes = tuple(factor.axes)
            if list(axes) != sorted(set(axes)) or taken & set(axes) or not all(0 <= axis < len(shape) for axis in axes):
                raise Wrong(
                    f"{which} has wrong axes.", f"ascending axes from 0 to {len(shape) - 1}, each once", str(axes)
                )
            taken |= set(axes)
            self._known(factor.ids, which)
            _fits(factor.ids, [shape[axis] for axis in axes], f"{which}, along axes {axes},")

    def _known(self, ids: Any, where: str) -> None:
        if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
            raise Wrong(f"{where} is given no labels.", "an array of whole numbers, as call.along() gives", shown(ids))
        if not ids.size:
            return
        root = _root(self.call)
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= root.next_label:
            raise Wrong(f"{where} has labels that nobody made.", f"labels below {root.next_label}", f"{low} to {high}")
        old = ids[ids < self.first]
        if old.size:
            given = [factor.ids.ravel() for each in (*self.call.inputs, *root.inputs) for factor in each.factors]
            came = np.isin(old, np.concatenate(given)) if given else np.zeros(1, bool)
            if not came.all():
                raise Wrong(
                    f"{where} has labels of another call.",
                    "labels of the operands, or new ones by call.fresh()",
                    f"label {int(old[~came][0]) if given else int(old[0])}",
                )

    def _held(self, held: Held) -> None:
        if isinstance(held.owner, str):
            key = held.owner.removeprefix(self.call.prefix)
            where, shape = f"weight {key!r}", tuple(self.call.layer.weights[key].array.shape)
        else:
            where, shape = f"operand {held.owner}", tuple(_root(self.call).inputs[held.owner].shape)
        self._known(held.ids, where)
        if len(set(held.axes)) != len(held.axes):
            raise Wrong(f"{where}: an axis is named twice.", f"axes of {shape}, each once", str(held.axes))
        _fits(held.ids, [shape[axis] for axis in held.axes], f"{where}, along axes {held.axes},")

    def _count(self, path: tuple[str | int, ...], ids: Any) -> None:
        entry: Any = self.call.config
        inside = path[len(self.call.config_path) :]
        for key in inside:
            try:
                entry = entry[key]
            except (KeyError, IndexError, TypeError):
                names = ", ".join(map(str, self.call.config))
                raise Wrong("it counts an entry that the config lacks.", f"one of: {names}", repr(key)) from None
        self._known(ids, f"call.count({inside[-1]}=...)")
        if is_whole(entry) and entry != len(ids):
            raise Wrong(
                f"the config's {inside[-1]!r} is not the number of its labels.", f"{entry} labels", f"{len(ids)} labels"
            )

    def _guard_functions(self) -> None:
        call, (changes, scales, operands) = self.call, self.functions
        call.changes[changes:] = [self.later(each, _is_mapping) for each in call.changes[changes:]]
        call.scales[scales:] = [(key, self.later(each, _is_number)) for key, each in call.scales[scales:]]
        call.operand_changes[operands:] = [self.later(each, _is_operands) for each in call.operand_changes[operands:]]


def _root(call: ChannelCall) -> ChannelCall:
    while call.outer is not None:
        call = call.outer
    return call


def _fits(ids: Ids, sizes: list[int | None], what: str) -> None:
    if len(ids.shape) != len(sizes) or any(
        size not in (None, found) for found, size in zip(ids.shape, sizes, strict=True)
    ):
        raise Wrong(f"{what} has another number of labels.", f"shape {tuple(sizes)}", f"shape {ids.shape}")


def _is_mapping(found: Any) -> None:
    if not isinstance(found, Mapping):
        raise Wrong("call.change() gives no entries of the config.", "a mapping of names to values", shown(found))


def _is_number(found: Any) -> None:
    if not isinstance(found, numbers.Real) or isinstance(found, bool):
        raise Wrong("call.rescale() gives no number.", "a number", shown(found))


def _is_operands(found: Any) -> None:
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Mapping):
        raise Wrong("call.change_operands() gives no operands.", "(args, kwargs)", shown(found))


__all__ = ["Before", "before_channels", "labels"]
