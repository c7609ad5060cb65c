"""Cells of recurrent layers written to ONNX: what they are, and one step of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasurgeon.ir.layer import Layer
from kerasurgeon.layers.onnx_activations import write_activation
from kerasurgeon.layers.onnx_terms import Term
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.inner import inner_layer
from kerasurgeon.rules.onnx_call import OnnxCall
from kerasurgeon.rules.onnx_parts import Array, natural

GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
"""How many gates and candidates a cell computes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: what it is, its settings and its weights.

    Attributes:
        kind: ``"SimpleRNN"``, ``"GRU"`` or ``"LSTM"``.
        config: The settings.
        arrays: The weights: ``"kernel"``, ``"recurrent_kernel"``, ``"bias"``.
        name: What it is called.
    """

    kind: str
    config: Mapping[str, Any]
    arrays: Mapping[str, Array]
    name: str

    @property
    def units(self) -> int:
        """How many units it has."""
        return int(self.config["units"])

    @property
    def states(self) -> int:
        """How many states it has."""
        return 2 if self.kind == "LSTM" else 1

    def activations(self) -> list[Any]:
        """Those of the gates first, if it has any, then that of the candidate."""
        own = self.config["activation"]
        return [own] if self.kind == "SimpleRNN" else [self.config["recurrent_activation"], own]


def cells_of(layer: Layer) -> list[Cell]:
    """The cells of a layer, each of which reads what the one before it gives.

    Raises:
        CannotTell: One is not Keras' own.
    """
    kind = layer.kind.removesuffix("Cell")
    if layer.kind == "RNN":
        return cells_of(inner_layer(layer, layer.config["cell"]))
    if layer.kind == "StackedRNNCells":
        return [cell for entry in layer.config["cells"] for cell in cells_of(inner_layer(layer, entry))]
    if kind not in GATES:
        raise CannotTell(f"how its cell, a {layer.kind}, is written to ONNX is not known")
    prefixes = [key.removesuffix("recurrent_kernel") for key in layer.weights if key.endswith("recurrent_kernel")]
    if len(prefixes) != 1:
        raise CannotTell("its cell is not to be found among its weights")
    arrays = {key.removeprefix(prefixes[0]): weight.array for key, weight in layer.weights.items()}
    if not set(arrays) <= {"kernel", "recurrent_kernel", "bias"}:
        raise CannotTell(f"it computes with {', '.join(sorted(arrays))}")
    return [Cell(kind, layer.config, arrays, layer.name)]


def read_by(cell: Cell, x: Term) -> Term:
    """What a cell makes of what it reads, before it looks at its states: of one step, or of all steps at once."""
    bias = cell.arrays.get("bias")
    own = None if bias is None else bias[0] if bias.ndim == 2 else bias
    read = x.matmul(cell.arrays["kernel"])
    return read if own is None else read + own


def step_of(call: OnnxCall, cell: Cell, read: Term, states: Sequence[Term]) -> list[Term]:
    """One step of a cell: the states after it, of which the first is its output.

    Args:
        call: The call.
        cell: The cell.
        read: What `read_by` gives at this step.
        states: The states before it.
    """
    recurrent, hidden, units = cell.arrays["recurrent_kernel"], states[0], cell.units

    def act(value: Term, gate: bool = False) -> Term:
        entry = cell.activations()[0 if gate else -1]
        return value.named(write_activation(call, entry, value.name, natural(2)))

    if cell.kind == "GRU":
        return [_gated(cell, read, hidden, act)]
    both = read + hidden.matmul(recurrent)
    if cell.kind == "SimpleRNN":
        return [act(both)]
    enter, forget, candidate, leave = both.split(1, [units] * 4)
    carry = act(forget, True) * states[1] + act(enter, True) * act(candidate)
    return [act(leave, True) * act(carry), carry]


def _gated(cell: Cell, read: Term, hidden: Term, act: Callable[..., Term]) -> Term:
    recurrent, bias, units = cell.arrays["recurrent_kernel"], cell.arrays.get("bias"), cell.units
    update, reset, candidate = read.split(1, [units] * 3)
    if cell.config.get("reset_after"):
        inner = hidden.matmul(recurrent)
        inner = inner + bias[1] if bias is not None else inner
        of_update, of_reset, of_candidate = inner.split(1, [units] * 3)
        kept = act(update + of_update, True)
        made = act(candidate + act(reset + of_reset, True) * of_candidate)
    else:
        first = hidden.made_of(recurrent, "gates", lambda kernel: kernel[:, : 2 * units], "recurrent_kernel")
        second = hidden.made_of(recurrent, "candidate", lambda kernel: kernel[:, 2 * units :], "recurrent_kernel")
        of_update, of_reset = hidden.matmul(first).split(1, [units] * 2)
        kept = act(update + of_update, True)
        made = act(candidate + (act(reset + of_reset, True) * hidden).matmul(second))
    return kept * hidden + (1.0 - kept) * made
