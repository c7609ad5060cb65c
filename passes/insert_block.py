"""Insert blocks into a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kerasurgeon.authoring import (
    APPROXIMATE,
    EXACT,
    Context,
    Graph,
    Pass,
    Preserves,
    did_you_mean,
    wrong_option,
)
from kerasurgeon.blocks import (
    INSERTS,
    BlockStep,
    block_for,
    block_name,
    free_names,
    insert_places,
    passes_through,
    put_all,
)


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
        PlaceError: There is no such tensor, or a built-in block cannot be made for it.
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
        places, left = insert_places(graph, self.at)
        for node, why in left.items():
            context.left(node, why)
        steps = []
        for number, (value, name) in enumerate(zip(places, free_names(graph, "block", len(places)), strict=True)):
            context.progress(number / len(places), f"{self.name}: {value}")
            spec = graph.spec(value)
            network = block_for(graph, value, self.block, int(context.rng.integers(2**31)))
            options = {"block": block_name(self.block), "unchanged": passes_through(network, spec)}
            steps.append(BlockStep("insert", name, str(value), str(value), (), spec, spec, network, options))
        if steps:
            put_all(graph, steps, context)


__all__ = ["InsertBlock"]
