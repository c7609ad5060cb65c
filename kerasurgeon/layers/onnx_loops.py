"""Recurrences written step by step: few steps one after the other, many of them as a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kerasurgeon.ir.values import TensorSpec
from kerasurgeon.layers.onnx_terms import Term, concat
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Body

Shape = tuple[int | None, ...]
Step = Callable[[list[Term], list[Term]], list[Term]]
"""Writes one step: from what sequences have at it, and the states before it, to the states after it."""


@dataclass(slots=True)
class Course:
    """What a recurrence makes of a sequence.

    Attributes:
        sequence: The outputs of all steps (batch, steps, ...), if they are wanted.
        last: That of the step that is computed last.
        states: The states after it.
        back: Whether the sequence has the last step first.
    """

    sequence: Term | None
    last: Term
    states: list[Term]
    back: bool = False

    def ordered(self, *, back: bool = False) -> Term:
        """The outputs of all steps, the first step first or the last one."""
        assert self.sequence is not None
        return self.sequence if back == self.back else self.sequence.slice(1, -1, None, -1)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What is done at every step.

    Attributes:
        step: Writes one.
        sequences: What is read step by step (batch, steps, ...), each with the shape of one step.
        shapes: Of the states.
        output: Which of the states after a step is its output.
    """

    step: Step
    sequences: Sequence[tuple[Term, Shape]]
    shapes: Sequence[Shape]
    output: int


def write_steps(
    call: OnnxCall,
    recurrence: Recurrence,
    states: list[Term] | None,
    mask: Term | None,
    *,
    back: bool,
    zeros: bool,
    whole: bool,
) -> Course:
    """Write all steps of a recurrence.

    Args:
        call: The call; its first operand has the steps along axis 1.
        recurrence: What is done at every step.
        states: The states before the first; zeros if there are none.
        mask: Which steps count (batch, steps); all without one.
        back: Whether the last is the first.
        zeros: Whether those that do not count give zeros, and not what the step before them gave.
        whole: Whether the outputs of all steps are wanted.
    """
    batch, count = call.input.shape[:2]
    step, output = recurrence.step, recurrence.output
    sequences, shapes = list(recurrence.sequences), list(recurrence.shapes)
    # What steps give before the first that counts is zero, and a state that is given is not.
    apart = mask is not None and (zeros or states is not None)
    before = [blank(call, shape) for shape in shapes] if states is None else list(states)
    if mask is not None:
        sequences.append((mask, (batch,)))
        step = _masked(step, output, len(shapes[output]), zeros=zeros, apart=apart)
    if apart:
        before, shapes, output = [*before, blank(call, shapes[output])], [*shapes, shapes[output]], len(shapes)
    if count is not None and count <= call.parts.longest:
        course = _unrolled(step, [each for each, _ in sequences], before, output, count, back=back)
    else:
        course = _looped(step, sequences, before, shapes, output, back=back, whole=whole)
    if apart:
        course.states.pop()
    return course


def blank(call: OnnxCall, shape: Shape) -> Term:
    """Zeros; the only size that may be unknown is that of the batch, the first."""
    batch = call.size(call.input, 0) if shape[0] is None else shape[0]
    return Term(call, call.constant(0.0), call.float).expand([batch, *(size or 0 for size in shape[1:])])


def _masked(step: Step, output: int, rank: int, *, zeros: bool, apart: bool) -> Step:
    """A step that counts for some samples; which, is the last thing that it reads.

    Args:
        step: The step.
        output: Which of the states is its output.
        rank: How many axes that has.
        zeros: Whether samples for which it does not count have zeros as their output.
        apart: Whether the output is a state of its own, the last.
    """

    def one(at: list[Term], before: list[Term]) -> list[Term]:
        *read, counts = at
        counts = counts.unsqueeze(*range(1, rank))
        own = before[:-1] if apart else before
        new = step(read, own)
        kept = [counts.where(after, state) for after, state in zip(new, own, strict=True)]
        return [*kept, counts.where(new[output], 0.0 if zeros else before[-1])] if apart else kept

    return one


def _unrolled(
    step: Step, sequences: Sequence[Term], states: list[Term], output: int, count: int, *, back: bool
) -> Course:
    outputs: list[Term] = []
    for number in range(count)[:: -1 if back else 1]:
        states = step([each.gather(number, 1) for each in sequences], states)
        outputs.append(states[output])
    ordered = outputs[::-1] if back else outputs
    return Course(concat([each.unsqueeze(1) for each in ordered], 1), outputs[-1], states)


def _looped(
    step: Step,
    sequences: Sequence[tuple[Term, Shape]],
    states: Sequence[Term],
    shapes: Sequence[Shape],
    output: int,
    *,
    back: bool,
    whole: bool,
) -> Course:
    turned = []
    for each, shape in sequences:
        ordered = each.slice(1, -1, None, -1) if back else each
        turned.append((ordered.transpose(_swapped(shape)), shape))

    def body(at: list[Term], before: list[Term]) -> tuple[list[Term], list[Term]]:
        new = step(at, before)
        return new, [new[output]] if whole else []

    after, given = loop(body, list(zip(states, shapes, strict=True)), turned, [shapes[output]] if whole else [])
    sequence = given[0].transpose(_swapped(shapes[output])) if whole else None
    return Course(sequence, after[output], after, back)


def _swapped(shape: Shape) -> tuple[int, ...]:
    """The order of axes that puts the steps of a sequence before its samples, or behind them again."""
    return (1, 0, *range(2, len(shape) + 1))


def loop(
    body: Callable[[list[Term], list[Term]], tuple[list[Term], list[Term]]],
    states: Sequence[tuple[Term, Shape]],
    sequences: Sequence[tuple[Term, Shape]],
    gives: Sequence[Shape],
) -> tuple[list[Term], list[Term]]:
    """Write a loop over the steps of sequences: ONNX's ``Scan``, in TFLite a ``WHILE``.

    ONNX's ``Loop`` would do as well; but what its steps give is put together wrongly by ONNX's own evaluator.

    Args:
        body: Writes one step: from what the sequences have at it, and the states before it, to the states after it and
            what it gives. It may read tensors around the loop; their sizes, and operands, are to be looked up before.
        states: The states before the first step, each with its shape, which stays.
        sequences: What is read step by step (steps, ...), each with the shape of one step.
        gives: Shapes of what one step gives.

    Returns:
        The states after the last step, and what all steps gave (steps, ...).
    """
    call = sequences[0][0].call
    parts, specs = call.parts, {}

    def inside(given: Sequence[tuple[Term, Shape]], called: str) -> list[Term]:
        names = [parts.fresh(f"{call.name}/{called}") for _ in given]
        for name, (outer, shape) in zip(names, given, strict=True):
            specs[name] = TensorSpec(shape, outer.dtype)
            parts.known(name, specs[name])
        return [outer.named(name) for name, (outer, _) in zip(names, given, strict=True)]

    before, at = inside(states, "state"), inside(sequences, "step")
    inputs = [each.name for each in (*before, *at)]
    with parts.aside() as operators:
        after, given = body(at, before)
        outputs: list[str] = []
        for made in (*after, *given):  # each of them an operator's result, and no other's
            own = any(made.name in operator.outputs for operator in operators)
            outputs.append(made.name if own and made.name not in outputs else made.op("Identity").name)
    for name, made, shape in zip(outputs, (*after, *given), (*(shape for _, shape in states), *gives), strict=True):
        specs[name] = TensorSpec(shape, made.dtype)
    names = call.ops(
        "Scan",
        *(each.name for each, _ in (*states, *sequences)),
        outputs=len(outputs),
        num_scan_inputs=len(sequences),
        body=Body(inputs, outputs, operators, specs),
    )
    results = [term.named(name) for name, term in zip(names, (*after, *given), strict=True)]
    return results[: len(states)], results[len(states) :]
