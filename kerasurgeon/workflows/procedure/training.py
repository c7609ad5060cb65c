"""Trainings as a recipe describes them: optimizer, learning rate, losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kerasurgeon.errors import OptionError, RecipeError, did_you_mean
from kerasurgeon.ir.structure import values_in
from kerasurgeon.keras_io import lift
from kerasurgeon.recover import (
    ACE,
    AttentionTransfer,
    Bridge,
    DarkKnowledge,
    FeatureMatching,
    LearningRate,
    Plateau,
    Poly,
    SegmentationCrossEntropy,
    TwoCycles,
)
from kerasurgeon.rules.asking import activation_of
from kerasurgeon.trust import import_object, is_name
from kerasurgeon.workflows.data import DataSet

LOSSES = {
    "dark_knowledge": DarkKnowledge,
    "attention_transfer": AttentionTransfer,
    "feature_matching": FeatureMatching,
    "ace": ACE,
}


def optimizer_of(table: Mapping[str, Any]) -> Any:
    """The optimizer of a training."""
    kinds = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    options: dict[str, Any] = {"learning_rate": table["learning_rate"]}
    if table["optimizer"] == "sgd":
        options["momentum"] = table["momentum"]
    if table["weight_decay"]:
        options["weight_decay"] = table["weight_decay"]
    return kinds[table["optimizer"]](**options)


def schedule_of(table: Mapping[str, Any]) -> LearningRate | None:
    """How the learning rate of a training goes."""
    kind = table["schedule"]
    if kind == "poly":
        return Poly(power=table["power"])
    if kind == "plateau":
        return Plateau(factor=table["factor"], patience=table["patience"])
    if kind == "two_cycles":
        return TwoCycles(at=table["second_at"], rate=table["second_rate"])
    return None


def loss_of(model: keras.Model, data: DataSet, class_weights: Any = None, losses: Any = None) -> Any:
    """The crossentropy of the labels, or losses of the user's, added up.

    Args:
        model: Its last layer says whether it gives logits.
        data: The data set.
        class_weights: A number per class, for segmentation.
        losses: Names of Keras, or ``"module:name"`` of functions of labels and scores or of classes; one or several.

    Raises:
        OptionError: Class weights were given for classification, or beside losses; or a loss is none.
    """
    if losses is not None:
        if class_weights is not None:
            raise OptionError("Class weights are of the crossentropy.", where="class_weights", got="losses, too")
        made = [_named(name, "losses", keras.losses.get) for name in _several(losses)]
        return made[0] if len(made) == 1 else _Sum(made)
    logits = gives_logits(model)
    if data.task == "segmentation":
        return SegmentationCrossEntropy(data.ignore_label, class_weights, from_logits=logits)
    if class_weights is not None:
        raise OptionError("Class weights are for segmentation.", where="class_weights")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)


def metrics_of(metrics: Any) -> list[Any]:
    """Metrics of the user's, named as losses are.

    Raises:
        OptionError: One of them is none.
    """
    return [_named(name, "metrics", keras.metrics.get) for name in _several(metrics or ())]


class _Sum(keras.losses.Loss):
    """Losses added up."""

    def __init__(self, parts: Sequence[Any]) -> None:
        super().__init__(name="losses")
        self.parts = tuple(parts)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Each of them as its mean over what it is given."""
        return sum(keras.ops.mean(part(y_true, y_pred)) for part in self.parts)


def _several(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _named(name: str, key: str, known: Callable[[str], Any]) -> Any:
    """What a recipe names: of Keras, or imported; a class is made without arguments."""
    if is_name(name):
        found = import_object(name, key)
    else:
        try:
            found = known(name)
        except ValueError as error:
            raise OptionError(f"{key}: Keras knows none of the name {name!r}.", hint='or "module:name"') from error
    made = found() if isinstance(found, type) else found
    if not callable(made):
        raise OptionError(f"{key}: {name!r} cannot be called.", got=type(made).__name__)
    return made


def gives_logits(model: keras.Model) -> bool:
    """Whether a model ends without a softmax."""
    graph = lift(model)
    last = graph.layer_of(values_in(graph.outputs)[0].node)
    return activation_of(last) != "softmax"


def distillation_of(table: Mapping[str, Any], data: DataSet, bridges: tuple[Bridge, ...]) -> list[Any]:
    """The losses by which the last training learns from the original.

    Args:
        table: The step's keys.
        data: The data set, for the label that does not count.
        bridges: The shunts: features are matched at their ends unless layers are named. Empty where there are none
            yet: such a loss is then left out.

    Raises:
        RecipeError: A loss has no such option.
    """
    made = []
    for name, kind in LOSSES.items():
        if table[name] is None:
            continue
        known = inspect.signature(kind).parameters
        options = dict(table[name])
        for key in options:
            if key not in known:
                raise RecipeError(
                    f"{name} has no option {key!r}.", where=f"[train_final.{name}]", hint=did_you_mean(key, known)
                )
        if name == "feature_matching":
            if not bridges and "layers" not in options:
                continue
            options.setdefault("layers", bridges)
        if name == "ace":
            options.setdefault("ignore_label", data.ignore_label)
        made.append(kind(**options))
    return made
