"""What a network costs as a sum of products of widths: what a regulariser can look at, and what a budget is about.

Every cost here is a sum of *products*: a coefficient times the numbers of alive channels along one, two or three axes
of a weight or a tensor. A convolution's MACs are ``C n_in n_out``, a bias' parameters ``n_out``. Products belong to
*operations*, and there to one of two *sides*: arithmetic and memory traffic, of which the dearer counts (MACs,
parameters and activations have one side only). That is all a regulariser needs: the derivative of a product by one of
its widths is the product of the others.

The formulas are those of MorphNet's network regularisers: a convolution costs ``C n_in n_out`` and is regularised by
``C (n_in R_out + n_out R_in)``, a depthwise one costs ``C n_out`` and is regularised by ``C (R_in + R_out)``, where R
is the sum of the magnitudes of channels. Here C is told from the rules of the layers, which know every kind of layer
that ``kerasurgeon.costs`` counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.budget import Budget
from kerasurgeon.costs import cost, require_counted
from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import Value, dtype_bytes
from kerasurgeon.morphnet.hardware import Hardware, hardware_for
from kerasurgeon.rules import CannotTell, Sizes, call_of, resolve, rule_for
from kerasurgeon.rules.asking import combination_of, is_elementwise, linear_form
from kerasurgeon.rules.labels import Ids

Array = np.ndarray[Any, Any]

TARGETS = ("macs", "size", "activation", "latency")
UNITS = {"macs": "MACs", "size": "parameters", "activation": "channels", "latency": "ms"}


@dataclass(frozen=True, slots=True)
class Product:
    """A part of a cost.

    Attributes:
        coefficient: What it is multiplied with.
        axes: Which axes' numbers of alive channels are multiplied.
        operation: The operation that it belongs to.
        side: 0 for arithmetic, 1 for memory traffic.
        weight: What its regulariser is multiplied with: depthwise convolutions count what they read as well.
    """

    coefficient: float
    axes: tuple[int, ...]
    operation: int
    side: int = 0
    weight: float = 1.0


@dataclass
class Costs:
    """The cost of a network by what is alive.

    Attributes:
        channels: The analysis of the network.
        target: What is counted, one of ``TARGETS``.
        products: The parts.
        axes: For every axis that a product names, the units of its positions.
        operations: Names of the operations.
        constant: What does not depend on widths.
        left: What is counted as constant although it depends on widths, with the reason.
    """

    channels: Channels
    target: str
    products: list[Product] = field(default_factory=list)
    axes: list[Ids] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    constant: float = 0.0
    left: dict[str, str] = field(default_factory=dict)
    # With the arrays themselves, so that an id is not given to another one.
    _known: dict[tuple[int, int], tuple[Ids, int | None]] = field(default_factory=dict, repr=False)

    def of(self, alive: Array) -> float:
        """The cost, in the unit of the target: MACs, parameters, channels, or milliseconds.

        Args:
            alive: For every unit of the analysis whether it is alive.
        """
        counts = np.array([np.count_nonzero(alive[units]) for units in self.axes], float)
        sides = np.zeros((len(self.operations), 2))
        for product in self.products:
            sides[product.operation, product.side] += product.coefficient * counts[list(product.axes)].prod()
        return float(sides.max(axis=1).sum()) + self.constant

    def operation(self, name: str) -> int:
        """A new operation."""
        self.operations.append(name)
        return len(self.operations) - 1

    def axis(self, ids: Ids, place: int = 0) -> int | None:
        """The number of an axis of an array of labels; ``None`` for one that stays whatever goes."""
        key = id(ids), place
        if key not in self._known:
            units = self.channels.unit[ids]
            rows = np.moveaxis(units, place, 0).reshape(units.shape[place], -1)
            if len(rows) and bool((rows == rows[:, :1]).all()):
                self._known[key] = ids, len(self.axes)
                self.axes.append(rows[:, 0])
            else:
                self._known[key] = ids, None
        return self._known[key][1]


def costs(
    channels: Channels,
    target: str = "macs",
    hardware: str | Hardware | None = None,
    *,
    batch_size: int = 1,
    sizes: Sizes | None = None,
) -> Costs:
    """The cost of a network as a function of which channels are alive.

    Args:
        channels: The analysis of the network.
        target: ``"macs"``; ``"size"``, parameters; ``"activation"``, channels that layers make; ``"latency"``, in
            milliseconds, by a roofline model: per operation, the slower of arithmetic and memory traffic.
        hardware: For latency: a name of ``known_hardware()``, or a ``Hardware``.
        batch_size: For latency: samples at once.
        sizes: Sizes of the inputs that MACs and latency are for, where the model leaves them open.

    Raises:
        OptionError: The target or the hardware is not known.
        BudgetError: The target is MACs or latency, and too many of the MACs are unknown.
    """
    if target not in TARGETS:
        raise OptionError(
            f"There is no target {target!r} (target=).",
            expected=" or ".join(map(repr, TARGETS)),
            hint=did_you_mean(str(target), TARGETS),
        )
    result = Costs(channels, target)
    if target == "size":
        _size(result)
    elif target == "activation":
        _activation(result)
    else:
        machine = hardware_for(hardware) if target == "latency" else None
        require_counted("MorphNet", cost(channels.graph, sizes=sizes))
        if machine is None:
            _macs(result, sizes)
        else:
            _latency(result, machine, batch_size, sizes)
    return result


def _held(result: Costs, key: str, path: str) -> tuple[float, tuple[int, ...]]:
    """How many elements of a weight stand behind one position of its axes, and these axes."""
    array = result.channels.graph.layers[key].weights[path].array
    size, axes = float(array.size), []
    for held in result.channels.weights.get((key, path), ()):
        for place, number in enumerate(held.axes):
            axis = result.axis(held.ids, place) if array.shape[number] else None
            if axis is not None:
                size /= array.shape[number]
                axes.append(axis)
    return size, tuple(axes)


def _add(result: Costs, coefficient: float, axes: tuple[int, ...], operation: int, **options: Any) -> None:
    """A product; what has no axes is constant, but inside an operation with two sides it must be compared."""
    if axes or result.target == "latency":
        result.products.append(Product(coefficient, axes, operation, **options))
    else:
        result.constant += coefficient


def _size(result: Costs) -> None:
    elsewhere = result.channels.graph.counted_elsewhere()
    for key, layer in result.channels.graph.layers.items():
        operation = result.operation(key)
        for path in layer.weights:
            if (key, path) not in elsewhere:
                _add(result, *_held(result, key, path), operation)


def _activation(result: Costs) -> None:
    calls = result.channels.graph.calls
    for source in result.channels.sources.values():
        operation = result.operation(source.name)
        axis = result.axis(source.ids.ravel() if source.ids.ndim > 1 else source.ids)
        assert axis is not None
        _add(result, float(len(calls(source.layer))), (axis,), operation)


def _macs(result: Costs, sizes: Sizes | None) -> None:
    budget = Budget(result.channels, sizes)
    for key in result.channels.graph.layers:
        operation = result.operation(key)
        if key in budget.rates:
            _kernels(result, key, budget.rates[key], operation)
    alive = np.ones(result.channels.units, bool)
    rest = budget.of("macs", ~alive) - result.of(alive)
    # Calls whose MACs are no products of a kernel's axes: attention scores, products of tensors.
    result.constant += max(round(rest), 0)
    for node in budget.odd:
        result.left[node.name] = "its MACs do not follow its kernels; they are counted as they are at full width"


def _kernels(result: Costs, key: str, rate: float, operation: int) -> None:
    layer = result.channels.graph.layers[key]
    for path, weight in layer.weights.items():
        if weight.array.ndim > 1:
            size, axes = _held(result, key, path)
            _add(result, rate * size, axes, operation, weight=_weight(layer, path, weight.shape))


def _weight(layer: Layer, path: str, shape: tuple[int, ...]) -> float:
    """Of a depthwise convolution, R_in counts beside R_out, which is ``multiplier`` times that."""
    form = linear_form(layer)
    if form is not None and any(kernel.key == path and kernel.depthwise for kernel in form.kernels):
        return 1.0 + 1.0 / shape[-1]
    return 1.0


def _latency(result: Costs, hardware: Hardware, batch_size: int, sizes: Sizes | None) -> None:
    graph = result.channels.graph
    budget = Budget(result.channels, sizes)
    specs = resolve(graph, sizes=sizes)
    per_mac = 2 * batch_size / (hardware.gflops * 1e6)
    per_byte = 1 / (hardware.gbps * 1e6)
    for node in graph.nodes():
        layer = graph.layers[node.layer]
        if layer.kind == "InputLayer":
            continue
        try:
            macs = rule_for(layer.kind).macs(call_of(graph, node, specs))
        except CannotTell as reason:
            result.left[node.name] = str(reason)
            continue
        if not macs and not _moves_memory(graph, node):
            continue
        operation = result.operation(node.name)
        if macs:
            calls = len(graph.calls(node.layer))
            if node.layer in budget.rates:
                _kernels(result, node.layer, budget.rates[node.layer] / calls * per_mac, operation)
            else:
                _add(result, macs * per_mac, (), operation)
                result.left[node.name] = "its MACs do not follow its kernels; they are counted at full width"
            for path, weight in layer.weights.items():
                size, axes = _held(result, node.layer, path)
                if weight.array.ndim > 1:
                    _add(result, size * weight.array.itemsize * per_byte, axes, operation, side=1)
        for value in (*node.inputs, *(Value(node.name, index) for index in range(len(node.outputs)))):
            _traffic(result, node, value, specs, per_byte * batch_size, operation)


def _moves_memory(graph: Graph, node: Node) -> bool:
    """Whether a node moves memory and computes next to nothing, and is no part of what stands before it."""
    if combination_of(graph, node) is not None or graph.kind(node) == "ops.sum":
        return True
    return is_elementwise(graph, node) and not rule_for(graph.kind(node)).only_in_training(graph.layer_of(node))


def _traffic(result: Costs, node: Node, value: Value, specs: Any, per_byte: float, operation: int) -> None:
    spec = specs[value.node][value.index]
    sizes: Sequence[int | None] = spec.shape[1:] if spec.shape and spec.shape[0] in (None, 1) else spec.shape
    if None in sizes:
        result.left[node.name] = "a size is unknown until run time"
        return
    size, axes = float(np.prod([size or 0 for size in sizes])), []
    for factor in result.channels.labels[value.node][value.index].factors:
        for place, length in enumerate(factor.ids.shape):
            axis = result.axis(factor.ids, place) if length else None
            if axis is not None:
                size /= length
                axes.append(axis)
    _add(result, size * dtype_bytes(spec.dtype) * per_byte, tuple(axes), operation, side=1)
