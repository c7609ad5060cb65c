"""What each network of keras.applications becomes as a file: the table of docs/export_support.md.

    uv run --all-extras python benchmarks/export_support.py [NAME ...] [--missing] [--compare MILLIONS] [--write FILE]

Per network, at the smallest input, with calibrated random weights, one after the other in one process:

- way: whether the file was written from the graph, or by the converter because a layer has no rule.
- time: processor time of writing, without running the file.
- operators, size, latency: of the file, and of the converter's file where the network has no more than ``--compare``
  million weights. Latency is processor time, one thread; both files take turns, and what is shown is the share of the
  converter's, by the medians.
- error: the largest relative difference between what the file gives on its runtime and Keras. Where that is above 1e-5,
  how far the outputs move when the last bit of every weight does: no file can be held to less.

With ``--write`` the rows replace those of the same networks in the file; ``--missing`` measures those it lacks.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export_tables import FORMATS, tables  # before what it sets the environment of

TARGET = 1e-5
OPENED, RUNS, SECONDS = 8, 7, 1.0
"""How often two files are opened, how many turns they take each time at least, and for how long if they are quick."""
HEAD = """# Support: networks of keras.applications as files

Made by `python benchmarks/export_support.py --write docs/export_support.md`: smallest inputs, calibrated random
weights. *way*: from the graph, or by the converter. *time*: processor time of writing, the run of the file not counted.
*operators*: of the file, and of the converter's. *size*, *latency*: over those of the converter's file, on its runtime
with one thread (processor time, both in turns, medians, opened anew eight times). *error*: the largest relative
difference between the file and Keras; in brackets, where it is above 1e-5, how far the outputs move with the last bit
of every weight.

"""
_CELLS = "way | time | operators | size | latency | error"
HEAD += f"| network | weights | ONNX: {_CELLS} | TFLite: {_CELLS} |\n{'|---' * 14}|\n"


def operators(content: bytes, file_format: str) -> int:
    """How many operators a file has."""
    if file_format == "onnx":
        import onnx

        return len(onnx.load_from_string(content).graph.node)
    from ai_edge_litert import schema_py_generated as schema

    return int(schema.Model.GetRootAs(content, 0).Subgraphs(0).OperatorsLength())


def write(runner: Any, file_format: str, path: Path, writer: str = "auto") -> tuple[str, float]:
    """Write a file; the way that was taken, and the seconds of processor time that it took."""
    from kerasurgeon.exporting.options import check_options
    from kerasurgeon.exporting.writing import write_file

    options = check_options(
        path, quantize=None, integer_io=False, batch_size="auto", opset=None, calibration=None, writer=writer
    )
    started = time.process_time()
    notes = write_file(runner, path, options, [], lambda fraction, message: None)
    seconds = time.process_time() - started
    return "converter" if writer == "converter" or any("converted" in note for note in notes) else "graph", seconds


def against(runner: Any, path: Path, inputs: Any, compare: bool) -> list[str]:
    """Operators, size and latency of a file beside those of the converter's file."""
    import kerasurgeon as ks

    file_format = path.suffix.removeprefix(".")
    count = operators(path.read_bytes(), file_format)
    if not compare:
        return [f"{count} / not compared", "-", "-"]
    other = path.with_stem("converter")
    try:
        write(runner, file_format, other, "converter")
    except ks.KerasurgeonError:
        return [f"{count} / refused", "-", "-"]
    cells = [
        f"{count} / {operators(other.read_bytes(), file_format)}",
        f"{path.stat().st_size / other.stat().st_size:.2f}",
        f"{latency_share(path, other, inputs):.2f}",
    ]
    other.unlink()
    return cells


def latency_share(path: Path, other: Path, inputs: Any) -> float:
    """The latency of a file over that of another: of single runs in turns, by their medians.

    Where in memory a runtime's buffers happen to lie moves its times by up to 8 %, for as long as it is open. So both
    files are opened anew several times, now the one first and now the other, and the median of these shares counts.
    """
    one, shares = inputs[:1], []
    for attempt in range(OPENED):
        paths = (path, other) if attempt % 2 else (other, path)
        times = dict(zip(paths, _times_in_turns(paths, one), strict=True))
        shares.append(statistics.median(times[path]) / statistics.median(times[other]))
    return statistics.median(shares)


def _times_in_turns(paths: Sequence[Path], one: Any) -> list[list[float]]:
    """Seconds of processor time of the runs of files, the first two of each left out."""
    from kerasurgeon.exporting import open_runner

    runners = [open_runner(path, threads=1) for path in paths]
    taken: list[list[float]] = [[] for _ in paths]
    until = time.perf_counter() + SECONDS
    while len(taken[0]) < RUNS or time.perf_counter() < until:
        for runner, times in zip(runners, taken, strict=True):
            started = time.process_time()
            runner.run(one)
            times.append(time.process_time() - started)
    return [times[2:] for times in taken]


def measure(name: str, compare: float, folder: Path) -> list[str]:
    """The cells of one network."""
    import numpy as np

    import kerasurgeon as ks
    from kerasurgeon.exporting import open_runner
    from kerasurgeon.exporting.keras_runner import KerasRunner
    from kerasurgeon.rewrite.outputs import rounding_sensitivity
    from tests.applications import application_inputs, build_application

    model = build_application(name)
    runner = KerasRunner(model)
    inputs = application_inputs(model, seed=5)
    (expected,) = runner.run(inputs).values()
    weights = model.count_params()
    cells = [name, f"{weights / 1e6:.1f} M"]
    for file_format in FORMATS:
        path = folder / f"{name}.{file_format}"
        try:
            way, seconds = write(runner, file_format, path)
            (got,) = open_runner(path, threads=1).run(inputs).values()
        except ks.KerasurgeonError as problem:
            cells += [str(problem).splitlines()[0][:80], *"-----"]
            continue
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        said = f"{error:.1e}"
        if error > TARGET:
            said += f" ({rounding_sensitivity(ks.lift(model), inputs, [expected]):.0e})"
        cells += [way, f"{seconds:.2f} s", *against(runner, path, inputs, weights <= compare * 1e6), said]
        path.unlink()
    return cells


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--missing", action="store_true", help="only networks that the file has no row of")
    parser.add_argument("--compare", type=float, default=400.0, metavar="MILLIONS")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    import kerasurgeon.passes  # noqa: F401  imported before anything is timed
    from kerasurgeon.atomic import write_text
    from tests.applications import ARCHITECTURES

    table, behind = tables(options.write)  # benchmarks/export_layers.py makes what is behind
    rows = [text for text in table.splitlines() if text.startswith("| ")]
    lines = {text.split(" | ")[0].removeprefix("| "): text for text in rows[1:]}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or ARCHITECTURES:
            if options.missing and name in lines:
                continue
            started = time.perf_counter()
            lines[name] = "| " + " | ".join(measure(name, options.compare, Path(folder))) + " |"
            gc.collect()
            print(lines[name], f"({time.perf_counter() - started:.0f} s)", flush=True)
            if options.write:
                write_text(options.write, HEAD + "\n".join(lines[key] for key in sorted(lines)) + "\n" + behind)


if __name__ == "__main__":
    main()
