"""Shared layers, nested models, wrappers."""

from __future__ import annotations

from typing import Any

from tests.fuzz.description import Description, Made, Step, leaves
from tests.fuzz.drawing import Draw, Live, Refused
from tests.fuzz.kinds.registry import MAKERS, made, words

SIMPLE = words(
    "Dense Activation LayerNormalization PReLU Dropout Conv1D Conv2D DepthwiseConv2D SeparableConv1D MaxPooling2D "
    "AveragePooling1D BatchNormalization Permute ZeroPadding1D Cropping2D UnitNormalization LeakyReLU Softmax"
)


def follow(draw: Draw, x: Live, kinds: list[str] | None = None) -> Live:
    """One more step, of any kind that starts from such a tensor; the newest tensor of numbers."""
    before = len(draw.lives)
    kind = draw.pick(*(kinds or list(MAKERS)))
    if x.rank in MAKERS[kind].ranks:
        MAKERS[kind].make(draw, kind, x)
    new = [live for live in draw.lives[before:] if live.real]
    return new[-1] if new else x


def attempt(draw: Draw, x: Live, kinds: list[str] | None = None) -> Live:
    """The same, or nothing."""
    try:
        return follow(draw, x, kinds)
    except Refused:
        return x


@made("shared", 2, 3, 4)
def shared(draw: Draw, kind: str, x: Live) -> None:
    """A layer or nested model that is there, called once more."""
    there = [
        number
        for number, step in draw.steps.items()
        if step.kind[0].isupper() and step.shares is None and step.kind != "InputLayer" and not step.kwargs
    ]
    number = draw.pick(*there) if there else draw.layer("Dense", x, units=3).ref.step
    step = draw.steps[number]
    read = list(leaves(step.args))
    shapes = {live.ref: live for live in draw.lives}
    args = [_fitting(draw, shapes[leaf]) if leaf in shapes else leaf for leaf in read]
    whole: Any = (args,) if isinstance(step.args[0], list) else tuple(args)
    draw.add(Step(step.kind, whole, {}, {}, shares=number))


def _fitting(draw: Draw, like: Live) -> Live:
    same = [x for x in draw.lives if x.shape == like.shape and x.dtype == like.dtype]
    return draw.like(like) if like.real and draw.chance(0.5) else draw.pick(*same)


def chain(draw: Draw, x: Live, seed: int, length: int, *, plain: bool) -> tuple[Draw, Live]:
    """Steps of a model of their own, behind one input."""
    inner = Draw(seed, draw.policy, draw.layout, inside=True)
    last = inner.input(x.shape, x.dtype)
    for _ in range(length):
        last = attempt(inner, last, SIMPLE if plain else None)
    if last.ref.step == 0:
        last = inner.layer("Dense", last, units=3)
    return inner, last


@made("Functional", 2, 3, 4)
def functional(draw: Draw, kind: str, x: Live) -> None:
    inner, last = chain(draw, x, draw.whole(0, 10**6), draw.whole(1, 3), plain=draw.chance(0.3))
    outputs: Any = last.ref
    if draw.chance(0.3) and len(inner.lives) > 2:
        outputs = [last.ref, draw.pick(*inner.lives[1:-1]).ref]
    model = inner.finished(outputs)
    extra = [number for number in model.inputs if number != 0]
    if extra or not model.inputs:
        raise Refused("reads more than its input")
    draw.add(Step(kind, (x,), {}, {"model": model}))


@made("Sequential", 2, 3, 4)
def sequential(draw: Draw, kind: str, x: Live) -> None:
    inner, last = chain(draw, x, draw.whole(0, 10**6), draw.whole(1, 3), plain=True)
    model = inner.finished(last.ref)
    if not _is_chain(model):
        raise Refused("is no chain")
    draw.add(Step(kind, (x,), {}, {"model": model}))


def _is_chain(model: Description) -> bool:
    numbers = list(model.steps)
    return numbers[:1] == model.inputs and all(
        step.kind[0].isupper() and step.shares is None and [leaf.step for leaf in leaves(step.args)] == [before]
        for before, (number, step) in zip(numbers, list(model.steps.items())[1:], strict=False)
    )


@made("TimeDistributed", 3, 4, 5)
def over_steps(draw: Draw, kind: str, x: Live) -> None:
    if x.rank == 3:
        inner = Made("Dense", {"units": draw.whole(2, 5), "activation": draw.pick(None, "tanh")})
    elif x.rank == 4:
        convolution = Made("Conv1D", {"filters": 3, "kernel_size": 2})
        inner = draw.pick(convolution, Made("Flatten"), Made("Dense", {"units": 3}))
    else:
        inner = draw.pick(
            Made("Conv2D", {"filters": 3, "kernel_size": 3, "activation": "relu"}), Made("GlobalAveragePooling2D")
        )
    if x.rank == 3 and draw.chance(0.3):
        chained, last = chain(draw, Live(x.ref, x.shape[1:], x.dtype), draw.whole(0, 10**6), 2, plain=True)
        model = chained.finished(last.ref)
        if len(model.inputs) == 1:
            draw.add(Step(kind, (x,), {}, {"layer": model}))
            return
    draw.layer(kind, x, layer=inner)


@made("SpectralNormalization", 2, 3, 4)
def spectral(draw: Draw, kind: str, x: Live) -> None:
    inner = Made("Dense", {"units": draw.whole(2, 5)})
    if x.rank == 4 and draw.chance(0.6):
        inner = Made("Conv2D", {"filters": draw.whole(2, 4), "kernel_size": 3, "data_format": draw.layout})
    draw.layer(kind, x, layer=inner)
