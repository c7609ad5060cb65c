"""A call as the label analysis shows it to a rule: labels in, labels out, and a record of what holds which labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.call import OPEN_SIZE, Called, CannotTell
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Ids, Labels, Why
from kerasurgeon.rules.reasons import Reason

Path = tuple[str | int, ...]
Change = Callable[[Keep], Mapping[Any, Any]]
Operands = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(slots=True)
class Held:
    """Labels along axes of one weight or constant.

    Attributes:
        owner: What holds it: the path of a weight, or the position of a constant among the operands.
        axes: The axes, ascending.
        ids: Labels over them.
        contracted: Whether the layer sums over these axes, so that zeros here remove what went in.
    """

    owner: str | int
    axes: tuple[int, ...]
    ids: Ids
    contracted: bool = False


@dataclass(slots=True)
class Block:
    """Labels that a call made: the channels of one of its outputs or of something inside it.

    Attributes:
        part: What they are, where a layer makes several blocks (``"heads"``); empty for its output channels.
        ids: The labels.
    """

    part: str
    ids: Ids


@dataclass(slots=True, eq=False)
class ChannelCall(Called[Labels]):
    """One call of a layer or op, for ``Rule.channels``.

    Attributes:
        name: The node's name.
        layer: The definition that is called.
        args: Positional operands as they were nested; tensors, weights and constant arrays are ``Labels``.
        kwargs: Keyword operands likewise.
        outputs: The flattened outputs.
    """

    leaf: ClassVar[type] = Labels

    name: str
    layer: Layer
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[TensorSpec, ...]
    next_label: int = 0
    pairs: list[tuple[Ids, Ids]] = field(default_factory=list)
    frozen: list[tuple[Ids, Why]] = field(default_factory=list)
    avoided: list[tuple[Ids, int]] = field(default_factory=list)
    inexact: list[tuple[Ids, Why]] = field(default_factory=list)
    grids: list[tuple[Ids, tuple[int, ...]]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    counts: list[tuple[Path, Ids]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    scales: list[tuple[str, Callable[[Keep], float]]] = field(default_factory=list)
    operand_changes: list[Callable[[Keep, Operands], Operands]] = field(default_factory=list)
    masks: list[tuple[int, Factor]] = field(default_factory=list)
    prefix: str = ""
    config_path: Path = ()
    part: str = ""
    outer: ChannelCall | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the first output."""
        return self.outputs[0].shape

    # Labels.

    def fresh(self, size: int | tuple[int, ...], part: str = "") -> Ids:
        """New labels, one per position: for channels that this layer makes.

        Args:
            size: How many, or the shape of the array of labels.
            part: What they are called in plans, after the layer's name; empty for the output channels.
        """
        number = size if isinstance(size, int) else int(np.prod(size))
        ids = self._new(number)
        self.blocks.append(Block("/".join(filter(None, (self.part, part))), ids))
        return ids if isinstance(size, int) else ids.reshape(size)

    def _new(self, number: int) -> Ids:
        if self.outer is not None:
            return self.outer._new(number)
        ids = np.arange(self.next_label, self.next_label + number)
        self.next_label += number
        return ids

    def spare(self, size: int) -> Ids:
        """New labels of positions that no layer makes: they go where channels that they are combined with go."""
        return self._new(size)

    def fixed(self, size: int | None, why: Why) -> Ids:
        """Labels for positions that may not go: one frozen label, ``size`` times."""
        if size is None:
            raise CannotTell(OPEN_SIZE)
        label = self._new(1)
        self.frozen.append((label, why))
        return np.broadcast_to(label, (size,))

    def along(self, labels: Labels, axis: int) -> Ids | None:
        """The labels along one axis, ``None`` if it cannot shrink.

        Where labels vary over several axes together, those that differ only in the other axes are tied.
        """
        axis %= max(labels.rank, 1)
        factor = labels.factor(axis)
        if factor is None or factor.axes == (axis,):
            return None if factor is None else factor.ids
        place = factor.axes.index(axis)
        rows = np.moveaxis(factor.ids, place, 0).reshape(factor.ids.shape[place], -1)
        self.tie(rows, rows[:, :1])
        return np.ascontiguousarray(rows[:, 0])

    def along_or_fixed(self, labels: Labels, axis: int) -> Ids:
        """The labels along one axis; frozen ones if it cannot shrink."""
        ids = self.along(labels, axis)
        return self.fixed(labels.shape[axis], labels.why) if ids is None else ids

    def only(self, labels: Labels, *axes: int, reason: Reason = Reason.MIXED) -> Labels:
        """Labels over some axes only: factors on other axes are frozen, or tied along those axes."""
        wanted = {axis % max(labels.rank, 1) for axis in axes}
        kept = []
        for factor in labels.factors:
            inside = [axis for axis in factor.axes if axis in wanted]
            if len(inside) == len(factor.axes):
                kept.append(factor)
            elif not inside:
                self.freeze(factor.ids, reason)
            else:
                kept.append(self.collapse(factor, inside))
        return Labels(labels.shape, tuple(kept), labels.why)

    def collapse(self, factor: Factor, axes: Iterable[int]) -> Factor:
        """A factor over some of its axes: labels that differ only in the other axes are tied."""
        kept = sorted(axes)
        index = tuple(slice(None) if axis in kept else slice(0, 1) for axis in factor.axes)
        first = factor.ids[index]
        self.tie(factor.ids, first)
        return Factor(tuple(kept), first.reshape([factor.ids.shape[factor.axes.index(axis)] for axis in kept]))

    def tie(self, one: Ids | None, other: Ids | None) -> None:
        """Channels at equal positions live and die together; arrays broadcast.

        One of them may be ``None``, as ``along`` gives for an axis that cannot shrink: then the other stays whole too.
        """
        if one is None or other is None:
            for ids in (one, other):
                if ids is not None:
                    self.freeze(ids, Reason.FIXED_AXIS)
        elif one is not other:
            one, other = np.broadcast_arrays(one, other)
            self.pairs.append((one.ravel(), other.ravel()))

    def freeze(self, ids: Ids, reason: Reason, about: str = "") -> None:
        """These channels may not go."""
        self.frozen.append((ids, (reason, about or self.name)))

    def avoid(self, ids: Ids, number: int) -> None:
        """These channels may go, but not so that just this number stays."""
        self.avoided.append((ids, number))

    def inexactly(self, ids: Ids | None, reason: Reason) -> None:
        """These channels may go, but the layer's result is then not that of the masked model."""
        if ids is not None:
            self.inexact.append((ids, (reason, self.name)))

    def grid(self, ids: Ids, fixed: Iterable[int] = ()) -> None:
        """An array of labels that must stay an array when some go: what is kept is a product over its axes.

        Args:
            ids: Labels over several axes.
            fixed: Axes of ``ids`` that may not shrink.
        """
        if ids.ndim > 1:
            self.grids.append((ids, tuple(fixed)))

    def output(self, ids: Ids | Mapping[int, Ids] | None, axis: int = -1, index: int = 0) -> Labels:
        """The labels of an output: along one axis, or along several that shrink independently."""
        shape = self.outputs[index].shape
        if ids is None:
            return Labels(shape)
        if not isinstance(ids, Mapping):
            return Labels(shape, (Factor((axis % len(shape),), ids),))
        return Labels(shape, tuple(Factor((place % len(shape),), ids[place]) for place in ids))

    # Who holds them.

    def weight(self, key: str, axes: Mapping[int | tuple[int, ...], Ids | None], *, contracts: Any = ()) -> None:
        """Say which axes of a weight carry which labels. Weights that the layer does not have are passed over.

        Args:
            key: Path of the weight.
            axes: Labels by axis, or by several axes for an array of labels; ``None`` for an axis that stays.
            contracts: The axis, or axes, that the layer sums over: zeros there remove what went in.
        """
        self.known.add(self.prefix + key)
        weight = self.layer.weights.get(key)
        if weight is not None:
            self._hold(self.prefix + key, weight.array.ndim, axes, contracts)

    def constant(
        self, labels: Labels, axes: Mapping[int | tuple[int, ...], Ids | None], *, contracts: Any = ()
    ) -> None:
        """The same for a constant array, or a weight, among the operands."""
        self._hold(self._position(labels), labels.rank, axes, contracts)

    def _hold(self, owner: str | int, rank: int, axes: Mapping[Any, Ids | None], contracts: Any) -> None:
        summed = {contracts} if isinstance(contracts, int) else set(contracts)
        for axis, ids in axes.items():
            if ids is not None:
                several = axis if isinstance(axis, tuple) else (axis,)
                if max(several) >= rank or min(several) < -rank:
                    raise IndexError(f"axis {axis} of an array with {rank} axes ({owner})")
                self.held.append(Held(owner, tuple(place % rank for place in several), ids, axis in summed))

    def rescale(self, key: str, factor: Callable[[Keep], float]) -> None:
        """Multiply a weight by a number that depends on what is kept, in the cut model."""
        self.scales.append((self.prefix + key, factor))

    def count(self, **sizes: Ids | None) -> None:
        """Entries of the config that are the number of kept positions of some labels."""
        for key, ids in sizes.items():
            if ids is not None:
                self.counts.append(((*self.config_path, key), ids))

    def change(self, change: Change) -> None:
        """Entries of the config that depend on what is kept in another way: a function of ``Keep``."""
        path = self.config_path
        self.changes.append(
            (lambda keep: {(*path, key): value for key, value in change(keep).items()}) if path else change
        )

    def change_operands(self, change: Callable[[Keep, Operands], Operands]) -> None:
        """Operands that depend on what is kept: a function of ``Keep`` and ``(args, kwargs)`` of the node."""
        self.operand_changes.append(change)

    def mask(self, labels: Labels, axis: int, position: int | None = None) -> None:
        """The layer sums over this axis of an operand: zeros there remove a channel's contribution.

        Args:
            labels: The operand.
            axis: The axis.
            position: Which of ``inputs`` it is, where one tensor may be several operands.
        """
        factor = labels.factor(axis)
        if factor is not None:
            self.masks.append((self._position(labels) if position is None else position, factor))

    def _position(self, labels: Labels) -> int:
        """Which of the operands of the node these labels are."""
        call = self
        while call.outer is not None:
            call = call.outer
        for position, operand in enumerate(call.inputs):
            if operand is labels:
                return position
        raise CannotTell("what a layer inside reads is not an operand of the layer around it")

    # Layers inside.

    def inner(
        self,
        layer: Layer,
        path: Path,
        args: tuple[Any, ...],
        outputs: tuple[TensorSpec, ...] = (),
        *,
        kwargs: Mapping[str, Any] | None = None,
        part: str = "",
    ) -> ChannelCall:
        """The call of a layer inside this one; what its rule says of it is said of this call.

        Args:
            layer: The layer inside (see ``rules.inner.inner_layer``).
            path: Where the config of this layer holds its config.
            args: What it is called with.
            outputs: What it gives.
            kwargs: Keyword operands.
            part: What its channels are called in plans, after this layer's name.
        """
        return replace(
            self,
            layer=layer,
            args=args,
            kwargs=kwargs or {},
            outputs=outputs,
            prefix=f"{self.prefix}{layer.name}/",
            config_path=(*self.config_path, *path),
            part="/".join(filter(None, (self.part, part))),
            outer=self,
        )
