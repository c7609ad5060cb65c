"""``kerasurgeon convert``: a model that Keras 2 has saved, as a .keras file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, note, show, show_json
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_outputs
from kerasurgeon.cli.groups import Formats, Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.cli.writing import files_table, plan, write_all


@grouped
def convert(
    *,
    model: Annotated[
        Path,
        typer.Argument(metavar="OLD", help="A model file: .h5, .keras, or .json with --weights.", show_default=False),
    ],
    output: Annotated[Path, typer.Argument(metavar="NEW", help="Where to write: .keras.", show_default=False)],
    weights: Annotated[
        Path | None, options.option("For a .json file: the .h5 file with the weights.", "--weights", metavar="FILE")
    ] = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Write a model that Keras 2 has saved as a .keras file that computes the same in Keras 3.

    All other commands read such files, too. What had to become something else is listed. A Lambda layer is refused
    unless --custom-objects names a module with a function of the layer's name.
    """
    check_input(model, (*KERAS_SUFFIXES, ".json"), "model file")
    if (weights is not None) != (model.suffix.lower() == ".json"):
        raise UsageError(
            "A .json file needs its weights, and no other file does.", where=str(model), hint="add --weights FILE.h5"
        )
    if weights is not None:
        check_input(weights, KERAS_SUFFIXES[1:], "file of weights")
    check_outputs([output], (".keras",), overwrite=overwrite, others=[model, *([weights] if weights else [])])
    writing = plan([output], Formats(), others=[model], overwrite=overwrite)
    changes: list[str] = []
    with activity() as now:
        start_keras(now)
        loaded = load_model(model, now, loading, weights=weights, tell=changes.append)
        files = write_all(loaded, writing, now)
    changes = list(dict.fromkeys(changes))
    if json:
        show_json({"files": [item.to_dict() for item in files], "changes": changes})
        return
    for change in changes:
        note(change)
    show(files_table(files))
