"""Time of the analyses on networks of keras.applications: cost, regions, a pattern, the structural check.

    uv run --all-extras python benchmarks/analysis.py [NAME ...] [--rounds 9]

All are run in turn in one process; medians in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from kerasurgeon import cost, lift, regions
from kerasurgeon.authoring import anything, find, layers
from kerasurgeon.ir import verify_structure

NAMES = ("MobileNetV2", "ResNet50", "EfficientNetB0", "DenseNet201", "NASNetLarge")


def main() -> None:
    """Print a row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    pattern = layers.BatchNormalization(layers.Conv2D(anything("x")).bind("conv"))
    print(f"{'network':16} {'nodes':>6} {'lift':>8} {'cost':>8} {'regions':>8} {'pattern':>8} {'verify':>8}  (ms)")
    for name in options.names:
        model = getattr(keras.applications, name)(weights=None)
        graph = lift(model)
        jobs: dict[str, Callable[[], Any]] = {
            "lift": lambda model=model: lift(model),  # type: ignore[misc]
            "cost": lambda graph=graph: cost(graph),  # type: ignore[misc]
            "regions": lambda graph=graph: regions(graph),  # type: ignore[misc]
            "pattern": lambda graph=graph: find(graph, pattern),  # type: ignore[misc]
            "verify": lambda graph=graph: verify_structure(graph),  # type: ignore[misc]
        }
        times: dict[str, list[float]] = {label: [] for label in jobs}
        for _ in range(options.rounds):
            for label, job in jobs.items():
                started = time.perf_counter()
                job()
                times[label].append(time.perf_counter() - started)
        medians = {label: 1000 * statistics.median(values) for label, values in times.items()}
        print(f"{name:16} {len(graph):6} " + " ".join(f"{medians[label]:8.1f}" for label in jobs))


if __name__ == "__main__":
    main()
