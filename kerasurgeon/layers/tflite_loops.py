"""What TFLite has for ONNX's loop over the steps of sequences: a WHILE, which has two graphs of its own.

These do not see the tensors around them, so that whatever the body reads is one of the loop's own: what stays the same
at every step is neither copied nor computed again by the runtime. Constants are shared.

The outputs of all steps are one of the loop's tensors too, into which every round of the loop writes. The runtime
copies it twice for that, so that a round has several steps, and a loop of single steps follows for those that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.rules.onnx_parts import Body, Operator
from kerasurgeon.rules.tflite_call import Sizes, TfliteCall, Translation

ROUND = 8
"""How many steps a round has whose outputs are kept.

LSTM of 128 units, 1000 steps, one thread: 44 ms with rounds of one step, 19 of 4, 15 of 8, 14 of 16; 200 steps: 3.5,
2.8, 2.6 and 3.1 ms. Where only the last output is wanted there is nothing to gain.
"""

Place = tuple[str, int]
"""A sequence, and which axis its steps are."""


def _scan(call: TfliteCall, *names: str, outputs: int, num_scan_inputs: int, body: Body) -> list[str]:
    sequences = [_lying(call, name) for name in names[-num_scan_inputs:]]
    states = list(names[:-num_scan_inputs])
    first, axis = sequences[0]
    steps = call.sizes(first)[axis]
    end = call.constant(steps, "int32") if steps is not None else call.squeeze(_size(call, first, axis), [0])
    values = [*states, *(_room(call, name, first, axis) for name in body.outputs[len(states) :])]
    number = call.constant(0, "int32")
    several = ROUND if len(values) > len(states) else 1
    if several > 1 and (steps is None or steps >= several):
        *values, number = _rounds(call, body, sequences, values, number, end, several)
    if steps is None or steps % several or several == 1:
        *values, number = _rounds(call, body, sequences, values, number, end, 1)
    made = values[len(states) :]
    if steps is None:
        made = [_first(call, name, end) for name in made]
    turned = [call.transpose(name, (1, 0, *range(2, len(call.sizes(name))))) for name in made]
    return [*values[: len(states)], *turned]


def _rounds(
    call: TfliteCall, step: Body, sequences: Sequence[Place], values: Sequence[str], begin: str, end: str, count: int
) -> list[str]:
    """A loop, as long as there are steps for a round of it; what its values are after it.

    Args:
        call: The call.
        step: One step: from the states and what the sequences have at it to the states and what it gives.
        sequences: What is read step by step.
        values: The states before it, and where what steps give is put.
        begin: The number of its first step.
        end: The number of all steps.
        count: How many steps a round has.
    """
    carried = len(step.inputs) - len(sequences)
    known = [*step.inputs[:carried], *values[carried:], begin]  # what is known of the states is said of the step's
    own = [_own(call, "state", call.sizes(name), call.type_of(name)) for name in known]
    states, rooms, number = own[:carried], own[carried:-1], own[-1]
    given: list[list[str]] = [[] for _ in rooms]
    with call.parts.aside() as operators:
        for at in zip(*(_read(call, each, number, count) for each in sequences), strict=True):
            made = _copied(call, step, [*states, *at])
            states = made[:carried]
            for several, name in zip(given, made[carried:], strict=True):
                several.append(name)
        kept = [_put(call, room, several, number) for room, several in zip(rooms, given, strict=True)]
        later = call.op("Add", number, call.constant(count, "int32"))
    inside = Body(own, [*states, *kept, later], operators)
    # What it reads besides is given through.
    around = list(dict.fromkeys(name for name in (*inside.reads(), end) if not call.is_constant(name)))
    inside = Body([*own, *around], [*inside.outputs, *around], operators)
    with call.parts.aside() as tests:
        last = number if count == 1 else call.op("Add", number, call.constant(count - 1, "int32"))
        goes_on = call.op("Less", last, end)
    loops = call.natives(
        "WHILE",
        [*values, begin, *around],
        [(call.sizes(name), call.type_of(name)) for name in inside.inputs],
        cond=Body(list(inside.inputs), [goes_on], tests),
        body=inside,
    )
    return loops[: len(own)]


def _copied(call: TfliteCall, step: Body, inputs: Sequence[str]) -> list[str]:
    """The operators of a step once more, with other inputs; what they give."""
    parts = call.parts
    names = dict(zip(step.inputs, inputs, strict=True))
    for operator in step.operators:
        for name in operator.outputs:
            names[name] = parts.known(parts.fresh(name), TensorSpec(parts.shapes[name], parts.types[name]))
        read = [names.get(name, name) for name in operator.inputs]
        made = [names[name] for name in operator.outputs]
        parts.operators.append(Operator(operator.kind, made[0], read, made, dict(operator.attributes)))
    return [names.get(name, name) for name in step.outputs]


def _read(call: TfliteCall, sequence: Place, number: str, count: int) -> list[str]:
    """What a sequence has at some steps, from one on."""
    name, axis = sequence
    own, dtype = call.sizes(name), call.type_of(name)
    step = (*own[:axis], *own[axis + 1 :])
    if count == 1 or dtype == "int64":  # there is no kernel that takes several apart
        at = [number, *(call.op("Add", number, call.constant(more, "int32")) for more in range(1, count))]
        return [call.native("GATHER", name, each, sizes=step, axis=axis, batchDims=0) for each in at]
    places = call.op("Add", number, call.constant(np.arange(count), "int32"))
    sizes = (*own[:axis], count, *own[axis + 1 :])
    several = call.native("GATHER", name, places, sizes=sizes, axis=axis, batchDims=0)
    return call.natives("UNPACK", [several], [(step, dtype)] * count, num=count, axis=axis)


def _put(call: TfliteCall, room: str, steps: Sequence[str], number: str) -> str:
    """The outputs of all steps, with those of some of them at their places, from one on."""
    sizes, own = call.sizes(room), call.sizes(steps[0])
    place = call.op("Mul", number, call.constant(np.arange(len(sizes)) == 1, "int32"))
    if len(steps) == 1:
        update = call.unsqueeze(steps[0], [1])
    else:
        several = (own[0], len(steps), *own[1:])
        update = call.native("PACK", *steps, sizes=several, valuesCount=len(steps), axis=1)
    return call.native("DYNAMIC_UPDATE_SLICE", room, update, place, sizes=sizes)


def _lying(call: TfliteCall, name: str) -> Place:
    """A sequence whose steps are its first axis, as it was before it was turned to that."""
    source, turn = call.parts.turned.get(name, (name, ()))
    return (source, 1) if turn[:2] == (1, 0) and list(turn[2:]) == list(range(2, len(turn))) else (name, 0)


def _own(call: TfliteCall, called: str, sizes: Sizes, dtype: str) -> str:
    """A tensor that the loop is given."""
    return call.parts.known(call.parts.fresh(f"{call.name}/{called}"), TensorSpec(tuple(sizes), dtype))


def _size(call: TfliteCall, name: str, axis: int) -> str:
    return call.cast(call.size_at(name, axis), "int32")


def _room(call: TfliteCall, step: str, sequence: str, axis: int) -> str:
    """Zeros where the outputs of all steps are to stand (batch, steps, ...); of an open number, at least of a round.

    Args:
        call: The call.
        step: What one step gives.
        sequence: A sequence of as many steps, that has the sizes that are unknown at the same places.
        axis: Where it has its steps.
    """
    first, *rest = call.sizes(step)
    sizes = (first, call.sizes(sequence)[axis], *rest)
    if None not in sizes:
        target = call.index(*(size or 0 for size in sizes))
    else:
        places = (1 - axis, axis, *range(2, len(sizes)))
        pieces = [
            _size(call, sequence, place) if size is None else call.index(size)
            for place, size in zip(places, sizes, strict=True)
        ]
        if sizes[1] is None:
            pieces[1] = call.op("Max", pieces[1], call.index(ROUND))
        target = call.op("Concat", *pieces, axis=0)
    return call.native("FILL", target, call.constant(0, call.type_of(step)), sizes=sizes, dtype=call.type_of(step))


def _first(call: TfliteCall, room: str, end: str) -> str:
    """The first steps of an output of more (batch, steps, ...)."""
    sizes = call.sizes(room)
    others = 2 ** len(sizes) - 1 - 2
    ends = call.op("Mul", end, call.constant(np.arange(len(sizes)) == 1, "int32"))
    begins, strides = call.index(*[0] * len(sizes)), call.index(*[1] * len(sizes))
    options = {"beginMask": others, "endMask": others}
    return call.native("STRIDED_SLICE", room, begins, ends, strides, sizes=sizes, **options)


LOOPS: Mapping[str, Translation] = {"Scan": _scan}
"""TFLite's operators for ONNX's, by the latter's names."""
