"""Where ``kerasurgeon.passes`` lies in a source tree whose link to it is not one.

In a source tree the pass library is the top-level folder ``passes/``, and ``kerasurgeon/passes`` a link to it. Git
without symbolic links (Windows without developer mode) writes the link's target into a file of that name instead.
Wheels hold the folder itself, and need none of this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = "kerasurgeon.passes"


class PassesOfThisTree(MetaPathFinder):
    """Find ``kerasurgeon.passes`` beside the package that is imported, whatever else is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find that one package, nothing else; its modules are found through it."""
        if fullname != NAME:
            return None
        home = Path(__file__).resolve().parent.parent / "passes"
        return spec_from_file_location(fullname, home / "__init__.py", submodule_search_locations=[str(home)])


def find_passes_here() -> None:
    """Put the finder before all others: an editable install of another tree must not answer first."""
    sys.meta_path.insert(0, PassesOfThisTree())
