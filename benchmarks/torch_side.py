"""What runs in the Python that has torch and torch-pruning: a copy of a Keras network, pruned in several ways.

    PYTHON torch_side.py FOLDER

``FOLDER`` holds ``calls.json`` and ``weights.npz`` (see torch_copy.py), ``data.npz`` (images and labels to choose by,
to test, and for gradients) and ``asked.json``: the shares of the MACs, and the settings that are tested in any case.
For each setting and share it gets the weights of the pruned network, and ``found.json``: all settings are measured on
what is there to choose by, and only the best of them, and those that were named, on what is there to test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

STEPS = 100
IMPORTANCE = {
    "l2": lambda: tp.importance.MagnitudeImportance(p=2),
    "lamp": lambda: tp.importance.LAMPImportance(p=2),
    "batch norm": tp.importance.BNScaleImportance,
    "taylor": tp.importance.TaylorImportance,
}
SCOPES = ("local", "global", "isomorphic")


class Same(nn.Module):
    """A convolution with the padding of Keras, which is larger at the end where it cannot be equal."""

    def __init__(self, call: dict[str, Any], kernel: Any, bias: Any) -> None:
        super().__init__()
        self.same, self.strides, self.sizes = call["same"], call["strides"], kernel.shape[:-2]
        depthwise = call["kind"] == "DepthwiseConv2D"
        rank = len(self.sizes)
        order = (rank, rank + 1, *range(rank)) if depthwise else (rank + 1, rank, *range(rank))
        kernel = np.transpose(kernel, order)
        groups = len(kernel) if depthwise else 1
        kind = nn.Conv1d if rank == 1 else nn.Conv2d
        self.conv = kind(
            kernel.shape[1] * groups, len(kernel), self.sizes, self.strides, groups=groups, bias=bias is not None
        )
        self.conv.weight.data = torch.tensor(kernel.copy())
        if bias is not None:
            self.conv.bias.data = torch.tensor(bias)

    def forward(self, x: Any) -> Any:
        if self.same:
            pads: list[int] = []
            for length, size, stride in zip(x.shape[2:], self.sizes, self.strides, strict=True):
                total = max((-(-length // stride) - 1) * stride + size - length, 0)
                pads = [total // 2, total - total // 2, *pads]
            x = functional.pad(x, pads)
        return self.conv(x)

    def kernel(self) -> Any:
        """As Keras has it."""
        kernel = self.conv.weight.detach().numpy()
        order = (0, 1) if self.conv.groups > 1 else (1, 0)
        return np.transpose(kernel, (*range(2, 2 + len(self.sizes)), *order))


class Copy(nn.Module):
    """A network of calls."""

    def __init__(self, calls: list[dict[str, Any]], weights: dict[str, Any]) -> None:
        super().__init__()
        self.calls = calls
        self.made = nn.ModuleDict()
        for call in calls:
            name, kind = call["name"], call["kind"]
            kernel, bias = weights.get(f"{name}/kernel"), weights.get(f"{name}/bias")
            if "Conv" in kind:
                self.made[name] = Same(call, kernel, bias)
            elif kind == "Dense":
                self.made[name] = nn.Linear(*weights[f"{name}/kernel"].shape)
                self.made[name].weight.data = torch.tensor(weights[f"{name}/kernel"].T.copy())
                self.made[name].bias.data = torch.tensor(weights[f"{name}/bias"])
            elif kind == "BatchNormalization":
                kind = nn.BatchNorm1d if call["rank"] == 3 else nn.BatchNorm2d
                norm = self.made[name] = kind(len(weights[f"{name}/gamma"]), eps=call["epsilon"])
                for mine, theirs in NORM.items():
                    getattr(norm, mine).data = torch.tensor(weights[f"{name}/{theirs}"])

    def forward(self, x: Any) -> Any:
        found: dict[str, Any] = {}
        for call in self.calls:
            inputs = [found[name] for name in call["inputs"]] or [x]
            if call["name"] in self.made:
                y = self.made[call["name"]](inputs[0])
            elif call["kind"] == "Add":
                y = sum(inputs[1:], inputs[0])
            elif call["kind"].startswith("Global"):
                y = inputs[0].flatten(2).mean(2)
            else:
                y = inputs[0]
            activation = call.get("activation", "linear")
            found[call["name"]] = y if activation == "linear" else getattr(functional, activation)(y)
        return found[self.calls[-1]["name"]]

    def arrays(self) -> dict[str, Any]:
        """The weights as Keras has them."""
        found = {}
        for name, module in self.made.items():
            if isinstance(module, Same):
                found[f"{name}/kernel"] = module.kernel()
                module = module.conv
            elif isinstance(module, nn.Linear):
                found[f"{name}/kernel"] = module.weight.detach().numpy().T
            else:
                found |= {f"{name}/{theirs}": getattr(module, mine).detach().numpy() for mine, theirs in NORM.items()}
                continue
            if module.bias is not None:
                found[f"{name}/bias"] = module.bias.detach().numpy()
        return found


NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def macs(model: nn.Module, example: Any) -> int:
    """Multiply-accumulates of convolutions and Dense layers."""
    total = 0

    def count(module: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        total += module.weight.numel() * int(np.prod(output.shape[2:]))

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return total


def main() -> None:
    """Prune and write."""
    folder = Path(sys.argv[1])
    calls, asked = (json.loads((folder / f"{name}.json").read_text()) for name in ("calls", "asked"))
    weights, data = dict(np.load(folder / "weights.npz")), dict(np.load(folder / "data.npz"))
    images = {part: torch.tensor(np.moveaxis(data[part], -1, 1).copy()) for part in ("held_out", "test", "gradients")}
    labels = {part: torch.tensor(data[f"{part}_labels"]) for part in images}
    example = images["test"][:1]

    def right(model: nn.Module, part: str) -> float:
        with torch.no_grad():
            outputs = [model(several) for several in images[part].split(500)]
            return float((torch.cat(outputs).argmax(1) == labels[part]).float().mean())

    with torch.no_grad():
        np.save(folder / "outputs.npy", Copy(calls, weights).eval()(images["test"][:50]).numpy())
    found: dict[str, Any] = {}
    for criterion, make in IMPORTANCE.items():
        for scope in SCOPES:
            model = Copy(calls, weights).eval()
            if criterion == "taylor":  # gradients are pruned along with their weights
                functional.cross_entropy(model(images["gradients"]), labels["gradients"]).backward()
            pruner = tp.pruner.BasePruner(
                model,
                example,
                importance=make(),
                pruning_ratio=1.0,
                max_pruning_ratio=0.95,
                iterative_steps=STEPS,
                global_pruning=scope != "local",
                isomorphic=scope == "isomorphic",
                ignored_layers=[model.made[calls[-1]["name"]]],
            )
            full = reached = macs(model, example)
            for share in sorted(asked["kept"], reverse=True):
                while reached > share * full and pruner.current_step < STEPS:
                    pruner.step()
                    reached = macs(model, example)
                label = f"{criterion}, {scope}"
                np.savez(folder / f"{label}, {share}.npz", **model.arrays())
                row = {"macs": reached / full, "held_out": right(model, "held_out")}
                found.setdefault(label, {})[str(share)] = row
    for share in map(str, asked["kept"]):
        best = max(found, key=lambda label: found[label][share]["held_out"])
        for label in {best, *asked["tested"]}:
            narrow = Copy(calls, dict(np.load(folder / f"{label}, {share}.npz"))).eval()
            found[label][share]["test"] = right(narrow, "test")
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
