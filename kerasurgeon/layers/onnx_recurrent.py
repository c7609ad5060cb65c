"""Recurrent layers written to ONNX: as LSTM, GRU and RNN, or step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasurgeon.ir.structure import leaves
from kerasurgeon.layers.onnx_attention import counted
from kerasurgeon.layers.onnx_cells import GATES, Cell, cells_of, read_by, step_of
from kerasurgeon.layers.onnx_loops import Course, Recurrence, Shape, write_steps
from kerasurgeon.layers.onnx_terms import Term, concat, give, term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.onnx_call import OnnxCall, np_type
from kerasurgeon.rules.onnx_parts import Array, Tensor

_OPERATORS = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM"}
_ORDER = {"SimpleRNN": (0,), "GRU": (0, 1, 2), "LSTM": (0, 3, 1, 2)}
_ACTIVATIONS: Mapping[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "tanh": ("Tanh", (), ()),
    "sigmoid": ("Sigmoid", (), ()),
    "relu": ("Relu", (), ()),
    "linear": ("Affine", (1.0,), (0.0,)),
    "hard_sigmoid": ("HardSigmoid", (1 / 6,), (0.5,)),
    "elu": ("Elu", (1.0,), ()),
    "leaky_relu": ("LeakyRelu", (0.2,), ()),
    "softsign": ("Softsign", (), ()),
    "softplus": ("Softplus", (), ()),
}
"""Activations that ONNX's recurrent operators know: their name there, alphas, betas."""


def write_cells(call: OnnxCall, cells: Sequence[Cell]) -> None:
    """Write one step of one or several cells, as a layer."""
    states = _states(call, call.operand(1, "states"), sum(cell.states for cell in cells))
    if states is None:
        raise CannotTell("it is given no states")
    x, made = term(call, call.input, None, call.float), list[Term]()
    for cell in cells:
        own, states = states[: cell.states], states[cell.states :]
        new = step_of(call, cell, read_by(cell, x), own)
        x, made = new[0], made + new
    for index, value in enumerate((x, *made)):
        give(call, value, index=index)


def write_recurrence(call: OnnxCall) -> None:
    """Write SimpleRNN, GRU, LSTM and RNN."""
    config, cells = call.config, cells_of(call.layer)
    x, mask = term(call, call.input, None, call.float), call.as_tensor(call.operand(2, "mask"))
    states = _states(call, call.operand(1, "initial_state"), sum(cell.states for cell in cells))
    kept = None if mask is None else term(call, mask, None, "bool")
    back, whole = bool(config.get("go_backwards")), bool(config["return_sequences"])
    zeros = bool(config.get("zero_output_for_mask"))
    course = course_of(call, cells, x, states, kept, back=back, zeros=zeros, whole=whole)
    give(call, course.ordered(back=back) if whole else course.last)
    if config["return_state"]:
        for index, state in enumerate(course.states, 1):
            give(call, state, index=index)


def write_both_ways(call: OnnxCall) -> None:
    """Write Bidirectional."""
    config, merge = call.config, call.config["merge_mode"]
    if config.get("backward_layer") is None:
        raise CannotTell("its config does not describe its backward layer")
    x, mask = term(call, call.input, None, call.float), call.as_tensor(call.operand(2, "mask"))
    kept = None if mask is None else term(call, mask, None, "bool")
    given = call.operand(1, "initial_state")
    courses = []
    for place, key in enumerate(("layer", "backward_layer")):
        layer = inner_layer(call.layer, config[key])
        if layer.kind not in ("SimpleRNN", "GRU", "LSTM", "RNN"):
            raise CannotTell(f"how its layer, a {layer.kind}, is written to ONNX is not known")
        cells = cells_of(layer)
        count = sum(cell.states for cell in cells)
        states = _states(call, given, 2 * count)
        own = None if states is None else states[place * count : (place + 1) * count]
        back = bool(layer.config.get("go_backwards"))
        whole = bool(layer.config["return_sequences"])
        course = course_of(call, cells, x, own, kept, back=back, zeros=whole, whole=whole)
        made = course.ordered(back=back != bool(place)) if whole else course.last
        courses.append((made, course.states, layer.config["return_state"]))
    (one, states, returns), (two, other_states, _) = courses
    if merge is None:
        outputs = [one, two]
    elif merge == "concat":
        outputs = [concat([one, two], len(call.output.shape) - 1)]
    elif merge == "mul":
        outputs = [one * two]
    else:
        outputs = [one + two if merge == "sum" else (one + two) * 0.5]
    for index, made in enumerate([*outputs, *(states + other_states if returns else ())]):
        give(call, made, index=index)


def _states(call: OnnxCall, given: Any, count: int) -> list[Term] | None:
    found = [term(call, leaf, None, call.float) for leaf in leaves(given) if isinstance(leaf, Tensor)]
    if found and len(found) != count:
        raise CannotTell(f"it is given {len(found)} states, and has {count}")
    if not found:
        check_stateless(call)
    return found or None


def check_stateless(call: OnnxCall) -> None:
    """See that a recurrence which is given no states begins at zero.

    Raises:
        CannotTell: It begins where it ended before, and that is unknown.
    """
    inner = [call.config.get(key) for key in ("layer", "backward_layer")]
    configs = [call.config, *(entry["config"] for entry in inner if isinstance(entry, Mapping))]
    if any(config.get("stateful") for config in configs):
        raise CannotTell("it keeps its state from call to call, and what that is now is unknown")


def course_of(
    call: OnnxCall,
    cells: Sequence[Cell],
    x: Term,
    states: list[Term] | None,
    mask: Term | None,
    *,
    back: bool,
    zeros: bool,
    whole: bool,
) -> Course:
    """Write cells over a sequence, one cell after the other.

    Args:
        call: The call; its first operand is the sequence.
        cells: The cells.
        x: The sequence (batch, steps, features).
        states: The states before it; zeros if there are none.
        mask: Which steps count (batch, steps); all without one.
        back: Whether the steps are computed from the last on.
        zeros: Whether steps that do not count give zeros, and not what the step before them gave.
        whole: Whether the outputs of all steps are wanted.
    """
    made: list[Term] = []
    course: Course | None = None
    groups = _groups(call, cells)
    for number, (native, several) in enumerate(groups, 1):
        x = x if course is None else course.ordered()
        count = sum(cell.states for cell in several)
        own = None if states is None else states[len(made) : len(made) + count]
        if not native:
            every = whole or number < len(groups)
            course = _by_steps(call, several, x, own, mask, back=back, zeros=zeros, whole=every)
        elif mask is None:
            course = _by_operator(call, several[0], x, own, None, back)
        else:
            course = _masked(call, several[0], x, own, mask, back, zeros)
        made += course.states
    assert course is not None
    course.states = made
    return course


def _groups(call: OnnxCall, cells: Sequence[Cell]) -> list[tuple[bool, list[Cell]]]:
    """Cells that are written together: by one operator each, or by steps of all; and whether it is the former."""
    found: list[tuple[bool, list[Cell]]] = []
    for cell in cells:
        native = call.recurs and all(_native(entry) is not None for entry in cell.activations())
        if found and not native and not found[-1][0]:
            found[-1][1].append(cell)
        else:
            found.append((native, [cell]))
    return found


def _native(entry: Any) -> tuple[str, tuple[float, ...], tuple[float, ...]] | None:
    name = entry.get("config") if isinstance(entry, Mapping) and entry.get("class_name") == "function" else entry
    name = "linear" if name is None else name
    return _ACTIVATIONS.get(name) if isinstance(name, str) else None


def _by_operator(
    call: OnnxCall,
    cell: Cell,
    x: Term,
    states: list[Term] | None,
    lengths: Term | None,
    back: bool,
) -> Course:
    """One operator. What stands for a mask here is the number of steps of each sample."""
    functions = [_native(entry) for entry in cell.activations()]
    known = [each for each in functions if each is not None]
    if cell.kind == "LSTM":
        known.append(known[-1])
    options: dict[str, Any] = {"activations": [each[0] for each in known], "hidden_size": cell.units}
    options["activation_alpha"] = [alpha for each in known for alpha in each[1]] or None
    options["activation_beta"] = [beta for each in known for beta in each[2]] or None
    if options["activations"] in (["Sigmoid", "Tanh", "Tanh"], ["Sigmoid", "Tanh"], ["Tanh"]):
        del options["activations"]
    if back:
        options["direction"] = "reverse"
    if cell.kind == "GRU":
        options["linear_before_reset"] = int(bool(cell.config.get("reset_after")))
    initial = [None, None] if states is None else [state.unsqueeze(0).name for state in states]
    names = call.ops(
        _OPERATORS[cell.kind],
        x.transpose((1, 0, 2)).name,
        _rows(call, cell, "kernel", x.dtype),
        _rows(call, cell, "recurrent_kernel", x.dtype),
        _bias(call, cell, x.dtype),
        None if lengths is None else lengths.name,
        *initial[: cell.states],
        outputs=1 + cell.states,
        **options,
    )
    sequence = x.named(names[0]).squeeze(1).transpose((1, 0, 2))
    last = [x.named(name).squeeze(0) for name in names[1:]]
    return Course(sequence, last[0], last)


def _rows(call: OnnxCall, cell: Cell, key: str, dtype: str) -> str:
    """A kernel (features, gates x units) as (1, gates x units, features), the gates in ONNX' order."""

    def make(kernel: Array) -> Array:
        return _gates(cell, kernel).T[None].astype(np_type(dtype))

    return call.parts.derived(cell.arrays[key], f"rows {dtype}", make, f"{cell.name}/{key}")


def _gates(cell: Cell, array: Array) -> Array:
    blocks = np.split(array, GATES[cell.kind], axis=-1)
    return np.concatenate([blocks[place] for place in _ORDER[cell.kind]], axis=-1)


def _bias(call: OnnxCall, cell: Cell, dtype: str) -> str | None:
    """Biases of the features and of the state, one after the other."""
    bias = cell.arrays.get("bias")
    if bias is None:
        return None

    def make(given: Array) -> Array:
        both = given if given.ndim == 2 else np.stack([given, np.zeros_like(given)])
        return _gates(cell, both).reshape(1, -1).astype(np_type(dtype))

    return call.parts.derived(bias, f"biases {dtype}", make, f"{cell.name}/bias")


def _masked(
    call: OnnxCall, cell: Cell, x: Term, states: list[Term] | None, mask: Term, back: bool, zeros: bool
) -> Course:
    """The steps that count are moved to the front, counted, computed, and moved back to where they were."""
    if back:
        x, mask = x.slice(1, -1, None, -1), mask.slice(1, -1, None, -1)
    steps = call.size(call.input, 1)
    counts = mask.to("int64")
    numbers = counted(call, steps) if isinstance(steps, str) else counts.other(np.arange(steps))
    keys = mask.where(counts.other(2**40), 0) - numbers
    names = call.ops("TopK", keys.name, call.exact_shape([steps]), outputs=2, axis=1, largest=1, sorted=1)
    front = _picked(x, counts.named(names[1]))
    number = counts.reduce("ReduceSum", [1])
    lengths = number.op("Max", 1).squeeze(1).to("int32")
    course = _by_operator(call, cell, front, states, lengths, False)
    passed = counts.op("CumSum", counts.named(call.constant(1, "int64")))
    sequence = _picked(course.ordered(), (passed - 1).op("Max", 0))
    sequence = (mask if zeros else passed > 0).unsqueeze(2).where(sequence, 0.0)
    after = []
    for place, state in enumerate(course.states):
        before: Any = 0.0 if states is None else states[place]
        after.append((number > 0).where(state, before))
    last = sequence.slice(1, -1, None).squeeze(1)
    return Course(sequence, last, after, back)


def _picked(x: Term, positions: Term) -> Term:
    """Of every sample, steps by their positions."""
    return x.named(x.call.op("GatherND", x.name, positions.unsqueeze(2).name, batch_dims=1))


def _by_steps(
    call: OnnxCall,
    cells: Sequence[Cell],
    x: Term,
    states: list[Term] | None,
    mask: Term | None,
    *,
    back: bool,
    zeros: bool,
    whole: bool,
) -> Course:
    """Step by step, every cell at each step; what the first makes of the sequence is computed for all steps at once."""
    batch, (first, *others) = call.input.shape[0], cells

    def step(at: list[Term], before: list[Term]) -> list[Term]:
        new = step_of(call, first, at[0], before[: first.states])
        output = new[0]
        for cell in others:
            own = before[len(new) : len(new) + cell.states]
            made = step_of(call, cell, read_by(cell, output), own)
            output, new = made[0], new + made
        return new

    shapes: list[Shape] = [(batch, cell.units) for cell in cells for _ in range(cell.states)]
    read = (read_by(first, x), (batch, GATES[first.kind] * first.units))
    recurrence = Recurrence(step, [read], shapes, len(shapes) - cells[-1].states)
    return write_steps(call, recurrence, states, mask, back=back, zeros=zeros, whole=whole)
