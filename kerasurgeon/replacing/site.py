"""What the function of ``ReplaceLayers`` is told of the place where it puts something."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.node import Node
from kerasurgeon.ir.values import TensorSpec, Value
from kerasurgeon.keras_io.derive import keras_layer
from kerasurgeon.rewrite.matching import Match
from kerasurgeon.trust import import_object


@dataclass(frozen=True)
class ReplaceSite:
    """A place where something is to be replaced.

    Attributes:
        name: Name of the node, or of the last of several.
        inputs: The tensors that the replacement takes, in order.
        outputs: The tensors that it must give.
        layers: Built Keras layers and ops by the names that the pattern binds.
        constants: Constant operands by the names that the pattern binds.
        calls: How often the layer is called in the model.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    calls: int = 1

    @classmethod
    def of(cls, graph: Graph, match: Match) -> ReplaceSite:
        """The site of a match."""
        bound = match.bindings.items()
        return cls(
            match.root.name,
            tuple(graph.spec(value) for value in entering(match)),
            match.root.outputs,
            {name: keras_layer(graph, node) for name, node in bound if isinstance(node, Node)},
            {name: array for name, array in bound if isinstance(array, np.ndarray)},
            len(graph.calls(match.root.layer)),
        )


def entering(match: Match) -> tuple[Value, ...]:
    """The tensors that a replacement takes: those the pattern names, in its order, else all that enter the match."""
    named = [bound for bound in match.bindings.values() if isinstance(bound, Value)]
    inside = {node.name for node in match.nodes}
    read = [value for node in match.nodes for value in node.inputs if value.node not in inside]
    return tuple(dict.fromkeys(named or read))


def resolve(function: Any, where: str) -> Callable[..., Any]:
    """A function given as itself or as ``module:name``.

    Raises:
        OptionError: It is neither.
        RecipeError: Nothing of that name can be imported.
    """
    found = import_object(function, where) if isinstance(function, str) else function
    if not callable(found):
        raise OptionError(f"{where} cannot be called.", expected="a function or 'module:name'", got=repr(function))
    result: Callable[..., Any] = found
    return result


def takes_site(function: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Whether a function takes a second argument beside those that it is given by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin that does not say
        return False
    positional = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.name not in arguments
    ]
    # An optional second parameter is a setting of the function, unless it is called ``site``.
    return len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "site")


__all__ = ["ReplaceSite", "entering", "resolve", "takes_site"]
