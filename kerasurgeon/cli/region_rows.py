"""A region in the output of commands: as data, and as cells of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasurgeon.rewrite.regions import Region


def region_data(region: Region) -> dict[str, Any]:
    """A region for ``--json``."""
    return {
        "name": region.name,
        "kind": str(region.kind),
        "entry": str(region.entry),
        "exit": str(region.exit),
        "nodes": list(region.nodes),
        "parent": region.parent,
        "depth": region.depth,
    }


def region_row(region: Region) -> tuple[str, ...]:
    """Its name, kind, number of nodes, and the tensors that it lies between; indented inside another region."""
    return (
        "  " * region.depth + region.name,
        str(region.kind),
        str(len(region)),
        f"{region.entry} {region.entry_spec}",
        f"{region.exit} {region.exit_spec}",
    )


__all__ = ["region_data", "region_row"]
