"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Quantize(StrEnum):
    """How .tflite and .onnx files are quantised."""

    FLOAT16 = "float16"
    DYNAMIC = "dynamic"
    INT8 = "int8"


class Verify(StrEnum):
    """How much of a pass's result is checked; each level includes those before it."""

    STRUCTURE = "structure"
    TYPES = "types"
    EXACT = "exact"
    OUTPUTS = "outputs"


class Unreachable(StrEnum):
    """What becomes of a budget that cannot be reached: refused, or the nearest is taken."""

    REFUSE = "refuse"
    NEAREST = "nearest"


_OUTPUT = "Output"
_LOADING = "Loading the model"
_WRITING = "How files are written"


def option(text: str, *names: str, metavar: str | None = None, panel: str | None = None) -> Any:
    """An option that is not there by default.

    Args:
        text: What it does.
        names: Its names, where the parameter's name is not its own.
        metavar: What stands for its value.
        panel: Under which heading it is listed.
    """
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file: .keras or .h5.", show_default=False)]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.", rich_help_panel=_OUTPUT)
]
Unsafe = Annotated[
    bool,
    typer.Option(
        "--unsafe",
        help="Allow the model file to run Python code of its own (Lambda layers). Only for files that you trust.",
        rich_help_panel=_LOADING,
    ),
]
CustomObjects = Annotated[
    list[str] | None,
    option(
        "Import this module (my_layers, or my_layers.py) first: the model needs its classes. May be repeated.",
        "--custom-objects",
        metavar="MODULE",
        panel=_LOADING,
    ),
]
AllowImport = Annotated[
    list[str] | None,
    option(
        "Let names in recipes and options be imported from this package (my_passes, or my_passes.py) too. "
        "Only for code that you trust. May be repeated.",
        "--allow-import",
        metavar="PACKAGE",
    ),
]
Outputs = Annotated[
    list[Path],
    option(
        "Where to write; the suffix says the format: .keras, .tflite or .onnx. May be repeated.",
        "--output",
        "-o",
        metavar="FILE",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-f", help="Replace files that are there already.")]
Quantise = Annotated[
    Quantize | None,
    typer.Option(
        help="Quantise .tflite and .onnx files: float16 and dynamic store small weights, int8 computes in int8 too.",
        rich_help_panel=_WRITING,
        show_default="float32",
    ),
]
Calibration = Annotated[
    Path | None,
    option("For int8: 100 to 500 inputs as .npy, or .npz with one array per input.", metavar="FILE", panel=_WRITING),
]
IntegerIo = Annotated[
    bool, typer.Option("--integer-io", help="An int8 .tflite also takes and gives int8.", rich_help_panel=_WRITING)
]
Int8Weights = Annotated[
    str,
    typer.Option(
        metavar="auto|full|reduced|unsigned",
        help="How an int8 .onnx stores weights; full ones overflow on x86 without VNNI, auto looks at this processor.",
        rich_help_panel=_WRITING,
    ),
]
Accept = Annotated[
    float | None,
    typer.Option(
        help="The largest RMS error of a quantised file, by the deviation of an output.",
        rich_help_panel=_WRITING,
        show_default=".02 float16, .2 dynamic, .4 int8",
    ),
]
BatchSize = Annotated[
    str,
    typer.Option(
        metavar="N|free|auto",
        help="The batch size built into .tflite and .onnx files; auto is 1 for .tflite and free for .onnx.",
        rich_help_panel=_WRITING,
    ),
]
Opset = Annotated[
    int | None, typer.Option(help="Version of ONNX's operators, 8 to 24.", rich_help_panel=_WRITING, show_default="17")
]
Writer = Annotated[
    str,
    typer.Option(
        help="How .tflite and .onnx files are made: graph (by the rules of layers), converter, auto (graph if it can).",
        rich_help_panel=_WRITING,
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        metavar="keras|nchw",
        help="The order of axes of images that an .onnx takes and gives: as in Keras, or channels before positions.",
        rich_help_panel=_WRITING,
    ),
]
OwnPrecision = Annotated[
    bool,
    typer.Option(
        "--own-precision",
        help="An .onnx of a model that computes in float16 does so too; of bfloat16, weights are stored so.",
        rich_help_panel=_WRITING,
    ),
]
Inputs = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What to compare outputs on: .npy, or .npz with one array per input.",
        rich_help_panel=_WRITING,
        show_default="seeded random inputs",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="All random choices follow from it.")]
Data = Annotated[
    Path | None, option("Inputs for passes that use data: .npy, or .npz with one array per input.", metavar="FILE")
]
Labels = Annotated[
    Path | None,
    option("What the model should give for --data, for passes that need labels: .npy or .npz.", metavar="FILE"),
]
Settings = Annotated[
    list[str] | None,
    option(
        "An option of a pass given by --pass, as in TuckerSplit.energy=0.9. May be repeated.",
        "--set",
        metavar="NAME.OPTION=VALUE",
    ),
]
Sizes = Annotated[
    list[str] | None,
    option(
        "Sizes of the inputs that costs and budgets are counted for, where the model leaves them open; NAME=... where "
        "there are several inputs. May be repeated.",
        metavar="[NAME=]N,N,..",
    ),
]
IfUnreachable = Annotated[
    Unreachable, typer.Option("--unreachable", help="What becomes of a budget that cannot be reached.")
]
RecipeFile = Annotated[Path | None, option("The passes to run: .toml or .json.", "--recipe", "-r", metavar="FILE")]
Passes = Annotated[
    list[str] | None,
    option("Instead of a recipe: a pass by name, or module:Class. May be repeated.", "--pass", "-p", metavar="NAME"),
]
VerifyLevel = Annotated[
    Verify | None,
    typer.Option("--verify", help="How each pass's result is checked.", show_default="the recipe's, else exact"),
]
ReportFile = Annotated[
    Path | None,
    option(
        "Also write a report: .html is a page with the network before and after, .json what --json prints.",
        "--report",
        metavar="FILE",
    ),
]
PageFile = Annotated[
    Path | None,
    option(
        "Also write a report: .html is a page with the network and all that is printed, .json what --json prints.",
        "--report",
        metavar="FILE",
        panel=_OUTPUT,
    ),
]
SaveRecipe = Annotated[
    Path | None, option("Also write what was run as a recipe: .toml or .json.", "--save-recipe", metavar="FILE")
]
