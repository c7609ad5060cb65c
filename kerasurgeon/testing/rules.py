"""Check the rule of a layer in one call, against Keras itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.analysis import Channels, analyse
from kerasurgeon.channels.avoided import kept_for_numbers
from kerasurgeon.channels.cut import cut_units
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.errors import KerasurgeonError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.keras_io.counting import counted_macs
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.rewrite.outputs import relative_difference
from kerasurgeon.rules import CannotTell, Rule, call_of, has_rule, rule_for

Shape = Sequence[int]
Array = np.ndarray[Any, Any]
_BATCHES = (2, 3)


def assert_rule(
    layer: Any,
    input_shape: Shape | Sequence[Shape],
    *,
    call: Callable[..., Any] | None = None,
    dtype: str = "float32",
    cuts: int = 3,
    seed: int = 0,
    rtol: float = 1e-4,
) -> int:
    """Check what the rule for a layer says, by a small model around the layer.

    Dense layers (1x1 convolutions for channels first) make the channels that the layer reads and read those that it
    gives. Random cuts are carried out and compared with the masked twin; MACs are compared with a forward pass in which
    the contractions that Keras runs are counted, before a cut and after it; ``keeps_batch`` and ``output_specs`` with
    the shapes that Keras gives for two batch sizes. What the rule has no answer for (``CannotTell``) is not checked;
    a rule that says nothing of channels needs ``cuts=0``. Give recurrent layers ``unroll=True``: in a loop, Keras runs
    the first step twice.

    Args:
        layer: A Keras layer, or an op as a function of tensors; its weights are made different from channel to channel.
        input_shape: The shape of the operand without the batch, or one for each of several operands.
        call: How the layer is called, as a function of the layer and the operands; by default with the operand, or with
            the list of several.
        dtype: Of the operands. Integers are read as they are: nothing before the layer can then be cut.
        cuts: How many random cuts, the first of a single unit; 0 checks no channels.
        seed: Of weights, inputs and cuts.
        rtol: Largest relative difference between the cut model and its twin.

    Returns:
        How many units were cut in all.

    Raises:
        AssertionError: The rule is wrong; the message says what it said and what was found.
    """
    several = [input_shape] if not input_shape or isinstance(input_shape[0], int) else list(input_shape)
    shapes: list[tuple[int, ...]] = [tuple(shape) for shape in several]  # type: ignore[arg-type]
    way = call or (lambda layer, *tensors: layer(tensors[0] if len(tensors) == 1 else list(tensors)))
    rng = np.random.default_rng(seed)
    model, name = _around(layer, shapes, way, dtype, rng)
    graph = lift(model)
    kind = graph.kind(name)
    assert has_rule(kind), f"there is no rule for {kind}: register_rule({kind.rsplit('.', 1)[-1]}, ...) first"
    said = f"{type(rule_for(kind)).__name__}, the rule for {kind}"
    try:
        with equal_calls():
            for batch in _BATCHES:
                _check_call(graph, name, model, batch, said, rng)
            return sum(_check_cut(graph, name, said, rng, rtol, dtype, single=index == 0) for index in range(cuts))
    except KerasurgeonError as error:
        raise AssertionError(f"{said}: {error}") from error


def _around(
    layer: Any, shapes: list[tuple[int, ...]], way: Callable[..., Any], dtype: str, rng: np.random.Generator
) -> tuple[keras.Model, str]:
    first = getattr(layer, "data_format", None) == "channels_first"
    inputs = [keras.Input(shape, dtype=dtype, name=f"input_{index}") for index, shape in enumerate(shapes)]
    floats = keras.backend.is_float_dtype(dtype)
    read = [_mixing(tensor, first, f"before_{index}") if floats else tensor for index, tensor in enumerate(inputs)]
    results = keras.tree.flatten(way(layer, *read))
    given = [_mixing(tensor, first, f"after_{index}") for index, tensor in enumerate(results)]
    model = keras.Model(inputs, given)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            value = np.asarray(keras.ops.convert_to_numpy(weight))
            weight.assign(value + 0.3 * rng.uniform(0.1, 1.0, value.shape).astype(value.dtype))
    graph = lift(model)
    known = {f"{part}_{index}" for part in ("input", "before", "after") for index in range(len(inputs) + len(results))}
    names = [node.name for node in graph.nodes() if node.name not in known]
    assert len(names) == 1, f"a call of the layer became several nodes: {names}; check the rule of one of them"
    return model, names[0]


def _mixing(tensor: Any, first: bool, name: str) -> Any:
    """As many channels as there were, mixed; the tensor itself where it has no axis of channels."""
    rank = len(tensor.shape) - 2
    if rank < 0 or not keras.backend.is_float_dtype(tensor.dtype):
        return tensor
    if first and rank:
        conv: Any = getattr(keras.layers, f"Conv{rank}D")
        return conv(tensor.shape[1], 1, data_format="channels_first", name=name)(tensor)
    return keras.layers.Dense(tensor.shape[-1], name=name)(tensor)


def _check_call(graph: Graph, name: str, model: keras.Model, batch: int, said: str, rng: np.random.Generator) -> None:
    """MACs, the batch and the sizes of one call, against Keras."""
    node, layer = graph[name], graph.layer_of(name)
    rule: Rule = rule_for(layer.kind)
    data = [_draw(tensor.shape[1:], str(tensor.dtype), batch, rng) for tensor in model.inputs]
    taps = [model.get_layer(f"after_{i}").input for i in range(len(node.outputs)) if f"after_{i}" in graph]
    arrays = _run(keras.Model(model.inputs, taps), data) if taps else []
    found = [array.shape for array in arrays]
    with counted_macs() as all_of_it:
        _run(model, data)
    with counted_macs() as around:
        for part, given in (("before", data), ("after", arrays)):
            for index, array in enumerate(given):
                if f"{part}_{index}" in graph:
                    model.get_layer(f"{part}_{index}")(array)
    counted = sum(all_of_it) - sum(around)
    filled = {
        each.name: tuple(_with_batch(spec, batch) for spec in each.outputs)
        for each in graph.nodes()
        if each.name != name
    }
    recorded = {**filled, name: node.outputs}
    if found and rule.keeps_batch(layer):
        for shape in found:
            assert shape[:1] == (batch,), f"{said}: keeps_batch() says yes; for a batch of {batch} Keras gives {shape}"
    try:
        specs = rule.output_specs(call_of(graph, node, recorded))
    except CannotTell:
        specs = node.outputs
    if found:
        for spec, shape in zip(specs, found, strict=True):
            fits = len(spec.shape) == len(shape) and all(
                size in (None, other) for size, other in zip(spec.shape, shape, strict=True)
            )
            assert fits, f"{said}: output_specs() says {spec.shape}; for a batch of {batch} Keras gives {shape}"
    told = tuple(_with_batch(spec, batch) for spec in node.outputs)
    if found:
        told = tuple(type(spec)(shape, spec.dtype) for spec, shape in zip(node.outputs, found, strict=True))
    try:
        macs = rule.macs(call_of(graph, node, {**recorded, name: told}))
    except CannotTell:
        return
    assert macs == counted, (
        f"{said}: macs() says {macs:,} for a batch of {batch}; counted were {counted:,} in a forward pass of {name!r}"
    )


def _check_cut(
    graph: Graph, name: str, said: str, rng: np.random.Generator, rtol: float, dtype: str, *, single: bool
) -> int:
    channels = analyse(graph)
    barrier = channels.barriers.get(name)
    assert barrier is None, (
        f"{said}: nothing that it reads or makes can be cut: {barrier}; cuts=0 checks the rest alone"
    )
    gone = _random_cut(channels, rng, single)
    what = _what(channels, name, gone)
    if not gone.any():
        why = "; ".join(sorted({f"{reason} ({about})" for reason, about in channels.frozen.values()}))
        raise AssertionError(f"{said}: nothing can be cut: {why or 'it has no channels'}; {what}")
    small, masked = graph.copy(), graph.copy()
    try:
        cut_units(small, channels, gone)
        mask_units(masked, channels, gone)
        check_types(small, everything=True)
        model = emit(small, compile=False)
    except Exception as error:
        text = str(error).strip()
        raise AssertionError(f"{said}: after a cut the layer cannot be made: {text}\n{what}") from error
    data = [_draw(node.spec.shape[1:], dtype, _BATCHES[-1], rng) for node in graph.input_nodes()]
    expected, got = _run(emit(masked, compile=False), data), _run(model, data)
    shapes = [[each.shape for each in several] for several in (expected, got)]
    assert shapes[0] == shapes[1], f"{said}: the cut model gives {shapes[1]}, its masked twin {shapes[0]}; {what}"
    difference = relative_difference(expected, got)
    assert difference <= rtol, (
        f"{said}: the cut model differs from its masked twin by {difference:.2e}, more than {rtol:.0e}; {what}"
    )
    _check_call(small, name, model, _BATCHES[0], f"{said}, after a cut", rng)
    return int(gone.sum())


def _random_cut(channels: Channels, rng: np.random.Generator, single: bool) -> Array:
    """Units that go: of those that may, and exactly, one or a random share; something stays along every axis."""
    several = [factor.ids for each in channels.labels.values() for labels in each for factor in labels.factors]
    several += [held.ids for call in channels.calls.values() for held in call.held]
    axes = [np.unique(channels.unit[ids]) for ids in several if ids.size]
    gone = np.zeros(channels.units, bool)
    allowed = [unit for unit in range(channels.units) if unit not in channels.frozen and unit not in channels.inexact]
    most = 1 if single else -(-2 * len(allowed) // 5)
    for unit in rng.permutation(allowed).astype(int):
        if gone.sum() == most:
            break
        gone[unit] = True
        if any(gone[units].all() for units in axes):
            gone[unit] = False
    kept_for_numbers(channels, gone)
    return gone


def _what(channels: Channels, name: str, gone: Array) -> str:
    """What a rule said of a call, and how much of it a cut takes."""
    call = channels.calls[name]
    lost = gone[channels.unit]
    lines = [
        f"output {index}, axes {factor.axes}: {factor.ids.size} labels, {int(lost[factor.ids].sum())} cut"
        for index, labels in enumerate(channels.labels[name])
        for factor in labels.factors
    ]
    lines += [
        f"weight {held.owner!r}, axes {held.axes}{', summed over' if held.contracted else ''}: {held.ids.size} labels, "
        f"{int(lost[held.ids].sum())} cut"
        for held in call.held
    ]
    lines += [f"config {'.'.join(map(str, path))}: their number, {ids.size}" for path, ids in call.counts]
    return "it said: " + ("; ".join(lines) or "no labels at all")


def _run(model: keras.Model, data: list[Any]) -> list[Array]:
    found = model(data, training=False)
    return [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(found)]


def _draw(shape: Sequence[int | None], dtype: str, batch: int, rng: np.random.Generator) -> Array:
    sizes = (batch, *(size or 8 for size in shape))
    if keras.backend.is_float_dtype(dtype):
        return rng.normal(size=sizes).astype(dtype)
    return rng.integers(0, 2, sizes).astype(dtype)


def _with_batch(spec: Any, batch: int) -> Any:
    if spec.shape and spec.shape[0] is None:
        return type(spec)((batch, *spec.shape[1:]), spec.dtype)
    return spec


__all__ = ["assert_rule"]
