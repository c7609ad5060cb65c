"""Where a block is inserted, and the block for each place."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras

from kerasurgeon.blocks.geometry import data_format_of
from kerasurgeon.blocks.inserts import INSERTS
from kerasurgeon.errors import GraphError, OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.option_checks import naming
from kerasurgeon.rewrite.surgery import as_value
from kerasurgeon.trust import import_object


@naming()
def insert_places(graph: Graph, at: str | Sequence[str]) -> tuple[list[Value], dict[str, str]]:
    """The tensors behind which a block can be inserted.

    Args:
        graph: The graph; it is only read.
        at: Names of nodes or tensors, or patterns of names of nodes; one or several.

    Returns:
        The tensors, each once, and for the other nodes that a pattern matches why they are left alone.

    Raises:
        PlaceError: There is no such node, or it is an output of the model.
    """
    found: dict[Value, None] = {}
    left: dict[str, str] = {}
    for name in (at,) if isinstance(at, str) else at:
        if name not in graph and any(mark in name for mark in "*?["):
            for value, why in _matched(graph, name):
                if why:
                    left[value.node] = why
                else:
                    found[value] = None
            continue
        value = as_value(graph, name)
        if graph.is_output(value):
            before = ", ".join(str(operand) for operand in graph[value.node].inputs)
            raise GraphError(
                f"InsertBlock: {value} is an output of the model, which Keras calls by the layer that makes it.",
                hint=f"insert behind the node before it: {before or 'there is none'}",
            )
        found[value] = None
    return list(found), left


def _matched(graph: Graph, pattern: str) -> list[tuple[Value, str]]:
    """What the matching nodes give, each with why it is left alone, or nothing."""
    nodes = [node for node in graph.nodes() if names_match([node.name], pattern)]
    if not nodes:
        hint = did_you_mean(pattern, [node.name for node in graph.nodes()])
        raise GraphError(f"InsertBlock: no node's name matches {pattern!r}.", hint=hint)
    result = []
    for node in nodes:
        why = ""
        if graph.is_output(node.value):
            why = "it is an output of the model, which Keras calls by the layer that makes it"
        elif len(node.outputs) != 1:
            why = f"it gives {len(node.outputs)} tensors: name one, as {node.name}#0"
        elif not graph.is_used(node.value):
            why = "nothing reads it"
        result.append((node.value, why))
    return result


def block_name(block: Any) -> str:
    """What a block is called in reports and plans: its word, or the name of the layer or function."""
    if isinstance(block, str):
        return block
    return str(getattr(block, "name", None) or getattr(block, "__name__", type(block).__name__))


@naming()
def block_for(graph: Graph, value: Value, block: Any, seed: int) -> Graph:
    """The block for one tensor, as a graph of its own.

    Args:
        graph: The graph; it is only read.
        value: The tensor.
        block: A word of ``INSERTS``; a Keras layer or model, which is copied; a function that makes one, of the
            tensor's spec or of nothing; or ``"module:name"`` of such a function.
        seed: For the weights of built-in blocks.

    Raises:
        PlaceError: A built-in block cannot be made for the tensor.
        OptionError: The function gives no layer.
        RecipeError: There is no such module or name.
    """
    spec = graph.spec(value)
    if isinstance(block, str) and block in INSERTS:
        near = (value.node, *(user.name for user in graph.users(value.node)))
        return lift(INSERTS[block](spec, data_format_of(graph, near), seed))
    if isinstance(block, str):
        block = import_object(block, "InsertBlock.block")
    made = block if isinstance(block, keras.Layer) else _made_by(block, spec)
    if not isinstance(made, keras.Layer):
        raise OptionError(
            "InsertBlock: what makes the block did not return a Keras layer or model.",
            where=f"at {value}",
            got=repr(made)[:80],
        )
    if isinstance(made, keras.Model) and made.built and not isinstance(made, keras.Sequential):
        return lift(made)
    copied = type(made).from_config(made.get_config())
    inputs = keras.Input(batch_shape=spec.shape, dtype=spec.dtype)
    model = keras.Model(inputs, copied(inputs))
    if made.weights:
        copied.set_weights(made.get_weights())
    return lift(model)


def _made_by(function: Any, spec: TensorSpec) -> Any:
    """What a function makes that takes a spec, or nothing."""
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return function(spec) if required else function()


__all__ = ["block_for", "block_name", "insert_places"]
