"""One training with Keras' ``fit``: what training of bridges and fine-tuning have in common."""

from __future__ import annotations

import contextlib
import importlib.util
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.atomic import make_folder
from kerasurgeon.errors import OptionError
from kerasurgeon.hidden import alone
from kerasurgeon.ir.graph import Graph
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.recover.batches import EpochOrder, Source
from kerasurgeon.recover.learning_rate import LearningRate
from kerasurgeon.recover.progress import Progress
from kerasurgeon.rewrite.option_checks import check_count, wrong_option

Variables = Mapping[tuple[str, str], Any]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: How many epochs.
        schedule: How the learning rate goes; ``None`` leaves it to the optimizer.
        monitor: What says which epoch is the best, the first of these that is logged.
        mode: ``"min"``, ``"max"`` or ``"auto"``.
        restore_best: Whether to keep the best weights, where there is validation data; else the last.
        folder: Where to write, if anywhere.
        callbacks: The user's.
        verbose: As for ``fit``.
        steps: Batches per epoch, of data that does not end.
        validation_steps: Likewise of the validation data.
        identity: What makes the training what it is, besides what is known here.
    """

    epochs: int
    schedule: LearningRate | None = None
    monitor: tuple[str, ...] = ("val_loss",)
    mode: str = "auto"
    restore_best: bool = True
    folder: Path | None = None
    callbacks: Sequence[Any] = ()
    verbose: Any = "auto"
    steps: int | None = None
    validation_steps: int | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)


def train(
    trainee: keras.Model,
    student: keras.Model,
    data: Source,
    validation: Source | None,
    *,
    trained: Variables,
    result: keras.Model,
    target: Variables,
    settings: Settings,
) -> Progress:
    """Fit a compiled model, go on where an earlier run was interrupted, and put the weights into another model.

    Args:
        trainee: What is fitted.
        student: The part of it whose variables are those that change.
        data: What it is fitted to.
        validation: What it is validated with.
        trained: The variables of the student by layer and path.
        result: The model that gets the weights.
        target: Its variables, likewise.
        settings: How.

    Returns:
        What was logged, and which epoch was the best.
    """
    optimizer = trainee.optimizer
    if not optimizer.built:
        optimizer.build(trainee.trainable_variables)
    base = base_rate(optimizer, settings.schedule)
    has_validation = validation is not None
    schedule = None
    if settings.schedule is not None:
        schedule = settings.schedule.callback(base, settings.epochs, "val_loss" if has_validation else "loss")
        first = getattr(settings.schedule, "base", None)
        if first is not None:
            optimizer.learning_rate = first
    pairs = [(variable, target[key]) for key, variable in trained.items() if key in target]

    def keep() -> None:
        for variable, place in pairs:
            place.assign(keras.ops.convert_to_numpy(variable))

    progress = Progress(
        keep=keep,
        result=result,
        monitor=settings.monitor,
        mode=settings.mode,
        keep_best=settings.restore_best and has_validation,
        folder=settings.folder,
        variables=lambda: [*student.variables, *optimizer.variables],
        schedule=schedule,
        identity={
            **settings.identity,
            "epochs": settings.epochs,
            "schedule": repr(settings.schedule),
            "optimizer": _plain(optimizer.get_config()),
            "weights": checksum(trained),
        },
    )
    with _alone(settings.folder):
        start = progress.resume()
        if not progress.done and start < settings.epochs:
            callbacks = [*([] if schedule is None else [schedule]), EpochOrder(data.batches), progress]
            with on_this_machine(f"the training of model {trainee.name!r}"):
                trainee.fit(
                    data.batches,
                    validation_data=None if validation is None else validation.batches,
                    epochs=settings.epochs,
                    initial_epoch=start,
                    steps_per_epoch=settings.steps,
                    validation_steps=settings.validation_steps,
                    callbacks=[*callbacks, *_tensorboard(settings.folder), *settings.callbacks],
                    shuffle=False,
                    verbose=settings.verbose,
                )
        progress.finish()
    return progress


def _alone(folder: Path | None) -> contextlib.AbstractContextManager[None]:
    """The folder of a training, made where it is not there, and kept from others."""
    if folder is None:
        return contextlib.nullcontext()
    make_folder(folder)
    return alone(folder)


def own_optimizer(optimizer: Any, default: Any, model: keras.Model) -> Any:
    """An optimizer of a training's own, made as another is; it scales losses where a model computes in half precision.

    Args:
        optimizer: A name, an optimizer, or ``None``.
        default: Makes the one that is taken for ``None``.
        model: The model to be trained.

    Raises:
        OptionError: It is no optimizer.
    """
    if optimizer is None:
        made = default()
    elif isinstance(optimizer, keras.optimizers.Optimizer):
        made = type(optimizer).from_config(optimizer.get_config())
    else:
        try:
            made = keras.optimizers.get(optimizer)
        except (ValueError, TypeError) as error:
            raise OptionError(
                "option 'optimizer' cannot be used.", expected="a Keras optimizer or its name", got=repr(optimizer)
            ) from error
    half = any(getattr(layer, "compute_dtype", None) == "float16" for layer in _all_layers(model))
    if half and not isinstance(made, keras.optimizers.LossScaleOptimizer):
        made = keras.optimizers.LossScaleOptimizer(made)
    return made


def base_rate(optimizer: Any, schedule: LearningRate | None) -> float:
    """The learning rate of an optimizer.

    Raises:
        OptionError: The optimizer has a schedule of its own besides another.
    """
    config = optimizer.get_config()
    inner = config.get("inner_optimizer", {}).get("config", {}) if "inner_optimizer" in config else config
    if isinstance(inner.get("learning_rate"), dict) and schedule is not None:
        raise OptionError(
            "The optimizer has a learning-rate schedule of its own.",
            got=f"schedule={schedule!r} besides",
            hint="pass schedule=None, or an optimizer with a plain learning rate",
        )
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def strategy_of(model: keras.Model) -> Any:
    """The scope of the distribution strategy that a model lives in, to make others that are trained with it."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def checksum(variables: Variables) -> int:
    """One number for the values of variables."""
    total = 0
    for key, variable in variables.items():
        total = zlib.crc32(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes(), total)
        total = zlib.crc32("/".join(key).encode(), total)
    return total


def graph_checksum(graph: Graph) -> int:
    """One number for the weights of a graph."""
    total = 0
    for key in sorted(graph.layers):
        for path, weight in sorted(graph.layers[key].weights.items()):
            total = zlib.crc32(f"{key}/{path}".encode(), total)
            total = zlib.crc32(np.ascontiguousarray(weight.array).tobytes(), total)
    return total


def check_options(
    counts: Mapping[str, Any], optional: Mapping[str, Any], schedule: Any, callbacks: Any
) -> list[keras.callbacks.Callback]:
    """Refuse options of a training that cannot be used.

    Args:
        counts: Whole numbers from 1, by option.
        optional: The same, or ``None``.
        schedule: How the learning rate goes; ``None`` for a fixed one.
        callbacks: Keras callbacks, or one.

    Returns:
        The callbacks as a list.

    Raises:
        OptionError: One cannot be used.
    """
    for option, value in [*counts.items(), *((name, value) for name, value in optional.items() if value is not None)]:
        check_count("", option, value)
    if schedule is not None and not isinstance(schedule, LearningRate):
        raise wrong_option("", "schedule", schedule, "Poly, Plateau, TwoCycles or None")
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for callback in given:
        if not isinstance(callback, keras.callbacks.Callback):
            raise wrong_option("", "callbacks", callback, "Keras callbacks")
    return given


def _tensorboard(folder: Path | None) -> list[Any]:
    wanted = ("tensorboard", "tensorflow")
    if folder is None or not all(importlib.util.find_spec(package) for package in wanted):
        return []
    return [keras.callbacks.TensorBoard(str(folder / "logs"), write_graph=False)]


def _all_layers(model: Any) -> list[Any]:
    found, waiting = [], [model]
    while waiting:
        layer = waiting.pop()
        found.append(layer)
        waiting.extend(getattr(layer, "layers", ()) or ())
    return found


def _plain(config: Any) -> Any:
    if isinstance(config, dict):
        return {str(key): _plain(value) for key, value in config.items() if key != "name"}
    if isinstance(config, (list, tuple)):
        return [_plain(value) for value in config]
    if isinstance(config, (str, int, float, bool, type(None))):
        return config
    try:
        return float(config)
    except (TypeError, ValueError):
        return type(config).__name__


__all__ = [
    "Settings",
    "base_rate",
    "check_options",
    "checksum",
    "graph_checksum",
    "own_optimizer",
    "strategy_of",
    "train",
]
