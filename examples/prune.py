"""Remove the channels that matter least: look, cut to a budget, edit a plan and carry it out, take out what is zero.

uv run --all-extras python examples/prune.py [OUT_FOLDER]
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import keras
from keras import layers

import kerasurgeon as ks
from kerasurgeon.passes import ApplyPlan, FoldBatchNorm, PruneChannels, RemoveDeadChannels, Sparsify

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
folder = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="kerasurgeon_"))
folder.mkdir(parents=True, exist_ok=True)


def conv(x: Any, filters: int, name: str, activation: str = "relu") -> Any:
    """A convolution with its batch norm."""
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_act")(x)


keras.utils.set_random_seed(0)
image = keras.Input((32, 32, 3), name="image")
x = conv(image, 16, "stem")
x = layers.Add(name="add")([x, conv(conv(x, 48, "widen"), 16, "narrow", activation="linear")])
x = conv(layers.MaxPooling2D(name="smaller")(x), 64, "deep")
x = layers.GlobalAveragePooling2D(name="pool")(x)
x = layers.Dense(128, activation="relu", name="hidden")(x)
model = keras.Model(image, layers.Dense(10, name="classes")(x), name="net")

# What goes together: stem and narrow are added, so they lose the same channels. The classes may not go.
print(ks.groups(model))

# Half the MACs. What `ignore` names keeps its channels.
result = ks.Pipeline([PruneChannels(macs=0.5, ignore="stem_*", round_to=4)]).run(model)
print(result.report)
print(ks.compare_costs(ks.cost(model), ks.cost(result.graph)))

# Or: see what would go, write it down, change it, and carry it out. Any editor will do for plan.json.
plan = ks.ChannelPlan({"widen_conv": range(32), "deep_conv": range(0, 64, 2)}, note="by hand")
print(plan.show(model))
plan.save(folder / "plan.json")
edited = json.loads((folder / "plan.json").read_text())
edited["kept"]["widen_conv"] = 24  # a number: which ones, the criterion says
(folder / "plan.json").write_text(json.dumps(edited))
planned = ks.Pipeline([ApplyPlan(folder / "plan.json", importance="l1")]).run(model)
print(planned.report)

# Or: zero what matters least, train on with KeepZeros if you like, and take out what is zero. The removal is exact.
sparse = Sparsify(0.5, structure="output_channel", where=("deep_conv", "hidden"))
small = ks.Pipeline([sparse, RemoveDeadChannels(), FoldBatchNorm()]).run(planned.model)
print(small.report)
assert small.model.get_layer("deep_conv").filters == 16

small.model.save(folder / "small.keras")
small.recipe.save(folder / "recipe.toml")
print(ks.export(small.model, folder / "small.tflite"))
print(f"written to {folder}")
