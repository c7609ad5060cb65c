"""Compress MobileNetV2, save it, export it, and look at what was done.

    uv run --all-extras python examples/compress_mobilenetv2.py [OUT_FOLDER] [--pretrained]

Without --pretrained the weights are random: then only sizes and agreement mean something, not accuracy.
"""

import argparse
import tempfile
from pathlib import Path

import keras

import kerasurgeon as ks
from kerasurgeon.passes import FoldBatchNorm, Simplify, TuckerSplit

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--pretrained", action="store_true", help="load the ImageNet weights (needs a network)")
options = parser.parse_args()
folder = options.folder or Path(tempfile.mkdtemp(prefix="kerasurgeon_"))
folder.mkdir(parents=True, exist_ok=True)

keras.utils.set_random_seed(0)
model = keras.applications.MobileNetV2(weights="imagenet" if options.pretrained else None)

result = ks.Pipeline([FoldBatchNorm(), Simplify(), TuckerSplit(energy=0.9)]).run(model)
print(result.report)
print(ks.compare_costs(ks.cost(model), ks.cost(result.graph)))

result.model.save(folder / "small.keras")
result.recipe.save(folder / "recipe.toml")
for name in ("small.tflite", "small.onnx"):
    print(ks.export(result.model, folder / name))
print(f"written to {folder}")
