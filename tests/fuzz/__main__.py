"""``python -m tests.fuzz``: many random models, or commands, in several processes.

A run that is stopped goes on from its file when it is started again. A failure is printed with its seed, its oracle and
the model made smaller; ``--seed N --models 1 --oracle NAME`` runs it again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import tests.environment  # noqa: F401  before TensorFlow is imported

# isort: split

from tests.fuzz.running import run, table

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--models", type=int, default=0, help="how many random models")
    parser.add_argument("--commands", type=int, default=0, help="how many random recipes, plans and command lines")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the others follow")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--file", type=Path, default=Path("fuzz.jsonl"), help="what was found; a run goes on from it")
    given = parser.parse_args()
    failed = False
    for count, module, suffix in ((given.models, "running", ""), (given.commands, "commands", ".commands")):
        if count:
            path = given.file.with_name(given.file.name + suffix)
            found = run(range(given.seed, given.seed + count), path, f"tests.fuzz.{module}", given.processes)
            print(table(found))  # noqa: T201
            failed = failed or any(record.get("failures") for record in found)
    sys.exit(1 if failed else 0)
