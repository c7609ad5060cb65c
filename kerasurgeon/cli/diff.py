"""``kerasurgeon diff``: what differs between two model files, layer by layer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import Activity, activity, show, show_json
from kerasurgeon.cli.files import KERAS_SUFFIXES, MODEL_SUFFIXES, check_input, check_outputs
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.report import format_bytes, format_count, format_kept, format_shape, grid
from kerasurgeon.report.page import SUFFIXES, write_page

if TYPE_CHECKING:
    from kerasurgeon.report.drawing import Drawing

_FILE = "A model file: .keras, .h5 (or .hdf5), .tflite or .onnx."
_SHOWN = 60  # layers that are listed in the terminal
_TOTALS = (("MACs", "macs", format_count), ("parameters", "parameters", format_count))
_SIZES = (("weights", "weight_bytes", format_bytes), ("peak activations", "peak_activation_bytes", format_bytes))


@grouped
def diff(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help=f"The model before. {_FILE}", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help=f"The model after. {_FILE}", show_default=False)],
    output: Annotated[
        Path | None,
        options.option(
            "Also write a page with both networks side by side.", "--report", "--output", "-o", metavar="FILE.html"
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Compare two model files layer by layer, without running them: what is changed, new or gone, and what it costs.

    Layers are matched by name. Of .tflite and .onnx files operators are compared; between files of different formats
    only what is there, by name. How far outputs are apart is what compare says.
    """
    for path in (first, second):
        check_input(path, MODEL_SUFFIXES, "model file")
    if output is not None:
        check_outputs([output], SUFFIXES, overwrite=overwrite, others=[first, second])
    with activity() as now:
        start_keras(now)
        from kerasurgeon.exporting.outline import draw_both

        models = [_read(path, now, loading) for path in (first, second)]
        now.phase("comparing")
        before, after, notes = draw_both(*models)
        data = {"title": f"{first.name} → {second.name}", "before": before, "after": after}
        if output is not None:
            write_page(output, {**data, "passes": [], "notes": notes, "tables": []}, overwrite=overwrite)
    if json:
        show_json(_document(first, second, before, after, notes))
    else:
        show(_totals(before, after), *_layers(before, after), *notes)


def _read(path: Path, now: Activity, loading: Loading) -> Any:
    """A Keras model; files of other formats are read as they are."""
    return load_model(path, now, loading) if path.suffix.lower() in KERAS_SUFFIXES else path


def _found(before: Drawing, after: Drawing) -> list[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """The nodes that are not the same, as they were and as they are."""
    old = {node["name"]: node for node in before["nodes"]}
    new = {node["name"]: node for node in after["nodes"]}
    pairs = [(old.get(name), new.get(name)) for name in {**old, **new}]
    return [(one, other) for one, other in pairs if (other or one or {})["status"] != "same"]


def _document(first: Path, second: Path, before: Drawing, after: Drawing, notes: list[str]) -> dict[str, Any]:
    said = ("kind", "shape", "macs", "parameters")
    layers = []
    for one, other in _found(before, after):
        node = other or one or {}
        sides = {"before": one, "after": other}
        layers.append(
            {
                **{key: node[key] for key in ("name", "status", "changes")},
                **{side: each and {key: each[key] for key in said} for side, each in sides.items()},
            }
        )
    totals = {"before": before["totals"], "after": after["totals"]}
    return {"before": str(first), "after": str(second), "totals": totals, "layers": layers, "notes": notes}


def _totals(before: Drawing, after: Drawing) -> Any:
    rows: list[tuple[str, ...]] = [("layers", str(len(before["nodes"])), str(len(after["nodes"])), "")]
    for label, key, shown in (*_TOTALS, *_SIZES):
        old, new = before["totals"][key], after["totals"][key]
        cells = ["?" if size is None else shown(size) for size in (old, new)]
        rows.append((label, *cells, format_kept(None if new is None or not old else new / old)))
    return grid(("", "before", "after", "kept"), rows)


def _layers(before: Drawing, after: Drawing) -> list[Any]:
    found = _found(before, after)
    if not found:
        return ["no layer differs"]
    rows = []
    for one, other in found[:_SHOWN]:
        node = other or one or {}
        shapes = [format_shape(each["shape"]) for each in (one, other) if each]
        parameters = [format_count(each["parameters"]) for each in (one, other) if each]
        cells = [" -> ".join(dict.fromkeys(each)) for each in (shapes, parameters)]
        rows.append((node["name"], node["kind"], node["status"], ", ".join(node["changes"]), *cells))
    heads = ("layer", "kind", "status", "what differs", "output", "parameters")
    counted = Counter((other or one or {})["status"] for one, other in found)
    said = ", ".join(f"{number} {status}" for status, number in counted.items())
    more = [f"and {len(found) - _SHOWN} more layers, see --json or -o FILE.html"] if len(found) > _SHOWN else []
    return [grid(heads, rows, left=heads[:5], caption=said), *more]
