"""The backbone of a search: a model, a function that makes one, or a name out of keras.applications."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io.lift import lift

Backbone: TypeAlias = keras.Model | Callable[[], keras.Model] | str

_OPTIONS = ("weights", "input_shape")


def backbone_graph(backbone: Backbone, *, weights: str | None, input_shape: Sequence[int] | None) -> Graph:
    """The graph of a backbone, without nested models. The model is only read.

    Args:
        backbone: A functional or sequential model, a function without arguments that makes one, or the name of a
            function of keras.applications, which is called with ``include_top=False``.
        weights: For a name: ``"imagenet"``, a file, or ``None``.
        input_shape: For a name: shape of the images, ``(height, width, channels)``.

    Raises:
        LiftError: The model has no functional graph.
        OptionError: There is no architecture of that name, or what was given gives no model with one output.
    """
    graph = lift(_model(backbone, weights, input_shape))
    graph.flatten()
    outputs = list(values_in(graph.outputs))
    if len(outputs) != 1:
        raise OptionError(
            "A backbone gives one tensor of features.",
            where=f"backbone {graph.name!r}",
            got=f"{len(outputs)} outputs: {', '.join(map(str, outputs))}",
            hint="cut the other outputs off with keras.Model(model.input, features)",
        )
    return graph


def _model(backbone: Any, weights: str | None, input_shape: Sequence[int] | None) -> keras.Model:
    if isinstance(backbone, keras.Model):
        return backbone
    if isinstance(backbone, str):
        made = _application(backbone)(
            include_top=False, weights=weights, input_shape=None if input_shape is None else tuple(input_shape)
        )
    elif callable(backbone):
        made = backbone()
    else:
        made = backbone
    if not isinstance(made, keras.Model):
        raise OptionError(
            "This is no backbone.",
            expected="a Keras model, a function that makes one, or a name out of keras.applications",
            got=repr(made)[:80] if made is backbone else f"a function that returned {repr(made)[:80]}",
        )
    return made


def _application(name: str) -> Callable[..., Any]:
    known = {
        key: value
        for key, value in vars(keras.applications).items()
        if inspect.isfunction(value) and set(_OPTIONS) <= set(inspect.signature(value).parameters)
    }
    if name not in known:
        raise OptionError(f"keras.applications has no {name!r}.", hint=did_you_mean(name, known))
    return known[name]
