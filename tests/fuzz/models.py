"""One random model by its seed."""

from __future__ import annotations

import random

from kerasurgeon.keras_io.quick import quick_keras
from tests.fuzz.building import Construction
from tests.fuzz.description import Description, Ref, leaves
from tests.fuzz.drawing import Draw, Live, Refused
from tests.fuzz.kinds import MAKERS
from tests.fuzz.kinds.structure import attempt

KINDS = tuple(sorted(MAKERS))


def focus(seed: int) -> tuple[str, str]:
    """Two kinds that the model of a seed has for sure, where Keras allows it: all of them within 300 seeds."""
    return KINDS[2 * seed % len(KINDS)], KINDS[(2 * seed + 1) % len(KINDS)]


def draw_model(
    seed: int, policy: str | None = None, chosen: random.Random | None = None
) -> tuple[Description, Construction]:
    """A model of three to a dozen steps over all kinds, with one to three inputs and outputs; with its layers.

    It is made by ``quick_keras``: ``tests/keras_io/test_quick.py`` shows that this makes the layers that Keras makes.
    """
    with quick_keras():
        return _drawn(Draw(seed, policy, chosen=chosen))


def _drawn(draw: Draw) -> tuple[Description, Construction]:
    kept: list[Live] = []
    x = draw.some(draw.pick(2, 3, 4, 4))
    if draw.chance(0.4):
        x = attempt(draw, x, ["Dense", "Conv1D", "Conv2D"])
    for kind in (*focus(draw.seed), *(draw.pick(*_LAYERS, *KINDS) for _ in range(draw.whole(0, 4)))):
        ranks = MAKERS[kind].ranks
        for _ in range(3):
            try:
                start = x if x.rank in ranks and draw.chance(0.8) else draw.some(draw.pick(*ranks))
                MAKERS[kind].make(draw, kind, start)
            except Refused:
                continue
            kept.append(draw.lives[-1])
            break
        x = [live for live in draw.lives if live.real][-1]
        if draw.chance(0.45):
            x = attempt(draw, x, list(draw.pick(_SOURCES, PATTERNS)))
    description = draw.finished(_outputs(draw, kept), dict_inputs=draw.chance(0.2))
    draw.construction.keep(description)
    return description, draw.construction


def _outputs(draw: Draw, kept: list[Live]) -> object:
    """The last tensors, and those of the kinds in focus that nothing reads; some behind a dense layer."""
    read = {leaf for step in draw.steps.values() for leaf in leaves(step.operands) if isinstance(leaf, Ref)}
    ends = [live for live in kept if live.ref not in read] or draw.lives[-1:]
    chosen = list(dict.fromkeys([*ends[:2], ends[-1]]))
    heads: list[Live] = []
    for live in chosen:
        try:
            heads.append(draw.layer("Dense", live, units=2) if live.real and draw.chance(0.7) else live)
        except Refused:
            heads.append(live)
    if len(heads) == 1 and draw.chance(0.7):
        return heads[0].ref
    if draw.chance(0.2):
        return {f"out{place}": live.ref for place, live in enumerate(heads)}
    return [live.ref for live in heads]


PATTERNS = tuple(kind for kind in KINDS if kind.islower() and "." not in kind)
_SOURCES = ("Dense", "Conv1D", "Conv2D", "Conv3D", "SeparableConv2D", "LSTM", "GRU", "MultiHeadAttention")
_LAYERS = tuple(kind for kind in KINDS if kind[0].isupper() and not kind.startswith("Random"))


__all__ = ["draw_model", "focus"]
