"""Hang a penalty on a model, and take it off again."""

from __future__ import annotations

from typing import Any

from kerasurgeon.errors import OptionError
from kerasurgeon.morphnet.penalty import Penalty


class Attachment:
    """A penalty that hangs on one of a model's trainable variables.

    Keras adds ``variable.regularizer(variable)`` of every trainable variable to the loss, whatever the optimizer, the
    data and the backend; what is set on a variable after its layer was built is in no config. One variable is enough,
    as the penalty reads the others itself.

    Args:
        model: The model.
        penalty: The penalty; its ``before`` is set here.
        wanted: Variables that the penalty reads: one of them carries it.
    """

    def __init__(self, model: Any, penalty: Penalty, wanted: list[Any]) -> None:
        self.model, self.penalty, self.wanted = model, penalty, wanted
        self.carrier: Any = None
        self.hang()

    def hang(self) -> None:
        """Hang it where it has effect; elsewhere than before if layers were frozen since.

        Raises:
            OptionError: None of the variables can be trained, or another MorphNet hangs on the model.
        """
        trainable = {id(variable) for variable in self.model.trainable_weights}
        if self.carrier is not None and id(self.carrier) in trainable and self.carrier.regularizer is self.penalty:
            return
        self.take_off()
        for variable in self.model.weights:
            if _penalty(variable) is not None:
                raise OptionError(
                    "A MorphNet is attached to this model already.",
                    where=str(variable.path),
                    hint="call its detach() first",
                )
        self.carrier = next((variable for variable in self.wanted if id(variable) in trainable), None)
        if self.carrier is None:
            raise OptionError(
                "None of the weights that would be regularised is trainable.",
                hint="set model.trainable = True, or that of some layers",
            )
        self.penalty.before = self.carrier.regularizer
        self.carrier.regularizer = self.penalty
        retrace(self.model)

    def take_off(self) -> None:
        """Leave the model as it was before."""
        if self.carrier is not None and self.carrier.regularizer is self.penalty:
            self.carrier.regularizer = self.penalty.before
            retrace(self.model)
        self.carrier = None


def retrace(model: Any) -> None:
    """Let a model compile its steps anew, where it has compiled any: they hold the losses that there were."""
    for name in ("train_function", "test_function"):
        if getattr(model, name, None) is not None:
            getattr(model, f"make_{name}")(force=True)


def _penalty(variable: Any) -> Penalty | None:
    found = getattr(variable, "regularizer", None)
    return found if isinstance(found, Penalty) else None
