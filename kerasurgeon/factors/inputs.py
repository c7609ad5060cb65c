"""What layers read, measured on data: means and covariances of the patches that their kernels are multiplied with.

The error of a layer's output at a position is ``dW^T x + db`` for a patch ``x`` of mean ``m`` and covariance ``C`` and
an error ``dW`` of the kernel, ``db`` of the bias. Its expected square is ``tr(dW^T C dW) + |dW^T m + db|^2``: with
these moments every candidate is judged without running the network again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from typing import Any, final

import keras
import numpy as np

from kerasurgeon.channels.measured import samples_at_once
from kerasurgeon.channels.patches import channels_last, patches
from kerasurgeon.errors import OptionError
from kerasurgeon.factors.kernels.method import Inputs
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.keras_io.batches import input_batches
from kerasurgeon.keras_io.running import Runner
from kerasurgeon.rules.asking import channel_form

Array = np.ndarray[Any, Any]

LARGEST_PATCH = 8192
"""Entries of a patch up to which its covariance is measured: that takes 256 MiB."""

_BATCH = 32
_MEMORY = 2**29
_SUMS = 2**30


def measure_inputs(
    graph: Graph, keys: Sequence[str], data: Any, *, samples: int = 512, positions: int = 8192, seed: int = 0
) -> dict[str, Inputs]:
    """Measure what convolutions and Dense layers read, all calls of a layer together.

    The network is run in batches, several times where the sums of all layers would take more than a GiB. Of every layer
    output positions are drawn at random, the same share in every sample.

    Args:
        graph: The graph; it is only read.
        keys: Keys of layers.
        data: Calibration data, see ``input_batches``.
        samples: How many samples are looked at, at most.
        positions: How many output positions of each layer are looked at, all samples and calls together: about so many,
            or all there are.
        seed: Draws the positions.

    Returns:
        For every Conv1D, Conv2D, Conv3D and Dense layer what it reads, in float32; ``channels`` is the mean of the
        covariances at the positions of the kernel. Other layers are absent, and so are those that are never called or
        whose patches have more than ``LARGEST_PATCH`` entries.

    Raises:
        OptionError: The data cannot be used, or makes a layer read NaN or infinities.
    """
    wanted = [key for key in dict.fromkeys(keys) if _measurable(graph, key)]
    if not wanted:
        return {}
    size = min(_BATCH, samples_at_once(graph, _MEMORY))
    batches = list(input_batches(graph, data, size, most=samples))  # of arrays: views, no copies
    count = sum(len(batch[0]) for batch in batches)
    rng = np.random.default_rng(seed)
    found: dict[str, Inputs] = {}
    for several in _rounds(graph, wanted):
        sums = {key: _Sums(graph.layers[key]) for key in several}
        calls = {node.name: key for key in several for node in graph.calls(key)}
        runner = Runner(graph)
        for batch in batches:
            for node, tensors in runner.walk(batch, until=set(calls)):
                if node.name in calls:
                    key = calls[node.name]
                    share = len(batch[0]) / count / len(graph.calls(key))
                    tensor = keras.ops.convert_to_numpy(tensors[node.inputs[0]])
                    sums[key].add(np.asarray(tensor), ceil(positions * share), rng)
        for key in several:
            found[key] = sums.pop(key).result(key)
    return {key: found[key] for key in wanted}


def _measurable(graph: Graph, key: str) -> bool:
    form = channel_form(graph.layers[key])
    if form is None or not form.by_patches or not graph.calls(key):
        return False
    return bool(prod(_shape(graph.layers[key])[:-1]) <= LARGEST_PATCH)


def _shape(layer: Layer) -> tuple[int, ...]:
    """Shape of the kernel as ``(*positions, in, out)``."""
    form = channel_form(layer)
    assert form is not None
    (kernel,) = form.kernels
    return tuple(kernel.seen(layer.weights[kernel.key].array).shape)


def _rounds(graph: Graph, keys: list[str]) -> Iterator[list[str]]:
    """Layers whose sums may be held together."""
    several, held = list[str](), 0
    for key in keys:
        layer = graph.layers[key]
        bytes_ = 8 * _groups(layer.config) * prod(_shape(layer)[:-1]) ** 2
        if several and held + bytes_ > _SUMS:
            yield several
            several, held = [], 0
        several.append(key)
        held += bytes_
    yield several


@final
class _Sums:
    """Weighted sums over patches and their products.

    Patches are shifted by the mean of the first ones, so that no digits are lost where a mean is large against the
    variance. Products are summed in the precision of the tensors within a batch, in float64 over batches.
    """

    def __init__(self, layer: Layer) -> None:
        self._config = layer.config
        self._groups = _groups(layer.config)
        *sizes, self._inputs, _ = _shape(layer)
        self._features = prod(sizes) * self._inputs
        self._shift: Array | None = None
        self._weight = 0.0
        self._first = np.zeros((self._groups, self._features))
        self._second = np.zeros((self._groups, self._features, self._features))

    def add(self, tensor: Array, most: int, rng: np.random.Generator) -> None:
        """Take in some of the patches of one call on one batch.

        Args:
            tensor: What the layer reads.
            most: How many positions to look at.
            rng: Draws them.
        """
        if tensor.dtype != np.float64:
            tensor = tensor.astype(np.float32, copy=False)
        tensor = channels_last(self._config, tensor)
        shape = _output_positions(self._config, tensor.shape)
        total = prod(shape)
        if not total:
            return
        taken = min(most, total)
        chosen = np.arange(total) if taken == total else np.sort(rng.choice(total, taken, replace=False))
        found = patches(self._config, tensor, np.stack(np.unravel_index(chosen, shape), axis=1))
        split = found.reshape(taken, -1, self._groups, self._inputs)
        rows = split.transpose(2, 0, 1, 3).reshape(self._groups, taken, self._features)
        if self._shift is None:
            self._shift = rows.mean(axis=1, keepdims=True)
        rows = rows - self._shift
        weight = total / taken  # a batch of which fewer positions are seen counts as much as others
        self._weight += total
        self._first += weight * rows.sum(axis=1, dtype=np.float64)
        for group, own in enumerate(rows):
            self._second[group] += weight * (own.T @ own)

    def result(self, key: str) -> Inputs:
        """The moments of all patches so far."""
        if self._shift is None:
            raise OptionError("The calibration data is too small.", where=f"layer {key!r}", got="no output positions")
        mean = self._first / self._weight
        covariance = self._second
        covariance /= self._weight
        covariance -= mean[:, :, None] * mean[:, None, :]
        if not np.isfinite(covariance).all():
            raise OptionError(
                "With the calibration data, a layer reads NaN, infinities or numbers too large to be squared.",
                where=f"layer {key!r}",
                hint="pass data prepared as for predict",
            )
        taps = self._features // self._inputs
        split = covariance.reshape(self._groups, taps, self._inputs, taps, self._inputs)
        channels = np.einsum("gtitj->gij", split) / taps
        single = np.float32
        mean = mean + self._shift[:, 0]
        return Inputs(mean.astype(single), covariance.astype(single), channels.astype(single))


def _groups(config: Mapping[str, Any]) -> int:
    return int(config.get("groups", 1))


def _output_positions(config: Mapping[str, Any], shape: Sequence[int]) -> tuple[int, ...]:
    """Samples, and positions along every axis of the output, for an input with its channels last."""
    if "kernel_size" not in config:
        return tuple(shape[:-1])
    found = [shape[0]]
    geometry = zip(shape[1:-1], config["kernel_size"], config["strides"], config["dilation_rate"], strict=True)
    for length, size, stride, dilation in geometry:
        lost = (size - 1) * dilation if config["padding"] == "valid" else 0
        found.append(max(0, -(-(length - lost) // stride)))
    return tuple(found)


__all__ = ["LARGEST_PATCH", "measure_inputs"]
