"""What the penalty of MorphNet adds to a training step.

    uv run --all-extras python benchmarks/morphnet_step.py [--network ResNet50] [--size 64] [--batch 32] [--rounds 15]

Steps with and without the penalty are compiled once and then run in turns, so that what slows one down slows all.
What counts is the median of the ratios of neighbours. With ``--processor-time`` the processor's time is taken and not
the clock's, for machines that do other things as well.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from kerasurgeon.morphnet import MorphNet


def compiled(network: str, size: int, jit: Any) -> keras.Model:
    """A network with an optimizer."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(weights=None, input_shape=(size, size, 3), classes=10)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit)
    return model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="ResNet50")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--algorithms", nargs="*", default=["group_lasso", "gamma"])
    parser.add_argument("--targets", nargs="*", default=["macs"])
    parser.add_argument("--jit", action="store_true", help="compile steps by XLA")
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    rng = np.random.default_rng(0)
    images = rng.normal(size=(options.batch, options.size, options.size, 3)).astype("float32")
    labels = rng.integers(0, 10, options.batch)
    plain = compiled(options.network, options.size, options.jit)
    kinds = [(algorithm, target) for algorithm in options.algorithms for target in options.targets]
    models: dict[Any, keras.Model] = {None: plain}
    for kind in kinds:
        models[kind] = compiled(options.network, options.size, options.jit)
        started = time.perf_counter()
        MorphNet(models[kind], *kind, hardware="V100")
        print(f"{options.network}, {kind}: attached in {time.perf_counter() - started:.1f} s", flush=True)
    for model in models.values():
        for _ in range(2):
            model.train_on_batch(images, labels)
    times: dict[Any, list[float]] = {kind: [] for kind in models}
    for _ in range(options.rounds):
        for kind, model in models.items():
            before = clock()
            model.train_on_batch(images, labels)
            times[kind].append(clock() - before)
    base = np.array(times[None])
    print(f"a step without: {1e3 * np.median(base):.0f} ms ({options.batch} images of {options.size} x {options.size})")
    for kind in kinds:
        ratio = np.median(np.array(times[kind]) / base)
        print(f"{kind}: {1e3 * np.median(times[kind]):.0f} ms, {100 * (ratio - 1):+.1f} %", flush=True)


if __name__ == "__main__":
    main()
