"""Trainings as a recipe describes them: optimizer, learning rate, losses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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


def loss_of(model: keras.Model, data: DataSet, class_weights: Any = None) -> Any:
    """The crossentropy of the labels.

    Args:
        model: Its last layer says whether it gives logits.
        data: The data set.
        class_weights: A number per class, for segmentation.

    Raises:
        OptionError: Class weights were given for classification.
    """
    logits = gives_logits(model)
    if data.task == "segmentation":
        return SegmentationCrossEntropy(data.ignore_label, class_weights, from_logits=logits)
    if class_weights is not None:
        raise OptionError("Class weights are for segmentation.", where="class_weights")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)


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
