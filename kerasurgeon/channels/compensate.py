"""Give what removed channels contributed on average to the layers that read them.

A removed channel is rarely zero. A layer that sums over channels, ``y = W x + b``, loses ``W_c x_c`` with channel c;
the best constant in its place is ``W_c E[x_c]``, which goes into the bias. That is exact for a channel that is constant
where nothing is padded with zeros; near such borders the layer sees less of the channel, so that the constant is the
mean over all positions, borders included.

References:
    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017 (why removal
    is judged after what follows has been adjusted); Nagel et al., "Data-Free Quantization Through Weight Equalization
    and Bias Correction", ICCV 2019, section 4.2 (expected values from batch-norm statistics); Luo et al., "ThiNet: A
    Filter Level Pruning Method for Deep Neural Network Compression", ICCV 2017, and He et al., "Channel Pruning for
    Accelerating Very Deep Neural Networks", ICCV 2017 (least squares, layer after layer).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.consumers import Consumer, find_consumers, put
from kerasurgeon.channels.least_squares import reconstruct
from kerasurgeon.channels.linear_part import full_shape, linear_part, run_linear, to_bias
from kerasurgeon.channels.mean_response import mean_response
from kerasurgeon.channels.moments import Moments
from kerasurgeon.channels.recurrent_fit import find_losing
from kerasurgeon.channels.scatter_layer import SCATTER
from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io.injection import brief_variables

Array = np.ndarray[Any, Any]

METHODS = ("batch_norm", "data", "least_squares")


def compensate(
    graph: Graph,
    channels: Channels,
    gone: Array,
    *,
    method: str = "batch_norm",
    data: Any = None,
    ridge: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Change the weights of a graph, in place and right before a cut, so that less is lost by it.

    Every layer that sums over channels that go (convolutions, transposed and separable ones, Dense, EinsumDense) gets
    their expected contribution into its bias. Without a bias, that of a batch norm directly behind it is used, by
    shifting its moving mean the other way; else the layer gets one. Layers of other kinds (attention, products of
    tensors, recurrent layers but for least squares) stay as they are, which a note says.

    Args:
        graph: The whole graph, nothing cut yet.
        channels: Its analysis, which is told of new biases: cut with the same one.
        gone: For every unit whether it goes.
        method: Where the expected values come from.

            * ``"batch_norm"``: no data; from batch-norm statistics, followed through what comes behind. See
              ``moments`` for what that assumes. Statistics that are not those of the model's data mislead it.
            * ``"data"``: from calibration data, layer after layer: the kernels of Conv1D, Conv2D, Conv3D and Dense are
              scaled, output by output, and their biases moved so that every output is, in the network compensated so
              far, closest to what it was. Of other layers the biases alone are moved. (Means alone do harm: what is
              left of the signal grows smaller from layer to layer, while means stay as large as they were.)
            * ``"least_squares"``: from calibration data, and kernels are fitted element by element so that they give
              from what is kept, in the network compensated so far, what the whole layer gave. See ``least_squares``.
              So are those of SimpleRNN, GRU and LSTM, see ``recurrent_fit``. Other layers are treated as with
              ``"data"``.
        data: Calibration data: inputs as for ``predict``, ``(inputs, labels)``, or an iterable of such batches.
        ridge: For least squares: how strongly kernels are held to what they are, relative to the inputs' variance; by
            default chosen for each layer on held-out samples.
        seed: For least squares: draws the positions of feature maps that are looked at.

    Returns:
        What was compensated, and what was not and why, one sentence each.

    Raises:
        OptionError: The method is unknown; the data is missing, does not fit, is empty or holds NaN.
    """
    if method not in METHODS:
        raise OptionError(
            f"There is no compensation {method!r}.", expected=", ".join(METHODS), hint=did_you_mean(method, METHODS)
        )
    kernels = method == "least_squares"
    losing = find_losing(graph, channels, gone) if kernels else {}
    consumers, notes = find_consumers(graph, channels, gone, losing)
    if not consumers and not losing:
        return notes
    if method != "batch_norm":
        return notes + reconstruct(
            graph, channels, gone, consumers, data, ridge=ridge, seed=seed, kernels=kernels, losing=losing
        )
    means, why = _expected(graph, consumers)
    for key, several in consumers.items():
        notes.append(_compensated(graph, channels, key, several, means, why))
    return notes


def _expected(graph: Graph, consumers: dict[str, list[Consumer]]) -> tuple[dict[Value, Array], dict[Value, str]]:
    """Expected values from batch-norm statistics, and why there are none."""
    moments = Moments(graph.copy())
    means, why = {}, {}
    for consumer in (consumer for several in consumers.values() for consumer in several):
        spread = moments.spread(consumer.value)
        if spread is None:
            why[consumer.value] = moments.why(consumer.value)
        else:
            means[consumer.value] = spread.mean
    return means, why


def _compensated(
    graph: Graph,
    channels: Channels,
    key: str,
    several: list[Consumer],
    means: dict[Value, Array],
    why: dict[Value, str],
) -> str:
    """Put the mean contribution of removed channels into a layer. Returns the note."""
    shifts, unknown = [], 0
    for consumer in several:
        mean = means.get(consumer.value)
        if mean is None:
            return f"{key!r} is not compensated: {why.get(consumer.value, 'nothing is known of its input')}"
        part = np.where(consumer.gone, mean, 0.0)
        unknown = max(unknown, int(np.isnan(part).any(axis=_others(consumer.gone)).sum()))
        shifts.append(_contribution(graph, consumer, np.nan_to_num(part, nan=0.0)))
    count = max(consumer.count for consumer in several)
    if unknown == count:
        return f"{key!r} is not compensated: nothing is known of the channels that go"
    shift = np.mean(shifts, axis=0)
    if graph.layers[key].kind == SCATTER:
        graph.set_weight(key, "fill", np.asarray(graph.layers[key].array("fill"), np.float64) + shift)
    elif problem := put(graph, channels, key, shift):
        return f"{key!r} is not compensated: {problem}"
    partly = f"; of {unknown} more nothing is known" if unknown else ""
    calls = f", as the mean of {len(several)} calls" if len(several) > 1 else ""
    return f"{key!r} takes up what {count - unknown} channels gave{calls}{partly}"


def _others(gone: Array) -> tuple[int, ...]:
    return tuple(axis for axis, size in enumerate(gone.shape) if size == 1)


def _contribution(graph: Graph, consumer: Consumer, part: Array) -> Array:
    """What some input adds to a layer's result, averaged over positions."""
    node = consumer.node
    layer = graph.layer_of(node)
    if layer.kind == SCATTER:
        axis = layer.config["axis"] % part.ndim
        per_channel = part.mean(axis=tuple(place for place in range(part.ndim) if place != axis))
        shift = np.zeros(layer.config["width"])
        shift[list(layer.config["kept"])] = per_channel
        return shift
    quick = mean_response(layer, graph.spec(consumer.value).shape, part)
    if quick is not None:
        return quick
    full = np.broadcast_to(part, full_shape(graph, node, consumer.value))
    with brief_variables():
        return to_bias(layer, run_linear(graph, node, linear_part(graph, node), full))
