"""Accuracy without fine-tuning against MACs kept, for each criterion, with and without compensation.

    uv run --all-extras python benchmarks/pruning_curves.py [--write docs] [--torch PYTHON] [--seeds 3]

A small residual network is trained on scikit-learn's digits, pruned to several shares of its MACs, and evaluated as it
is. ``--write`` writes pruning_curves.md and pruning_curves.svg (which needs matplotlib). ``--torch`` names a Python
that has torch and torch-pruning: the same weights are then pruned there too, by l2 magnitude, local and global.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kerasurgeon as ks
from kerasurgeon.atomic import staged, write_text
from kerasurgeon.passes import PruneChannels, RecalibrateBatchNorm
from kerasurgeon.workflows.data import Digits, load_digits
from kerasurgeon.workflows.demo.network import build_network, train

KEPT = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
DATA_FREE = ("l1", "l2", "fpgm", "lamp", "batch_norm", "random")
FROM_DATA = ("taylor", "taylor_rectified", "hessian", "apoz", "mean_activation")
COMPENSATIONS = ("none", "batch_norm", "data", "least_squares")
EPOCHS = 20

TORCH = """
import json, sys
import numpy as np, torch, torch_pruning as tp
from torch import nn
from torch.nn import functional as F
weights = dict(np.load(sys.argv[1])); data = dict(np.load(sys.argv[2])); kept = json.loads(sys.argv[3])
class Conv(nn.Module):
    def __init__(self, name, norm, stride=1, groups=1):
        super().__init__()
        k = weights[name + "/kernel"]
        k = np.transpose(k, (2, 3, 0, 1)) if groups > 1 else np.transpose(k, (3, 2, 0, 1))
        self.stride, self.size = stride, k.shape[-1]
        self.conv = nn.Conv2d(k.shape[1] * groups, k.shape[0], self.size, stride, groups=groups, bias=False)
        self.conv.weight.data = torch.tensor(k.copy())
        self.bn = nn.BatchNorm2d(k.shape[0], eps=1e-3)
        for mine, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"),
                             ("running_var", "moving_variance")):
            getattr(self.bn, mine).data = torch.tensor(weights[norm + "/" + theirs])
    def forward(self, x):
        if self.size == 3:
            x = F.pad(x, (1, 1, 1, 1) if self.stride == 1 else (0, 1, 0, 1))
        return self.bn(self.conv(x))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("stem", "block1_a", "block1_b", "block2_a", "block2_b"):
            setattr(self, name, Conv(name + "_conv", name + "_bn"))
        self.down = Conv("down_conv", "down_bn", 2)
        self.depthwise = Conv("block3_depthwise", "block3_depthwise_bn", groups=128)
        self.pointwise = Conv("block3_pointwise", "block3_pointwise_bn")
        self.hidden, self.digit = nn.Linear(128, 64), nn.Linear(64, 10)
        for layer in ("hidden", "digit"):
            getattr(self, layer).weight.data = torch.tensor(weights[layer + "/kernel"].T.copy())
            getattr(self, layer).bias.data = torch.tensor(weights[layer + "/bias"])
    def forward(self, x):
        x = F.silu(self.stem(x))
        x = F.silu(x + self.block1_b(F.silu(self.block1_a(x))))
        x = F.silu(self.down(x))
        x = F.silu(x + self.block2_b(F.silu(self.block2_a(x))))
        x = F.silu(x + self.pointwise(F.silu(self.depthwise(x))))
        return self.digit(F.relu(self.hidden(x.mean((2, 3)))))
images = torch.tensor(data["images"]).permute(0, 3, 1, 2)
labels = torch.tensor(data["labels"])
example = images[:1]
def accuracy(model):
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())
full = tp.utils.count_ops_and_params(Net().eval(), example)[0]
result = {"full": accuracy(Net().eval())}
for scope in ("local", "global"):
    rows, model = [], Net().eval()
    pruner = tp.pruner.MagnitudePruner(
        model, example, importance=tp.importance.MagnitudeImportance(p=2), pruning_ratio=0.95,
        iterative_steps=120, global_pruning=scope == "global", ignored_layers=[model.digit])
    macs = full
    for wanted in kept:
        while macs > wanted * full and pruner.current_step < 120:
            pruner.step()
            macs = tp.utils.count_ops_and_params(model, example)[0]
        rows.append([macs / full, accuracy(model)])
    result[scope] = rows
print(json.dumps(result))
"""


def accuracy(model: keras.Model, split: Any) -> float:
    """The share of a split's digits that a model gets right."""
    logits = np.asarray(model(split.images, training=False))
    return float((logits.argmax(axis=-1) == split.labels).mean())


def curve(model: keras.Model, digits: Digits, importance: str, compensate: str, recalibrate: bool) -> list[list[float]]:
    """MACs kept and accuracy, for each target."""
    full = ks.cost(model).macs
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    points = []
    for kept in KEPT:
        passes: list[Any] = [PruneChannels(macs=kept, importance=importance, scope="local", compensate=compensate)]
        if recalibrate:
            passes.append(RecalibrateBatchNorm())
        data = (digits.train.images[:512], digits.train.labels[:512])
        small = ks.apply_passes(model, passes, data=data, loss=loss, verify="structure")
        points.append([ks.cost(small).macs / full, accuracy(small, digits.test)])
    return points


def torch_curves(python: str, model: keras.Model, digits: Digits) -> dict[str, Any]:
    """The same weights in torch, pruned by Torch-Pruning."""
    with tempfile.TemporaryDirectory() as folder:
        weights = {weight.path: weight.numpy() for weight in model.weights if "seed" not in weight.path}
        np.savez(f"{folder}/weights.npz", **weights)
        np.savez(f"{folder}/data.npz", images=digits.test.images, labels=digits.test.labels.astype(np.int64))
        command = [python, "-W", "ignore", "-c", TORCH, f"{folder}/weights.npz", f"{folder}/data.npz", json.dumps(KEPT)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def mean(curves: Iterable[Any]) -> Any:
    """The mean over seeds."""
    return np.mean([np.asarray(points) for points in curves], axis=0)


def main() -> None:
    """Train, prune, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    curves: dict[str, list[Any]] = {}
    full = []
    for seed in range(options.seeds):
        keras.utils.set_random_seed(seed)
        digits = load_digits(seed)
        model = build_network()
        train(model, digits, epochs=EPOCHS, rate=3e-3, tell=lambda fraction, message: None)
        full.append(accuracy(model, digits.test))
        print(f"seed {seed}: accuracy {full[-1]:.3f}", flush=True)
        for importance in (*DATA_FREE, *FROM_DATA):
            for compensate in COMPENSATIONS if importance == "l2" else COMPENSATIONS[:2]:
                label = importance if compensate == "none" else f"{importance} + {compensate}"
                points = curve(model, digits, importance, compensate, recalibrate=False)
                curves.setdefault(label, []).append(points)
        curves.setdefault("l2 + recalibration", []).append(curve(model, digits, "l2", "none", recalibrate=True))
        if options.torch:
            found = torch_curves(options.torch, model, digits)
            print(f"  the same in torch: {found['full']:.3f}", flush=True)
            for scope in ("local", "global"):
                curves.setdefault(f"Torch-Pruning l2, {scope}", []).append(found[scope])
    text = table(curves, float(np.mean(full)), options.seeds)
    print(text)
    if options.write:
        write_text(options.write / "pruning_curves.md", text)
        plot(curves, options.write / "pruning_curves.svg")


def table(curves: dict[str, list[Any]], full: float, seeds: int) -> str:
    """The curves as a page."""
    head = [f"{100 * kept:.0f} %" for kept in KEPT]
    lines = [
        "# Accuracy without fine-tuning",
        "",
        "Made by `python benchmarks/pruning_curves.py --write docs`: a small residual net on scikit-learn's digits,",
        f"accuracy {100 * full:.1f} % before, pruned to a share of its MACs and not trained again; means over {seeds}",
        "seeds. *+ batch_norm*, *+ data*, *+ least_squares*: with that compensation.",
        "",
        "![curves](pruning_curves.svg)",
        "",
        "| criterion | " + " | ".join(head) + " | mean |",
        "|---|" + "---|" * (len(head) + 1),
    ]
    for label, found in curves.items():
        points = mean(found)
        cells = [f"{100 * value:.1f}" for value in points[:, 1]]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {100 * points[:, 1].mean():.1f} |")
    return "\n".join(lines) + "\n"


def plot(curves: dict[str, list[Any]], path: Path) -> None:
    """The curves as a picture: what is compensated is drawn through, what is not is dashed."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6))
    colours: dict[str, Any] = {}
    for label, found in curves.items():
        points = mean(found)
        base = label.split(" + ")[0]
        colour = colours.setdefault(base, f"C{len(colours)}")
        style = ":" if label.startswith("Torch") else "-" if " + " in label else "--"
        axes.plot(points[:, 0], points[:, 1], style, color=colour, label=label)
    axes.set_xlabel("MACs kept")
    axes.set_ylabel("accuracy, no fine-tuning")
    axes.invert_xaxis()
    axes.legend(fontsize=6, ncols=2)
    pyplot.rcParams["svg.hashsalt"] = "kerasurgeon"
    with staged(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})


if __name__ == "__main__":
    main()
