"""What runs a model, whatever it is stored in."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kerasurgeon.errors import ExportError, ModelFileError
from kerasurgeon.exporting.tensors import Array, Feeds, TensorInfo, bind

# Samples run at once where the batch size is free: bounds the memory of a run over a whole data set.
_LARGEST_BATCH = 64


class Runner(abc.ABC):
    """A model ready to run.

    Attributes:
        kind: ``keras``, ``tflite`` or ``onnx``.
        source: The file, or the name of the model in memory.
        inputs: The inputs, in the model's order.
        outputs: The outputs, in the model's order.
    """

    kind: ClassVar[str]
    source: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, data: Any) -> Feeds:
        """Run on any number of samples.

        A model with a fixed batch size is run as often as it takes. Where a file holds integers for reals,
        reals go in (integers of the right dtype are taken as they are) and reals come out.

        Args:
            data: One array, a sequence in the inputs' order or a mapping by name; the first axis is the
                batch.

        Returns:
            For each output name, its values, the first axis being the batch.

        Raises:
            OptionError: The arrays do not fit the inputs.
        """
        feeds = bind(data, self.inputs)
        samples = next(iter(feeds.values())).shape[0]
        size = self.batch_size or min(samples, _LARGEST_BATCH)
        parts: list[Feeds] = []
        for start in range(0, samples, size):
            indices = np.arange(start, start + size)
            if self.batch_size is None:
                indices = indices[indices < samples]
            # A fixed batch is filled up with the last sample, and the surplus dropped below.
            chosen = np.minimum(indices, samples - 1)
            outputs = self.run_batch({name: array[chosen] for name, array in feeds.items()})
            kept = int((indices < samples).sum())
            parts.append({n: a[:kept] if a.ndim and a.shape[0] == len(indices) else a for n, a in outputs.items()})
        if len(parts) == 1:
            return parts[0]
        return {i.name: np.concatenate([np.atleast_1d(p[i.name]) for p in parts]) for i in self.outputs}

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself, texts by key."""
        return {}

    @property
    def batch_size(self) -> int | None:
        """The batch size that is built into the model; None if it takes any."""
        sizes = [info.shape[0] for info in self.inputs if info.shape and info.shape[0] is not None]
        return sizes[0] if sizes else None

    @abc.abstractmethod
    def run_batch(self, feeds: Feeds) -> Feeds:
        """Run once, on arrays that are bound and of a batch size the model takes.

        Args:
            feeds: An array for each input name.
        """

    @abc.abstractmethod
    def prepare(self, feeds: Feeds) -> Callable[[], object]:
        """Put inputs in place and return a function that runs the model on them, for timing.

        Args:
            feeds: An array for each input name, as `run_batch` takes them.
        """


@contextmanager
def on_runtime(source: str, kind: str) -> Iterator[None]:
    """Run a file on its runtime.

    Args:
        source: The file.
        kind: What it is, as in ``TFLite``.

    Raises:
        ExportError: The runtime refuses these inputs.
    """
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExportError(
            f"The {kind} file cannot be run on these inputs.",
            where=source,
            got=f"{type(error).__name__}: {lines[0][:300] if lines else ''}",
            hint="pass inputs=... that it is meant for",
        ) from error


def unreadable(path: Path, kind: str, error: Exception) -> ModelFileError:
    """The error for a file that its runtime cannot read.

    Args:
        path: The file.
        kind: What it should be, as in ``a TFLite file``.
        error: What the runtime raised.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ModelFileError(
        f"The file cannot be read as {kind}.",
        where=str(path),
        got=(lines[0][:200] if lines else type(error).__name__),
        hint="it may be truncated or made for another version: export or copy it again",
    )


def quantise(array: Array, info: TensorInfo) -> Array:
    """Turn reals into the integers that a quantised input takes; integers of its dtype stay.

    Args:
        array: The values.
        info: The input.
    """
    if info.quantization is None or array.dtype == info.dtype:
        return array
    scale, zero = info.quantization
    limits = np.iinfo(info.dtype)
    return np.clip(np.round(array / scale) + zero, limits.min, limits.max).astype(info.dtype)


def dequantise(array: Array, info: TensorInfo) -> Array:
    """Turn the integers of a quantised output into float32.

    Args:
        array: The values.
        info: The output.
    """
    if info.quantization is None:
        return array
    scale, zero = info.quantization
    return ((array.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)
