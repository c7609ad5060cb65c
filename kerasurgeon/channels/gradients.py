"""Run a model on batches with its activations in hand, and where asked with the gradients of a loss by them.

Gradients need TensorFlow, which is imported only here and only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.channels.importance import Evidence
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import leaves
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import emit
from kerasurgeon.keras_io.emit import emit_with_variables
from kerasurgeon.keras_io.machine import on_this_machine

Array = np.ndarray[Any, Any]


def activations(graph: Graph, values: Sequence[Value], data: Any, batch_size: int) -> Iterator[list[Array]]:
    """Tensors of a graph, batch by batch, in inference.

    Args:
        graph: The graph; it is only read.
        values: Which tensors.
        data: See ``input_batches``.
        batch_size: Samples at once.
    """
    from kerasurgeon.keras_io.batches import input_batches

    model = _probed(graph, values)
    for batch in input_batches(graph, data, batch_size):
        with on_this_machine(f"model {graph.name!r}"):
            _, found = model(_nested(graph, batch), training=False)
        yield [_numpy(tensor) for tensor in found]


def gradients(
    evidence: Evidence, values: Sequence[Value], batch_size: int, most: int | None = None
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Tensors of a graph and the gradients of each sample's loss by them, batch by batch, in inference.

    Args:
        evidence: Has the graph, labelled data and the loss: a name, a Keras loss or a function of labels and outputs.
            Without one it is a crossentropy as the labels tell, and the notes say which.
        values: Which tensors.
        batch_size: Samples at once.
        most: Samples in all at most: spread evenly over labelled arrays, the first ones of batches.

    Raises:
        OptionError: There are no labels, the loss cannot be told or fails, or the backend is not TensorFlow.
    """
    _need_tensorflow()
    import tensorflow as tf

    graph = evidence.graph
    model = _probed(graph, values)
    for batch, labels in _labelled_batches(graph, evidence.data, batch_size, most):
        inputs = [tf.convert_to_tensor(array) for array in batch]
        with (
            on_this_machine(f"model {graph.name!r}, and its gradients"),
            tf.GradientTape(watch_accessed_variables=False) as tape,
        ):
            # What a tensor's gradient needs is that something it is computed from is watched.
            for tensor in inputs:
                if tensor.dtype.is_floating:
                    tape.watch(tensor)
            for variable in model.variables:
                if tf.as_dtype(variable.dtype).is_floating:
                    tape.watch(variable.value)
            outputs, found = model(_nested(graph, inputs), training=False)
            total = _total(evidence, labels, outputs, len(batch[0]))
        slopes = tape.gradient(total, found, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        yield [_numpy(tensor) for tensor in found], [_numpy(tensor) for tensor in slopes]


def weight_gradients(
    evidence: Evidence, weights: Sequence[tuple[str, str]], most: int | None = None
) -> Iterator[list[Array]]:
    """The gradients of each sample's loss by weights, sample by sample, in inference.

    Args:
        evidence: As for ``gradients``.
        weights: Which weights: layers and paths.
        most: As for ``gradients``.

    Raises:
        OptionError: As for ``gradients``.
    """
    _need_tensorflow()
    import tensorflow as tf

    graph = evidence.graph
    model, variables = emit_with_variables(graph)
    watched = [variables[name].value for name in weights]
    for sample, label in _labelled_batches(graph, evidence.data, 1, most):
        with (
            on_this_machine(f"model {graph.name!r}, and its gradients"),
            tf.GradientTape(watch_accessed_variables=False) as tape,
        ):
            for variable in watched:
                tape.watch(variable)
            total = _total(evidence, label, model(_nested(graph, sample), training=False), 1)
        slopes = tape.gradient(total, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        yield [_numpy(tf.convert_to_tensor(slope)) for slope in slopes]


def _need_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise OptionError(
            "Criteria that use gradients need the TensorFlow backend.",
            got=f"the backend {keras.backend.backend()!r}",
            hint="set KERAS_BACKEND=tensorflow, or take a criterion without gradients",
        )


def _probed(graph: Graph, values: Sequence[Value]) -> Any:
    """The model of a graph that gives its outputs and, as a list, other tensors."""
    probed = graph.copy()
    probed.set_signature(outputs=(graph.outputs, list(values)))
    return emit(probed, compile=False)


def _nested(graph: Graph, batch: Sequence[Any]) -> Any:
    return keras.tree.pack_sequence_as(graph.inputs, list(batch))


def _numpy(tensor: Any) -> Array:
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    return array.astype("float32") if array.dtype.itemsize < 4 else array


def _labelled_batches(
    graph: Graph, data: Any, batch_size: int, most: int | None = None
) -> Iterator[tuple[list[Array], Any]]:
    from kerasurgeon.keras_io.batches import input_batches

    left = most
    for inputs, labels in _pairs(data):
        if left is not None:
            if left <= 0:
                return
            inputs, labels = _spread((inputs, labels), left)
            left -= len(next(iter(leaves(labels))))
        whole = [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in leaves(labels)]
        start = 0
        for batch in input_batches(graph, inputs, batch_size):
            end = start + len(batch[0])
            parts = [array[start:end] for array in whole]
            if any(len(part) != len(batch[0]) for part in parts):
                raise _wrong_count(whole, end)
            yield batch, keras.tree.pack_sequence_as(labels, parts)
            start = end
        if any(len(array) != start for array in whole):
            raise _wrong_count(whole, start)


def _spread(pair: tuple[Any, Any], most: int) -> tuple[Any, Any]:
    """Inputs and labels of some samples at most, spread evenly: data is often sorted by its labels."""
    arrays = [leaf for leaf in leaves(pair) if getattr(leaf, "shape", ())]
    counts = {int(array.shape[0]) for array in arrays}
    if len(counts) != 1 or len(arrays) != len(list(leaves(pair))) or max(counts) <= most:
        return pair  # what is wrong with it is said where it is read
    chosen = np.arange(most) * max(counts) // most
    found: tuple[Any, Any] = keras.tree.map_structure(
        lambda array: np.asarray(keras.ops.convert_to_numpy(array))[chosen], pair
    )
    return found


def _wrong_count(labels: Sequence[Array], samples: int) -> OptionError:
    return OptionError(
        "The data has not one label per sample.",
        expected=f"{samples} or more" if any(len(array) < samples for array in labels) else f"{samples}",
        got=", ".join(str(len(array)) for array in labels) + " labels",
    )


def _pairs(data: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, tuple) and len(data) == 2:
        yield data
        return
    if isinstance(data, Iterable) and not isinstance(data, (dict, str, bytes)) and not hasattr(data, "shape"):
        for item in data:
            if not isinstance(item, (tuple, list)) or len(item) < 2:
                break
            yield item[0], item[1]
        else:
            return
    raise OptionError(
        "This criterion needs inputs with labels.",
        expected="data=(inputs, labels), or an iterable of such batches",
        got="no data" if data is None else f"data without labels ({type(data).__name__})",
        hint="a criterion without gradients needs no labels: importance='l2' or 'apoz'",
    )


def _total(evidence: Evidence, labels: Any, outputs: Any, samples: int) -> Any:
    """The sum of the samples' losses."""
    loss = evidence.loss
    function = _default_loss(labels, outputs, evidence.notes) if loss is None else loss
    if isinstance(function, str):
        try:
            function = keras.losses.get(function)
        except ValueError as error:
            raise OptionError(f"loss={loss!r} is no loss of Keras.", got=str(error).splitlines()[0]) from error
    if not callable(function):
        raise OptionError(
            "loss= cannot be used.", expected="a name or a function of labels and outputs", got=repr(loss)
        )
    try:
        value = keras.ops.mean(keras.ops.convert_to_tensor(function(labels, outputs)))
    except Exception as error:
        raise OptionError(
            "The loss cannot be computed from these labels.",
            where=f"loss {getattr(function, '__name__', type(function).__name__)!r}",
            got=f"{type(error).__name__}: {str(error).strip()[:300]}",
            expected=f"labels for outputs of shape {keras.tree.map_structure(lambda one: tuple(one.shape), outputs)}",
        ) from error
    if not np.isfinite(float(value)):
        raise OptionError("The loss is not finite on this data.", got=str(float(value)))
    return value * samples


def _default_loss(labels: Any, outputs: Any, notes: list[str]) -> Any:
    """Crossentropy, sparse or categorical by the shape of the labels, on probabilities or logits; noted once."""

    def noted(kind: Any) -> Any:
        note = f"loss {kind.__name__}(from_logits={logits}), as labels and outputs tell: loss= takes another"
        if note not in notes:
            notes.append(note)
        return kind(from_logits=logits)

    several = list(leaves(outputs))
    label = next(iter(leaves(labels)))
    output = several[0]
    classes = output.shape[-1] if len(output.shape) > 1 else 1
    if len(several) == 1 and classes > 1:
        rows = _numpy(output)
        logits = bool((rows < 0).any() or (np.abs(rows.sum(axis=-1) - 1) > 1e-2).any())
        if label.shape == tuple(output.shape):
            return noted(keras.losses.CategoricalCrossentropy)
        if label.shape in (tuple(output.shape[:-1]), (*output.shape[:-1], 1)) and label.dtype.kind in "iub":
            return noted(keras.losses.SparseCategoricalCrossentropy)
    raise OptionError(
        "Which loss to use cannot be told from the labels.",
        expected="class numbers or one-hot rows for one output of several classes; or loss=",
        got=f"labels {label.shape} ({label.dtype}) for {len(several)} outputs, the first {tuple(output.shape)}",
        hint="pass loss='mse', a Keras loss, or a function of labels and outputs",
    )
