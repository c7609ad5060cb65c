"""The notebooks hold what the scripts beside them hold, cell by cell, and no outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
MAKE = "uv run --isolated --only-group notebooks jupytext --update --to ipynb examples/notebooks/*.py"


def cells_of(script: str) -> list[tuple[str, str]]:
    """Kind and text of each cell of a script in percent format."""
    parts = re.split(r"^# %%(.*)$", script, flags=re.MULTILINE)
    found = []
    for head, body in zip(parts[1::2], parts[2::2], strict=True):
        kind = "markdown" if "[markdown]" in head else "code"
        lines = body.strip().splitlines()
        found.append((kind, "\n".join(line[2:] if kind == "markdown" else line for line in lines)))
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_in_step_with_its_script(path: Path) -> None:
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert found == cells_of(path.read_text(encoding="utf-8")), f"make it again: {MAKE}"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])


def test_there_is_one_for_each() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SCRIPTS}
    assert len(SCRIPTS) == 5
