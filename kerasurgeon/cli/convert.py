"""``kerasurgeon convert``: a model that Keras 2 has saved, or a network with TensorFlow's weights, as a .keras file."""

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

_CHECKPOINT = "Weights from a checkpoint"


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
    checkpoint: Annotated[
        Path | None,
        options.option(
            "Take the weights from what TensorFlow 1 or 2 saved: model.ckpt-1000 (without .index), or a folder.",
            metavar="CHECKPOINT",
            panel=_CHECKPOINT,
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only layers in this scope of the checkpoint count, as MobilenetV3.",
            rich_help_panel=_CHECKPOINT,
            show_default="the one in which most fit",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        options.option(
            "Call layers of the checkpoint as the model does: a regular expression and what takes its place. May be "
            "repeated.",
            metavar="PATTERN=NAME",
            panel=_CHECKPOINT,
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Leave weights that the checkpoint has not as they are.", rich_help_panel=_CHECKPOINT
        ),
    ] = False,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Write a model that Keras 2 has saved as a .keras file that computes the same in Keras 3.

    All other commands read such files, too. What had to become something else is listed. A Lambda layer is refused
    unless --custom-objects names a module with a function of the layer's name.

    With --checkpoint, the model's weights are taken from a checkpoint of TensorFlow, by names of layers and shapes;
    what fitted is listed.
    """
    renaming = _renaming(rename, checkpoint, scope, partial=partial)
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
    read = None
    with activity() as now:
        start_keras(now)
        loaded = load_model(model, now, loading, weights=weights, tell=changes.append)
        if checkpoint is not None:
            from kerasurgeon.keras_io.checkpoint import load_checkpoint

            now.phase(f"reading {checkpoint.name}")
            read = load_checkpoint(loaded, checkpoint, scope=scope, rename=renaming, partial=partial)
            loaded = read.model
        files = write_all(loaded, writing, now)
    changes = list(dict.fromkeys(changes))
    if json:
        said = {} if read is None else {"checkpoint": read.to_dict()}
        show_json({"files": [item.to_dict() for item in files], "changes": changes, **said})
        return
    for change in changes:
        note(change)
    if read is not None:
        show(*read.lines())
    show(files_table(files))


def _renaming(given: list[str] | None, checkpoint: Path | None, scope: str | None, *, partial: bool) -> dict[str, str]:
    """The replacements that were asked for; options that need a checkpoint are refused without one."""
    for name, used in (("--scope", scope is not None), ("--rename", bool(given)), ("--partial", partial)):
        if used and checkpoint is None:
            raise UsageError(f"{name} does nothing without --checkpoint.", hint="add --checkpoint CHECKPOINT")
    pairs = [text.partition("=") for text in given or ()]
    for pattern, sign, _ in pairs:
        if not (pattern and sign):
            raise UsageError(
                "There is nothing to rename.", where="--rename", expected="PATTERN=NAME", got=pattern or "="
            )
    return {pattern: new for pattern, _, new in pairs}
