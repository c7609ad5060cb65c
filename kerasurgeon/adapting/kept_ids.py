"""Which rows of a vocabulary were kept: what turns old ids into new ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.errors import PlanError
from kerasurgeon.plan_files import PlanFile

_FILE = PlanFile("ids", "file of kept ids", {"layer": str, "rows": int, "ids": list})


@dataclass(frozen=True)
class KeptIds:
    """The ids that an embedding has kept: new id ``i`` stands for old id ``ids[i]``.

    Attributes:
        layer: The embedding.
        rows: How many rows it had.
        ids: The old ids, by new id.
    """

    layer: str
    rows: int
    ids: tuple[int, ...]

    def new_ids(self, old: Any, unknown: int | None = None) -> Any:
        """Old ids as new ones.

        Args:
            old: Whole numbers, of any shape.
            unknown: The new id of what was not kept; without it such an id is refused.

        Raises:
            PlanError: An id was not kept, or never was one.
        """
        table = np.full(self.rows, -1 if unknown is None else unknown, np.int64)
        table[list(self.ids)] = np.arange(len(self.ids))
        given = np.asarray(old)
        outside = (given < 0) | (given >= self.rows)
        found = table[np.where(outside, 0, given)]
        wrong = given[outside | (found < 0)]
        if wrong.size:
            raise PlanError(
                "An id was not kept.",
                where=self.layer,
                got=str(int(wrong.ravel()[0])),
                hint="name the new id that stands for such: unknown=",
            )
        return found

    def to_json(self) -> str:
        """As a file holds it."""
        return _FILE.text({"layer": self.layer, "rows": self.rows, "ids": list(self.ids)})

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write it as JSON.

        Raises:
            FileError: It cannot be written.
        """
        _FILE.save(path, {"layer": self.layer, "rows": self.rows, "ids": list(self.ids)}, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> KeptIds:
        """Read what ``save`` has written.

        Raises:
            PlanError: It cannot be read.
        """
        data = _FILE.load(path)
        return cls(data["layer"], data["rows"], tuple(int(each) for each in data["ids"]))


__all__ = ["KeptIds"]
