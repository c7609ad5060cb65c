"""int8 ONNX by how its weights are stored: error with and without ONNX Runtime's kernels, and time, on this processor.

    uv run --all-extras python benchmarks/int8_weights.py [--seed 0]

Errors are root mean squares by the deviation of the float32 model's outputs, on inputs other than those of the
calibration. ``exact`` is the file computed operator by operator, ``used`` as ONNX Runtime runs it by default. On a
processor without VNNI an overflow shows by a ``used`` that is larger. Times are medians of a batch of 8 on one thread.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime

import kerasurgeon as ks

layers = keras.layers
FORMS: tuple[Any, ...] = ("full", "reduced", "unsigned")
_ROUNDS = 15


def networks(seed: int) -> dict[str, keras.Model]:
    image, vector, sequence = (keras.Input(shape, name="given") for shape in ((16, 16, 8), (32,), (24, 32)))
    made = {
        "conv": keras.Model(image, layers.Conv2D(16, 3)(image)),
        "dense": keras.Model(vector, layers.Dense(20)(layers.Dense(64, activation="relu")(vector))),
        "attention": keras.Model(sequence, layers.MultiHeadAttention(4, 16)(sequence, sequence)),
    }
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.applications import build_application

    return made | {"MobileNetV2": build_application("MobileNetV2", seed=seed)}


def run(path: Path, inputs: Any, *, optimised: bool) -> tuple[Any, float]:
    """What a file gives, and the milliseconds that it takes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        (result,) = session.run(None, {session.get_inputs()[0].name: inputs})
        times.append(1000 * (time.perf_counter() - started))
    return result, float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    keras.utils.set_random_seed(seed)
    print("| network | weights | exact | used | ms |\n|---|---|---|---|---|")
    for name, model in networks(seed).items():
        rng = np.random.default_rng(seed)
        calibration, inputs = (
            rng.normal(size=(count, *model.inputs[0].shape[1:])).astype("float32") for count in (64, 8)
        )
        expected = keras.ops.convert_to_numpy(model(inputs, training=False))
        for form in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.onnx")
                ks.export(model, path, quantize="int8", calibration=calibration, int8_weights=form, accept=math.inf)
                (exact, _), (used, took) = (run(path, inputs, optimised=kernels) for kernels in (False, True))
            errors = [np.sqrt(np.mean(np.square(got - expected))) / expected.std() for got in (exact, used)]
            print(f"| {name} | {form} | {errors[0]:.3f} | {errors[1]:.3f} | {took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
