"""A student together with its teacher, as one Keras model that is fitted to labels and to what the teacher says.

``keras.distillation.Distiller`` is not used: it runs the student a second time for features (so that batch norms move
twice, and dropout drops other things than in the prediction), takes one tensor per loss, gives the losses no labels,
leaves sample weights out, and does not scale its sum for a distribution strategy. Its losses are used as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerasurgeon.keras_io.internals import additional_loss, has_loss
from kerasurgeon.recover.distillation import GraphLoss

ops = keras.ops


@dataclass(frozen=True)
class Term:
    """One thing that the student learns from the teacher.

    Attributes:
        name: What it is called in the logs.
        loss: The loss.
        weight: A factor.
        taps: Places of the tensors that it compares, among those that the models give.
    """

    name: str
    loss: Any
    weight: float
    taps: tuple[int, ...]


class Trainee(keras.Model):
    """A student that learns from labels and from a teacher; only the student has something to train.

    Args:
        student: Gives its outputs and a list of the tensors to compare.
        teacher: Likewise; it runs in inference, and nothing is learned through it.
        terms: What is learned from the teacher.
        output_names: Names of the student's outputs, for losses and metrics that are given by name.
        **kwargs: As for ``keras.Model``.
    """

    def __init__(
        self, student: Any, teacher: Any, terms: Sequence[Term], output_names: Sequence[str] | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.student, self.teacher = student, teacher
        self.teacher.trainable = False
        self.terms = tuple(terms)
        self.trackers = [keras.metrics.Mean(name=term.name) for term in self.terms]
        if output_names is not None:
            self.output_names = list(output_names)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """What the student gives, and what is compared."""
        outputs, ours = self.student(inputs, training=training)
        _, theirs = self.teacher(inputs, training=False)
        return {"outputs": outputs, "student": list(ours), "teacher": [ops.stop_gradient(one) for one in theirs]}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of the labels, and in training what the teacher adds to it.

        Without a loss of labels it is what the teacher adds, in validation too.
        """
        taught = self._taught(y, y_pred)
        if not has_loss(self):
            others = [additional_loss(self, loss) for loss in self.losses]
            return sum([taught, *others], start=ops.zeros(()))
        loss = super().compute_loss(x, y, y_pred["outputs"], sample_weight, training)
        return loss + taught if training else loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The metrics of the student's outputs."""
        return super().compute_metrics(x, y, y_pred["outputs"], sample_weight)

    def _taught(self, y: Any, y_pred: Any) -> Any:
        total: Any = ops.zeros(())
        for term, tracker in zip(self.terms, self.trackers, strict=True):
            theirs = [y_pred["teacher"][place] for place in term.taps]
            ours = [y_pred["student"][place] for place in term.taps]
            own = isinstance(term.loss, GraphLoss)
            if not own and len(ours) == 1:
                theirs, ours = theirs[0], ours[0]
            labels = {"y_true": y} if own and term.loss.needs_labels else {}
            value = term.weight * ops.cast(term.loss.compute_loss(theirs, ours, **labels), "float32")
            tracker.update_state(value)
            total = total + value
        return additional_loss(self, total)


__all__ = ["Term", "Trainee"]
