"""TFLite of int8 from the graph: TensorFlow's quantiser on the float file that is written from the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.exporting.converter_errors import digest
from kerasurgeon.exporting.graph_writing import CannotWrite
from kerasurgeon.exporting.inside import run_tflite
from kerasurgeon.exporting.tensors import Array, Feeds, TensorInfo
from kerasurgeon.exporting.tflite_convert import TfliteOptions
from kerasurgeon.exporting.tflite_writer import HUGE, write_tflite
from kerasurgeon.quiet import quiet

_LOOKED_AT = 4  # batches in which scores are looked for


def write_int8(
    model: keras.Model, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], options: TfliteOptions
) -> bytes:
    """Write a model of int8: ranges found by running the float file, masks by numbers that leave them alone.

    Args:
        model: A model.
        inputs: Its inputs.
        outputs: Its outputs.
        options: How to write it; the batch size must be fixed.

    Returns:
        The file's content.

    Raises:
        CannotWrite: Some calls have no rule that knows how, or TensorFlow refuses the file.
    """
    content = bytes(write_tflite(model, inputs, outputs, batch_size=options.batch_size))
    batches = list(_batches(options.calibration, options.batch_size or 1))
    with quiet() as captured:
        try:
            scores = _scores(content, batches[:_LOOKED_AT])
            if scores is not None:
                content = bytes(write_tflite(model, inputs, outputs, batch_size=options.batch_size, scores=scores))
            return _quantised(content, [[feeds[info.name] for info in inputs] for feeds in batches], options)
        except Exception as error:
            said = digest(str(error) or captured.tail(), lines=1, first=True) or type(error).__name__
            raise CannotWrite({model.name: f"TensorFlow's quantiser refuses what is written: {said}"}) from error


def _quantised(content: bytes, batches: Sequence[Sequence[Array]], options: TfliteOptions) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.optimize import calibrator

    known = calibrator.Calibrator(content).calibrate(lambda: iter(batches))
    border = tf.int8 if options.integer_io else tf.float32
    made: Any = convert.mlir_quantize(
        known, fully_quantize=options.integer_io, input_data_type=border, output_data_type=border
    )
    return bytes(made)


def _batches(calibration: Sequence[Feeds], size: int) -> Iterator[Feeds]:
    """The samples in batches of a size, the last sample repeated where one is short."""
    for feeds in calibration:
        samples = next(iter(feeds.values())).shape[0]
        for start in range(0, samples, size):
            indices = np.minimum(np.arange(start, start + size), samples - 1)
            yield {name: np.ascontiguousarray(array[indices]) for name, array in feeds.items()}


def _scores(content: bytes, batches: Sequence[Feeds]) -> tuple[float, float] | None:
    """The range of what is hidden by huge numbers, without these; ``None`` if nothing is."""
    runs = (run_tflite(content, feeds).values.values() for feeds in batches)
    arrays = [array for values in runs for array in values if array.size and array.min() <= -HUGE]
    found = [array[array > -HUGE] for array in arrays]
    found = [array for array in found if array.size]
    if not found:
        return None
    return float(min(array.min() for array in found)), float(max(array.max() for array in found))
