"""Event files for TensorBoard, written without TensorFlow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.errors import missing_extra

_BUCKETS = 30


class Events:
    """An event file: numbers and histograms by step.

    Args:
        folder: Where it is written.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise missing_extra("tensorboard", "tuner", "Writing scalars for TensorBoard") from error
        self._writer = EventFileWriter(str(folder))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A number."""
        self._write(step, tag=tag, simple_value=float(value))

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """The distribution of some numbers; nothing for none."""
        from tensorboard.compat.proto.summary_pb2 import HistogramProto

        array = np.asarray(values, "float64").ravel()
        if not array.size:
            return
        counts, edges = np.histogram(array, _BUCKETS)
        histogram = HistogramProto(
            min=array.min(),
            max=array.max(),
            num=array.size,
            sum=array.sum(),
            sum_squares=np.square(array).sum(),
            bucket_limit=edges[1:].tolist(),
            bucket=counts.tolist(),
        )
        self._write(step, tag=tag, histo=histogram)

    def _write(self, step: int, **value: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value)])
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()
