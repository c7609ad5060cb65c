"""Time and memory of ``apply_passes(model, [])`` against ``clone_model`` plus ``set_weights``.

    uv run --all-extras python benchmarks/round_trip.py [NAME ...] [--rounds 5] [--json FILE]

Both are run in turn in one process per network, full-size inputs, and the medians compared; without names, over all of
keras.applications. The peak is what the round trip adds to the resident memory at its start, in multiples of the
weights' bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
TARGET_MEDIAN, TARGET_WORST, TARGET_PEAK, BIG = 0.6, 0.8, 2.2, 100e6


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Measure one network in this process."""
    import keras

    from kerasurgeon import apply_passes

    model = getattr(keras.applications, name)(weights=None)
    weight_bytes = sum(weight.numpy().nbytes for weight in model.weights)

    def clone() -> Any:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return copy

    def round_trip() -> Any:
        return apply_passes(model, [])

    round_trip()  # imports and first-call work, for both
    clone()
    _return_freed_memory()
    before = _resident()
    _reset_peak()
    result = round_trip()
    peak = _peak() - before
    del result
    times: dict[str, list[float]] = {"clone": [], "round_trip": []}
    for _ in range(rounds):
        for label, function in (("clone", clone), ("round_trip", round_trip)):
            started = time.perf_counter()
            function()
            times[label].append(time.perf_counter() - started)
    medians = {label: statistics.median(values) for label, values in times.items()}
    return {
        "name": name,
        "layers": len(model.layers),
        "weight_bytes": weight_bytes,
        "clone_s": medians["clone"],
        "round_trip_s": medians["round_trip"],
        "ratio": medians["round_trip"] / medians["clone"],
        "peak_over_weights": peak / weight_bytes,
    }


def _return_freed_memory() -> None:
    """Give what is free back to the system, so that the peak counts what the round trip takes, not what lay about."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    """A memory figure of this process from the kernel, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> int:
    """Measure and print a table; exit status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.names[0], options.rounds)))
        return 0
    names = options.names or _all_names()
    rows = []
    print(f"{'network':22} {'layers':>6} {'weights':>9} {'clone':>8} {'ours':>8} {'ratio':>6} {'peak':>6}")
    for name in names:
        command = [sys.executable, __file__, name, "--one", "--rounds", str(options.rounds)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            print(f"{name}: failed\n{done.stderr[-2000:]}")
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{name:22} {row['layers']:6} {row['weight_bytes'] / 1e6:7.1f}MB {row['clone_s']:7.3f}s "
            f"{row['round_trip_s']:7.3f}s {row['ratio']:6.2f} {row['peak_over_weights']:6.2f}",
            flush=True,
        )
    if options.json:
        write_text(options.json, json.dumps(rows, indent=2))
    ratios = [row["ratio"] for row in rows]
    peaks = [row["peak_over_weights"] for row in rows if row["weight_bytes"] > BIG]
    checks = [
        ("median ratio", statistics.median(ratios), TARGET_MEDIAN),
        ("worst ratio", max(ratios), TARGET_WORST),
        *([("worst peak over 100 MB", max(peaks), TARGET_PEAK)] if peaks else []),
    ]
    for what, value, target in checks:
        print(f"{what}: {value:.2f} (target {target}){'' if value <= target else '  MISSED'}")
    return int(any(value > target for _, value, target in checks))


def _all_names() -> list[str]:
    sys.path.insert(0, str(ROOT))
    from tests.applications import ARCHITECTURES

    return list(ARCHITECTURES)


if __name__ == "__main__":
    sys.exit(main())
