"""Insert blocks into a network."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import keras

from kerasurgeon.authoring import (
    APPROXIMATE,
    EXACT,
    INSERTS,
    BlockStep,
    Context,
    Graph,
    GraphError,
    OptionError,
    Pass,
    Preserves,
    TensorSpec,
    Value,
    as_value,
    data_format_of,
    did_you_mean,
    import_object,
    lift,
    names_match,
    passes_through,
    wrong_option,
)
from kerasurgeon.blocks.put import free_names, put_all


@final
@dataclass(frozen=True)
class InsertBlock(Pass):
    """Insert a block behind tensors: all that read one reads what the block makes of it.

    The built-in blocks change nothing to begin with: the last batch norm of a residual branch starts with a gamma of
    zero. The report says of every block whether what goes in comes out.

    Matches:
        The tensors that are named.
    Leaves alone:
        Of a pattern's matches the model's outputs (Keras calls an output by its layer), and what is no single tensor.
    Preserves:
        Outputs, for the built-in blocks, which is checked. For others what they preserve.

    Args:
        at: Name of a node or tensor (``"block_3_add"``, ``"split#1"``), a pattern of node names (``"block_*_add"``), or
            several of these.
        block: ``"residual"``, ``"inverted-residual"``, ``"identity"``; a Keras layer or model; a function that makes
            one, of the tensor's spec or of nothing; or ``"module:name"`` of such a function.

    Raises:
        OptionError: An option is none of these.
        GraphError: There is no such tensor, or a built-in block cannot be made for it.
        VerificationError: What follows cannot take what the block makes.

    Example:
        >>> deeper = apply_passes(model, [InsertBlock("block_3_add", "residual")])
    """

    at: Any
    block: Any = "residual"

    preserves: ClassVar[Preserves] = APPROXIMATE

    def __post_init__(self) -> None:
        several = (self.at,) if isinstance(self.at, str) else self.at
        if not isinstance(several, Sequence) or not several or not all(isinstance(one, str) and one for one in several):
            raise wrong_option(self.name, "at", self.at, "a name or pattern of nodes, or several")
        object.__setattr__(self, "at", self.at if isinstance(self.at, str) else tuple(several))
        block = self.block
        if isinstance(block, str) and ":" not in block and block not in INSERTS:
            expected = f"{', '.join(map(repr, INSERTS))}, a Keras layer or model, a function, or 'module:name' of one"
            raise wrong_option(self.name, "block", block, expected, did_you_mean(block, INSERTS))
        if not isinstance(block, str) and not callable(block):
            raise wrong_option(self.name, "block", block, "a Keras layer or model, or a function that makes one")
        if isinstance(block, str) and block in INSERTS:  # the pipeline asks the instance what it promises
            object.__setattr__(self, "preserves", EXACT)

    def run(self, graph: Graph, context: Context) -> None:
        """Find all places and make all blocks, then insert them."""
        places = self._places(graph, context)
        steps = []
        for number, (value, name) in enumerate(zip(places, free_names(graph, "block", len(places)), strict=True)):
            context.progress(number / len(places), f"{self.name}: {value}")
            spec = graph.spec(value)
            network = self._network(graph, value, int(context.rng.integers(2**31)))
            same = passes_through(network, spec)
            options = {"block": self._called(), "unchanged": same}
            steps.append(BlockStep("insert", name, str(value), str(value), (), spec, spec, network, options))
        if steps:
            put_all(graph, steps, context)

    def _called(self) -> str:
        """What the block is called in reports and plans."""
        if isinstance(self.block, str):
            return self.block
        return str(getattr(self.block, "name", None) or getattr(self.block, "__name__", type(self.block).__name__))

    def _places(self, graph: Graph, context: Context) -> list[Value]:
        found: dict[Value, None] = {}
        for name in (self.at,) if isinstance(self.at, str) else self.at:
            if name not in graph and any(mark in name for mark in "*?["):
                found |= dict.fromkeys(self._matched(graph, name, context))
                continue
            value = as_value(graph, name)
            if graph.is_output(value):
                raise GraphError(
                    f"{self.name}: {value} is an output of the model, which Keras calls by the layer that makes it.",
                    hint="insert behind the node before it: "
                    + (", ".join(str(operand) for operand in graph[value.node].inputs) or "there is none"),
                )
            found[value] = None
        return list(found)

    def _matched(self, graph: Graph, pattern: str, context: Context) -> list[Value]:
        nodes = [node for node in graph.nodes() if names_match([node.name], pattern)]
        if not nodes:
            hint = did_you_mean(pattern, [node.name for node in graph.nodes()])
            raise GraphError(f"{self.name}: no node's name matches {pattern!r}.", hint=hint)
        result = []
        for node in nodes:
            if graph.is_output(node.value):
                context.left(node.name, "it is an output of the model, which Keras calls by the layer that makes it")
            elif len(node.outputs) != 1:
                context.left(node.name, f"it gives {len(node.outputs)} tensors: name one, as {node.name}#0")
            elif not graph.is_used(node.value):
                context.left(node.name, "nothing reads it")
            else:
                result.append(node.value)
        return result

    def _network(self, graph: Graph, value: Value, seed: int) -> Graph:
        """The block for one tensor, as a graph."""
        spec = graph.spec(value)
        block = self.block
        if isinstance(block, str) and block in INSERTS:
            near = (value.node, *(user.name for user in graph.users(value.node)))
            return lift(INSERTS[block](spec, data_format_of(graph, near), seed))
        if isinstance(block, str):
            block = import_object(block, f"{self.name}.block")
        made = block if isinstance(block, keras.Layer) else _made_by(block, spec)
        if not isinstance(made, keras.Layer):
            raise OptionError(
                f"{self.name}: what makes the block did not return a Keras layer or model.",
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


__all__ = ["InsertBlock"]
