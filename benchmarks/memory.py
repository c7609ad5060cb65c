"""Memory that surgery and export take, in multiples of the weights' bytes: at the peak, and what stays.

    uv run --all-extras python benchmarks/memory.py [NAME ...] [--only OPERATION] [--json FILE]

Every operation runs in a process of its own on a full-size network: VGG16 (553 MB), or ResNet50 where there have to be
batch norms. The peak is the largest resident memory above what was resident before. What stays is what is resident
above that afterwards, the result kept, less the bytes of the result's weights that it does not share with the model:
right after the call, and when Python has looked for reference cycles and the C library has given freed memory back.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGETS = {"prune": 2.2, "keras": 2.5, "tflite": 2.5, "onnx": 2.2}
OPERATIONS = (
    "round trip",
    "prune",
    "prune plain",
    "three rounds",
    "least squares",
    "fold",
    "tucker",
    "factorise",
    "compress",
    "scales",
    "keras",
    "tflite",
    "onnx",
)
_STAYS = 0.1
_SAMPLES = 4


def operation(name: str, model: Any, folder: str) -> Callable[[], Any]:
    """What is measured."""
    import numpy as np

    import kerasurgeon as ks
    from kerasurgeon.morphnet import with_scales
    from kerasurgeon.passes import Factorise, FoldBatchNorm, PruneChannels, TuckerSplit

    passes: dict[str, list[Any]] = {
        "round trip": [],
        "prune": [PruneChannels(macs=0.5, compensate="batch_norm")],
        "prune plain": [PruneChannels(macs=0.5, compensate="none")],
        "three rounds": [PruneChannels(macs=0.5, compensate="batch_norm", steps=3)],
        "least squares": [PruneChannels(macs=0.5, compensate="least_squares")],
        "fold": [FoldBatchNorm()],
        "tucker": [TuckerSplit(ratio=0.5)],
        "factorise": [Factorise(ratio=0.5)],
        "compress": [FoldBatchNorm(), PruneChannels(macs=0.5, compensate="batch_norm"), TuckerSplit(ratio=0.5)],
    }
    if name in passes:
        random = np.random.default_rng(0)
        inputs = random.normal(size=(_SAMPLES, *model.input_shape[1:])).astype("float32")
        data = inputs if name == "least squares" else None
        return lambda: ks.apply_passes(model, passes[name], data=data)
    if name == "scales":
        return lambda: with_scales(model)

    def export() -> None:
        ks.export(model, os.path.join(folder, f"model.{name}"))

    return export


def measure(network: str, name: str) -> dict[str, Any]:
    """Measure one operation in this process."""
    import keras

    small = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with tempfile.TemporaryDirectory() as folder:
        operation(name, small, folder)()  # imports and first-call work
        del small
        model = getattr(keras.applications, network)(weights=None)
        weight_bytes = sum(4 * weight.shape.num_elements() for weight in model.weights)
        run = operation(name, model, folder)
        _give_back()
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        result = run()
        peak = _status("VmHWM") - before
        left = _status("VmRSS") - before
        own = 0 if result is None else _own_bytes(result, model)
        _give_back()
        stays = _status("VmRSS") - before - own
    return {
        "network": network,
        "operation": name,
        "weight_bytes": weight_bytes,
        "peak": peak / weight_bytes,
        "left": (left - own) / weight_bytes,
        "stays": stays / weight_bytes,
        "result": own / weight_bytes,
    }


def _own_bytes(result: Any, model: Any) -> int:
    """Bytes of weights of the result that are not the model's."""
    shown = [{_address(weight) for weight in one.weights} for one in (model, result)]
    return sum(size for _, size in shown[1] - shown[0])


def _address(weight: Any) -> tuple[int, int]:
    array = weight.value.value()._numpy()
    return array.__array_interface__["data"][0], array.nbytes


def _give_back() -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def main() -> None:
    """Measure, print, compare with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of keras.applications")
    parser.add_argument("--only", action="append", choices=OPERATIONS, help="an operation; all of them by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    rows = []
    print(f"{'network':18} {'operation':13} {'weights':>9} {'peak':>7} {'result':>7} {'left':>7} {'stays':>7}")
    for given in arguments.names or [None]:
        for name in arguments.only or OPERATIONS:
            network = given or ("ResNet50" if name == "fold" else "VGG16")
            command = [sys.executable, __file__, "--one", network, name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{network:18} {name:13} failed: {done.stderr.strip().splitlines()[-1]}")
                continue
            row = json.loads(done.stdout.strip().splitlines()[-1])
            rows.append(row)
            target = TARGETS.get(name)
            missed = target is not None and row["peak"] > target
            print(
                f"{network:18} {name:13} {row['weight_bytes'] / 1e6:7.1f}MB {row['peak']:6.2f}x {row['result']:6.2f}x "
                f"{row['left']:6.2f}x {row['stays']:6.2f}x"
                + (f"  peak above {target}" if missed else "")
                + ("  keeps memory" if max(row["left"], row["stays"]) > _STAYS else ""),
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
