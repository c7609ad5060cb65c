"""What stands in for a part of a network, and where: what is trained to make the tensor that the part made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Bridge:
    """New layers between two tensors that the original model and the new one both have.

    What takes a region's place takes over the name of the node that computed the region's exit, so that one name says
    where to read in both models. Where that cannot be, as where the exit is one of several calls of a layer,
    ``new_entry`` and ``new_exit`` say what the nodes are called in the new model.

    Attributes:
        name: What it is called, as ``"shunt_1"``: the beginning of its layers' names.
        entry: Name of the node whose tensor it reads, in the original model.
        exit: Name of the node whose tensor it makes, in the original model.
        layers: Names of the new nodes in the new model, in the order in which they run.
        new_entry: Name of the entry's node in the new model; by default ``entry``.
        new_exit: Name of the exit's node in the new model; by default ``exit``.
    """

    name: str
    entry: str
    exit: str
    layers: tuple[str, ...] = ()
    new_entry: str = ""
    new_exit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "new_entry", self.new_entry or self.entry)
        object.__setattr__(self, "new_exit", self.new_exit or self.exit)

    def __str__(self) -> str:
        return f"{self.name}: {self.entry} -> {self.exit}, {len(self.layers)} layers"


__all__ = ["Bridge"]
