"""Train what stands in for a part of a network to make the tensor that the part made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.values import Value
from kerasurgeon.keras_io import lift
from kerasurgeon.keras_io.emit import emit_frozen, emit_with_variables
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.recover.batch_norm import recalibrate_graph
from kerasurgeon.recover.batches import ArrayBatches, Source, source
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.recover.features import check_cache, feature_model, features, kept
from kerasurgeon.recover.learning_rate import LearningRate, Plateau
from kerasurgeon.recover.result import TrainResult, history_of
from kerasurgeon.recover.training import (
    Settings,
    check_options,
    graph_checksum,
    own_optimizer,
    strategy_of,
    train,
)
from kerasurgeon.rewrite.surgery import extract

Array = np.ndarray[Any, Any]


@python_kept()
def train_bridges(
    original: keras.Model,
    model: keras.Model,
    bridges: Bridge | Sequence[Bridge],
    data: Any,
    validation_data: Any = None,
    *,
    epochs: int = 20,
    batch_size: int = 32,
    optimizer: Any = None,
    loss: Any = "mean_squared_error",
    schedule: LearningRate | None = Plateau(),  # noqa: B008 - it cannot be changed
    cache: str | None = "memory",
    restore_best: bool = True,
    recalibrate: int | None = 50,
    folder: str | Path | None = None,
    callbacks: Any = (),
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> TrainResult:
    """Train the new layers of a model to make what the layers made that they stand in for.

    Of each bridge the entry and the exit of the original network are computed, in inference; the bridge is fitted, by
    Keras' ``fit``, to make the exit of the entry: the loss is the mean square of the difference. Nothing else is
    trained, and labels are not used. Bridges are trained one after another, each on what the original network gives, so
    that each has its own learning rate and its own best epoch.

    With ``folder``, a run that was interrupted goes on behind the last epoch that it finished when it is called again
    in the same way; bridges that are done are not trained again.

    Args:
        original: The network before surgery. It is not changed.
        model: The network with bridges. It is not changed.
        bridges: What to train, as the passes that put them in report them.
        data: Inputs, with labels or without: arrays, ``(inputs, labels)``, a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, an iterable of batches.
        validation_data: Likewise; says which epoch is the best, and when the learning rate falls.
        epochs: How many epochs for each bridge.
        batch_size: Samples per batch.
        optimizer: As for ``compile``; by default Adam. One that is passed in is copied for each bridge.
        loss: A Keras loss of what the original gives and what the bridge gives.
        schedule: How the learning rate goes; by default it is divided by 10 after 4 epochs without progress, down to
            1e-7.
        cache: ``"memory"`` or ``"disk"`` keep entry and exit of all samples (in ``folder``), so that the original runs
            once; ``None`` runs it in every epoch, as data that is augmented at random wants.
        restore_best: Keep the weights of the epoch with the least loss on the validation data; else the last.
        recalibrate: At the end, estimate the statistics of the bridge's batch norms anew from this many batches, and
            keep that if the loss is less. Moving averages lag behind in short trainings. ``None`` leaves them.
        folder: Where to write, a folder for each bridge: ``history.csv``, ``best.weights.h5`` (of the whole model),
            ``state.npz`` (to go on from), and ``logs/`` where tensorboard is installed.
        callbacks: More Keras callbacks.
        steps_per_epoch: Batches of data that does not end: in all with a cache, else per epoch.
        validation_steps: Likewise of the validation data.
        seed: Of the order of samples.
        verbose: As for ``fit``.

    Returns:
        A new model, compiled as ``model``; the history of each bridge under ``"<bridge>/loss"`` and so on.

    Raises:
        OptionError: A bridge names what is not there, its tensors differ in the two networks, or an option or the data
            cannot be used. Or another process is training in the folder.
        FileError: The folder cannot be written to.

    Reference:
        Haas et al., "Reducing the computational cost of deep neural networks by shunt connections", 2021; Singh et al.,
        "Shunt connection", 2019: knowledge distillation by regression of feature maps.

    Example:
        >>> result = ks.Pipeline([ReplaceWithShunt("block_5..block_8")]).run(model)
        >>> trained = ks.train_bridges(model, result.model, bridges, (images, labels), validation, epochs=20)
    """
    given = check_options(
        {"epochs": epochs, "batch_size": batch_size},
        {"steps_per_epoch": steps_per_epoch, "validation_steps": validation_steps, "recalibrate": recalibrate},
        schedule,
        callbacks,
    )
    folder = None if folder is None else Path(folder)
    check_cache(cache, folder)
    teacher, student = lift(original), lift(model)
    wanted = _checked(bridges, teacher, student)
    feed = _Feed(teacher, data, validation_data, batch_size, seed, steps_per_epoch, validation_steps)
    with strategy_of(model):
        result, target = emit_with_variables(student, compile=True)
        history: dict[str, list[float]] = {}
        best: dict[str, int | None] = {}
        notes: list[str] = []
        for bridge in wanted:
            where = None if folder is None else folder / _file_name(bridge.name)
            task = _task(bridge, teacher, student, feed, cache, where, loss)
            made = own_optimizer(optimizer, keras.optimizers.Adam, task.bridge)
            task.trainee.compile(optimizer=made, loss=task.loss)
            progress = train(
                task.trainee, task.bridge, task.data, task.validation,
                trained=task.variables, result=result, target=target,
                settings=Settings(
                    epochs=epochs, schedule=schedule, monitor=("val_loss",), mode="min", restore_best=restore_best,
                    folder=where, callbacks=given, verbose=verbose,
                    steps=steps_per_epoch if cache is None else None,
                    validation_steps=validation_steps if cache is None else None,
                    identity={
                        "task": "train_bridges", "bridge": repr(bridge), "seed": seed, "batch_size": batch_size,
                        "cache": cache is not None, "loss": str(loss), "original": graph_checksum(teacher),
                        "restore_best": restore_best,
                    },
                ),
            )  # fmt: skip
            if recalibrate is not None:
                notes += _recalibrated(task, target, batch_size, recalibrate)
            history.update({f"{bridge.name}/{name}": row for name, row in history_of(progress.rows).items()})
            best[bridge.name] = progress.best_epoch
            if restore_best and feed.validation is not None and progress.best_epoch is None:
                notes.append(f"{bridge.name}: the loss was never finite: its weights are those of the beginning")
    return TrainResult(result, history, best, folder, tuple(notes))


@dataclass(frozen=True)
class _Feed:
    """The data, and how it is taken."""

    graph: Graph
    training: Any
    validation: Any
    batch_size: int
    seed: int
    steps: int | None
    validation_steps: int | None


@dataclass(frozen=True)
class _Task:
    """The training of one bridge.

    Attributes:
        trainee: What is fitted.
        bridge: The bridge as a model.
        part: Its graph.
        own: Keys of its layers that are trained.
        variables: Its variables by layer and path.
        loss: What ``compile`` takes.
        data: What it is fitted to.
        validation: What it is validated with.
        batches: Gives batches of entry and exit anew, to calibrate by and to compare: of the training data, and of the
            validation data if there is any; ``None`` where the data can be taken through once only.
    """

    trainee: keras.Model
    bridge: keras.Model
    part: Graph
    own: frozenset[str]
    variables: dict[tuple[str, str], Any]
    loss: Any
    data: Source
    validation: Source | None
    batches: Callable[[bool], Iterable[Sequence[Array]]] | None


def _task(
    bridge: Bridge, teacher: Graph, student: Graph, feed: _Feed, cache: str | None, folder: Path | None, loss: Any
) -> _Task:
    part = extract(student, bridge.new_entry, bridge.new_exit)
    own = frozenset(part[name].layer for name in bridge.layers if name in part) or frozenset(part.layers)
    made, variables = emit_frozen(part, set(part.layers) - own)
    if not made.trainable_variables:
        raise OptionError(f"Bridge {bridge.name!r} has nothing to train.", got=f"layers {', '.join(own)}")
    ends = (Value(bridge.entry), Value(bridge.exit))
    if cache is None:
        return _streamed(made, part, own, variables, ends, teacher, feed, loss)

    def cached(data: Any, what: str, steps: int | None) -> list[Any]:
        files = None
        if cache == "disk":
            assert folder is not None
            files = [folder / "features" / f"{what}_{end}.npy" for end in ("entry", "exit")]
        return kept(features(teacher, ends, data, batch_size=feed.batch_size, steps=steps), files)

    arrays = cached(feed.training, "training", feed.steps)
    checked = None if feed.validation is None else cached(feed.validation, "validation", feed.validation_steps)

    def batches(validation: bool) -> Iterator[Sequence[Array]]:
        chosen = checked if validation and checked is not None else arrays
        for start in range(0, len(chosen[0]), feed.batch_size):
            yield [array[start : start + feed.batch_size] for array in chosen]

    return _Task(
        made, made, part, own, variables, loss,
        Source(ArrayBatches(arrays, feed.batch_size, feed.seed)),
        None if checked is None else Source(ArrayBatches(checked, feed.batch_size, None)),
        batches,
    )  # fmt: skip


def _streamed(
    made: keras.Model, part: Graph, own: frozenset[str], variables: Any, ends: Sequence[Value], teacher: Graph,
    feed: _Feed, loss: Any,
) -> _Task:  # fmt: skip
    """The original and the bridge as one model, that makes entry and exit anew for every batch."""
    extractor = feature_model(teacher, ends)
    trainee = _Streamed(extractor, made, loss, name=f"{made.name}_training")
    sources = [
        None if data is None else source(teacher, data, batch_size=feed.batch_size, seed=seed, steps=steps, option=name)
        for data, seed, steps, name in (
            (feed.training, feed.seed, feed.steps, "data"),
            (feed.validation, None, feed.validation_steps, "validation_data"),
        )
    ]
    again = not any(hasattr(data, "__next__") for data in (feed.training, feed.validation))

    def batches(validation: bool) -> Iterator[Sequence[Array]]:
        chosen = validation and feed.validation is not None
        data, steps = (feed.validation, feed.validation_steps) if chosen else (feed.training, feed.steps)
        return features(teacher, ends, data, batch_size=feed.batch_size, steps=steps)

    assert sources[0] is not None
    return _Task(trainee, made, part, own, variables, None, sources[0], sources[1], batches if again else None)


class _Streamed(keras.Model):
    """A bridge and what makes its entry and its exit for every batch; its loss is that of the difference.

    It is no functional model: what those say of ``training`` when they call a model inside is overridden by ``fit``.
    """

    def __init__(self, extractor: keras.Model, bridge: keras.Model, loss: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extractor, self.bridge = extractor, bridge
        function = keras.losses.get(loss)
        # A function, not a Keras loss, whose result would be divided among replicas twice.
        self.function = getattr(function, "fn", None) or function

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        entry, exit = self.extractor(inputs, training=False)
        made = self.bridge(entry, training=training)
        wanted = keras.ops.stop_gradient(keras.ops.cast(exit, "float32"))
        self.add_loss(keras.ops.mean(self.function(wanted, keras.ops.cast(made, "float32"))))
        return made


def _recalibrated(task: _Task, target: Any, batch_size: int, most: int) -> list[str]:
    """Estimate the statistics of a bridge's batch norms anew, where that makes its loss less."""
    norms = [key for key in task.own if task.part.layers[key].kind == "BatchNormalization"]
    if not norms or task.batches is None:
        return []
    graph = task.part.copy()
    for (key, path), variable in task.variables.items():
        place = target.get((key, path))
        if place is not None:
            variable.assign(keras.ops.convert_to_numpy(place))
            graph.set_weight(key, path, keras.ops.convert_to_numpy(place))
    before = _mean_square(task, task.batches(True))
    recalibrate_graph(graph, (batch[0] for batch in task.batches(False)), batch_size=batch_size, batches=most)
    old: dict[tuple[str, str], Array] = {}
    for key in norms:
        for path in ("moving_mean", "moving_variance"):
            variable = task.variables[key, path]
            old[key, path] = np.array(keras.ops.convert_to_numpy(variable))
            variable.assign(graph.layers[key].weights[path].array)
    after = _mean_square(task, task.batches(True))
    if not after < before:
        for name, array in old.items():
            task.variables[name].assign(array)
        return []
    for name in old:
        target[name].assign(keras.ops.convert_to_numpy(task.variables[name]))
    return [f"batch norms with statistics anew: mean square of the difference {before:.4g} -> {after:.4g}"]


def _mean_square(task: _Task, batches: Iterable[Sequence[Array]]) -> float:
    total, count = 0.0, 0
    for entry, wanted in batches:
        with on_this_machine(f"bridge {task.bridge.name!r}"):
            made = np.asarray(keras.ops.convert_to_numpy(task.bridge(entry, training=False)), np.float64)
        total += float(np.square(made - np.asarray(wanted, np.float64)).sum())
        count += made.size
    return total / count


def _checked(bridges: Any, teacher: Graph, student: Graph) -> list[Bridge]:
    given = [bridges] if isinstance(bridges, Bridge) else list(bridges)
    if not given or not all(isinstance(bridge, Bridge) for bridge in given):
        raise OptionError("option 'bridges' cannot be used.", expected="one or several bridges", got=repr(bridges))
    names = [bridge.name for bridge in given]
    if len(set(names)) != len(names):
        raise OptionError("Two bridges have the same name.", got=", ".join(names))
    for bridge in given:
        for end, old, new in (("entry", bridge.entry, bridge.new_entry), ("exit", bridge.exit, bridge.new_exit)):
            for name, graph, whose in ((old, teacher, "original"), (new, student, "new")):
                if name not in graph:
                    raise OptionError(
                        f"The {end} of bridge {bridge.name!r} is not in the {whose} model.",
                        got=repr(name), hint=did_you_mean(name, [node.name for node in graph.nodes()]),
                    )  # fmt: skip
            if teacher[old].spec != student[new].spec:
                raise OptionError(
                    f"The {end} of bridge {bridge.name!r} differs in the two models.",
                    expected=str(teacher[old].spec), got=str(student[new].spec),
                )  # fmt: skip
        for name in bridge.layers:
            if name not in student:
                raise OptionError(
                    f"Bridge {bridge.name!r} names a layer that the new model has not.",
                    got=repr(name), hint=did_you_mean(name, [node.name for node in student.nodes()]),
                )  # fmt: skip
    return given


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


__all__ = ["train_bridges"]
