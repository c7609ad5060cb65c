"""Write a model in one of the formats, and run what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras

from kerasurgeon.errors import CannotRunError, ExportError, MissingExtraError, ModelFileError
from kerasurgeon.exporting.converter_errors import digest
from kerasurgeon.exporting.inside import added_errors, named_after, run_onnx, run_tflite
from kerasurgeon.exporting.keras_runner import KerasRunner
from kerasurgeon.exporting.onnx_int8 import quantize_int8
from kerasurgeon.exporting.onnx_quantize import halve_weights, store_as_int8
from kerasurgeon.exporting.onnx_saving import OnnxModel, describe, save
from kerasurgeon.exporting.onnx_ways import to_onnx
from kerasurgeon.exporting.opening import open_runner
from kerasurgeon.exporting.options import Options
from kerasurgeon.exporting.origin import origin
from kerasurgeon.exporting.signature import custom_objects
from kerasurgeon.exporting.tensors import Feeds
from kerasurgeon.exporting.tflite_ways import to_tflite
from kerasurgeon.exporting.tflite_writer import write_tflite
from kerasurgeon.file_errors import of_the_system
from kerasurgeon.keras_io.large_files import save_keras
from kerasurgeon.keras_io.leftovers import sweep
from kerasurgeon.quiet import quiet

Progress = Callable[[float, str], None]


def write_file(
    reference: KerasRunner, path: Path, options: Options, calibration: Sequence[Feeds], tell: Progress
) -> tuple[str, ...]:
    """Convert a model and write the file.

    Args:
        reference: The model.
        path: Where to write.
        options: What to write.
        calibration: For int8, the samples to find ranges from.
        tell: Called with a fraction in [0, 1] and what is being done.

    Returns:
        Notes for the report.

    Raises:
        ExportError: The model cannot be converted.
    """
    if options.format == "keras":
        tell(0.3, "saving the model")
        _save(reference.model, path)
        return ()
    if options.format == "tflite":
        both = options.quantize == "int8"
        tell(0.15, "tracing, converting and calibrating" if both else "writing the graph")
        return to_tflite(reference, path, options, calibration)
    tell(0.15, "writing the graph")
    made, notes = to_onnx(reference, options)
    if options.quantize == "int8":
        tell(0.5, "calibrating")
        batches = [_as_stored(feeds, options) for feeds in calibration]
        proto, said = quantize_int8(made.whole(), batches, options.batch_size, options.int8_weights)
        made, notes = OnnxModel(proto, {}), notes + said
    elif options.stored is not None or options.quantize == "dynamic":
        tell(0.5, "quantising")
        store_as_int8(made) if options.stored is None else halve_weights(made, options.stored)
    describe(made.proto, origin(reference.model))
    save(made, path)
    return notes


def _save(model: keras.Model, path: Path) -> None:
    try:
        with quiet():
            save_keras(model, path)
    except Exception as error:
        if of_the_system(error) is not None:
            raise
        raise ExportError(
            "Keras cannot save this model.",
            where=f"model {model.name!r}",
            got=type(error).__name__,
            hint="give custom layers a get_config(), or export another format; Keras says:",
            context=digest(str(error), lines=3, first=True),
        ) from error


def run_file(model: keras.Model, path: Path, options: Options, feeds: Feeds, *, optimise: bool = True) -> Feeds | None:
    """Load a file that was just written, and run it.

    Args:
        model: The model it was written from.
        path: The file.
        options: How it was written.
        feeds: What to run on.
        optimise: Whether the runtime may compute it in its own way, or operator by operator as the file says.

    Returns:
        The outputs by name; ``None`` for a .keras file that was loaded, but that this machine cannot run.

    Raises:
        ExportError: It cannot be loaded or run.
    """
    # The custom classes are known here, and the file was written from this very model.
    custom = custom_objects(model) if options.format == "keras" else None
    sweep(path.stat().st_size)
    try:
        runner = open_runner(path, custom_objects=custom, safe_mode=False, optimise=optimise)
        given = runner.run(_as_stored(feeds, options))
        return _as_stored(given, options, (0, 2, 3, 1))
    except MissingExtraError:
        raise
    except CannotRunError:
        return None
    except Exception as error:
        reason = error.got if isinstance(error, ModelFileError) else None
        got = reason or digest(str(error), lines=1, first=True) or type(error).__name__
        raise ExportError(
            f"The .{options.format} file was written, but it cannot be loaded and run; it was not kept.",
            where=f"model {model.name!r}",
            got=got,
            hint="the runtime has no kernel for an operation in this type of numbers: export a model that computes in "
            "float32, or another format"
            if "NOT_IMPLEMENTED" in got
            else "the converter, or Keras itself, mishandles a layer of this model: export another format",
        ) from error


def _as_stored(feeds: Feeds, options: Options, order: tuple[int, ...] = (0, 3, 1, 2)) -> Feeds:
    """Arrays as a file takes them: images with their axes in another order where it wants that."""
    if not options.turned:
        return feeds
    return {name: array.transpose(order) if array.ndim == 4 else array for name, array in feeds.items()}


def far_off(reference: KerasRunner, path: Path, options: Options, feeds: Feeds) -> Sequence[tuple[str, float]]:
    """The layers that add most to the error of a quantised file, with what they add; none where they cannot be told.

    Args:
        reference: The model it was written from.
        path: The file.
        options: How it was written.
        feeds: What to run on.
    """
    few = _as_stored({name: array[: options.batch_size or 4] for name, array in feeds.items()}, options)
    exact = replace(options, quantize=None)
    try:
        with quiet():
            if options.format == "onnx":
                import onnx

                whole = to_onnx(reference, exact)[0].whole()
                return added_errors(run_onnx(whole, few), run_onnx(onnx.load(path), few).values)
            infos = reference.inputs, reference.outputs
            run = run_tflite(bytes(write_tflite(reference.model, *infos, batch_size=options.batch_size)), few)
            return added_errors(run, named_after(run.values, run_tflite(path.read_bytes(), few)))
    except Exception:  # noqa: BLE001 - a further word to an error that must come whatever happens here
        return ()
