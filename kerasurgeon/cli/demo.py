"""``kerasurgeon demo``: the whole way, on real data."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kerasurgeon.atomic import make_folder, staged_folder
from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.files import check_folder
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.errors import missing_extra
from kerasurgeon.report.files import write_json

if TYPE_CHECKING:
    from kerasurgeon.workflows.demo.result import DemoResult

_DEFAULT = "kerasurgeon-demo"


def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the files go: a new or empty directory.",
            show_default=f"{_DEFAULT}, or {_DEFAULT}-2, ... if that exists",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "-f", help="Let DIR hold files; the demo's own are replaced.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same split and same weights.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Train for three epochs only: to see that it runs.")] = False,
    json: options.Json = False,
) -> None:
    """Train a small network on handwritten digits, compress it, export it, and compare everything. One or two minutes.

    The network is compressed by every built-in pass, fine-tuned, and written as .keras, .tflite (float and int8) and
    .onnx. All of them are run on test images; one table shows accuracy, size and speed of each.
    """
    target = _target(output, overwrite=overwrite)
    if find_spec("sklearn") is None:
        raise missing_extra("scikit-learn", "demo", "The demo")
    make_folder(target.resolve().parent)
    with activity() as now, staged_folder(target, overwrite=overwrite) as folder:
        start_keras(now)
        _deterministic()
        from kerasurgeon.workflows.demo.run import QUICK, Effort, run_demo

        result = run_demo(folder, seed=seed, effort=QUICK if quick else Effort(), phase=now.phase, tell=now.tell)
        result = result.at(target)
        write_json(folder / "results.json", result.to_dict())
    if json:
        show_json(result.to_dict())
    else:
        show(result.table(), *_closing(result))


def _target(output: Path | None, *, overwrite: bool) -> Path:
    """The folder to write to, checked."""
    if output is None:
        numbers = iter(range(2, 10_000))
        output = Path(_DEFAULT)
        while output.exists():
            output = Path(f"{_DEFAULT}-{next(numbers)}")
    hint = "choose another one, or add --overwrite to replace the demo's files in it"
    check_folder(output, overwrite=overwrite, hint=hint)
    return output


def _deterministic() -> None:
    """Have TensorFlow give the same weights in every run; only here, as it holds for the whole process."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _closing(result: DemoResult) -> list[str]:
    """What to do next."""
    folder = result.folder
    return [
        f"{len(result.rows)} models, two recipes and results.json are in {folder}; it took {result.seconds:.0f} s.",
        "The same, on a model of your own:",
        f"  kerasurgeon compress my_model.keras --recipe {folder / 'finish.toml'} -o my_small.tflite",
    ]
