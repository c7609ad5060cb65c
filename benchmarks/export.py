"""Time of writing .onnx and .tflite, and the latency of the files, against the converters': interleaved in one process.

    uv run --all-extras python benchmarks/export.py [NAME ...] [--rounds 3] [--json FILE]

Full-size networks of keras.applications with seeded weights. Processor time of one thread, medians; running the file
for comparison is not counted. The latency is ONNX Runtime's with one thread, rounds of both files in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAMES = ("MobileNetV2", "MobileNetV3Small", "ResNet50", "ResNet50V2", "DenseNet121", "EfficientNetB0", "ConvNeXtTiny")
TARGETS = {"MobileNetV2": 0.15, "ResNet50": 0.8}
TARGET_RATIO, TARGET_LATENCY = 20.0, 1.03


def processor_time(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, and the result."""
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def latencies(protos: dict[str, Any], shape: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Milliseconds per run of one image, medians of rounds in turn."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    sessions = {
        way: onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for way, proto in protos.items()
    }
    image = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    times: dict[str, list[float]] = {way: [] for way in sessions}
    for _ in range(10 * rounds):
        for way, session in sessions.items():
            feeds = {session.get_inputs()[0].name: image}
            session.run(None, feeds)
            started = time.process_time()
            session.run(None, feeds)
            times[way].append(1000 * (time.process_time() - started))
    return {way: statistics.median(values) for way, values in times.items()}


def measure(network: str, rounds: int) -> dict[str, Any]:
    """Measure one network."""
    import keras

    from kerasurgeon.exporting.onnx_convert import convert_to_onnx
    from kerasurgeon.exporting.onnx_writer import write_onnx
    from kerasurgeon.exporting.signature import input_infos, output_infos

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(weights=None)
    border = input_infos(model), output_infos(model)
    ways = {
        "graph": lambda: write_onnx(model, *border, batch_size=None, opset=17),
        "tf2onnx": lambda: convert_to_onnx(model, *border, batch_size=None, opset=17),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    protos: dict[str, Any] = {}
    for attempt in range(rounds + 1):
        for way, write in ways.items():
            if way == "tf2onnx" and attempt > 1:
                continue  # it takes long, and the same each time
            seconds, protos[way] = processor_time(write)
            if attempt:  # the first has imports and the like
                times[way].append(seconds)
    medians = {way: statistics.median(values) for way, values in times.items()}
    return {
        "network": network,
        "seconds": medians,
        "ratio": medians["tf2onnx"] / medians["graph"],
        "operators": {way: len(proto.graph.node) for way, proto in protos.items()},
        "latency": latencies(protos, model.input_shape[1:], rounds),
    }


def main() -> None:
    """Measure, print, compare with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of keras.applications")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    arguments = parser.parse_args()
    import kerasurgeon.passes  # noqa: F401  imported before anything is timed

    rows = []
    print(
        f"{'network':18} {'graph':>8} {'tf2onnx':>8} {'ratio':>6}  {'operators':>11} {'latency, ms':>15} {'ratio':>6}"
    )
    for network in arguments.names or NAMES:
        row = measure(network, arguments.rounds)
        rows.append(row)
        seconds, count, latency = row["seconds"], row["operators"], row["latency"]
        slower = latency["graph"] / latency["tf2onnx"]
        missed = [
            what
            for what, missed in (
                ("time", seconds["graph"] > TARGETS.get(network, float("inf"))),
                ("latency", slower > TARGET_LATENCY),
            )
            if missed
        ]
        print(
            f"{network:18} {seconds['graph']:7.3f}s {seconds['tf2onnx']:7.2f}s {row['ratio']:5.0f}x  "
            f"{count['graph']:5d}/{count['tf2onnx']:5d} {latency['graph']:7.2f}/{latency['tf2onnx']:7.2f} {slower:6.2f}"
            + (f"  misses its {' and '.join(missed)}" if missed else ""),
            flush=True,
        )
    print(f"median ratio of times: {statistics.median(row['ratio'] for row in rows):.0f} (target {TARGET_RATIO:.0f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
