"""Networks of ``keras.applications`` as recipes name them: any input size, any number of classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import keras

from kerasurgeon.errors import OptionError, did_you_mean


def application_names() -> tuple[str, ...]:
    """What ``application`` can build."""
    found = [name for name in dir(keras.applications) if _builds(name)]
    return tuple(sorted(found))


def application(
    name: str,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    classes: int = 1000,
    *,
    weights: str = "none",
    **options: Any,
) -> keras.Model:
    """A classifier of ``keras.applications``.

    Args:
        name: As in ``keras.applications``.
        input_shape: Height, width and channels of its images. Grey ones are given to it three times, and those that are
            smaller than it takes are enlarged.
        classes: How many it tells apart.
        weights: ``"none"`` for random ones, ``"imagenet"``, which Keras downloads, or a file of weights. With other
            than the classes of those weights, the head is new: global pooling and a dense layer.
        **options: What the function in ``keras.applications`` takes beside these.

    Raises:
        OptionError: There is no such network.
    """
    if not _builds(name):
        raise OptionError(f"There is no network {name!r}.", hint=did_you_mean(name, application_names()))
    build = getattr(keras.applications, name)
    *size, channels = input_shape
    least = _least(build)
    enlarged = [side if side is None else max(side, least) for side in size]
    if channels == 1 or enlarged != size:
        inputs = keras.Input(input_shape, name="image")
        x = keras.layers.Concatenate(name="grey")([inputs] * 3) if channels == 1 else inputs
        x = x if enlarged == size else keras.layers.Resizing(*enlarged, name="enlarged")(x)
        body = application(name, (enlarged[0], enlarged[1], x.shape[-1]), classes, weights=weights, **options)
        return keras.Model(inputs, body(x), name=f"{body.name}_adapted")
    if weights == "none":
        return build(weights=None, input_shape=input_shape, classes=classes, **options)
    if classes == 1000:
        return build(weights=weights, input_shape=input_shape, **options)
    body = build(weights=weights, input_shape=input_shape, include_top=False, pooling="avg", **options)
    scores = keras.layers.Dense(classes, activation="softmax", name="predictions")(body.output)
    return keras.Model(body.input, scores, name=body.name)


def _least(build: Callable[..., keras.Model]) -> int:
    """The smallest height and width that a network takes, as it says itself of one that is too small."""
    try:
        build(weights=None, input_shape=(1, 1, 3))
    except ValueError as error:
        found = re.search(r"at least (\d+)", str(error))
        return int(found[1]) if found else 1
    return 1


def _builds(name: str) -> bool:
    found = getattr(keras.applications, name, None)
    return callable(found) and "weights" in inspect.signature(found).parameters


__all__ = ["application", "application_names"]
