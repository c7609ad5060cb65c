"""A shunt in a segmentation network: LR-ASPP on a MobileNetV3, discs, boxes and triangles.

uv run --all-extras python examples/shunt_segmentation.py [RUN_FOLDER] [--full] [--write DOCS_FOLDER]

Without --full the trainings are short: to see that it runs. --write puts the figures into
DOCS_FOLDER/shunt_segmentation.md.
"""

import argparse
import tempfile
import time
from pathlib import Path

import kerasurgeon as ks
from kerasurgeon.atomic import write_text
from kerasurgeon.report.procedure import summary_markdown

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--full", action="store_true")
parser.add_argument("--write", type=Path, metavar="DOCS_FOLDER")
options = parser.parse_args()
folder = options.folder or Path(tempfile.mkdtemp(prefix="kerasurgeon_"))
full = options.full or options.write is not None

SIZE = 64
recipe = {
    "name": "shapes, one shunt",
    "data": {
        "name": "shapes",
        "size": SIZE,
        "samples": [1000, 100, 150] if full else [32, 8, 8],
        "most": 3,
        "telling": 0.6,
        "augment": {"shift": 0.1},
    },
    "original": {"network": "lraspp", "backbone": "small", "output_stride": 16, "momentum": 0.9},
    "train_original": {
        "epochs": 16 if full else 1,
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": 3e-3,
    },
    "shunt": {"regions": "expanded_conv_9_expand..expanded_conv_10_add", "arch": "1", "momentum": 0.9},
    "train_shunt": {"epochs": 20 if full else 1, "batch_size": 32, "learning_rate": 3e-3},
    "train_final": {
        "epochs": 8 if full else 1,
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": 5e-4,
        "labels": False,
        "ace": {"kappa": 0.3},
    },
}

started = time.perf_counter()
result = ks.Procedure.from_recipe(recipe).run(folder / "shapes", phase=print)
print(f"{result}\n{time.perf_counter() - started:.0f} s")

if options.write is not None:
    text = f"""# A shunt in a segmentation network

Written by `uv run --all-extras python examples/shunt_segmentation.py --write docs`. Discs, boxes and triangles on a
textured ground, {SIZE} x {SIZE} pixels, drawn by a seed, in colours that tell the class by six tenths: 1000 to train
on, 100 to choose by, 150 to test. LR-ASPP on a MobileNetV3-Small at output stride 16, trained from scratch; a shunt of
architecture 1 in place of its last two blocks; the whole is trained by ACE with the original as teacher. The
literature saves 28 % and loses 3.5 points.

{summary_markdown(result.summary)}
"""
    write_text(options.write / "shunt_segmentation.md", text)
    print(f"written: {options.write / 'shunt_segmentation.md'}")
