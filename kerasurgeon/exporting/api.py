"""The way from a Keras model to a file that is known to compute the same."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kerasurgeon.atomic import AsSeen, check_place, staged
from kerasurgeon.errors import CannotRunError, ExportError, ModelFileError
from kerasurgeon.exporting.calibration import calibration_batches
from kerasurgeon.exporting.float_twin import HALVES, float32_twin, layers_in, other_precision_layers
from kerasurgeon.exporting.floor import check_floor, hold_out
from kerasurgeon.exporting.keras_runner import KerasRunner
from kerasurgeon.exporting.onnx_saving import data_file
from kerasurgeon.exporting.optimised import BY, disagreement
from kerasurgeon.exporting.options import Options, check_options, check_quantised_layers
from kerasurgeon.exporting.parity import OutputParity, measure
from kerasurgeon.exporting.report import ExportReport
from kerasurgeon.exporting.samples import random_inputs, working_inputs
from kerasurgeon.exporting.signature import check_finite_weights, check_model, weight_bytes
from kerasurgeon.exporting.tensors import Feeds, bind
from kerasurgeon.exporting.writing import Progress, far_off, run_file, write_file
from kerasurgeon.keras_io import flatten_layers
from kerasurgeon.keras_io.equal_calls import equal_calls
from kerasurgeon.keras_io.leftovers import sweep
from kerasurgeon.keras_io.machine import by_equal_calls
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.rewrite.origins import came_of, recipes_of
from kerasurgeon.rewrite.outputs import CONSTANT_OUTPUTS, differ_between_samples

logger = logging.getLogger(__name__)

# A float32 file may differ by rounding, and by nothing more than rounding.
TOLERANCE = 1e-3
# What a .keras file of a half-precision model may: bfloat16 has 8 significant bits.
HALF_TOLERANCE = 2e-2
_SAMPLES = 4


@python_kept()
def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantize: Literal["float16", "dynamic", "int8"] | None = None,
    calibration: Any = None,
    integer_io: bool = False,
    int8_weights: Literal["auto", "full", "reduced", "unsigned"] = "auto",
    accept: float | None = None,
    batch_size: int | Literal["auto"] | None = "auto",
    opset: int | None = None,
    writer: Literal["auto", "graph", "converter"] = "auto",
    layout: Literal["keras", "nchw"] = "keras",
    precision: Literal["float32", "own"] = "float32",
    inputs: Any = None,
    seed: int = 0,
    overwrite: bool | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a model to a file, run the file, and compare it with the model.

    Nothing appears at ``path`` unless the file was run and its outputs agree: with ``quantize=None``, to 1e-3
    relative; quantised, to what ``accept`` says. Where this machine's backend cannot run the model, the report has no
    differences and says why.

    Args:
        model: A Functional or built Sequential model; it is not changed.
        path: Where to write. The suffix says the format: .keras, .tflite or .onnx.
        quantize: None for float32; ``float16`` stores large weights in half the bytes; ``dynamic`` stores
            them as int8; ``int8`` computes in int8 as well, with ranges found from ``calibration``.
        calibration: For ``int8``: an array, a tuple or mapping of arrays for several inputs, or an iterable
            of batches. 100 to 500 samples of real data; at most 512 are used. Of 32 or more, one in eight, at most 32,
            is kept from the search for ranges: outputs are compared on these, unless ``inputs`` are given.
        integer_io: Whether an int8 TFLite file also takes and gives int8 (for microcontrollers).
        int8_weights: How an int8 ONNX file stores weights. ONNX Runtime's kernels for x86 processors without VNNI
            overflow with ``full`` signed ones; ``reduced`` ones of 7 bits and ``unsigned`` ones are safe, the latter
            slower. ``auto`` takes full ones unless the runtime loses by them here; the report says what it took.
        accept: The largest RMS error of a quantised file, by the standard deviation of an output; by default .02 for
            ``float16``, .2 for ``dynamic``, .4 for ``int8``, or one 256th of the largest output where that is more. A
            file further from the model is an error, which names the layers that add most.
        batch_size: The batch size that is built into a .tflite or .onnx file; None leaves it free; ``auto``
            is 1 for TFLite, whose graphs are simpler then, and None for ONNX.
        opset: The version of ONNX's operators; 17 by default. From 13 on files are written from the graph; tf2onnx
            converts to 8 to 18.
        writer: How a TFLite or ONNX file is made: from the ``graph``, by what the rules of its layers say, or by the
            ``converter``, TensorFlow's or tf2onnx, which needs TensorFlow. ``auto`` takes the graph, and the converter
            where a layer has no rule that says how; a note then says which. ``int8`` TFLite files need TensorFlow in
            either way: its quantiser works on the file that is written from the graph.
        layout: The order of axes of an ONNX file's inputs and outputs of four axes: ``keras`` as in the model, ``nchw``
            with the last axis, the channels, at place 1. Arrays that are given here are in Keras' order always.
        precision: In what an ONNX file of a model that does not compute in float32 computes: ``float32``, or what the
            model does, its ``own``: float16. In bfloat16 ONNX Runtime cannot; its large weights are stored in it then,
            and computed with in float32. The file may then be 2e-2 from the model.
        inputs: The arrays to compare on; by default four random samples. Give real ones where sizes are free
            or integers must mean something.
        seed: The seed of the random inputs.
        overwrite: Whether to replace a file at ``path``. ``None`` replaces one that is there when the call begins, but
            none that another process puts there meanwhile: then, as with ``False``, what was written is kept under
            another name, which the error says.
        progress: Called with a fraction in [0, 1] and what is being done.

    Returns:
        The file's size, and per output the differences from the model.

    Raises:
        OptionError: An option, the calibration data or ``inputs`` do not fit.
        ModelFileError: The file cannot be written there, or another is there and may not be replaced.
        ExportError: The model cannot be converted, its weights are not finite, or the file computes something
            else than the model, or, quantised, something too far from it.
        MissingExtraError: A package that the format needs is not installed.
    """
    started = time.perf_counter()
    target = Path(path)
    replaced = AsSeen.now(target) if overwrite is None else overwrite
    tell = progress or _tell_nobody
    options = check_options(
        target,
        quantize=quantize,
        integer_io=integer_io,
        batch_size=batch_size,
        opset=opset,
        calibration=calibration,
        int8_weights=int8_weights,
        writer=writer,
        accept=accept,
        layout=layout,
        precision=precision,
    )
    tell(0.0, "checking the model")
    source, notes = _exportable(model, options)
    half = bool(layers_in(model, HALVES)) and (options.format == "keras" or options.precision == "own")
    if half and options.precision == "own" and source is not model:
        options = replace(options, stored="bfloat16")
    reference = KerasRunner(source)
    check_place(target, overwrite=replaced, kind=ModelFileError)
    batches = calibration_batches(calibration, reference.inputs) if quantize == "int8" else []
    tell(0.05, "running the Keras model")
    expected: Feeds | None = None
    feeds = None if inputs is None else bind(inputs, reference.inputs)
    if feeds is None and batches:
        batches, feeds = hold_out(batches)
        if feeds is None:
            feeds, notes = batches[0], (*notes, "compared on samples that ranges were found from: they are too few")
    try:
        with equal_calls() as used:
            feeds, expected = _run_reference(reference, feeds, seed)
        notes = (*notes, *by_equal_calls(used))
    except CannotRunError as error:
        feeds = random_inputs(reference.inputs, seed=seed, samples=_SAMPLES) if feeds is None else feeds
        notes = (*notes, f"outputs were not compared: {error.in_one_line()}")
    if expected is not None and not differ_between_samples(list(expected.values())):
        notes = (*notes, CONSTANT_OUTPUTS)
    with staged(target, overwrite=replaced, kind=ModelFileError) as temporary:
        notes += write_file(reference, temporary, options, batches, tell)
        sweep(weight_bytes(source))  # what tracing and converting leave behind
        tell(0.85, f"running the {options.format} file")
        got = run_file(source, temporary, options, feeds)
        if got is None and expected is not None:
            notes = (*notes, "outputs were not compared: this machine cannot run what was loaded from the file")
        tell(0.95, "comparing the outputs")
        outputs = measure(expected, got) if expected is not None and got is not None else ()
        fault = None
        if options.format in BY and got is not None:
            plain = run_file(source, temporary, options, feeds, optimise=False) or {}
            tolerance = None if quantize is not None else HALF_TOLERANCE if half else TOLERANCE
            fault = disagreement(outputs, got, plain, expected, BY[options.format], tolerance)
            notes = (*notes, fault) if fault else notes
        if quantize is None and outputs:
            check_parity(outputs, target, HALF_TOLERANCE if half else TOLERANCE, fault)
        elif quantize is not None:
            check_floor(outputs, target, quantize, accept, partial(far_off, reference, temporary, options, feeds))
        size = temporary.stat().st_size
        weights = data_file(temporary)
        if weights.exists():
            size += weights.stat().st_size
            place = data_file(Path(os.path.realpath(target)).with_name(temporary.name))
            overwriting = AsSeen.now(place) if overwrite is None else overwrite
            with staged(place, overwrite=overwriting, kind=ModelFileError) as beside:
                os.replace(weights, beside)
            notes = (*notes, f"its weights are in {place.name}, which must lie beside it: one file holds 2 GiB")
    if options.format == "keras":
        sweep(weight_bytes(source))  # the model that was loaded
    report = ExportReport(
        target,
        options.format,
        size,
        time.perf_counter() - started,
        quantize,
        next(iter(feeds.values())).shape[0],
        outputs,
        notes,
    )
    logger.info("exported %s: %d bytes, relative error %.3g", target, size, report.relative_error)
    tell(1.0, "done")
    return report


def check_parity(
    outputs: tuple[OutputParity, ...], path: Path, tolerance: float = TOLERANCE, fault: str | None = None
) -> None:
    """Check that a float32 file computes what the model does.

    Args:
        outputs: The measured differences.
        path: The file, for the error.
        tolerance: The largest relative error allowed.
        fault: What the runtime is known to do wrong.

    Raises:
        ExportError: An output differs by more than that.
    """
    worst = max(outputs, key=lambda output: output.relative_error)
    # "not <=" so that NaN fails as well.
    if not worst.relative_error <= tolerance:
        raise ExportError(
            "The exported file does not compute what the model does; it was not kept.",
            where=f"{path}, output {worst.name!r}",
            expected=f"a relative difference of at most {tolerance:g}",
            got=f"{worst.relative_error:.3g} (largest absolute difference {worst.max_abs_error:.3g})",
            hint="the runtime computes it right without that, so that its users have to switch it off; report this"
            if fault
            else "look for randomness or state at inference in custom layers, else report this",
            context=fault,
        )


def _exportable(model: Any, options: Options) -> tuple[keras.Model, tuple[str, ...]]:
    """The model to convert (a float32 copy where the model computes in half precision), and notes."""
    check_model(model)
    check_finite_weights(model)
    if options.format == "keras":
        return model, ()
    quantised = check_quantised_layers(model, options.format)
    if quantised is not None:
        raise ExportError(
            "TFLite cannot hold a model that Keras has quantised.",
            where=f"layer {quantised!r}",
            hint="export the model from before model.quantize() with quantize='int8', or export to .onnx",
        )
    notes: tuple[str, ...] = ()
    stateful = [layer.name for layer in flatten_layers(model) if getattr(layer, "stateful", False)]
    if stateful:
        notes = (f"{', '.join(stateful[:3])}: each run of the file starts from the model's present state",)
    layers = other_precision_layers(model, options.format)
    if not layers:
        return model, notes
    count = len(layers)
    own = options.precision == "own"
    if own and not layers_in(model, {"bfloat16"}):
        return model, (*notes, f"{count} layers compute in float16, in the file as well")
    note = f"{count} layers do not compute in float32; the file does, and was compared with a copy that does"
    if own:
        note += "; its large weights are stored as bfloat16, in which ONNX Runtime does not compute"
    twin = float32_twin(model)
    came_of(twin, recipes_of(model))
    return twin, (*notes, note)


def _run_reference(reference: KerasRunner, given: Feeds | None, seed: int) -> tuple[Feeds, Feeds]:
    """Inputs, those that are given or some that the model runs on, and what it gives."""
    if given is None:
        given, outputs = working_inputs(reference, seed=seed, samples=_SAMPLES)
    else:
        outputs = reference.run(given)
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ExportError(
                "The Keras model itself gives NaN or infinite values.",
                where=f"output {name!r}",
                got=f"{int((~np.isfinite(array)).sum())} of {array.size} values",
                hint="pass inputs=... that the model is meant for, or find the layer that overflows",
            )
    return given, outputs


def _tell_nobody(fraction: float, message: str) -> None:
    """The progress of an export that nobody follows."""
