"""MorphNet on every network of keras.applications: attach, a training step, shrink, emit, parity.

    uv run --all-extras python benchmarks/morphnet_support.py [--write docs/morphnet_support.md] [--missing] [NAME ...]

For each network, for both algorithms and three targets: the penalty is attached to the network with calibrated random
weights; one step of training is done, under which the penalty must fall; the threshold is put so that three in ten
channels are dead; the network is cut and emitted, and its outputs are compared with those of the masked twin, the whole
network in which dead channels contribute nothing. Each network has a process of its own. With ``--write`` the table is
written after each network; rows of networks that are not run stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
ALGORITHMS = ("group_lasso", "gamma")
TARGETS = ("macs", "size", "latency")
PARITY = 1e-3
HEAD = """# MorphNet on the networks of keras.applications

Made by `python benchmarks/morphnet_support.py --write docs/morphnet_support.md`: smallest inputs, calibrated random
weights. For each algorithm and target: the penalty is attached, one training step is done, three in ten of the channels
that may go are called dead, the network is cut, emitted, and compared with its masked twin. *yes*: all of that worked,
the penalty fell, and outputs differ by less than 1e-3 of the largest; the number is the share of the cost that is kept.
Latency is that of the V100 in the table. *scales*: the network has channels without a batch-norm scale, and gamma was
run on `with_scales(model)`. Channels that a layer normalises over (ConvNeXt's stages) are left alone. *units*: how many
are regularised; *largest*: the largest difference of the row.

| network | units | gamma on | lasso: MACs | size | latency | gamma: MACs | size | latency | largest |
|---|---|---|---|---|---|---|---|---|---|
"""


def measure(name: str) -> dict[str, Any]:
    """One network."""
    sys.path.insert(0, str(ROOT))
    import keras
    import numpy as np

    import kerasurgeon as ks
    from kerasurgeon.morphnet import MorphNet
    from tests.applications import application_inputs, build_application

    network = build_application(name)
    inputs = application_inputs(network, seed=5)
    row: dict[str, Any] = {"scales": False, "worst": 0.0}
    for algorithm in ALGORITHMS:
        model = network
        if algorithm == "gamma":
            with MorphNet(network, "group_lasso", exact_only=True) as plain:
                wanted = plain.regularised.sum()
                row["units"] = int(wanted)
            try:
                with MorphNet(network, algorithm, exact_only=True) as morph:
                    row["scales"] = bool(morph.regularised.sum() < wanted)
            except ks.OptionError:
                row["scales"] = True
            model = scaled(network, np) if row["scales"] else network
        for target in TARGETS:
            row[f"{algorithm} {target}"] = one(model, algorithm, target, inputs, row, keras, np, ks)
    return row


def scaled(network: Any, np: Any) -> Any:
    """The network with scales everywhere, those that are new at random: of equal ones none would be the smallest."""
    from kerasurgeon.morphnet import with_scales

    model, rng = with_scales(network), np.random.default_rng(0)
    for weight in model.trainable_weights:
        if weight.path.endswith("gamma") and np.ptp(np.asarray(weight.numpy())) == 0:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def one(
    model: Any, algorithm: str, target: str, inputs: Any, row: dict[str, Any], keras: Any, np: Any, ks: Any
) -> float | str:
    """The share kept, or what went wrong."""
    from kerasurgeon.channels import analyse, mask_units
    from kerasurgeon.morphnet import MorphNet, without_scales
    from kerasurgeon.rewrite.outputs import relative_difference, run_model

    weights = [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]
    morph = MorphNet(model, algorithm, target, hardware="V100", exact_only=True, strength=1.0)
    try:
        before = morph.loss()
        labels = np.zeros(len(inputs), "int32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # The gradient of the penalty is small beside that of the task on random weights: the sign alone counts.
        morph.set_strength(1e6)
        model.compile(keras.optimizers.Lion(1e-4), loss, run_eagerly=True)
        model.train_on_batch(inputs, labels)
        morph.set_strength(1.0)
        if not morph.loss() < before:
            return f"the penalty rose from {before:.6g} to {morph.loss():.6g}"
        sizes = morph.magnitudes()
        for weight, value in zip(model.weights, weights, strict=True):
            weight.assign(value)
        morph.threshold = float(np.nanquantile(sizes, 0.3))
        morph.floors = 1
        plan = morph.plan()
        kept = morph.cost() / morph.initial_cost
        if not plan.kept:
            return "nothing died"
        small = morph.shrink()
    finally:
        morph.detach()
    graph = ks.lift(model)
    channels = analyse(graph)
    mask_units(graph, channels, plan.gone(channels))
    twin = ks.emit(graph, compile=False)
    twin = without_scales(twin)
    difference = relative_difference(run_model(twin, inputs), run_model(small, inputs))
    row["worst"] = max(row["worst"], difference)
    return kept if difference < PARITY else f"difference {difference:.1e}"


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [name, str(row["units"]), "with scales" if row["scales"] else "itself"]
    for algorithm in ALGORITHMS:
        for target in TARGETS:
            found = row[f"{algorithm} {target}"]
            cells.append(found if isinstance(found, str) else f"yes, {found:.2f}")
    return "| " + " | ".join([*cells, f"{row['worst']:.1e}"]) + " |"


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--missing", action="store_true", help="only networks without a row in the file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if options.one:
        print(json.dumps(measure(options.names[0])))
        return
    names = options.names
    if not names:
        sys.path.insert(0, str(ROOT))
        from tests.applications import ARCHITECTURES

        names = list(ARCHITECTURES)
    lines: dict[str, str] = {}
    if options.write and options.write.exists():
        rows = [text for text in options.write.read_text(encoding="utf-8").splitlines() if text.startswith("| ")]
        lines = {text.split(" | ")[0].removeprefix("| "): text for text in rows[1:]}
    for name in [name for name in names if not (options.missing and name in lines)]:
        started = time.perf_counter()
        command = [sys.executable, __file__, name, "--one"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: FAILED\n{done.stderr[-2000:]}", flush=True)
            continue
        lines[name] = line(name, json.loads(done.stdout.strip().splitlines()[-1]))
        print(lines[name], f"({time.perf_counter() - started:.0f} s)", flush=True)
        if options.write:
            write_text(options.write, HEAD + "\n".join(lines[key] for key in sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
