"""What ``kerasurgeon morphnet`` does: data, network, training, cutting, writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.atomic import staged
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import KERAS_SUFFIXES, read_arrays
from kerasurgeon.cli.morphnet_kept import Kept, Logged
from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError, PlanError, did_you_mean
from kerasurgeon.keras_io.large_files import save_keras
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.morphnet import MorphNet, SteerStrength, with_gates, with_scales, without_scales
from kerasurgeon.rewrite.learned import not_learned
from kerasurgeon.rewrite.scores import require_finite_predictions
from kerasurgeon.workflows.data import DataSet, Split, cifar, digits, stratified
from kerasurgeon.workflows.networks import application, application_names
from kerasurgeon.workflows.procedure.training import gives_logits

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def data_set(name: str, file: Path | None, tfds: str | None, seed: int) -> DataSet:
    """The data of a name, of a file of arrays, or of TensorFlow Datasets.

    Raises:
        UsageError: The file or the data set cannot be used.
        MissingExtraError: A package that brings the data is not installed.
    """
    if tfds is not None:
        return _from_tfds(tfds, seed)
    if file is None:
        return digits(seed) if name == "digits" else cifar(name, seed)
    found = read_arrays(file, "file of arrays to train on")
    names = sorted(found) if isinstance(found, dict) else ["one array"]
    if not isinstance(found, dict) or any(key not in found for key in _ARRAYS):
        raise UsageError(
            "The file does not hold the arrays to train on.",
            where=str(file),
            expected=f"an .npz file with {', '.join(_ARRAYS)}",
            got=", ".join(names)[:200],
            hint="write it with numpy.savez(file, train_images=..., ...)",
        )
    arrays = {key: np.asarray(found[key]) for key in _ARRAYS}
    train, test = (Split(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test"))
    return _in_parts(file.stem, train, test, seed)


def _from_tfds(name: str, seed: int) -> DataSet:
    """A set of labelled images of TensorFlow Datasets, whatever TFRecords it is kept in; fetched if it is not there."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UsageError(
            "--tfds needs the package tensorflow-datasets, which is not installed.",
            hint="pip install tensorflow-datasets",
        ) from error
    try:
        train, test = (
            tensorflow_datasets.as_numpy(tensorflow_datasets.load(name, split=part, batch_size=-1, as_supervised=True))
            for part in ("train", "test")
        )
    except Exception as error:  # whatever the package raises: unknown name, no such part, no network
        got = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        raise UsageError(f"TensorFlow Datasets gives no images and labels of {name!r}.", got=got) from error
    first, second = (
        Split(np.asarray(images, "float32") / 255, np.asarray(labels, "int32")) for images, labels in (train, test)
    )
    return _in_parts(name.replace("/", "_"), first, second, seed)


def _in_parts(name: str, train: Split, test: Split, seed: int) -> DataSet:
    """A tenth of what there is to train on is kept apart."""
    stays, apart = stratified(train.labels, 0.1, seed)
    first, second = (Split(train.images[places], train.labels[places]) for places in (stays, apart))
    found_set = DataSet(name, first, second, test, classes=int(train.labels.max()) + 1)
    found_set.check()
    return found_set


def network(base: str, data: DataSet, load: Callable[[Path], Any]) -> keras.Model:
    """The network of a file or a name, for the data's images and classes.

    Raises:
        UsageError: There is no such network, or it does not fit the data.
    """
    if Path(base).suffix.lower() in KERAS_SUFFIXES:
        model = load(Path(base))
        shape = tuple(model.input_shape[1:])
        if any(have not in (None, want) for have, want in zip(shape, data.input_shape, strict=False)):
            raise UsageError(
                "The network does not take the images.", where=base, expected=str(data.input_shape), got=str(shape)
            )
        if model.output_shape[-1] != data.classes:
            raise UsageError(
                "The network has another number of classes than the data.",
                where=base,
                expected=str(data.classes),
                got=str(model.output_shape[-1]),
            )
        return model
    if base == "digits":
        return _residual(data)
    known = application_names()
    if base not in known:
        raise UsageError(
            f"There is no network {base!r} (--base-model).",
            expected="a .keras or .h5 (.hdf5) file, 'digits', or a name of keras.applications",
            hint=did_you_mean(base, [*known, "digits"]),
        )
    try:
        height, width, channels = data.input_shape
        return application(base, (height, width, channels), data.classes)
    except ValueError as error:
        raise UsageError(f"{base} does not take the images.", got=str(error).splitlines()[0][:160]) from error


def _residual(data: DataSet) -> keras.Model:
    from keras import layers

    def conv(x: Any, filters: int, name: str, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)

    image = keras.Input(data.input_shape, name="image")
    x = layers.ReLU()(conv(image, 32, "stem"))
    for index, (filters, strides) in enumerate(((32, 1), (64, 2), (64, 1)), 1):
        shortcut = x if strides == 1 else conv(x, filters, f"down{index}", strides)
        y = conv(layers.ReLU()(conv(x, filters, f"block{index}_a", strides)), filters, f"block{index}_b")
        x = layers.ReLU()(layers.Add(name=f"block{index}_add")([shortcut, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(data.classes, name="logits")(x), name="residual")


@dataclass
class Run:
    """One run.

    Attributes:
        data: What is trained on.
        folder: Where everything is written.
        epochs: Epochs with the regulariser.
        tuning_epochs: Epochs of the cut network.
        batch_size: Images a step.
        optimizer: Its name.
        rate: Its learning rate.
        devices: How many train at once.
        kept: Share of the cost to steer to; ``None`` for a fixed strength.
        tell: Told how far it is.
        phase: Told what begins.
        overwrite: Whether models, plan and results that are there may be replaced.
        models: The network as it was trained, and what is left of it, once it is carried out.
    """

    data: DataSet
    folder: Path
    epochs: int
    tuning_epochs: int
    batch_size: int
    optimizer: str
    rate: float
    devices: int
    kept: float | None
    unreachable: str
    tell: Callable[[float, str], None]
    phase: Callable[[str], None]
    overwrite: bool = False
    models: tuple[keras.Model, ...] = ()

    def carry_out(self, model: keras.Model, algorithm: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Train, cut, train on, and write. Returns what was found, as plain data."""
        strategy = strategy_for(self.devices)
        if strategy is not None:
            with strategy.scope():
                model = keras.models.clone_model(model)
        model, morph = self._attached(model, algorithm, settings)
        kept_state = Kept(self.folder, morph)
        callbacks: list[Any] = [morph.callback(self.folder, tensorboard=_has_tensorboard()), kept_state]
        if self.kept is not None:
            callbacks.insert(0, SteerStrength(morph, self.kept, until=0.8))
        widths = morph.widths()
        self.phase("training with the regulariser")
        self._train(model, self.epochs, callbacks, kept_state)
        accuracy = self._accuracy(model)
        over = self.kept is not None and morph.cost() > self.kept * morph.initial_cost
        kept = self.kept if over else None
        plan = morph.plan(kept, unreachable=self.unreachable)
        try:
            small = morph.shrink(kept, unreachable=self.unreachable)
        except PlanError as error:
            raise OptionError(
                "Nothing is left of the network.", got=str(error).splitlines()[0], hint="lower --multiplier"
            ) from error
        if self.tuning_epochs:
            self.phase("training what is left")
            self._train(small, self.tuning_epochs, [Logged(self.folder, "tuning")])
        self.phase("writing")
        vanished = morph.vanished()
        morph.detach()
        self.models = (without_scales(model), small)
        for name, made in zip(("morphnet.keras", "small.keras"), self.models, strict=True):
            with staged(self.folder / name, overwrite=self.overwrite) as temporary:
                save_keras(made, temporary)
        plan.save(self.folder / "plan.json", overwrite=self.overwrite)
        return {
            "algorithm": algorithm,
            **settings,
            "strength": morph.strength,
            "epochs": self.epochs,
            "tuning_epochs": self.tuning_epochs,
            "unit": morph.unit,
            "initial_cost": morph.initial_cost,
            "note": plan.note,
            "small_cost": morph.costs.of(~plan.gone(morph.channels)),
            "parameters": cost(model).parameters,
            "small_parameters": cost(small).parameters,
            "accuracy": accuracy,
            "warning": not_learned(accuracy, _commonest(self.data.test.labels), len(self.data.test.labels)),
            "small_accuracy": self._accuracy(small),
            "test_images": len(self.data.test.labels),
            "initial_widths": widths,
            "widths": morph.widths(),
            "vanished": list(vanished),
        }

    def _attached(self, model: keras.Model, algorithm: str, settings: dict[str, Any]) -> tuple[keras.Model, MorphNet]:
        """The network, or its twin where the algorithm needs one, with the regulariser on it."""
        if algorithm == "gates":
            model = with_gates(model)
        settings = {**settings, "sizes": tuple(self.data.input_shape)}
        try:
            return model, MorphNet(model, algorithm, **settings)
        except OptionError as error:
            if algorithm != "gamma" or "with_scales" not in str(error):
                raise
        model = with_scales(model)
        return model, MorphNet(model, algorithm, **settings)

    def _train(self, model: keras.Model, epochs: int, callbacks: list[Any], kept: Kept | None = None) -> None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=gives_logits(model))
        made = keras.optimizers.get({"class_name": self.optimizer, "config": {"learning_rate": self.rate}})
        model.compile(made, loss, metrics=["accuracy"])
        done = 0 if kept is None else kept.restore(model)
        if done:
            self.phase(f"going on behind epoch {done}")

        def told(epoch: int, logs: dict[str, float]) -> None:
            kept = f", {logs['morphnet_kept']:.0%} of the cost alive" if "morphnet_kept" in logs else ""
            self.tell((epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}, accuracy {logs['accuracy']:.1%}{kept}")

        callbacks = [*callbacks, keras.callbacks.LambdaCallback(on_epoch_end=told)]
        train = self.data.train
        with on_this_machine(f"the training of model {model.name!r}"):
            model.fit(
                train.images, train.labels, batch_size=self.batch_size, epochs=epochs, initial_epoch=done,
                validation_data=(self.data.validation.images, self.data.validation.labels),
                callbacks=callbacks, verbose=0,
            )  # fmt: skip

    def _accuracy(self, model: keras.Model) -> float:
        with on_this_machine(f"model {model.name!r}"):
            scores = np.asarray(model.predict(self.data.test.images, batch_size=self.batch_size, verbose=0))
        require_finite_predictions(scores, f"model {model.name!r}")
        return float((scores.argmax(-1) == np.asarray(self.data.test.labels).ravel()).mean())


def strategy_for(devices: int) -> Any:
    """What trains on several devices at once; ``None`` for one.

    Raises:
        UsageError: There are not so many, or the backend is not TensorFlow.
    """
    if devices == 1:
        return None
    if keras.backend.backend() != "tensorflow":
        raise UsageError("--devices needs TensorFlow.", got=f"the backend {keras.backend.backend()}")
    import tensorflow as tf

    there = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(there) < devices:
        raise UsageError(
            "There are not so many devices (--devices).", expected=f"at most {len(there)}", got=str(devices)
        )
    return tf.distribute.MirroredStrategy([device.name for device in there[:devices]])


def _commonest(labels: Any) -> float:
    """The share of the commonest class."""
    return float(np.unique(np.asarray(labels), return_counts=True)[1].max() / len(labels))


def _has_tensorboard() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None
