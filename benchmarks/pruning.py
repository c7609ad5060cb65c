"""Time of the channel analysis, and of lift + prune half + emit, against Keras' clone and against Torch-Pruning.

    uv run --all-extras python benchmarks/pruning.py [NAME ...] [--rounds 5] [--json FILE]
    uv run --all-extras python benchmarks/pruning.py --torch PYTHON [--rounds 5] [--processor-time]
    uv run --all-extras python benchmarks/pruning.py --growth docs [--rounds 3]

Per network, full-size inputs, in one process of its own: the analysis of labels alone; lifting, removing half of the
channels of every group by their l2 norm and emitting, without and with compensation from batch norms (the default);
``clone_model`` plus ``set_weights``. All are run in turn, and medians compared.

``--torch`` names a Python that has torch, torchvision and torch-pruning: ResNet50 (local ranking) and ResNet152
(global) are pruned there as well, rounds of both libraries in turn. Torch-Pruning works in place, so that its time is
set beside that of the pass on a lifted graph (``pass``) and that of the whole way to a new model (``prune``).

``--processor-time`` takes processor time instead of the clock's, and gives Torch-Pruning one thread.

``--growth`` measures ``prune`` alone on eight networks of growing depth at small inputs, and writes a table and a plot
of time against nodes (which needs matplotlib) to a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pruning_growth

from kerasurgeon.atomic import write_text

TARGET_ANALYSIS, TARGET_ANALYSIS_LARGE, TARGET_CLONE = 20.0, 200.0, 1.2
TARGET_TORCH = {"ResNet50": 4.0, "ResNet152": 6.0}
NAMES = ("MobileNet", "MobileNetV2", "ResNet50", "ResNet152", "DenseNet201", "NASNetLarge", "EfficientNetV2L")

TORCH = """
import sys, time, json
import torch, torchvision, torch_pruning as tp
name, use_global = sys.argv[1].lower(), sys.argv[2] == "global"
# Threads that wait burn processor time.
torch.set_num_threads(1 if sys.argv[3] == "process_time" else 2)
clock = getattr(time, sys.argv[3])
for line in sys.stdin:
    model = getattr(torchvision.models, name)(weights=None).eval()
    inputs = torch.randn(1, 3, 224, 224)
    started = clock()
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.MagnitudeImportance(p=2), pruning_ratio=0.5,
        global_pruning=use_global, ignored_layers=[model.fc],
    )
    pruner.step()
    print(clock() - started, flush=True)
"""


def measure(name: str, rounds: int, scope: str, torch: str | None, clock: str) -> dict[str, Any]:
    """Measure one network in this process."""
    import keras

    from kerasurgeon import apply_passes, lift
    from kerasurgeon.authoring import Context
    from kerasurgeon.channels import analyse
    from kerasurgeon.passes import PruneChannels

    model = getattr(keras.applications, name)(weights=None)
    prune = PruneChannels(ratio=0.5, importance="l2", scope=scope, compensate="none")
    compensated = PruneChannels(ratio=0.5, importance="l2", scope=scope, compensate="batch_norm")
    graph = lift(model)

    def clone() -> Any:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())

    jobs = {
        "analysis": lambda: analyse(graph),
        "pass": lambda: prune.run(graph.copy(), Context()),
        "prune": lambda: apply_passes(model, [prune], verify="structure"),
        "compensated": lambda: apply_passes(model, [compensated], verify="structure"),
        "clone": clone,
    }
    now = getattr(time, clock)
    other = _torch(torch, name, scope, clock) if torch else None
    times: dict[str, list[float]] = {label: [] for label in (*jobs, "torch")}
    for number in range(rounds + 1):
        for label, job in jobs.items():
            started = now()
            job()
            if number:  # the first round pays for imports
                times[label].append(now() - started)
        if other is not None:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("\n")
            other.stdin.flush()
            seconds = float(other.stdout.readline())
            if number:
                times["torch"].append(seconds)
    if other is not None:
        other.kill()
    medians = {label: statistics.median(values) for label, values in times.items() if values}
    return {"network": name, "nodes": len(graph), **medians}


def _torch(python: str, name: str, scope: str, clock: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-W", "ignore", "-c", TORCH, name, scope, clock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def main() -> None:
    """Measure the networks one by one, each in a process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, help="timings that a median is of: 5, and 3 of --growth")
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument(
        "--processor-time", action="store_true", help="where the machine has other work; torch gets one thread"
    )
    parser.add_argument("--growth", type=Path, metavar="FOLDER", nargs="?", const=Path("docs"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    options.rounds = options.rounds or (3 if options.growth else 5)
    if options.growth and options.one:
        print(json.dumps(pruning_growth.measure(options.names[0], options.rounds)))
        return
    if options.growth:
        pruning_growth.run(__file__, options.growth, options.rounds)
        return
    clock = "process_time" if options.processor_time else "perf_counter"
    if options.one:
        scope = "global" if options.names[0] == "ResNet152" else "local"
        print(json.dumps(measure(options.names[0], options.rounds, scope, options.torch, clock)))
        return
    names = options.names or (list(TARGET_TORCH) if options.torch else list(NAMES))
    rows = []
    print(
        f"{'network':18} {'nodes':>6} {'analysis':>10} {'pass':>8} {'prune':>8} {'compens.':>9} {'clone':>8} "
        f"{'of clone':>10} {'torch':>8} {'to pass, prune':>16}"
    )
    for name in names:
        command = [sys.executable, __file__, name, "--one", "--rounds", str(options.rounds)]
        command += ["--torch", options.torch] if options.torch else []
        command += ["--processor-time"] * options.processor_time
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        row = json.loads(done.stdout.strip().splitlines()[-1])
        rows.append(row)
        torch = ""
        if "torch" in row:
            torch = f"{row['torch']:7.2f}s {row['torch'] / row['pass']:7.1f}x {row['torch'] / row['prune']:6.1f}x"
        of_clone = f"{row['prune'] / row['clone']:5.2f}{row['compensated'] / row['clone']:5.2f}"
        print(
            f"{name:18} {row['nodes']:6} {1000 * row['analysis']:8.1f}ms {row['pass']:7.2f}s {row['prune']:7.2f}s "
            f"{row['compensated']:8.2f}s {row['clone']:7.2f}s {of_clone} {torch}",
            flush=True,
        )
    if options.json:
        write_text(options.json, json.dumps(rows, indent=2))
    print(
        f"targets: analysis {TARGET_ANALYSIS:.0f} ms (ResNet50), {TARGET_ANALYSIS_LARGE:.0f} ms (1000 layers); "
        f"prune / clone {TARGET_CLONE}; faster than torch {TARGET_TORCH}"
    )


if __name__ == "__main__":
    main()
