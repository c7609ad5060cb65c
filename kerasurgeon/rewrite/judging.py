"""How good the models of a search are: by the user's evaluation, or by the accuracy on labelled data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.evaluation_of import evaluation_by, told_of
from kerasurgeon.rewrite.labelled import check_labelled, labelled_batches
from kerasurgeon.rewrite.scores import Accuracy

_BATCH = 64

Judge: TypeAlias = Callable[[Any, str], float]
"""From a model, and what it is called in errors (``"round 2 of 3"``), to how good it is: higher is better."""


def judge_of(context: Context, graph: Graph, owner: str, option: str) -> Judge:
    """What says how good models are.

    Args:
        context: Has the user's evaluation, or labelled data.
        graph: The network; the models that are judged take the same inputs.
        owner: The pass that asks.
        option: Its option that needs it.

    Returns:
        A judge. It raises a ``RoundError`` that names the round where a model cannot be judged.

    Raises:
        OptionError: There is neither, or the network has several outputs and no evaluation.
    """
    evaluate, data = context.evaluate, context.data
    if evaluate is not None:
        return lambda model, of: evaluation_by(evaluate, model, of)
    try:
        check_labelled(data)
    except OptionError as error:
        raise OptionError(
            f"{owner}: {option}= needs a way to measure accuracy.",
            got=error.got,
            hint="pass evaluate=function to the pipeline (model to number, higher is better), or data=(inputs, labels)",
        ) from error
    count = len(values_in(graph.outputs))
    if count != 1:
        raise OptionError(
            f"{owner}: accuracy is measured on a network with one output; this one has {count}.",
            hint="pass evaluate=function to the pipeline: model to number, higher is better",
        )
    return lambda model, of: accuracy_on(graph, data, model, of)


def accuracy_on(graph: Graph, data: Any, model: Any, of: str) -> float:
    """The share of samples whose class a model finds.

    Args:
        graph: A graph with the model's inputs.
        data: ``(inputs, labels)``, or an iterable of batches of these. Labels are class ids or one-hot rows; for a
            single output that is a probability, 0 or 1.
        model: The model.
        of: What it is called in errors.

    Raises:
        CannotRunError: This machine cannot run the model.
        OptionError: The data does not fit the model, or its labels are none that the model can give.
        RoundError: The model gives NaN or infinity.
    """
    values = values_in(graph.inputs)
    score = Accuracy()
    for _, arrays, labels in labelled_batches(graph, data, _BATCH):
        inputs = map_leaves(dict(zip(values, arrays, strict=True)).__getitem__, graph.inputs)
        with on_this_machine(f"the evaluation of {of}"):
            (predictions,) = keras.tree.flatten(model.predict_on_batch(inputs))
        with told_of(of):
            score.update(labels, predictions)
    return score.result()


__all__ = ["Judge", "accuracy_on", "judge_of"]
