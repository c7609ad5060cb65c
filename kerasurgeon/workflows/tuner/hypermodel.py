"""The hypermodel: a transfer model whose cut, head and learning rate keras-tuner tunes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasurgeon.costs import cost as count_costs
from kerasurgeon.errors import OptionError, did_you_mean, missing_extra
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.machine import on_this_machine
from kerasurgeon.keras_io.seeding import keras_seeded, python_seeded
from kerasurgeon.rewrite.option_checks import check_choice, check_count, check_flag, is_count, is_number, wrong_option
from kerasurgeon.rules import Sizes
from kerasurgeon.workflows.tuner.backbone import Backbone, backbone_graph
from kerasurgeon.workflows.tuner.costs import COSTS, CostFunction, cost_function
from kerasurgeon.workflows.tuner.cuts import NONE, Cuts, ends_by_label
from kerasurgeon.workflows.tuner.head import classifier, data_format_of
from kerasurgeon.workflows.tuner.labels import KINDS, check_labels, labels_of
from kerasurgeon.workflows.tuner.score import CompressedAccuracy, check_tau
from kerasurgeon.workflows.tuner.translators import Translators

try:
    import keras_tuner
except ImportError as error:
    raise missing_extra("keras-tuner", "tuner", "kerasurgeon.workflows.tuner") from error

_LOSSES = {"sparse": "sparse_categorical_crossentropy", "one_hot": "categorical_crossentropy"}
_METRICS = {"sparse": keras.metrics.SparseCategoricalAccuracy, "one_hot": keras.metrics.CategoricalAccuracy}


class SearchError(OptionError, keras_tuner.errors.FatalError):
    """Something that no other trial would do better: it ends the search, where other errors only fail a trial."""


class AutoCompress(keras_tuner.HyperModel):
    """A transfer model that is compressed as it is searched for, for any tuner of keras-tuner.

    Tuned are ``translator``: what is cut out of the backbone, from behind layer A up to layer B, and bridged by a
    pooling and a 1x1 convolution (``"A,B"``, or ``"none"``); ``units``: the width of the head; and ``lr``: the learning
    rate. What is maximised, ``hypermodel.objective``, is ``val_acc_comp``: see ``kerasurgeon.workflows.tuner.score``.

    The backbone is only read. Each trial starts from its weights; where it is frozen, the translator and the head are
    trained alone, batch norms and all else of the backbone stay as they are.

    Override ``create_backbone``, ``create_head``, ``compile`` or ``build`` for another search space, head or training.

    Args:
        backbone: A functional or sequential model that gives features; a function that makes one; or a name out of
            keras.applications.
        classes: How many classes there are, from 2.
        cost: What is to be saved: ``"params"``, ``"macs"``, or a function from a model to a number from 0, such as its
            latency.
        tau: How much the accuracy counts against what is saved, in [0, 1].
        max_cost: What costs are compared with; by default, the cost of the model with nothing cut out and the widest
            head.
        cuts: ``Cuts(...)`` to say which of the cuts that are found may be chosen; or pairs ``(A, B)`` of node names.
        units: Least, most and step of the head's width. The least is the default.
        lr: Least and most learning rate, sampled by its logarithm.
        labels: ``"sparse"`` or ``"one_hot"``; ``"auto"``: told from the data given to ``search``.
        freeze: Train the translator and the head alone, not the backbone.
        fit_translators: Inputs, a few hundred, prepared as for training. Translators are then linear (an average
            pooling, no activation) and start from the weights that come closest, by least squares over these inputs, to
            what the backbone gave there; they are computed once. ``None``: fresh weights, a max pooling and a ReLU.
        optimizer: Name of an optimizer, or a function from a learning rate to one (``keras.optimizers.SGD``).
        loss: Anything that ``compile`` takes; by default the cross-entropy for the kind of labels.
        compile_options: Further arguments of ``compile``, such as ``{"jit_compile": False}``.
        input_shape: For a backbone by name: ``(height, width, channels)``.
        weights: For a backbone by name: ``"imagenet"``, a file, or ``None``.
        sizes: Sizes of the inputs that MACs are counted for, where the backbone leaves them open, as for
            ``kerasurgeon.cost``.
        seed: Initial weights, the order of the data and dropout follow from it, in each trial alike; further executions
            of a trial get seeds of their own. ``None``: Keras's generators are left as they are.
        name: Name of the hypermodel.
        tunable: As for every hypermodel: whether its hyperparameters are added to the search space.

    Attributes:
        objective: For the tuner: ``val_acc_comp``, the higher the better.
        choices: The choices of ``translator``, ``"none"`` first.
        note: What costs leave out, where they are MACs of which some are unknown; else empty.

    Raises:
        MissingExtraError: keras-tuner is not installed (raised on import).
        LiftError: The backbone has no functional graph.
        GraphError: A cut that was named is none.
        OptionError: An option cannot be used, or no cut is found.

    Reference:
        Camacho et al., Neurocomputing 630 (2025) 129661.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        *,
        cost: str | CostFunction = "params",
        tau: float = 0.8,
        max_cost: float | None = None,
        cuts: Cuts | Sequence[Any] | None = None,
        units: tuple[int, int, int] = (4, 32, 8),
        lr: tuple[float, float] = (1e-5, 1e-2),
        labels: str = "auto",
        freeze: bool = True,
        fit_translators: Any = None,
        optimizer: str | Callable[[float], keras.optimizers.Optimizer] = "adam",
        loss: Any = None,
        compile_options: Mapping[str, Any] | None = None,
        input_shape: Sequence[int] | None = None,
        weights: str | None = "imagenet",
        sizes: Sizes | None = None,
        seed: int | None = 0,
        name: str | None = None,
        tunable: bool = True,
    ) -> None:
        super().__init__(name=name, tunable=tunable)
        check_count("AutoCompress", "classes", classes, least=2)
        check_tau("AutoCompress", tau)
        check_choice("AutoCompress", "labels", labels, ("auto", *KINDS))
        check_flag("AutoCompress", "freeze", freeze)
        _check_ranges(units, lr)
        if max_cost is not None and (not is_number(max_cost) or max_cost <= 0):
            raise wrong_option("AutoCompress", "max_cost", max_cost, "a number above 0, or None")
        if not isinstance(optimizer, str) and not callable(optimizer):
            raise wrong_option("AutoCompress", "optimizer", optimizer, "a name, or a function of the learning rate")
        self.classes, self.tau, self.units, self.lr = classes, float(tau), tuple(units), tuple(lr)
        self.labels, self.freeze, self.optimizer, self.loss, self.seed = labels, freeze, optimizer, loss, seed
        self.compile_options = dict(compile_options or {})
        self.cost_name, self._cost = cost_function(cost, sizes)
        self._max_cost = None if max_cost is None else float(max_cost)
        self._graph = backbone_graph(backbone, weights=weights, input_shape=input_shape)
        self._ends = ends_by_label(self._graph, cuts, by_macs=self.cost_name == "macs", sizes=sizes)
        self.note = count_costs(self._graph, sizes=sizes).left_out.said if self.cost_name == "macs" else ""
        self._translators = Translators(self._graph, self._ends, fit_translators)
        self._costs: dict[tuple[Any, ...], dict[str, float]] = {}
        self._executions: dict[tuple[Any, ...], int] = {}
        self._looked_at: tuple[Any, ...] = ()

    @property
    def objective(self) -> Any:
        """What a tuner maximises."""
        return keras_tuner.Objective("val_acc_comp", "max")

    @property
    def choices(self) -> tuple[str, ...]:
        """The choices of ``translator``, ``"none"`` first."""
        return (NONE, *self._ends)

    @property
    def max_cost(self) -> float:
        """What costs are compared with."""
        if self._max_cost is None:
            whole = keras_tuner.HyperParameters()
            whole.Fixed("translator", NONE)
            whole.Fixed("units", _widest(*self.units))
            with python_seeded(0):
                self._max_cost = float(self._cost(self.assemble(whole)))
            if self._max_cost <= 0:
                raise SearchError(
                    "What the model costs is 0 before anything is cut.", where=f"cost {self.cost_name!r}", got="0"
                )
        return self._max_cost

    def create_backbone(self, hp: Any) -> keras.Model:
        """The backbone with what ``translator`` says cut out, as a new model that gives features.

        Args:
            hp: The hyperparameters.

        Raises:
            OptionError: ``translator`` is no cut of this backbone.
        """
        choice = hp.Choice("translator", list(self.choices), default=NONE)
        if choice not in self.choices:
            raise SearchError(
                f"translator {choice!r} is no cut of this backbone.",
                hint=did_you_mean(str(choice), self.choices) + "; a search that is resumed needs the cuts that it "
                "began with, or another directory",
            )
        graph = self._graph if choice == NONE else self._translators.put(choice, seed=random.getrandbits(31))
        model = emit(graph, compile=False)
        if self.freeze:
            added = {layer.name for key, layer in graph.layers.items() if self._graph.layers.get(key) is not layer}
            for layer in model.layers:
                layer.trainable = layer.name in added
        return model

    def create_head(self, hp: Any, features: Any) -> Any:
        """What is put behind the features: pooling, a linear layer of ``units``, a softmax.

        Args:
            hp: The hyperparameters.
            features: A Keras tensor.

        Returns:
            Class probabilities of shape ``(batch, classes)``.
        """
        least, most, step = self.units
        units = hp.Int("units", least, most, step=step, default=least)
        return classifier(features, units, self.classes, data_format_of(self._graph))

    def assemble(self, hp: Any) -> keras.Model:
        """Backbone and head, not compiled."""
        backbone = self.create_backbone(hp)
        return keras.Model(backbone.input, self.create_head(hp, backbone.output), name=f"{backbone.name}_compressed")

    def build(self, hp: Any) -> keras.Model:
        """The compiled model of some hyperparameters.

        Args:
            hp: The hyperparameters.
        """
        with python_seeded(self._seed_of(hp)):
            model = self.assemble(hp)
        self.compile(hp, model)
        return model

    def compile(self, hp: Any, model: keras.Model) -> None:
        """Compile a model with optimizer, loss, accuracy and ``acc_comp``.

        Args:
            hp: The hyperparameters.
            model: What ``build`` has made of them.
        """
        kind = "sparse" if self.labels == "auto" else self.labels  # corrected in `fit`, which sees the labels
        rate = hp.Float("lr", *self.lr, sampling="log")
        optimizer = self._optimizer(rate)
        optimizer.build(model.trainable_variables)  # so that a checkpoint of it can be loaded
        model.compile(
            optimizer, self.loss or _LOSSES[kind], metrics=self._metrics(hp, model, kind), **self.compile_options
        )

    def compile_plainly(self, model: keras.Model) -> None:
        """Compile a model again without ``acc_comp``, with its optimizer and loss and the accuracy.

        Args:
            model: A model of ``build``.
        """
        kind = "one_hot" if model.loss == _LOSSES["one_hot"] or self.labels == "one_hot" else "sparse"
        model.compile(model.optimizer, model.loss, metrics=[_METRICS[kind](name="accuracy")], **self.compile_options)

    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train a model; the arguments are those of ``search``.

        Args:
            hp: The hyperparameters.
            model: The model.
            *args: As for ``keras.Model.fit``.
            **kwargs: Likewise.

        Returns:
            The history, with what the model costs beside the metrics.

        Raises:
            OptionError: The labels do not fit. This ends the search.
        """
        self._look_at_labels(args, kwargs)
        if self.loss is None and model.loss in _LOSSES.values() and model.loss != _LOSSES[self.labels]:
            metrics = self._metrics(hp, model, self.labels)
            model.compile(model.optimizer, _LOSSES[self.labels], metrics=metrics, **self.compile_options)
        costs, key = self.costs(hp, model), _own_values(hp)
        with keras_seeded(self._seed_of(hp)), on_this_machine(f"the training of model {model.name!r}"):
            history = model.fit(*args, **kwargs)
        self._executions[key] = self._executions.get(key, 0) + 1
        if isinstance(history, keras.callbacks.History):
            epochs = max((len(values) for values in history.history.values()), default=0)
            history.history.update({name: [value] * epochs for name, value in costs.items()})
            _require_a_score(history.history.get("val_acc_comp", []))
        return history

    def costs(self, hp: Any, model: keras.Model) -> dict[str, float]:
        """What a model costs: ``parameters`` and, if it is another, ``cost``.

        Args:
            hp: The hyperparameters that it was built of. The cost of equal ones, the learning rate left aside, is taken
                once.
            model: The model.
        """
        key = _own_values(hp, without=("lr",))
        if key not in self._costs:
            self._costs[key] = {"parameters": float(model.count_params()), "cost": float(self._cost(model))}
        return self._costs[key]

    def _metrics(self, hp: Any, model: keras.Model, kind: str) -> list[Any]:
        cost = self.costs(hp, model)["cost"]
        return [_METRICS[kind](name="accuracy"), CompressedAccuracy(cost, self.max_cost, self.tau, labels=kind)]

    def _optimizer(self, rate: float) -> keras.optimizers.Optimizer:
        if not isinstance(self.optimizer, str):
            return self.optimizer(rate)
        try:
            optimizer = keras.optimizers.get(self.optimizer)
        except ValueError as error:
            raise SearchError(f"Keras knows no optimizer {self.optimizer!r}.", where="optimizer") from error
        optimizer.learning_rate = rate
        return optimizer

    def _look_at_labels(self, args: Sequence[Any], kwargs: Any) -> None:
        """Check the labels of training and validation, once for the same data."""
        held = (*args, kwargs.get("x"), kwargs.get("y"), kwargs.get("validation_data"))
        if len(held) == len(self._looked_at) and all(a is b for a, b in zip(held, self._looked_at, strict=True)):
            return
        try:
            kind = self._kind_of_labels(args, kwargs)
        except OptionError as error:
            parts = {part: getattr(error, part) for part in ("where", "expected", "got", "hint", "context")}
            raise SearchError(error.what, **parts) from error
        self.labels, self._looked_at = kind, held

    def _kind_of_labels(self, args: Sequence[Any], kwargs: Any) -> str:
        kind = None if self.labels == "auto" else self.labels
        labels = labels_of(args, kwargs)
        if labels is not None:
            kind = check_labels(labels, self.classes, kind)
        elif kind is None:
            raise OptionError(
                "Whether the labels are class ids or one-hot cannot be told: a generator is used up by looking at it.",
                where="search",
                hint="say labels='sparse' or labels='one_hot', or give a keras.utils.PyDataset",
            )
        validation = kwargs.get("validation_data")
        if validation is None and not kwargs.get("validation_split"):
            raise OptionError(
                "A search needs data to validate on.",
                where="search",
                expected="validation_data=(inputs, labels), a data set, or validation_split",
            )
        if isinstance(validation, (tuple, list)) and len(validation) > 1:
            check_labels(validation[1], self.classes, kind, where="validation_data")
        return kind

    def _seed_of(self, hp: Any) -> int | None:
        """The seed of the next execution of a trial."""
        if self.seed is None:
            return None
        sequence = np.random.SeedSequence([self.seed, self._executions.get(_own_values(hp), 0)])
        return int(sequence.generate_state(1)[0] >> 1)


def _require_a_score(values: Sequence[float]) -> None:
    """Fail a trial of which nothing can be said, with the reason for ``trials(tuner)``."""
    if len(values) and not np.isfinite(np.asarray(values, "float64")).any():
        raise keras_tuner.errors.FailedTrialError(
            "val_acc_comp is NaN in every epoch: the training diverged, or labels of later batches are no class ids"
        )


def _own_values(hp: Any, without: Sequence[str] = ()) -> tuple[Any, ...]:
    """The values of hyperparameters, those that a tuner keeps for itself left out."""
    return tuple(sorted((k, v) for k, v in hp.values.items() if not k.startswith("tuner/") and k not in without))


def _widest(least: int, most: int, step: int) -> int:
    return least + (most - least) // step * step


def _check_ranges(units: Any, lr: Any) -> None:
    fits = isinstance(units, (tuple, list)) and len(units) == 3 and all(map(is_count, units))
    if not fits or units[0] > units[1]:
        raise wrong_option("AutoCompress", "units", units, "(least, most, step), whole numbers from 1")
    fits = isinstance(lr, (tuple, list)) and len(lr) == 2 and all(map(is_number, lr))
    if not fits or not 0 < lr[0] <= lr[1]:
        raise wrong_option("AutoCompress", "lr", lr, "(least, most), above 0")


__all__ = ["COSTS", "AutoCompress", "SearchError"]
