"""``kerasurgeon inspect``: what is in a model file."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, MODEL_SUFFIXES, check_input, check_side_files
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.pages import REPORTS, write_report
from kerasurgeon.cli.region_rows import region_data, region_row
from kerasurgeon.cli.sizes import sizes_of
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.report.tables import grid

_USUAL = {"layers": True, "cost": True, "regions": True}


@grouped
def inspect(
    *,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model file: .keras or .h5 (.hdf5); of .tflite and .onnx, inputs, outputs, versions and recipe.",
            show_default=False,
        ),
    ],
    layers: Annotated[bool, typer.Option("--layers", help="Show the layers, one line a call.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Show MACs, parameters, bytes and activations, layer by layer.")
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Show the blocks with one way in and one way out.")
    ] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show which channels go together, and which cannot go and why.")
    ] = False,
    sizes: options.Sizes = None,
    report: options.PageFile = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Show what a model is made of and what it costs: layers, cost and regions, or what is asked for."""
    check_input(model, MODEL_SUFFIXES, "model file")
    check_side_files([(report, REPORTS)], overwrite=overwrite, read=[model])
    shapes = sizes_of(sizes)
    parts = {"layers": layers, "cost": cost, "regions": regions, "groups": groups}
    drawn: Any = model
    with activity() as now:
        start_keras(now)
        if model.suffix.lower() in KERAS_SUFFIXES:
            from kerasurgeon.keras_io.lift import lift

            drawn = lift(load_model(model, now, loading))
            now.phase("looking at the graph")
            document, shown = _of_graph(drawn, parts if any(parts.values()) else parts | _USUAL, shapes)
        else:
            if any(parts.values()) or shapes is not None:
                raise typer.BadParameter(f"{model.suffix} files show their inputs and outputs only.")
            now.phase(f"opening {model.name}")
            document, shown = _of_file(model)
        document = {"file": str(model), "bytes": model.stat().st_size, **document}
        if report is not None:
            from kerasurgeon.exporting.outline import draw_one

            drawing = draw_one(drawn, shapes)
            write_report(report, document, title=model.name, before=drawing, shown=shown, overwrite=overwrite)
    if json:
        show_json(document)
    else:
        show(*shown)


def _of_graph(graph: Any, parts: dict[str, bool], sizes: Any) -> tuple[dict[str, Any], list[Any]]:
    """A graph as data, and as what is printed."""
    from kerasurgeon.costs import cost

    total = cost(graph, sizes=sizes)
    document: dict[str, Any] = {"name": graph.name, "nodes": len(graph)}
    shown: list[Any] = []
    if parts["layers"]:
        document["layers"] = _layers(graph)
        shown.append(_layer_table(document["layers"]))
    if parts["cost"]:
        document["cost"] = total.to_dict()
        shown.append(total.table())
    if parts["regions"]:
        data, table = _regions(graph)
        document["regions"] = data
        shown.append(table)
    if parts["groups"]:
        from kerasurgeon.channels.groups import groups

        found = groups(graph, sizes=sizes)
        document["groups"] = found.to_dict()
        shown.append(found.table())
    return document, [*shown, total.summary()]


def _layers(graph: Any) -> list[dict[str, Any]]:
    rows = []
    for node in graph.nodes():
        layer = graph.layer_of(node)
        rows.append(
            {
                "name": node.name,
                "kind": layer.kind,
                "layer": node.layer,
                "inputs": [str(value) for value in node.inputs],
                "outputs": [str(spec) for spec in node.outputs],
                "weights": {key: list(weight.shape) for key, weight in layer.weights.items()},
            }
        )
    return rows


def _layer_table(rows: list[dict[str, Any]]) -> Table:
    heads = ("name", "kind", "reads", "gives", "weights")
    table = grid(heads, left=heads, title="layers, one row a call")
    for row in rows:
        weights = ", ".join(f"{key} {'x'.join(map(str, shape)) or '()'}" for key, shape in row["weights"].items())
        table.add_row(row["name"], row["kind"], ", ".join(row["inputs"]), ", ".join(row["outputs"]), weights)
    return table


def _regions(graph: Any) -> tuple[list[dict[str, Any]], Table | str]:
    """The regions as data, and as a table in which those inside others are indented."""
    from kerasurgeon.rewrite.regions import regions

    found = regions(graph)
    data = [region_data(region) for region in found]
    if not found:
        return data, "regions: none of two nodes or more"
    heads, left = ("region", "kind", "nodes", "from", "to"), ("region", "kind", "from", "to")
    return data, grid(heads, map(region_row, found), left=left, title="regions: one way in, one way out")


def _of_file(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The inputs and outputs of a .tflite or .onnx file, as data and as what is printed."""
    from kerasurgeon.exporting.opening import open_runner
    from kerasurgeon.report import format_bytes

    runner = open_runner(path)
    rows = [("input", info) for info in runner.inputs] + [("output", info) for info in runner.outputs]
    heads = ("", "name", "dtype and shape", "quantisation")
    table = grid(heads, left=heads)
    for side, info in rows:
        scale = "-" if info.quantization is None else "scale {:g}, zero point {}".format(*info.quantization)
        table.add_row(side, info.name, info.text, scale)
    data = [
        {
            "side": side,
            "name": info.name,
            "dtype": info.dtype,
            "shape": list(info.shape),
            "quantization": None if info.quantization is None else list(info.quantization),
        }
        for side, info in rows
    ]
    said, lines = _metadata(runner.metadata)
    return {"kind": runner.kind, "tensors": data, "metadata": said}, [
        f"{path}: {runner.kind}, {format_bytes(path.stat().st_size)}",
        table,
        *lines,
    ]


def _metadata(found: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """What a file says of itself, as data and as lines: recipes one line a pass."""
    said: dict[str, Any] = dict(found)
    try:
        said["recipe"] = recipes = json_text.loads(found["recipe"])
        steps = [step for recipe in recipes for step in recipe["pass"]]
        passes = [
            f"  {step['name']}" + "".join(f" {key}={value!r}" for key, value in step.items() if key != "name")
            for step in steps
        ]
    except (KeyError, TypeError, ValueError, AttributeError):  # there is none, or another's
        said, passes = dict(found), []
    plain = [f"{key}: {value}" for key, value in said.items() if isinstance(value, str)]
    return said, [_printable(line) for line in [*plain, *(["recipe:"] if passes else []), *passes]]


def _printable(line: str) -> str:
    """A line of a file from anywhere, without what a terminal would act on."""
    return "".join(character if character.isprintable() else "?" for character in line[:500])
