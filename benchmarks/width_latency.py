"""Latency of pruned networks on TFLite and ONNX Runtime, as a share of the original's: do the default widths pay?

    uv run --all-extras python benchmarks/width_latency.py [NETWORK ...] [--size 224] [--rounds 15] [--round-to auto 1]
        [--grown] [--plot docs/widths.svg]

Networks of keras.applications with drawn weights, pruned by l2 norm to several shares of their MACs. Pruned network and
original take turns on the runtime, one thread, and medians are compared. Printed is a table in Markdown; ``--plot``
draws it too (which needs matplotlib). With ``--grown`` networks are pruned to any widths and grown back by ``Expand``
to the MACs of the original, in widths that pay and others.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kerasurgeon as ks
from kerasurgeon.atomic import staged
from kerasurgeon.passes import Expand, PruneChannels

NETWORKS = ("MobileNetV2", "ResNet50", "EfficientNetB0")
RUNTIMES = ("onnx", "tflite")
TITLES = {"onnx": "ONNX Runtime", "tflite": "TFLite"}
KEPT = (0.75, 0.5, 0.25)


def build(name: str, size: int) -> keras.Model:
    """A network of keras.applications with drawn weights."""
    keras.utils.set_random_seed(0)
    model: keras.Model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    return model


def shares(model: keras.Model, round_to: int | str, rounds: int, *, grown: bool) -> dict[str, list[float]]:
    """For each runtime, the latency at each budget over that of the original."""
    options: dict[str, Any] = {"importance": "l2", "scope": "local", "compensate": "none"}
    options["round_to"] = 1 if grown else round_to
    after = [Expand(macs=float(ks.cost(model).macs), round_to=round_to)] if grown else []
    pruned = [
        ks.apply_passes(model, [PruneChannels(macs=kept, **options), *after], verify="structure") for kept in KEPT
    ]
    found = {}
    for runtime in RUNTIMES:
        milliseconds = ks.latency_on(runtime, rounds=rounds)
        whole = milliseconds(model)
        found[runtime] = [milliseconds(small) / whole for small in pruned]
    return found


def plot(rows: dict[tuple[str, str], dict[str, list[float]]], path: Path) -> None:
    """Draw latency against MACs, a panel for each runtime: below the dashed line a network is quicker than it was."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "kerasurgeon"
    figure, panels = pyplot.subplots(1, len(RUNTIMES), figsize=(9.0, 4.0), sharey=True)
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    styles = dict(zip(dict.fromkeys(given for _, given in rows), ("o-", "x:", "s-.", "^--"), strict=False))
    for panel, runtime in zip(panels, RUNTIMES, strict=True):
        for (name, given), found in rows.items():
            label = f"{name}, round_to={given}"
            panel.plot(KEPT, found[runtime], styles.get(given, "o-"), color=colours[name], label=label)
        panel.axhline(1.0, color="grey", linestyle="--", linewidth=1)
        panel.set_title(TITLES[runtime])
        panel.set_xlabel("share of MACs kept")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("latency over the original's")
    panels[0].legend(fontsize=7)
    figure.tight_layout()
    with staged(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})


def main() -> None:
    """Prune, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-to", nargs="+", default=["auto", "1"])
    parser.add_argument("--grown", action="store_true", help="grow pruned networks back to their MACs")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    print("| network | widths | " + " | ".join(RUNTIMES) + " |\n|---|---|" + "---|" * len(RUNTIMES), flush=True)
    for name in options.networks:
        model = build(name, options.size)
        for given in options.round_to:
            found = shares(model, int(given) if given.isdigit() else given, options.rounds, grown=options.grown)
            cells = [" / ".join(f"{share:.2f}" for share in found[runtime]) for runtime in RUNTIMES]
            print(f"| {name} | `round_to={given}` | " + " | ".join(cells) + " |", flush=True)
            rows[name, given] = found
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
