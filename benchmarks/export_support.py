"""What each network of keras.applications becomes as a file: the table of docs/export_support.md.

    uv run --all-extras python benchmarks/export_support.py [NAME ...] [--missing] [--compare MILLIONS] [--write FILE]

Per network, at the smallest input, with calibrated random weights, one after the other in one process:

- way: whether the file was written from the graph, or by the converter because a layer has no rule.
- time: processor time of writing, without running the file.
- operators: of the file, and of the converter's file where the network has no more than ``--compare`` million weights.
- error: the largest relative difference between what the file gives on its runtime and Keras. Where that is above 1e-5,
  how far the outputs move when the last bit of every weight does: no file can be held to less.

With ``--write`` the rows replace those of the same networks in the file; ``--missing`` measures those it lacks.
``--counts`` counts the operators of files from the graph anew, with weights as Keras makes them; all else stays.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

from export_tables import FORMATS, tables  # before what it sets the environment of

TARGET = 1e-5
HEAD = """# Support: networks of keras.applications as files

Made by `python benchmarks/export_support.py --write docs/export_support.md`: smallest inputs, calibrated random
weights. *way*: from the graph, or by the converter. *time*: processor time of writing, the run of the file not counted.
*operators*: of the file, and of the converter's. *error*: the largest relative difference between the file on its
runtime and Keras; in brackets, where it is above 1e-5, how far the outputs move with the last bit of every weight.

| network | weights | ONNX: way | time | operators | error | TFLite: way | time | operators | error |
|---|---|---|---|---|---|---|---|---|---|
"""


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
            cells += [str(problem).splitlines()[0][:80], "-", "-", "-"]
            continue
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        said = f"{error:.1e}"
        if error > TARGET:
            said += f" ({rounding_sensitivity(ks.lift(model), inputs, [expected]):.0e})"
        count = str(operators(path.read_bytes(), file_format))
        if weights <= compare * 1e6:
            try:
                write(runner, file_format, path, "converter")
                count += f" / {operators(path.read_bytes(), file_format)}"
            except ks.KerasurgeonError:
                count += " / refused"
        else:
            count += " / not compared"
        path.unlink()
        cells += [way, f"{seconds:.2f} s", count, said]
    return cells


def recounted(row: str) -> str:
    """A row with the operators of both files counted again."""
    import keras

    from kerasurgeon.exporting.keras_runner import KerasRunner
    from tests.applications import CLASSES, SMALLEST, SMALLEST_OTHERWISE

    cells = row.strip("| ").split(" | ")
    name = cells[0]
    size = SMALLEST_OTHERWISE.get(name, SMALLEST)
    options: dict[str, Any] = {"weights": None, "classifier_activation": None, "classes": CLASSES}
    runner = KerasRunner(getattr(keras.applications, name)(input_shape=(size, size, 3), **options))
    with tempfile.TemporaryDirectory() as folder:
        for file_format, place in zip(FORMATS, (4, 8), strict=True):
            path = Path(folder, f"{name}.{file_format}")
            if cells[place - 2] == "graph" and write(runner, file_format, path)[0] == "graph":
                cells[place] = " / ".join(
                    [str(operators(path.read_bytes(), file_format)), *cells[place].split(" / ")[1:]]
                )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--missing", action="store_true", help="only networks that the file has no row of")
    parser.add_argument("--counts", action="store_true", help="operators alone, of the networks in the file")
    parser.add_argument("--compare", type=float, default=10.0, metavar="MILLIONS")
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
            if options.counts:
                lines[name] = recounted(lines[name])
            else:
                lines[name] = "| " + " | ".join(measure(name, options.compare, Path(folder))) + " |"
            gc.collect()
            print(lines[name], f"({time.perf_counter() - started:.0f} s)", flush=True)
            if options.write:
                write_text(options.write, HEAD + "\n".join(lines[key] for key in sorted(lines)) + "\n" + behind)


if __name__ == "__main__":
    main()
