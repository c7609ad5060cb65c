"""Run a pipeline over a model file and write what comes of it: what ``compress`` and ``tucker`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.groups import Loading, Records
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.writing import Writing, file_notes, files_table, telling, write_all
from kerasurgeon.report.exports import file_tables
from kerasurgeon.report.files import write_json
from kerasurgeon.report.page import SUFFIXES

if TYPE_CHECKING:
    from kerasurgeon.costs import CostComparison
    from kerasurgeon.exporting import ExportReport
    from kerasurgeon.rewrite.pipeline import Pipeline, Result


def carry_out(
    model: Path,
    make_pipeline: Callable[[], Pipeline],
    writing: Writing,
    *,
    data: Any,
    records: Records,
    loading: Loading,
    json: bool,
    sizes: Any = None,
    afterwards: Callable[[Result], Sequence[Any]] | None = None,
) -> None:
    """Load, run, write, print.

    Args:
        model: The model file.
        make_pipeline: Makes the pipeline, once Keras is there.
        writing: Which files are written, and how.
        data: Inputs, or ``(inputs, labels)``, for passes that use data.
        records: What else to write.
        loading: How the model file is loaded.
        json: Whether to print one JSON document and nothing else.
        sizes: Sizes of the inputs that costs and budgets are counted for; the pipeline's by default.
        afterwards: Called with the result once files are written; what it returns is printed first.
    """
    with activity() as now:
        start_keras(now)
        from kerasurgeon.costs import compare_costs, cost

        pipeline = make_pipeline()
        loaded = load_model(model, now, loading)
        now.phase("running the passes")
        result = pipeline.run(loaded, data=data, sizes=sizes, progress=now.tell)
        counted = result.report.sizes or None
        costs = compare_costs(cost(loaded, sizes=counted), cost(result.graph, sizes=counted))
        files = write_all(result.model, writing, now)
        document = _document(model, result, costs, files)
        with telling(files):
            if records.report and records.report.suffix.lower() in SUFFIXES:
                tables = file_tables([item.to_dict() for item in files])
                result.report.save(records.report, tables=tables, overwrite=writing.overwrite)
            elif records.report:
                write_json(records.report, document, overwrite=writing.overwrite)
            if records.save_recipe:
                result.recipe.save(records.save_recipe, overwrite=writing.overwrite)
            shown = afterwards(result) if afterwards is not None else ()
    if json:
        show_json(document)
    else:
        show(*shown, result.report.table(), *result.report.lines())
        show(costs.table(), files_table(files), *file_notes(files))


def _document(model: Path, result: Result, costs: CostComparison, files: list[ExportReport]) -> dict[str, object]:
    """What ``--json`` prints and ``--report FILE.json`` writes."""
    return {
        "model": str(model),
        "report": result.report.to_dict(),
        "cost": costs.to_dict(),
        "files": [item.to_dict() for item in files],
        "recipe": result.recipe.to_dict(),
    }
