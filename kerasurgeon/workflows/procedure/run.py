"""What the steps of a procedure share: recipe, folder, data, models and what was found."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras

from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError
from kerasurgeon.recover import Bridge
from kerasurgeon.trust import import_object
from kerasurgeon.workflows.data import Augment, DataSet, Split, batched
from kerasurgeon.workflows.procedure.folder import RunFolder
from kerasurgeon.workflows.procedure.keys import STEPS
from kerasurgeon.workflows.procedure.measuring import measure
from kerasurgeon.workflows.procedure.recipe import ProcedureRecipe
from kerasurgeon.workflows.procedure.sources import DATA_SETS

Tell = Callable[[float, str], None]


@dataclass
class Run:
    """A run of a procedure, as its steps see it.

    Models are read from the folder when they are asked for, so that a step works the same whether the steps before it
    were done now or days ago.

    Attributes:
        recipe: What is to be done.
        folder: Where everything is kept.
        log: The run's log; what is written there is shown too.
        found: What the steps that are done have found, by step.
        functions: What the user has put in place of steps.
        tell: Told how far a step is.
        verbose: As for Keras' ``fit``.
    """

    recipe: ProcedureRecipe
    folder: RunFolder
    log: logging.Logger
    found: dict[str, dict[str, Any]]
    functions: Mapping[str, Callable[..., Any]]
    tell: Tell
    verbose: Any = 0
    _data: DataSet | None = field(default=None, repr=False)
    _models: dict[str, keras.Model] = field(default_factory=dict, repr=False)

    @property
    def data(self) -> DataSet:
        """The data set: read again in every process."""
        if self._data is None:
            self._data = self._load_data()
        return self._data

    def warn(self, text: str) -> None:
        """Say something loudly: in the log, and at once to whoever watches."""
        self.log.warning("%s", text)
        self.tell(0.0, text)

    def seed(self, step: str) -> int:
        """The seed of a step: the same whatever was done before it."""
        return self.recipe.seed * 1000 + STEPS.index(step)

    def function(self, step: str) -> Callable[..., Any] | None:
        """What stands in place of a step, called with the run."""
        if step in self.functions:
            return self.functions[step]
        path = self.recipe[step]["function"]
        return None if path is None else partial(import_object(path, f"{step}.function"), **self.recipe.arguments[step])

    def model(self, name: str) -> keras.Model:
        """A model by name: ``"original"``, ``"trained"``, ``"shunt"``, ``"inserted"``, ``"final"``..."""
        if name not in self._models:
            self._models[name] = self.folder.load_model(name)
        return self._models[name]

    def keep(self, name: str, model: Any, step: str) -> keras.Model:
        """Keep a model that a step has made.

        Raises:
            OptionError: It is none.
        """
        if not isinstance(model, keras.Model):
            raise OptionError(f"The step {step!r} gave no model.", expected="a keras.Model", got=type(model).__name__)
        self.folder.save_model(name, model)
        # What is gone on with is what a later process would read.
        self._models.pop(name, None)
        return self.model(name)

    @property
    def original(self) -> keras.Model:
        """The network that is to be made smaller, trained."""
        return self.model("trained")

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """The shunts, as training knows them."""
        return tuple(Bridge(**item) for item in self.found["shunt"]["bridges"])

    def part(self, name: str, *, training: bool = False, batch_size: int = 32, step: str = "data") -> Any:
        """A part of the data as Keras trains on it.

        Args:
            name: ``"train"``, ``"validation"`` or ``"test"``.
            training: Shuffled, and augmented if the recipe says so.
            batch_size: For arrays.
            step: What it is for: the order depends on it.
        """
        part = getattr(self.data, name)
        if not training:
            return (part.images, part.labels) if isinstance(part, Split) else part
        return batched(part, batch_size, seed=self.seed(step), augment=self.augment())

    def augment(self) -> Augment | None:
        """How images are changed at random."""
        wanted = self.recipe["data"]["augment"]
        if wanted is None:
            return None
        ignore = 255 if self.data.ignore_label is None else self.data.ignore_label
        return Augment(**{"ignore_label": ignore, **wanted})

    def sizes(self, model: keras.Model) -> tuple[int, ...] | None:
        """The sizes that costs are counted for where a model leaves sizes open: those of the data's images."""
        return self.data.input_shape if None in model.inputs[0].shape[1:] else None

    def measure(self, model: keras.Model, part: str = "test") -> dict[str, Any]:
        """How good a model is, and what it costs."""
        size = cost(model, sizes=self.sizes(model))
        values = measure(model, self.data, part)
        unknown: dict[str, Any] = {"macs_unknown": size.left_out.said} if size.left_out else {}
        return {**values, "macs": size.macs, "parameters": size.parameters, **unknown}

    def _load_data(self) -> DataSet:
        made: Any
        function = self.function("data")
        if function is not None:
            made = function(self)
        else:
            name = self.recipe["data"]["name"]
            source = DATA_SETS[name].function if name in DATA_SETS else import_object(name, "data.name")
            made = call_with(source, self.recipe.arguments["data"], seed=self.recipe.seed)
        if not isinstance(made, DataSet):
            raise OptionError(
                "The step 'data' gave no data set.",
                expected="what kerasurgeon.workflows.data.data_set makes",
                got=type(made).__name__,
            )
        made.check()
        return made


def call_with(function: Callable[..., Any], arguments: Mapping[str, Any], **offered: Any) -> Any:
    """Call a function with the arguments of a recipe, and with those that are offered and that it takes.

    Args:
        function: The function.
        arguments: From the recipe; lists become tuples.
        **offered: Given only where the function has such a parameter and the recipe says nothing of it.
    """
    given = {key: _tuples(value) for key, value in arguments.items()}
    for key, value in offered.items():
        if key in inspect.signature(function).parameters and key not in given:
            given[key] = value
    return function(**given)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
