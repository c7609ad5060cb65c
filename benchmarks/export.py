"""Time of writing .onnx and .tflite, and the latency of the files, against the converters': interleaved in one process.

    uv run --all-extras python benchmarks/export.py [NAME ...] [--format onnx] [--rounds 3] [--json FILE]

Full-size networks of keras.applications with seeded weights. Processor time of one thread, medians; running the file
for comparison is not counted. The latency is the runtime's with one thread, rounds of both files in turn.
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


def onnx_run(proto: Any, image: Any) -> tuple[Callable[[], Any], int]:
    """What runs an ONNX file, and how many operators it has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feeds), len(proto.graph.node)


def tflite_run(data: Any, image: Any) -> tuple[Callable[[], Any], int]:
    """What runs a TFLite file, and how many operators it has."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    content = bytes(data)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    return interpreter.invoke, int(schema.Model.GetRootAs(content, 0).Subgraphs(0).OperatorsLength())


def latencies(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Milliseconds per run of one image, medians of rounds in turn."""
    times: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(10 * rounds):
        for way, run in runs.items():
            run()
            times[way].append(1000 * processor_time(run)[0])
    return {way: statistics.median(values) for way, values in times.items()}


def ways_of(file_format: str, model: Any) -> tuple[dict[str, Callable[[], Any]], Callable[..., Any]]:
    """Both ways to a file, and what makes one ready to run."""
    from kerasurgeon.exporting.onnx_convert import convert_to_onnx
    from kerasurgeon.exporting.onnx_writer import write_onnx
    from kerasurgeon.exporting.signature import input_infos, output_infos
    from kerasurgeon.exporting.tflite_convert import TfliteOptions, convert_to_tflite
    from kerasurgeon.exporting.tflite_writer import write_tflite

    border = input_infos(model), output_infos(model)
    if file_format == "onnx":
        return {
            "graph": lambda: write_onnx(model, *border, batch_size=None, opset=17).whole(),
            "converter": lambda: convert_to_onnx(model, *border, batch_size=None, opset=17),
        }, onnx_run
    options = TfliteOptions(None, (), False, 1)
    return {
        "graph": lambda: write_tflite(model, *border, batch_size=1),
        "converter": lambda: convert_to_tflite(model, *border, options)[0],
    }, tflite_run


def measure(network: str, rounds: int, file_format: str) -> dict[str, Any]:
    """Measure one network."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(weights=None)
    ways, ready = ways_of(file_format, model)
    times: dict[str, list[float]] = {way: [] for way in ways}
    files: dict[str, Any] = {}
    for attempt in range(rounds + 1):
        for way, write in ways.items():
            if way == "converter" and attempt > 1:
                continue  # it takes long, and the same each time
            seconds, files[way] = processor_time(write)
            if attempt:  # the first has imports and the like
                times[way].append(seconds)
    medians = {way: statistics.median(values) for way, values in times.items()}
    image = np.random.default_rng(0).random((1, *model.input_shape[1:]), dtype=np.float32)
    runs = {way: ready(file, image) for way, file in files.items()}
    return {
        "network": network,
        "seconds": medians,
        "ratio": medians["converter"] / medians["graph"],
        "operators": {way: count for way, (_, count) in runs.items()},
        "latency": latencies({way: run for way, (run, _) in runs.items()}, rounds),
    }


def main() -> None:
    """Measure, print, compare with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of keras.applications")
    parser.add_argument("--format", choices=("onnx", "tflite"), default="onnx")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    arguments = parser.parse_args()
    import kerasurgeon.passes  # noqa: F401  imported before anything is timed

    rows = []
    print(
        f"{'network':18} {'graph':>8} {'converter':>9} {'ratio':>6}  {'operators':>11} {'latency, ms':>15} {'ratio':>6}"
    )
    for network in arguments.names or NAMES:
        row = measure(network, arguments.rounds, arguments.format)
        rows.append(row)
        seconds, count, latency = row["seconds"], row["operators"], row["latency"]
        slower = latency["graph"] / latency["converter"]
        missed = [
            what
            for what, missed in (
                ("time", seconds["graph"] > TARGETS.get(network, float("inf"))),
                ("latency", slower > TARGET_LATENCY),
            )
            if missed
        ]
        print(
            f"{network:18} {seconds['graph']:7.3f}s {seconds['converter']:8.2f}s {row['ratio']:5.0f}x  "
            f"{count['graph']:5d}/{count['converter']:5d} "
            f"{latency['graph']:7.2f}/{latency['converter']:7.2f} {slower:6.2f}"
            + (f"  misses its {' and '.join(missed)}" if missed else ""),
            flush=True,
        )
    print(f"median ratio of times: {statistics.median(row['ratio'] for row in rows):.0f} (target {TARGET_RATIO:.0f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
