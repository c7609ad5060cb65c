"""Train a model that surgery has changed, from labels, from the model it was made from, or from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from kerasurgeon.atomic import staged
from kerasurgeon.errors import OptionError
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.emit import emit_frozen, emit_with_variables
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.recover.batch_norm import recalibrate_graph
from kerasurgeon.recover.batches import Source, source
from kerasurgeon.recover.learning_rate import LearningRate, Poly
from kerasurgeon.recover.lessons import checked_terms, prepare
from kerasurgeon.recover.result import TrainResult, history_of
from kerasurgeon.recover.tasks import COMPILED, check_source, compiled, fresh, metric_names, output_names, text_of
from kerasurgeon.recover.trainee import Trainee
from kerasurgeon.recover.training import (
    Settings,
    check_options,
    graph_checksum,
    own_optimizer,
    strategy_of,
    train,
)


@python_kept()
def fine_tune(
    model: keras.Model,
    data: Any,
    validation_data: Any = None,
    *,
    loss: Any = COMPILED,
    metrics: Any = COMPILED,
    teacher: keras.Model | None = None,
    distillation: Any = (),
    schedule: LearningRate | None = Poly(),  # noqa: B008 - it cannot be changed
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Any = None,
    freeze_before: Any = None,
    monitor: str | None = None,
    monitor_mode: str = "auto",
    restore_best: bool = True,
    recalibrate: int | None = None,
    folder: str | Path | None = None,
    callbacks: Any = (),
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> TrainResult:
    """Train a model further; with a teacher, also to do as the teacher does.

    It is Keras' ``fit`` on a copy of the model. With ``folder``, a run that was interrupted, at whatever moment, goes
    on behind the last epoch that it finished when it is called again in the same way, and ends where it would have
    ended: with the same weights where the data is arrays (their order depends on ``seed`` and the epoch alone), a
    ``PyDataset`` or a ``tf.data.Dataset`` of fixed order. A run that has ended is not run again.

    Args:
        model: A functional or sequential model. It is not changed.
        data: ``(inputs, labels)`` or ``(inputs, labels, sample_weights)`` of arrays, a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, a data loader, a list of batches; with ``steps_per_epoch`` also a generator that
            does not end.
        validation_data: Likewise.
        loss: As for ``compile``; by default the loss that the model is compiled with. ``None`` learns from the teacher
            alone, which takes no labels.
        metrics: Likewise.
        teacher: The model to learn from, which takes and gives the same: usually the one that surgery was done on. It
            runs in inference. It is not changed.
        distillation: What to learn from it: ``DarkKnowledge``, ``AttentionTransfer``, ``FeatureMatching``, ``ACE``, or
            any ``keras.distillation.DistillationLoss``; several are added up, each as it is or with a factor, as
            ``(loss, 0.5)``.
        schedule: How the learning rate goes: ``Poly``, ``Plateau``, ``TwoCycles``; ``None`` leaves it to the optimizer.
        epochs: How many epochs in all.
        batch_size: Samples per batch, of arrays.
        optimizer: As for ``compile``; by default SGD with rate 0.01 and momentum 0.9. One that is passed in is copied.
        freeze_before: The first changes, as bridges or as names of nodes; all that they depend on is frozen, its batch
            norms run in inference. ``"changes"`` finds them by comparing with the teacher.
        monitor: What says which epoch is the best, as ``"val_accuracy"``; by default the first of the metrics on the
            validation data, ``"val_loss"`` without any.
        monitor_mode: ``"max"`` if more of it is better, ``"min"`` if less; ``"auto"`` tells by its name.
        restore_best: Return the weights of the best epoch; else, or without validation data, those of the last.
        recalibrate: At the end, estimate the statistics of batch norms anew from this many batches of the data.
        folder: Where to write ``history.csv``, ``best.weights.h5`` (of the model that is returned), ``model.keras``,
            ``state.npz`` (to go on from) and, where tensorboard is installed, ``logs/``.
        callbacks: More Keras callbacks.
        steps_per_epoch: Batches per epoch, of data that does not end.
        validation_steps: Likewise of the validation data.
        seed: Of the order of arrays.
        verbose: As for ``fit``.

    Returns:
        A new model, compiled as the one that was passed in, and what was logged.

    Raises:
        OptionError: An option or the data cannot be used; the message says which and why. Or another process is
            training in the folder.
        FileError: The folder cannot be written to.

    Example:
        >>> tuned = ks.fine_tune(
        ...     small, (images, labels), validation, epochs=20, teacher=model, distillation=[ks.recover.DarkKnowledge()]
        ... )
        >>> tuned.model.evaluate(*test)
    """
    given = check_options(
        {"epochs": epochs, "batch_size": batch_size},
        {"steps_per_epoch": steps_per_epoch, "validation_steps": validation_steps, "recalibrate": recalibrate},
        schedule,
        callbacks,
    )
    if monitor_mode not in ("auto", "min", "max"):
        raise OptionError(
            "option 'monitor_mode' cannot be used.", expected="'auto', 'min' or 'max'", got=repr(monitor_mode)
        )
    graph = lift(model)
    terms = checked_terms(distillation, teacher)
    loss, metrics, note = compiled(graph, loss, metrics)
    if loss is None and not terms:
        raise OptionError("There is nothing to train for.", expected="loss=, or teacher= and distillation=")
    train_data = source(graph, data, batch_size=batch_size, seed=seed, steps=steps_per_epoch)
    validation = None
    if validation_data is not None:
        validation = source(
            graph, validation_data, batch_size=batch_size, seed=None, steps=validation_steps, option="validation_data"
        )
    labelled = loss is not None or any(getattr(term, "needs_labels", False) for term, _ in terms)
    for found, option in ((train_data, "data"), (validation, "validation_data")):
        if found is not None and labelled:
            check_source(graph, found, loss, terms, option)

    with strategy_of(model):
        student, frozen, taught = prepare(graph, teacher, terms, freeze_before)
        trained_model, trained = emit_frozen(student, frozen)
        if not trained_model.trainable_variables:
            raise OptionError("There is nothing to train: every layer is frozen.", where=f"model {model.name!r}")
        trainee = trained_model
        if taught is not None:
            teacher_model = emit(taught[0], compile=False)
            trainee = Trainee(
                trained_model, teacher_model, taught[1], output_names(model, graph),
                name=f"{model.name}_and_teacher", dtype=model.dtype_policy,
            )  # fmt: skip
        result, target = emit_with_variables(graph, compile=True)
        made = own_optimizer(optimizer, lambda: keras.optimizers.SGD(0.01, momentum=0.9), trained_model)
        trainee.compile(optimizer=made, loss=loss, metrics=fresh(metrics))
        watched = (monitor,) if monitor else (*metric_names(metrics, output_names(model, graph)), "val_loss")
        folder = None if folder is None else Path(folder)
        progress = train(
            trainee, trained_model, train_data, validation, trained=trained, result=result, target=target,
            settings=Settings(
                epochs=epochs, schedule=schedule, monitor=watched, mode=monitor_mode, restore_best=restore_best,
                folder=folder, callbacks=given, verbose=verbose, steps=steps_per_epoch,
                validation_steps=validation_steps,
                identity={
                    "task": "fine_tune", "seed": seed, "batch_size": batch_size, "frozen": sorted(frozen),
                    "loss": text_of(loss), "monitor": list(watched), "restore_best": restore_best,
                    "distillation": [[type(term).__name__, text_of(term), weight] for term, weight in terms],
                    "teacher": None if taught is None else graph_checksum(taught[0]),
                },
            ),
        )  # fmt: skip
        notes = [note] if note else []
        if restore_best and validation is not None and progress.best_epoch is None:
            notes.append("no epoch gave a finite number to tell the best by: the weights are those of the beginning")
        if recalibrate is not None:
            tuned = lift(result)
            recalibrate_graph(tuned, _batches_of(train_data), batch_size=batch_size, batches=recalibrate)
            result = emit(tuned)
        if folder is not None:
            with staged(folder / "model.keras") as temporary:
                result.save(temporary)
    return TrainResult(result, history_of(progress.rows), progress.best_epoch, folder, tuple(notes))


def _batches_of(data: Source) -> Any:
    batches = data.batches
    if isinstance(batches, keras.utils.PyDataset):
        return (batches[index] for index in range(len(batches)))
    return batches


__all__ = ["fine_tune"]
