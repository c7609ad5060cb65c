"""Which networks of keras.applications can be cut, pruned and exported: the table of docs/support.md.

    uv run --all-extras python benchmarks/support.py [NAME ...] [--plans 3] [--write docs/support.md]

Per network, at the smallest input, calibrated random weights, in a process of its own:

- cut: random plans at mixed ratios against the masked twin; the largest relative difference of the outputs.
- half the MACs: ``PruneChannels(macs=0.5)``; the ratio of MACs that it kept.
- TFLite, ONNX: the pruned model exported; the largest relative difference between the file's outputs and Keras'.

With ``--write`` the rows replace those of the same networks in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ("tflite", "onnx")
HEAD = """# Support: networks of keras.applications

Made by `python benchmarks/support.py --write docs/support.md`: smallest inputs, calibrated random weights. *cut*:
random plans against the masked twin, the largest relative difference of outputs. *half the MACs*: what
`PruneChannels(macs=0.5)` kept. *TFLite*, *ONNX*: largest relative difference between the pruned model's file and Keras.

| network | layers | groups | cut | half the MACs | TFLite | ONNX |
|---|---|---|---|---|---|---|
"""


def measure(name: str, plans: int, formats: list[str]) -> dict[str, Any]:
    """One network."""
    sys.path.insert(0, str(ROOT))
    import kerasurgeon as ks
    from kerasurgeon.channels import analyse, cut_channels, groups
    from kerasurgeon.channels.masked import mask_units
    from kerasurgeon.passes import PruneChannels
    from kerasurgeon.rewrite.outputs import relative_difference, run_model
    from tests.applications import application_inputs, build_application
    from tests.channels.oracle import random_cut

    model = build_application(name)
    inputs = application_inputs(model, seed=5)
    graph = ks.lift(model)
    channels = analyse(graph)
    row: dict[str, Any] = {"layers": len(graph), "groups": len(groups(channels)), "cut": 0.0}
    for seed in range(plans):
        gone = random_cut(channels, seed, (0.1, 0.5, 0.8)[seed % 3])
        small, masked = graph.copy(), graph.copy()
        cut_channels(small, gone, channels)
        mask_units(masked, channels, gone)
        expected = run_model(ks.emit(masked), inputs)
        row["cut"] = max(row["cut"], relative_difference(expected, run_model(ks.emit(small), inputs)))
    pruned = ks.apply_passes(model, [PruneChannels(macs=0.5, compensate="batch_norm")], verify="types")
    row["half"] = ks.compare_costs(ks.cost(model), ks.cost(pruned)).macs_kept
    row |= dict.fromkeys(FORMATS, "-")
    with tempfile.TemporaryDirectory() as folder:
        for format in formats:
            try:
                report = ks.export(pruned, Path(folder) / f"model.{format}")
                row[format] = max(item.relative_error for item in report.outputs)
            except ks.KerasurgeonError as error:
                row[format] = str(error).splitlines()[0][:80]
    return row


def written(value: Any) -> str:
    """A cell."""
    return value if isinstance(value, str) else f"{value:.1e}"


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [name, str(row["layers"]), str(row["groups"]), written(row["cut"]), f"{100 * row['half']:.1f} %"]
    return "| " + " | ".join([*cells, written(row["tflite"]), written(row["onnx"])]) + " |"


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--plans", type=int, default=3)
    parser.add_argument("--formats", nargs="*", choices=FORMATS, default=list(FORMATS), help="files to export")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if options.one:
        print(json.dumps(measure(options.names[0], options.plans, options.formats)))
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
    for name in names:
        started = time.perf_counter()
        command = [sys.executable, __file__, name, "--one", "--plans", str(options.plans)]
        command += ["--formats", *options.formats]
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
