"""Write a model to the files that were asked for, with the options that each format takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from kerasurgeon.cli.console import Activity, note
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import EXPORT_SUFFIXES, check_outputs, read_arrays
from kerasurgeon.cli.groups import Formats
from kerasurgeon.cli.options import Quantize
from kerasurgeon.errors import KerasurgeonError
from kerasurgeon.report import format_bytes, grid

if TYPE_CHECKING:
    from kerasurgeon.exporting import ExportReport


@dataclass(frozen=True)
class Writing:
    """What to write, and how. Made by ``plan``, which checks it.

    Attributes:
        paths: The files.
        quantize: How .tflite and .onnx files are quantised.
        calibration: The data for int8.
        integer_io: Whether int8 .tflite files take and give int8.
        int8_weights: How int8 .onnx files store weights.
        accept: The largest RMS error of quantised files.
        batch_size: The batch size built into .tflite and .onnx files.
        opset: The version of ONNX's operators.
        writer: How .tflite and .onnx files are made.
        layout: The order of axes of images in .onnx files.
        precision: In what .onnx files compute.
        inputs: What outputs are compared on.
        seed: The seed of random inputs.
        overwrite: Whether files that are there when these are put in place are replaced.
    """

    paths: tuple[Path, ...]
    quantize: str | None
    calibration: Any
    integer_io: bool
    int8_weights: str
    accept: float | None
    batch_size: Any
    opset: int | None
    writer: str
    layout: str
    precision: str
    inputs: Any
    seed: int
    overwrite: bool

    def options_for(self, path: Path) -> dict[str, Any]:
        """The options of ``export`` that one file takes."""
        suffix = path.suffix.lower()
        if suffix == ".keras":
            return {}
        options: dict[str, Any] = {"quantize": self.quantize, "batch_size": self.batch_size}
        if self.quantize == Quantize.INT8:
            options["calibration"] = self.calibration
        if suffix == ".tflite":
            options["integer_io"] = self.integer_io
        options |= {"writer": self.writer, "accept": self.accept}
        if suffix == ".onnx":
            options["opset"] = self.opset
            options |= {"int8_weights": self.int8_weights, "layout": self.layout, "precision": self.precision}
        return options


def plan(paths: Sequence[Path], formats: Formats, *, others: Sequence[Path], overwrite: bool, seed: int = 0) -> Writing:
    """Check what is to be written, before any work is done.

    Raises:
        UsageError: Options do not fit each other or the formats, or a file cannot be read or written.
    """
    check_outputs(paths, EXPORT_SUFFIXES, overwrite=overwrite, others=others)
    suffixes = {path.suffix.lower() for path in paths}
    quantized = bool(suffixes & {".tflite", ".onnx"}) and formats.quantize is not None
    for wrong, what, needs in (
        (formats.quantize is not None and not quantized, "--quantize", "a .tflite or .onnx file to write"),
        (formats.batch_size != "auto" and suffixes == {".keras"}, "--batch-size", "a .tflite or .onnx file to write"),
        (formats.opset is not None and ".onnx" not in suffixes, "--opset", "an .onnx file to write"),
        (formats.writer != "auto" and suffixes == {".keras"}, "--writer", "a .tflite or .onnx file to write"),
        (formats.layout != "keras" and ".onnx" not in suffixes, "--layout", "an .onnx file to write"),
        (formats.own_precision and ".onnx" not in suffixes, "--own-precision", "an .onnx file to write"),
        (formats.calibration is not None and formats.quantize != Quantize.INT8, "--calibration", "--quantize int8"),
        (formats.integer_io and formats.quantize != Quantize.INT8, "--integer-io", "--quantize int8"),
        (formats.integer_io and ".tflite" not in suffixes, "--integer-io", "a .tflite file to write"),
        (formats.int8_weights != "auto" and formats.quantize != Quantize.INT8, "--int8-weights", "--quantize int8"),
        (formats.accept is not None and formats.quantize is None, "--accept", "--quantize"),
        (formats.int8_weights != "auto" and ".onnx" not in suffixes, "--int8-weights", "an .onnx file to write"),
    ):
        if wrong:
            raise UsageError(f"{what} does nothing without {needs}.", hint=f"leave {what} out, or add {needs}")
    if formats.quantize == Quantize.INT8 and formats.calibration is None:
        raise UsageError(
            "--quantize int8 needs data to find the range of every activation.",
            hint="add --calibration FILE: 100 to 500 real inputs, as .npy or .npz",
        )
    return Writing(
        tuple(paths),
        None if formats.quantize is None else str(formats.quantize),
        read_arrays(formats.calibration, "calibration file"),
        formats.integer_io,
        _int8_weights(formats.int8_weights),
        formats.accept,
        _batch_size(formats.batch_size),
        formats.opset,
        formats.writer,
        formats.layout,
        "own" if formats.own_precision else "float32",
        read_arrays(formats.inputs, "file of inputs"),
        seed,
        overwrite,
    )


def _int8_weights(text: str) -> str:
    from kerasurgeon.exporting.onnx_int8 import FORMS

    known = ("auto", *FORMS)
    if text not in known:
        raise UsageError("There are no such weights.", where="--int8-weights", expected=", ".join(known), got=text)
    return text


def _batch_size(text: str) -> Any:
    if text == "auto":
        return text
    if text == "free":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError("There is no such batch size.", where="--batch-size", expected="1, 2, ..., free or auto", got=text)


def write_all(model: Any, writing: Writing, activity: Activity) -> list[ExportReport]:
    """Write every file, each run and compared before it is put in place.

    Args:
        model: The Keras model.
        writing: What to write.
        activity: Told what is going on.
    """
    from kerasurgeon.exporting.api import export

    reports: list[ExportReport] = []
    with telling(reports):
        for path in writing.paths:
            activity.phase(f"writing {path.name}")
            reports.append(
                export(
                    model,
                    path,
                    inputs=writing.inputs,
                    seed=writing.seed,
                    overwrite=writing.overwrite,
                    progress=activity.tell,
                    **writing.options_for(path),
                )
            )
    return reports


@contextmanager
def telling(reports: Sequence[ExportReport]) -> Iterator[None]:
    """If the block fails, name the files that were written before."""
    try:
        yield
    except KerasurgeonError:
        if reports:
            note("written before this failed: " + ", ".join(str(report.path) for report in reports))
        raise


def files_table(reports: Sequence[ExportReport]) -> Table:
    """One row per file: what it is, and how far its outputs are from the model's."""
    samples = reports[0].samples if reports else 0
    compared = all(report.outputs for report in reports)
    done = f"run and compared with the Keras model on {samples} samples" if compared else "not all of them compared"
    heads = ("file", "kind", "size", "relative error", "same argmax", "time")
    table = grid(heads, left=heads[:2], title=f"files, {done}")
    for report in reports:
        agreements = [item.argmax_agreement for item in report.outputs if item.argmax_agreement is not None]
        table.add_row(
            str(report.path),
            f"{report.format} {report.quantize or 'float32'}",
            format_bytes(report.bytes),
            f"{report.relative_error:.1e}" if report.outputs else "not compared",
            f"{min(agreements):.0%}" if agreements else "-",
            f"{report.seconds:.1f} s",
        )
    return table


def file_notes(reports: Sequence[ExportReport]) -> list[str]:
    """What the user should know about the files, one line each."""
    return [f"{report.path.name}: {text}" for report in reports for text in report.notes]
