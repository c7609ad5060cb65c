"""What a search maximises: accuracy and what is saved, in one number.

    acc_comp = tau * accuracy + (1 - tau) * (1 - cost / max_cost)

Costs are parameters, MACs or whatever else a number says, in any unit; ``max_cost`` is that of the model that nothing
was cut from. A candidate that costs more than ``max_cost`` has a negative second part: ``acc_comp`` may go down to
minus infinity; it never exceeds 1.

Reference:
    Camacho et al., Neurocomputing 630 (2025) 129661.
"""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.errors import OptionError
from kerasurgeon.rewrite.option_checks import check_choice, is_number, wrong_option
from kerasurgeon.workflows.tuner.labels import KINDS, kind_by_shape


def compression_score(accuracy: float, cost: float, max_cost: float, tau: float) -> float:
    """``tau * accuracy + (1 - tau) * (1 - cost / max_cost)``.

    Args:
        accuracy: In [0, 1].
        cost: What the model costs.
        max_cost: What it is compared with, in the same unit; above 0.
        tau: How much the accuracy counts, in [0, 1].
    """
    return tau * accuracy + (1 - tau) * (1 - cost / max_cost)


def check_tau(owner: str, tau: Any) -> None:
    """Refuse what is no number in [0, 1].

    Raises:
        OptionError: It is none.
    """
    if not is_number(tau) or not 0 <= tau <= 1:
        hint = "1 is accuracy alone, 0 the saving alone"
        raise wrong_option(owner, "tau", tau, "a number in [0, 1]", hint)


@keras.saving.register_keras_serializable(package="kerasurgeon")
class CompressedAccuracy(keras.metrics.Mean):
    """Accuracy and what is saved, as a metric: ``val_acc_comp`` in the logs, the higher the better.

    NaN where predictions are NaN or infinite, or labels are no class ids: what cannot be told is nothing to choose by.

    Args:
        cost: What the model costs; 0 or more.
        max_cost: What it is compared with, in the same unit; above 0.
        tau: How much the accuracy counts, in [0, 1].
        labels: ``"sparse"``: class ids of shape ``(batch,)`` or ``(batch, 1)``. ``"one_hot"``: of shape
            ``(batch, classes)``. ``"auto"``: by the shape.
        name: Name in the logs.
        dtype: Of the sums.

    Raises:
        OptionError: An option is out of its range, or with ``"auto"`` the shapes do not tell.
    """

    def __init__(
        self,
        cost: float,
        max_cost: float,
        tau: float = 0.8,
        labels: str = "auto",
        name: str = "acc_comp",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        owner = type(self).__name__
        check_tau(owner, tau)
        check_choice(owner, "labels", labels, ("auto", *KINDS))
        if not is_number(cost) or cost < 0:
            raise wrong_option(owner, "cost", cost, "a number from 0")
        if not is_number(max_cost) or max_cost <= 0:
            raise wrong_option(owner, "max_cost", max_cost, "a number above 0")
        self.cost, self.max_cost, self.tau, self.labels = float(cost), float(max_cost), float(tau), labels

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch.

        Args:
            y_true: The labels.
            y_pred: Scores of shape ``(batch, classes)``.
            sample_weight: How much each sample counts.
        """
        kind = self.labels if self.labels != "auto" else kind_by_shape(y_true.shape, y_pred.shape)
        if kind is None:
            raise OptionError(
                "Whether the labels are class ids or one-hot cannot be told from their shape.",
                where=f"metric {self.name!r}",
                got=f"labels {tuple(y_true.shape)}, predictions {tuple(y_pred.shape)}",
                hint="say labels='sparse' or labels='one_hot'",
            )
        one_hot = kind == "one_hot"
        y_pred = keras.ops.convert_to_tensor(y_pred)
        right = (keras.metrics.categorical_accuracy if one_hot else keras.metrics.sparse_categorical_accuracy)(
            y_true, y_pred
        )
        # The largest of some NaN is the first class: what gives NaN has no accuracy, and no trial may win by it.
        told = keras.ops.all(keras.ops.isfinite(y_pred), axis=-1)
        if not one_hot:
            ids = keras.ops.reshape(keras.ops.convert_to_tensor(y_true), keras.ops.shape(told))
            told = keras.ops.logical_and(told, keras.ops.logical_and(ids >= 0, ids < y_pred.shape[-1]))
        right = keras.ops.where(told, right, float("nan"))
        return super().update_state(right, sample_weight)

    def result(self) -> Any:
        """The score of what was counted."""
        return compression_score(super().result(), self.cost, self.max_cost, self.tau)

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` makes the same metric of."""
        own = {"cost": self.cost, "max_cost": self.max_cost, "tau": self.tau, "labels": self.labels}
        return {**super().get_config(), **own}
