"""What a cut should compute: the model called step by step, with the channels that go multiplied by zero.

Nothing of the library is asked: which positions of a tensor hold a channel that has gone is found by trying. A position
of a result has gone if some operand exists on which it depends, but only through positions that have gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from tests.fuzz.building import Construction
from tests.fuzz.description import Description, Step
from tests.fuzz.inside import PARTS, filled, marked, zeroed
from tests.fuzz.kinds.registry import words

ROWS = 32
"""Samples that are tried at once."""

SCALES = (0.3, 1.0, 3.0, 30.0)
"""Of their values, in turn: some functions change near zero alone, others only where values pass a constant."""

LAST = words(
    "Dense Embedding ReversibleEmbedding EinsumDense SimpleRNN GRU LSTM RNN SimpleRNNCell GRUCell LSTMCell "
    "ops.matmul ops.dot ops.tensordot ops.inner ops.einsum"
)
"""What makes channels along the last axis of all its results."""

IMAGES = words(
    "Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose SeparableConv1D SeparableConv2D "
    "ops.conv ops.conv_transpose ops.separable_conv"
)
"""What makes channels along the axis that its data format says."""

ATTENDING = ("MultiHeadAttention", "GroupQueryAttention")

CONSTANT = words(
    "ops.isfinite ops.isinf ops.isnan ops.isneginf ops.isposinf ops.isreal ops.imag ops.zeros_like ops.ones_like "
    "ops.full_like ops.where"
)
"""What gives entry by entry, but for some entries the same whatever comes in: nothing is found by trying."""

COMPARES = words("ops.equal ops.not_equal ops.greater ops.greater_equal ops.less ops.less_equal ops.isclose")
"""What may give the same for all numbers that are tried: what is compared has gone where both operands have."""

PADS = words("ZeroPadding1D ZeroPadding2D ZeroPadding3D ops.pad")
"""What adds positions to channels."""

Gone = Mapping[str, np.ndarray[Any, Any]]
"""For what makes channels (``layer`` or ``layer#part``) for each channel whether it goes."""


def known(step: Step, source: str, size: int, result: Any) -> bool:
    """Whether it is known here where a source's channels stand."""
    _, _, part = source.partition("#")
    if step.kind == "RNN" and getattr(step.options.get("cell"), "kind", "StackedRNNCells") == "StackedRNNCells":
        return False  # or a layer that is called again, of which is not said here what it is
    if step.kind in LAST or step.kind in IMAGES or step.kind.startswith("ConvLSTM"):
        first = keras.tree.flatten(result)[0]
        return not part and first.shape[_axis(step, len(first.shape))] == size
    return part in PARTS.get(step.kind, ()) or (step.kind in ATTENDING and not part)


def masked_outputs(made: Construction, description: Description, inputs: list[Any], gone: Gone) -> list[Any]:
    """The outputs of the model in which what goes contributes nothing."""
    masking = _Masking(gone)
    tensors = [keras.ops.convert_to_tensor(value) for value in inputs]
    for tensor in tensors:
        masking.note(tensor, np.zeros(tensor.shape[1:], bool))
    return list(keras.tree.flatten(made.run(description, tensors, masking.around)))


class _Masking:
    def __init__(self, gone: Gone) -> None:
        self.gone = gone
        self.places: dict[int, tuple[Any, np.ndarray[Any, Any]]] = {}  # with the tensor, so that its id stays its own
        self.rng = np.random.default_rng(0)

    def note(self, tensor: Any, gone: np.ndarray[Any, Any]) -> None:
        self.places[id(tensor)] = tensor, gone

    def around(self, path: str, step: Step, made: Any, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The call, and zeros where something has gone."""
        own = self.gone.get(path)
        inside = {name.partition("#")[2]: gone for name, gone in self.gone.items() if name.partition("#")[0] == path}
        with zeroed(made, inside):
            result = run(*args, **kwargs)
        operands = keras.tree.flatten((args, kwargs))
        places = [self.places.get(id(operand), (None, None))[1] for operand in operands]
        results = keras.tree.flatten(result)
        found = [np.zeros(tensor.shape[1:], bool) for tensor in results]
        if any(place is not None and place.any() for place in places):
            with filled(made):
                self._try(step, run, (args, kwargs), operands, places, found)
        if own is not None:
            several = 1 if step.kind in ATTENDING else None  # scores are no channels
            for tensor, place in list(zip(results, found, strict=True))[:several]:
                axis = _axis(step, len(tensor.shape))
                if tensor.shape[axis] == len(own):
                    np.moveaxis(place, axis - 1 if axis > 0 else -1, -1)[..., own] = True
        marked(step, inside, found)
        kept = [self._zeroed(tensor, place) for tensor, place in zip(results, found, strict=True)]
        return keras.tree.pack_sequence_as(result, kept)

    def _zeroed(self, tensor: Any, place: np.ndarray[Any, Any]) -> Any:
        if place.any():
            mask = getattr(tensor, "_keras_mask", None)
            dtype = str(tensor.dtype.name)
            tensor = keras.ops.where(place[None], keras.ops.cast(0, dtype), tensor)
            tensor._keras_mask = mask
        self.note(tensor, place)
        return tensor

    def _try(self, step: Step, run: Any, called: Any, operands: list[Any], places: list[Any], found: list[Any]) -> None:
        """Find what depends on gone positions alone, operand by operand."""
        base = [
            operand if place is None else self._random(operand, step)
            for operand, place in zip(operands, places, strict=True)
        ]

        def results(operands: list[Any]) -> list[np.ndarray[Any, Any]]:
            args, kwargs = keras.tree.pack_sequence_as(called, operands)
            given = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(run(*args, **kwargs))]
            return [np.asarray(each) for each in given]

        known = [place for place in places if place is not None]  # not of numbers
        if step.kind in COMPARES and {place.shape for place in known} == {found[0].shape}:
            found[0] |= np.logical_and.reduce(known)
        if step.kind in CONSTANT:
            for place in places:
                found[0] |= False if place is None else place
            return
        before = results(base)
        for index, place in enumerate(places):
            if place is None or not place.any():
                continue
            other = self._random(operands[index], step)
            depends = []
            for moved in (place, ~place):
                changed = list(base)
                changed[index] = keras.ops.where(moved[None], other, base[index])
                depends.append(
                    [
                        ((one != two) & ~((one != one) & (two != two))).any(0)
                        for one, two in zip(before, results(changed), strict=True)
                    ]
                )
            for place_found, on_gone, on_kept in zip(found, *depends, strict=True):
                if step.kind in PADS:
                    on_gone = _with_padding(on_gone, on_kept)
                place_found |= on_gone & ~on_kept

    def _random(self, operand: Any, step: Step) -> Any:
        dtype = str(operand.dtype.name)
        shape = (ROWS, *operand.shape[1:])
        if "float" not in dtype:  # flags, or integers that are indices, but where their bits are shifted away
            most = 32 if "bitwise" in step.kind or "shift" in step.kind else 4
            values = self.rng.integers(0, 2 if dtype == "bool" else most, shape)
            return keras.ops.cast(keras.ops.convert_to_tensor(values), dtype)
        values = self.rng.normal(size=shape) * np.resize(SCALES, (ROWS, *[1] * (len(shape) - 1)))
        return keras.ops.cast(keras.ops.convert_to_tensor(values), dtype)


def _with_padding(gone: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The positions that have gone, and those that stand in the same channels and hold what was padded with."""
    for axis in (gone.ndim - 1, 0):
        others = tuple(place for place in range(gone.ndim) if place != axis)
        channels = gone.any(others, keepdims=True)
        if not (channels & kept.any(others, keepdims=True)).any():  # each channel as a whole
            return np.broadcast_to(channels, gone.shape).copy()
    return gone


def _axis(step: Step, rank: int) -> int:
    """Where a layer's channels stand in a result of this rank."""
    if step.kind in LAST or step.kind in ATTENDING:
        return -1
    given = step.options if step.kind[0].isupper() else step.kwargs
    if given.get("data_format") != "channels_first":
        return -1
    return 2 if step.kind.startswith("ConvLSTM") and rank == 3 + int(step.kind[8]) else 1


__all__ = ["known", "masked_outputs"]
