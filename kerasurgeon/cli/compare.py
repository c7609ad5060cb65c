"""``kerasurgeon compare``: how far two models' outputs are apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from kerasurgeon.cli import options
from kerasurgeon.cli.console import Activity, activity, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, MODEL_SUFFIXES, check_input, check_side_files, read_arrays
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.pages import REPORTS, write_report
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.report.tables import grid

_FILE = "A model file: .keras, .h5 (or .hdf5), .tflite or .onnx."


@grouped
def compare(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help=f"The reference. {_FILE}", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help=_FILE, show_default=False)],
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest relative difference of outputs.")] = 1e-3,
    samples: Annotated[int, typer.Option(min=1, help="How many random samples to run.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random samples.")] = 0,
    inputs: options.Inputs = None,
    report: options.PageFile = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Run two model files on the same inputs, and compare their outputs.

    The relative difference of an output is the largest difference, divided by the largest value of the reference.
    The exit status is 1 if an output differs by more than the tolerance.
    """
    for path in (first, second):
        check_input(path, MODEL_SUFFIXES, "model file")
    check_side_files([(report, REPORTS)], overwrite=overwrite, read=[first, second, inputs])
    data = read_arrays(inputs, "file of inputs")
    with activity() as now:
        start_keras(now)
        from kerasurgeon.exporting.parity import compare as compare_models

        runners = [_open(path, now, loading) for path in (first, second)]
        now.phase("running both")
        found = compare_models(*runners, inputs=data, seed=seed, samples=samples)
        error, head = found.relative_error, f"{found.candidate} against {found.reference}, {found.samples} samples"
        same, shown = error <= tolerance, [head, _table(found), _verdict(error, tolerance)]
        document = {**found.to_dict(), "relative_error": error, "tolerance": tolerance, "same": same}
        if report is not None:
            from kerasurgeon.exporting.outline import draw_both

            models = [getattr(runner, "model", path) for runner, path in zip(runners, (first, second), strict=True)]
            before, after, notes = draw_both(*models)
            sides = {"title": f"{first.name} → {second.name}", "before": before, "after": after}
            write_report(report, document, **sides, shown=[*shown, *notes], overwrite=overwrite)
    if json:
        show_json(document)
    else:
        show(*shown)
    if not same:
        raise typer.Exit(1)


def _open(path: Path, now: Activity, loading: Loading) -> Any:
    from kerasurgeon.exporting.opening import open_runner

    if path.suffix.lower() not in KERAS_SUFFIXES:
        now.phase(f"opening {path.name}")
        return open_runner(path)
    from kerasurgeon.exporting.keras_runner import KerasRunner

    model = load_model(path, now, loading)
    return KerasRunner(model, source=str(path))


def _table(report: Any) -> Table:
    rows = [
        (
            item.name,
            f"{item.max_abs_error:.2e}",
            f"{item.relative_error:.2e}",
            "-" if item.argmax_agreement is None else f"{item.argmax_agreement:.0%}",
        )
        for item in report.outputs
    ]
    return grid(("output", "largest difference", "relative", "same argmax"), rows)


def _verdict(error: float, tolerance: float) -> str:
    if error <= tolerance:
        return f"the same within {tolerance:g}"
    return f"different: {error:.2e} relative, more than {tolerance:g}"
