"""One shunt, then two, in a network of inverted bottlenecks for handwritten digits.

uv run --all-extras python examples/shunt_digits.py [RUN_FOLDER] [--full] [--write DOCS_FOLDER]

Without --full the trainings are short: to see that it runs. --write puts the figures into DOCS_FOLDER/shunt_digits.md.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.report.procedure import summary_markdown
from kerasurgeon.workflows.procedure import ProcedureResult

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--full", action="store_true")
parser.add_argument("--write", type=Path, metavar="DOCS_FOLDER")
options = parser.parse_args()
folder = options.folder or Path(tempfile.mkdtemp(prefix="kerasurgeon_"))
full = options.full or options.write is not None

# The digits, 8 x 8 pixels, enlarged to 32 x 32. 4.9 million MACs.
ONE: dict[str, Any] = {
    "name": "digits, one shunt",
    "data": {"name": "digits", "size": 32},
    "original": {
        "network": "inverted_bottlenecks",
        "stages": [[1, 16, 1, 1], [6, 24, 2, 2], [6, 40, 4, 2], [6, 64, 3, 1]],
        "stem_stride": 2,
        "last": 128,
        "momentum": 0.9,
    },
    "train_original": {"epochs": 15 if full else 2, "batch_size": 32, "learning_rate": 0.05},
    "quotients": {"run": full, "which": "stage*", "samples": 256},
    "shunt": {"regions": "stage4_block1_expand..stage4_block3", "arch": "4", "momentum": 0.9},
    "train_shunt": {"epochs": 20 if full else 1, "learning_rate": 3e-3},
    "train_final": {
        "epochs": 10 if full else 1,
        "learning_rate": 0.01,
        "dark_knowledge": {"temperature": 3.0, "strength": 1.0},
    },
}


def run(recipe: dict[str, Any], where: Path) -> ProcedureResult:
    """Run a recipe, or go on with it, and print what it comes to."""
    started = time.perf_counter()
    result = ks.Procedure.from_recipe(recipe).run(where, phase=print)
    print(f"{result}\n{time.perf_counter() - started:.0f} s")
    return result


first = run(ONE, folder / "one")

# Two shunts, in the same network: it is not trained again.
two = copy.deepcopy(ONE)
two["name"] = "digits, two shunts"
two["original"] = {"file": str(folder / "one" / "models" / "trained.keras")}
two["train_original"]["run"] = False
two["shunt"]["regions"] = ["stage3_block2..stage3_block4", "stage4_block1_expand..stage4_block3"]
second = run(two, folder / "two")

if options.write is not None:
    text = f"""# Shunts in a network for digits

Written by `uv run --all-extras python examples/shunt_digits.py --write docs`. Handwritten digits, 8 x 8 pixels,
enlarged to 32 x 32: 1197 to train on, 300 to choose by, 300 to test. A network of inverted bottlenecks, trained from
scratch; shunts of architecture 4; the whole is trained with the original as teacher. Figures are of the test images:
one image is 0.33 points.

## One shunt

In place of stage 4, three blocks. The literature saves 33 % of the MACs of a MobileNetV2 with one shunt.

{summary_markdown(first.summary)}

## Two shunts

Also in place of three of the four blocks of stage 3. The literature saves 43 % with two.

{summary_markdown(second.summary)}
"""
    write_text(options.write / "shunt_digits.md", text)
    print(f"written: {options.write / 'shunt_digits.md'}")
