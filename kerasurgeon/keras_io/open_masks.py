"""Masks that Keras hands on with tensors, where layers that did so have been opened.

Keras lets a tensor carry a mask, which layers take where their call says none. A composite layer that supports masks
puts one on what it gives; ops, which it is opened to, do not. Such a mask is lost: layers behind are told it as an
operand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from kerasurgeon.ir.structure import leaves, map_leaves
from kerasurgeon.keras_io.foreign import is_foreign
from kerasurgeon.keras_io.internals import CallSpec, keras_mask, set_keras_mask

Producers = frozenset[str]
"""Paths of the scopes of opened layers."""


class MustStayClosedError(Exception):
    """Layers were opened whose masks are needed where no operand can bring them.

    Args:
        scopes: The scopes of their calls.
        why: Who needs them.
    """

    def __init__(self, scopes: Producers, why: str) -> None:
        super().__init__(why)
        self.scopes, self.why = scopes, why


def with_masks(layer: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword operands of a call with the masks among them that Keras would take from its tensors."""
    given = dict(kwargs)
    if not carry_masks(leaves((args, given))):
        return given
    call = CallSpec(layer._call_signature, layer._call_context_args, args, dict(given))
    tensors = call.tensor_arguments_dict
    for name in tensors:
        mask = "mask" if len(tensors) == 1 else f"{name}_mask"
        if mask in call.argument_names and call.arguments_dict[mask] is None:
            found = map_leaves(keras_mask, tensors[name])
            if any(leaf is not None for leaf in leaves(found)):
                given[mask] = found
    if _removes(layer) and (own := keras_mask(call.arguments_dict["query"])) is not None:
        rows, more = ops.expand_dims(ops.cast(own, "bool"), -1), call.arguments_dict["attention_mask"]
        given["attention_mask"] = rows if more is None else ops.logical_and(ops.cast(more, "bool"), rows)
    return given


def take_away(layer: Any, tensors: Iterable[Any]) -> None:
    """Take the masks away that a layer takes from what it is called on: later calls do not see them."""
    for tensor in tensors if _removes(layer) else ():
        if isinstance(tensor, keras.KerasTensor):
            set_keras_mask(tensor, None)


def _removes(layer: Any) -> bool:
    """Whether the mask of its query is known to a layer by the tensor alone, whatever it is told as ``query_mask``."""
    return getattr(type(layer), "call", None) is keras.layers.MultiHeadAttention.call


def carry_masks(tensors: Iterable[Any]) -> bool:
    """Whether one of some tensors carries a mask."""
    return any(keras_mask(tensor) is not None for tensor in tensors)


class Lost:
    """Which tensors of a model would carry a mask, were the layers that gave them not opened."""

    def __init__(self) -> None:
        self._by_tensor: dict[int, Producers] = {}

    def of(self, tensors: Iterable[Any]) -> Producers:
        """The opened layers that gave masks to these tensors."""
        if not self._by_tensor:
            return frozenset()
        return frozenset().union(*(self._by_tensor.get(id(tensor), frozenset()) for tensor in tensors))

    def enter(self, outer: Iterable[Any], inner: Iterable[Any]) -> None:
        """Note what tensors of an opened layer stand for."""
        for tensor, stand_in in zip(outer, inner, strict=True):
            self._note(stand_in, self.of([tensor]))

    def leave(self, path: str, given: Iterable[Any], inner: Iterable[Any]) -> None:
        """Note the masks of what an opened layer gave, as Keras has recorded it, that what is inside does not give."""
        for tensor, own in zip(given, inner, strict=True):
            if keras_mask(tensor) is not None:
                self._note(tensor, self.of([own]) if keras_mask(own) is not None else frozenset({path}))

    def told(self, node: Any, *, traced: bool) -> dict[str, Any]:
        """The keyword operands of a call, with lost masks.

        Args:
            node: The call, as Keras has recorded it.
            traced: Whether code that is opened made it: it says all masks already.

        Raises:
            MustStayClosedError: It may use one that cannot be told to it.
        """
        operation, arguments = node.operation, node.arguments
        lost = self.of(node.input_tensors)
        kwargs = dict(arguments.kwargs)
        if not lost or not isinstance(operation, keras.Layer):
            return kwargs
        if is_foreign(type(operation)) or (_removes(operation) and not traced):
            raise MustStayClosedError(lost, f"layer {operation.name!r}")  # it looks for masks by itself
        if not traced:
            kwargs = with_masks(operation, arguments.args, kwargs)
        for tensor in node.outputs if kwargs.get("mask") is None else ():
            if keras_mask(tensor) is not None:
                self._note(tensor, lost)
        return kwargs

    def refuse(self, tensors: Iterable[Any], why: str) -> None:
        """Refuse tensors of which masks are needed.

        Raises:
            MustStayClosedError: The mask of one is lost.
        """
        lost = self.of(tensors)
        if lost:
            raise MustStayClosedError(lost, why)

    def _note(self, tensor: Any, producers: Producers) -> None:
        if producers:
            self._by_tensor[id(tensor)] = producers


__all__ = ["Lost", "MustStayClosedError", "Producers", "carry_masks", "take_away", "with_masks"]
