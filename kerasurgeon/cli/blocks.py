"""``kerasurgeon blocks``: what each region of a model costs and is worth, and which ones to leave out."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.errors import UsageError, usage
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_outputs, check_side_files, read_data
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.pages import REPORTS, write_report
from kerasurgeon.cli.region_rows import region_data, region_row
from kerasurgeon.cli.sizes import sizes_of
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.errors import missing_extra
from kerasurgeon.report.pictures import SUFFIXES

_CHOICE = "Which regions to leave out"


@grouped
def blocks(
    *,
    model: options.Model,
    data: Annotated[
        Path | None,
        options.option("Inputs, to measure quotients on: .npy, or .npz with one array per input.", metavar="FILE"),
    ] = None,
    labels: Annotated[
        Path | None, options.option("The class of each of the inputs: .npy or .npz.", metavar="FILE")
    ] = None,
    which: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only regions of these names. May be repeated.", show_default="all"),
    ] = None,
    min_nodes: Annotated[int, typer.Option(min=1, help="Only regions of so many calls of layers or more.")] = 2,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help="What stands in a region's place: drop (nothing), scale, affine, projection; auto is "
            "nothing, or a projection where the shape changes.",
        ),
    ] = "auto",
    macs: Annotated[
        float | None,
        options.option("Choose regions so that these MACs are kept: a share up to 1, or a number.", panel=_CHOICE),
    ] = None,
    params: Annotated[float | None, options.option("The same for parameters.", panel=_CHOICE)] = None,
    unreachable: options.IfUnreachable = options.Unreachable.REFUSE,
    sizes: options.Sizes = None,
    log: Annotated[
        Path | None,
        options.option(
            "Keep the quotients here, and go on from it when the command is run again.", metavar="FILE.json"
        ),
    ] = None,
    plot: Annotated[Path | None, options.option("Also draw the quotients: .png, .pdf or .svg.", metavar="FILE")] = None,
    report: options.PageFile = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Show what each region of a model costs; with labelled data, what it is worth, and which ones to leave out.

    The worth of a region is its knowledge quotient: the share of the accuracy that is lost without it.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    _check(data, labels, macs, params, {"--plot": plot, "--log": log})
    if log is not None and os.path.lexists(log):
        check_input(log, (".json",), "log")
    elif log is not None:
        check_outputs([log], (".json",), overwrite=overwrite, others=[model])
    if plot is not None:
        if find_spec("matplotlib") is None:
            raise missing_extra("matplotlib", "plot", "--plot")
        check_outputs([plot], SUFFIXES, overwrite=overwrite, others=[model])
    check_side_files([(report, REPORTS)], overwrite=overwrite, read=[model, data, labels, log, plot])
    arrays = read_data(data, labels)
    shapes = sizes_of(sizes)
    with activity() as now:
        start_keras(now)
        loaded = load_model(model, now, loading)
        if labels is None:
            now.phase("looking at the graph")
            document, shown = _costs(loaded, which, min_nodes, shapes)
        else:
            now.phase("measuring quotients")
            document, shown = _quotients(
                loaded,
                now,
                {
                    "data": arrays,
                    "which": which,
                    "min_nodes": min_nodes,
                    "method": _methods(method),
                    "log": log,
                    "sizes": shapes,
                },
                {"macs": macs, "params": params},
                str(unreachable),
                plot,
                overwrite,
            )
        document = {"file": str(model), **document}
        if report is not None:
            from kerasurgeon.exporting.outline import draw_one
            from kerasurgeon.report.charts import quotient_charts

            gone = document.get("chosen", {}).get("regions", ())
            charts = quotient_charts(document["quotients"], gone) if "quotients" in document else []
            title, drawing = f"{model.name}: regions", draw_one(loaded, shapes)
            write_report(report, document, title=title, before=drawing, shown=shown, charts=charts, overwrite=overwrite)
    if json:
        show_json(document)
    else:
        show(*shown)


def _check(
    data: Path | None, labels: Path | None, macs: float | None, params: float | None, others: dict[str, Path | None]
) -> None:
    """Refuse options that need quotients where none can be measured."""
    if data is not None and labels is None:
        raise UsageError(
            "Quotients are measured on labelled data.",
            where=str(data),
            hint="add --labels FILE: a class for each input",
        )
    if macs is not None and params is not None:
        raise UsageError("--macs and --params are two budgets.", hint="choose one of them")
    wanted = [name for name, path in others.items() if path is not None]
    wanted += [name for name, value in (("--macs", macs), ("--params", params)) if value is not None]
    if data is None and labels is None and wanted:
        raise UsageError(f"{wanted[0]} needs quotients.", hint="add --data FILE and --labels FILE")


def _methods(text: str) -> Any:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    return names[0] if len(names) == 1 else names


def _quotients(
    model: Any,
    now: Any,
    measuring: dict[str, Any],
    budget: dict[str, float | None],
    unreachable: str,
    plot: Path | None,
    overwrite: bool,
) -> tuple[dict[str, Any], list[Any]]:
    """The quotients and the choice, as data and as what is printed."""
    from kerasurgeon.blocks.candidates import check_methods, chosen_regions
    from kerasurgeon.blocks.choose import choose_regions
    from kerasurgeon.blocks.measuring import knowledge_quotients
    from kerasurgeon.costs import cost, require_counted
    from kerasurgeon.keras_io.lift import lift

    graph = lift(model)
    with usage():
        check_methods(measuring["method"])
        chosen_regions(graph, measuring["which"], measuring["min_nodes"])
        if budget["macs"] is not None:  # before hours of measuring
            require_counted("blocks", cost(graph, sizes=measuring["sizes"]))
    found = knowledge_quotients(graph, progress=now.tell, **measuring)
    document: dict[str, Any] = {"quotients": found.to_dict()}
    shown: list[Any] = [found.table(), *found.lines()]
    chosen = None
    if any(value is not None for value in budget.values()):
        chosen = choose_regions(found, macs=budget["macs"], params=budget["params"], unreachable=unreachable)
        document["chosen"] = chosen.to_dict()
        shown += [chosen.summary(), *(f"  {row.region} ({row.method}, {row.quotient:+.4f})" for row in chosen.rows)]
    if plot is not None:
        now.phase(f"drawing {plot.name}")
        found.plot(plot, chosen=chosen or (), overwrite=overwrite)
        document["plot"] = str(plot)
    return document, shown


def _costs(model: Any, which: list[str] | None, min_nodes: int, sizes: Any) -> tuple[dict[str, Any], list[Any]]:
    """The regions and what they cost, as data and as what is printed."""
    from kerasurgeon.blocks.candidates import chosen_regions, region_cost
    from kerasurgeon.costs import cost
    from kerasurgeon.keras_io.lift import lift
    from kerasurgeon.report import format_partial, grid

    graph = lift(model)
    total = cost(graph, sizes=sizes)
    unknown = set(total.left_out.names)
    left = ("region", "kind", "from", "to")
    heads = ("region", "kind", "nodes", "from", "to", "MACs", "parameters")
    table = grid(heads, left=left, title=f"{graph.name}: regions and what they cost")
    with usage():
        found = chosen_regions(graph, which, min_nodes)
    rows = []
    for region in found:
        macs, parameters = region_cost(graph, region, total)
        rows.append({**region_data(region), "keeps_spec": region.keeps_spec, "macs": macs, "parameters": parameters})
        partial = (bool(unknown.intersection(region.nodes)), False)
        shares = [
            f"{format_partial(own, some)} ({own / max(whole, 1):.1%})"
            for own, whole, some in zip((macs, parameters), (total.macs, total.parameters), partial, strict=True)
        ]
        table.add_row(*region_row(region), *shares)
    missing = total.left_out
    document = {"name": graph.name, "macs": total.macs, "parameters": total.parameters}
    document["left_out"] = missing.to_dict()
    notes = [missing.said] if missing else []
    return {**document, "regions": rows}, [table, *notes, "with --data and --labels: what each region is worth"]


__all__ = ["blocks"]
