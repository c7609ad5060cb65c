"""How good the models of a search are: by the user's evaluation, or by the accuracy on labelled data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import map_leaves, values_in
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.rewrite.context import Context
from kerasurgeon.rewrite.evaluation_of import evaluation_by, told_of
from kerasurgeon.rewrite.labelled import check_labelled, labelled_batches
from kerasurgeon.rewrite.learned import Guessed
from kerasurgeon.rewrite.scores import Accuracy, Score

Array = np.ndarray[Any, Any]

_BATCH = 64


@dataclass(frozen=True)
class Judge:
    """From a model, and what it is called in errors (``"round 2 of 3"``), to how good it is: higher is better.

    Attributes:
        context: Is told of a network that has not learned what it is judged by; has the user's evaluation.
        graph: The network, for its inputs.
        data: Labelled data; not looked at where the user evaluates.
    """

    context: Context
    graph: Graph
    data: Any

    def __call__(self, model: Any, of: str, *, base: bool = False) -> float:
        """How good a model is.

        Args:
            model: A Keras model.
            of: What it is called in errors.
            base: Whether it is the network that others are compared with: it should have learned something.

        Raises:
            RoundError: It cannot be judged; the error names it.
        """
        if self.context.evaluate is not None:
            return evaluation_by(self.context.evaluate, model, of)
        if not base:
            return accuracy_on(self.graph, self.data, model, of)
        score = Guessed(Accuracy)
        scored_on(self.graph, self.data, model, of, score)
        if said := score.warning():
            self.context.note(said)
        return score.result()

    def shares(self, data: Any, model: Any, of: str) -> Array:
        """Of each sample of other labelled data the share that is right: 0 or 1, of pixels in between."""
        score = Accuracy()
        scored_on(self.graph, data, model, of, score)
        return np.concatenate(score.shares)


def judge_of(context: Context, graph: Graph, owner: str, option: str, data: Any = None) -> Judge:
    """What says how good models are.

    Args:
        context: Has the user's evaluation, or labelled data.
        graph: The network; the models that are judged take the same inputs.
        owner: The pass that asks.
        option: Its option that needs it.
        data: Instead of the context's.

    Returns:
        A judge. It raises a ``RoundError`` that names the round where a model cannot be judged.

    Raises:
        OptionError: There is neither, or the network has several outputs and no evaluation.
    """
    data = context.data if data is None else data
    if context.evaluate is not None:
        return Judge(context, graph, data)
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
    return Judge(context, graph, data)


def accuracy_on(graph: Graph, data: Any, model: Any, of: str) -> float:
    """The share of samples whose class a model finds: see ``scored_on``."""
    score = Accuracy()
    scored_on(graph, data, model, of, score)
    return score.result()


def scored_on(graph: Graph, data: Any, model: Any, of: str, score: Score) -> None:
    """Give a score the predictions of a model.

    Args:
        graph: A graph with the model's inputs.
        data: ``(inputs, labels)``, or an iterable of batches of these. Labels are class ids or one-hot rows; for a
            single output that is a probability, 0 or 1.
        model: The model.
        of: What it is called in errors.
        score: Takes them in.

    Raises:
        CannotRunError: This machine cannot run the model.
        OptionError: The data does not fit the model, or its labels are none that the model can give.
        RoundError: The model gives NaN or infinity.
    """
    values = values_in(graph.inputs)
    for _, arrays, labels in labelled_batches(graph, data, _BATCH):
        inputs = map_leaves(dict(zip(values, arrays, strict=True)).__getitem__, graph.inputs)
        with on_this_machine(f"the evaluation of {of}"):
            (predictions,) = keras.tree.flatten(model.predict_on_batch(inputs))
        with told_of(of):
            score.update(labels, predictions)


__all__ = ["Judge", "accuracy_on", "judge_of", "scored_on"]
