"""Latency of pruned networks on TFLite and ONNX Runtime, as a share of the original's: do the default widths pay?

    uv run --all-extras python benchmarks/width_latency.py [NETWORK ...] [--size 224] [--rounds 15] [--round-to auto 1]

Networks of keras.applications with drawn weights, pruned by l2 norm to several shares of their MACs. Pruned network and
original take turns on the runtime, one thread, and medians are compared. Printed is a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kerasurgeon as ks
from kerasurgeon.passes import PruneChannels

NETWORKS = ("MobileNetV2", "ResNet50", "EfficientNetB0")
RUNTIMES = ("onnx", "tflite")
KEPT = (0.75, 0.5, 0.25)


def build(name: str, size: int) -> keras.Model:
    """A network of keras.applications with drawn weights."""
    keras.utils.set_random_seed(0)
    model: keras.Model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    return model


def shares(model: keras.Model, round_to: int | str, rounds: int) -> dict[str, list[float]]:
    """For each runtime, the latency at each budget over that of the original."""
    options: dict[str, Any] = {"importance": "l2", "scope": "local", "compensate": "none", "round_to": round_to}
    pruned = [ks.apply_passes(model, [PruneChannels(macs=kept, **options)], verify="structure") for kept in KEPT]
    found = {}
    for runtime in RUNTIMES:
        milliseconds = ks.latency_on(runtime, rounds=rounds)
        whole = milliseconds(model)
        found[runtime] = [milliseconds(small) / whole for small in pruned]
    return found


def main() -> None:
    """Prune, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-to", nargs="+", default=["auto", "1"])
    options = parser.parse_args()
    print("| network | widths | " + " | ".join(RUNTIMES) + " |\n|---|---|" + "---|" * len(RUNTIMES), flush=True)
    for name in options.networks:
        model = build(name, options.size)
        for given in options.round_to:
            found = shares(model, int(given) if given.isdigit() else given, options.rounds)
            cells = [" / ".join(f"{share:.2f}" for share in found[runtime]) for runtime in RUNTIMES]
            print(f"| {name} | `round_to={given}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
