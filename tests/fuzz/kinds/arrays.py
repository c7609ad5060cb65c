"""Ops that reshape, select, join, split, reduce and contract."""

from __future__ import annotations

from typing import Any

from tests.fuzz.drawing import Draw, Live, Refused
from tests.fuzz.kinds.convolving import divisors
from tests.fuzz.kinds.elementwise import as_number, check_jumps
from tests.fuzz.kinds.registry import ops


def axis_of(draw: Draw, x: Live) -> int:
    return int(draw.pick(-1, -1, draw.whole(1, x.rank - 1)))


# Shapes


@ops("reshape")
def reshape(draw: Draw, name: str, x: Live) -> None:
    total = 1
    for size in x.shape:
        total *= size
    one = draw.pick(*divisors(total))
    last = draw.pick(*divisors(x.shape[-1]))
    draw.op(name, x, draw.pick((-1, one, total // one), (-1, total), (-1, *x.shape[:-1], last, x.shape[-1] // last)))


@ops("transpose moveaxis swapaxes", 3, 4)
def transpose(draw: Draw, name: str, x: Live) -> None:
    axes = list(range(1, x.rank))
    draw.random.shuffle(axes)
    if name == "transpose":
        draw.op(name, x, (0, *axes))
    else:
        draw.op(name, x, axes[0], draw.pick(axes[1], -1))


@ops("expand_dims squeeze")
def inserted(draw: Draw, name: str, x: Live) -> None:
    axis = draw.whole(1, x.rank)
    y = draw.op("expand_dims", x, axis)
    if name == "squeeze":
        draw.op(name, draw.op("tanh", y), axis)


@ops("ravel")
def ravel(draw: Draw, name: str, x: Live) -> None:
    draw.op("reshape", draw.op(name, x), (-1, *x.shape))


@ops("rearrange", 3)
def rearrange(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.pick("b t c -> b c t", "b t c -> b (t c)", "b t c -> b t c 1"))


@ops("view")
def view(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, x.dtype)


# Longer axes


@ops("pad")
def pad(draw: Draw, name: str, x: Live) -> None:
    widths = [[0, 0], *([draw.whole(0, 1), draw.whole(0, 2)] for _ in x.shape)]
    draw.op(name, x, widths, **draw.pick({}, {}, {"mode": "symmetric"}, {"constant_values": 0.5}))


@ops("tile repeat broadcast_to")
def longer(draw: Draw, name: str, x: Live) -> None:
    axis = axis_of(draw, x)
    if name == "repeat":
        draw.op(name, x, draw.whole(2, 3), axis=axis)
    elif name == "tile":
        times = [1] * x.rank
        times[axis] = 2
        draw.op(name, x, times)
    else:
        draw.op(name, draw.op("mean", x, axis=-1, keepdims=True), (1, *x.shape[:-1], 3))


@ops("flip fliplr roll", 3, 4)
def turned(draw: Draw, name: str, x: Live) -> None:
    more: dict[str, Any] = {} if name == "fliplr" else {"axis": axis_of(draw, x)}
    draw.op(name, x, *([draw.whole(-3, 3)] if name == "roll" else []), **more)


@ops("concatenate append stack hstack vstack dstack", 2, 3, 4)
def joined(draw: Draw, name: str, x: Live) -> None:
    y = draw.pick(draw.like(x), draw.like(x), x)
    if name == "append":
        draw.op(name, x, y, axis=axis_of(draw, x))
    elif name == "vstack":
        half = draw.op(name, [x, y])  # the batch: twice as long, and back
        draw.op("reshape", half, (-1, *x.shape))
    else:
        more = {"axis": axis_of(draw, x)} if name in ("concatenate", "stack") else {}
        draw.op(name, [x, y, draw.like(x)] if draw.chance(0.3) else [x, y], **more)


# Parts


@ops("split hsplit dsplit array_split unstack")
def parted(draw: Draw, name: str, x: Live) -> None:
    axis = {"hsplit": 1, "dsplit": 2}.get(name, axis_of(draw, x))
    if axis >= x.rank:
        raise Refused("has too few axes")
    size = x.shape[axis - 1] if axis > 0 else x.shape[-1]
    if name == "unstack":
        draw.op(name, x, axis=axis)
    elif name == "array_split":
        draw.op(name, x, draw.whole(2, 3), axis=axis)
    else:
        at: Any = draw.pick(*divisors(size)[1:], [draw.whole(1, size - 1)]) if size > 1 else 1
        draw.op(name, x, at, **({"axis": axis} if name == "split" else {}))
    parts = [live for live in draw.lives if live.ref.step == max(draw.steps)]
    if len(parts) > 1 and parts[0].shape == parts[1].shape and draw.chance(0.7):
        draw.op(draw.pick("add", "multiply"), parts[0], parts[1])


@ops("get_item")
def item(draw: Draw, name: str, x: Live) -> None:
    start = draw.whole(0, x.shape[-1] - 1)
    stop = draw.whole(start + 1, x.shape[-1])
    last = draw.pick(slice(start, stop), slice(None, None, -1), slice(None, None, 2), slice(start, stop), start)
    keys: list[Any] = [(..., last), (slice(None), draw.whole(0, x.shape[0] - 1)), (..., None)]
    draw.op(name, x, draw.pick(keys[0], *keys))


@ops("slice")
def part(draw: Draw, name: str, x: Live) -> None:
    starts = [draw.whole(0, size - 1) for size in x.shape]
    sizes = [draw.whole(1, size - start) for size, start in zip(x.shape, starts, strict=True)]
    draw.op(name, x, (0, *starts), (-1, *sizes))


@ops("take")
def take(draw: Draw, name: str, x: Live) -> None:
    axis = axis_of(draw, x)
    size = x.shape[axis - 1] if axis > 0 else x.shape[-1]
    draw.op(name, x, [draw.whole(0, size - 1) for _ in range(draw.whole(1, 5))], axis=axis)


# Reductions

FREE = """
    amax amin average logsumexp max mean median min nanmax nanmean nanmedian nanmin nansum std sum var nanstd nanvar ptp
"""
SMALL = "prod nanprod"
COUNTS = "all any count_nonzero"


@ops(f"{FREE} {SMALL} {COUNTS}")
def reduction(draw: Draw, name: str, x: Live) -> None:
    if name in SMALL.split():
        x = draw.op("tanh", x)
    if name in COUNTS.split():
        check_jumps(draw, "greater")
        x = draw.op("greater", x, 0.0)
    several = tuple(sorted(draw.random.sample(range(1, x.rank), draw.whole(1, min(2, x.rank - 1)))))
    axis = several if draw.chance(0.3) and name not in ("average", "median", "nanmedian", "ptp") else axis_of(draw, x)
    keep = {} if name == "average" else {"keepdims": draw.chance(0.5) or x.rank == 2}
    if name == "average" and x.rank == 2:
        raise Refused("leaves a vector")
    as_number(draw, draw.op(name, x, axis=axis, **keep))


@ops("moments norm")
def measured(draw: Draw, name: str, x: Live) -> None:
    if name == "moments":
        draw.op(name, x, axes=[axis_of(draw, x)], keepdims=True)
    else:
        draw.op(name, x, ord=draw.pick(None, 1, 2), axis=axis_of(draw, x), keepdims=True)


@ops("cumsum cumprod nancumsum nancumprod diff sort", 2, 3, 4)
def along(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, draw.op("tanh", x) if "prod" in name else x, axis=axis_of(draw, x))


@ops("argsort argpartition argmax argmin nanargmax nanargmin", 2, 3, 4)
def places(draw: Draw, name: str, x: Live) -> None:
    check_jumps(draw, "floor")
    more: dict[str, Any] = {"keepdims": True} if "max" in name or "min" in name else {}
    given = [1] if name == "argpartition" and x.shape[-1] > 1 else []
    draw.op("cast", draw.op(name, x, *given, axis=-1 if given else axis_of(draw, x), **more), draw.floats)


@ops("top_k")
def top_k(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, draw.whole(1, x.shape[-1]))


@ops("glu")
def gated(draw: Draw, name: str, x: Live) -> None:
    wide = draw.layer("Dense", x, units=2 * draw.whole(1, 3))
    draw.op(name, wide, axis=-1)


@ops("softmax log_softmax sparsemax")
def softmax(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, axis=-1 if name == "sparsemax" else axis_of(draw, x))


@ops("normalize")
def normalize(draw: Draw, name: str, x: Live) -> None:
    draw.op(name, x, axis=axis_of(draw, x), order=draw.pick(1, 2))


@ops("layer_norm rms_norm batch_norm")
def norms(draw: Draw, name: str, x: Live) -> None:
    width = x.shape[-1]
    if name == "batch_norm":
        given = [draw.array(width), [1.0 + place for place in range(width)]]
        draw.op(name, x, *given, -1, offset=draw.array(width))
    else:
        draw.op(name, x, draw.array(width), axis=-1)


# Products


@ops("matmul dot inner tensordot")
def product(draw: Draw, name: str, x: Live) -> None:
    width = x.shape[-1]
    if draw.chance(0.5) or name in ("dot", "inner", "tensordot") or x.rank == 2:
        shape = (draw.whole(2, 4), width) if name == "inner" else (width, draw.whole(2, 4))
        y = draw.op(name, x, draw.array(*shape), **({"axes": [[x.rank - 1], [0]]} if name == "tensordot" else {}))
    else:
        other = draw.like(x)
        axes = (0, *range(1, x.rank - 2), x.rank - 1, x.rank - 2)
        y = draw.op(name, x, draw.op("transpose", other, axes))
    draw.op("multiply", y, 0.5)


@ops("einsum")
def einsum(draw: Draw, name: str, x: Live) -> None:
    letters = "btuv"[: x.rank - 1]
    if draw.chance(0.5):
        draw.op(name, f"{letters}c,cd->{letters}d", x, draw.array(x.shape[-1], draw.whole(2, 4)))
        return
    y = draw.like(x)
    second, result = draw.pick(("c", ""), ("c", "c"), ("d", "cd"))
    draw.op(name, f"{letters}c,{letters}{second}->{letters}{result}", x, y)
