"""A description as a Keras model, and step by step on arrays, with a say after each step."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from kerasurgeon.keras_io.quick import quick_keras
from tests.fuzz.description import Array, Description, Made, Ref, Step, Weight, mapped
from tests.zoo.sampling import flatten_layers

OTHERS = {cls.__name__: cls for cls in (LayerScale, StochasticDepth, CustomScaleLayer)}
BATCH = 3

Around = Callable[[str, Step, Any, Callable[..., Any], Any, Any], Any]
"""Makes a call: given the path of the layer, the step, what it calls, how, and with which operands."""


def plainly(path: str, step: Step, made: Any, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The call as it is."""
    return run(*args, **kwargs)


class Construction:
    """Makes a model step by step; the layers are kept, to be called on arrays as well.

    Args:
        policy: The dtype policy of all layers.
        seed: What the weights follow from.
        prefix: Names of the models around, each with a slash.
    """

    def __init__(self, policy: str, seed: int, prefix: str = "") -> None:
        self.policy, self.seed, self.prefix = policy, seed, prefix
        self.made: dict[int, Any] = {}
        self.inner: dict[int, Construction] = {}
        self.nested: dict[int, Description] = {}
        self.tensors: dict[int, Any] = {}
        self.names: dict[int, str] = {}
        self.steps: dict[int, Step] = {}

    def add(self, number: int, step: Step) -> Any:
        """Make what a step calls, and call it on symbolic tensors."""
        self.steps[number] = step
        if step.kind == "InputLayer":
            self.tensors[number] = keras.Input(**step.options, name=f"in{number}")
        else:
            self.made[number] = self._maker(number, step)
            args, kwargs = mapped(lambda leaf: self.operand(leaf, self.tensors), step.operands)
            self.tensors[number] = self.made[number](*args, **kwargs)
            first = keras.tree.flatten(self.tensors[number])[0]
            self.names[number] = self.prefix + getattr(self.made[number], "name", first._keras_history.operation.name)
            if step.shares is None and isinstance(self.made[number], keras.Layer) and number not in self.inner:
                randomise(self.made[number], self.seed, f"{self.prefix}{number}")
        return self.tensors[number]

    def model(self, description: Description) -> Any:
        """The functional model, when all steps are there."""
        inputs = [self.tensors[number] for number in description.inputs]
        given: Any = {tensor.name: tensor for tensor in inputs} if description.dict_inputs else inputs
        outputs = mapped(lambda leaf: self.operand(leaf, self.tensors), description.outputs)
        return keras.Model(given if description.dict_inputs or len(inputs) > 1 else inputs[0], outputs)

    def keep(self, description: Description) -> None:
        """Forget what is not in a description."""
        for held in (self.made, self.inner, self.nested, self.tensors, self.names, self.steps):
            for number in [number for number in held if number not in description.steps]:
                del held[number]

    def operand(self, leaf: Any, tensors: Mapping[int, Any]) -> Any:
        """A leaf of a step's operands as Keras takes it."""
        if isinstance(leaf, Ref):
            value = tensors[leaf.step]
            return value if leaf.index is None else value[leaf.index]
        if isinstance(leaf, Weight):
            return getattr(self.made[leaf.step], leaf.name)
        return leaf.values() if isinstance(leaf, Array) else leaf

    def _maker(self, number: int, step: Step) -> Any:
        if step.shares is not None:
            if step.shares in self.inner:
                self.inner[number] = self.inner[step.shares]
            return self.made[step.shares]
        if step.kind.startswith("ops."):
            return getattr(keras.ops, step.kind.removeprefix("ops."))
        name = f"{step.kind.lower()}_of_{number}"  # unlike the names that Keras gives to ops, as `reshape_2`
        if "model" in step.options and step.kind in ("Functional", "Sequential"):
            return self._nested(number, step, name)
        return self._layer(Made(step.kind, step.options), name)

    def _nested(self, number: int, step: Step, name: str) -> Any:
        inside = Construction(self.policy, self.seed, f"{self.prefix}{name}/")
        description = self.nested[number] = step.options["model"]
        for inner, its in description.steps.items():
            inside.add(inner, its)
        self.inner[number] = inside
        if step.kind == "Sequential":
            first = inside.tensors[description.inputs[0]]
            layers = [inside.made[inner] for inner in description.steps if inner not in description.inputs]
            return keras.Sequential([keras.Input(first.shape[1:], dtype=first.dtype), *layers], name=name)
        model = inside.model(description)
        return keras.Model(model.input, model.output, name=name)

    def _layer(self, made: Made, name: str | None = None) -> Any:
        options = {key: self._option(value) for key, value in made.options.items()}
        cls = OTHERS.get(made.kind) or getattr(keras.layers, made.kind)
        if made.kind not in ("StackedRNNCells",):
            options.setdefault("dtype", self.policy)
        return cls(**options, **({} if name is None else {"name": name}))

    def _option(self, value: Any) -> Any:
        if isinstance(value, Made):
            return self._layer(value)
        if isinstance(value, list):
            return [self._option(item) for item in value]
        if isinstance(value, Description):  # a model inside a wrapper
            return build(value, self.policy).model(value)
        return value.values() if isinstance(value, Array) else value

    def call(self, number: int, step: Step, values: Mapping[int, Any], around: Around = plainly) -> Any:
        """What a step gives for arrays or tensors."""
        args, kwargs = mapped(lambda leaf: self.operand(leaf, values), step.operands)
        made, owner = self.made[number], number if step.shares is None else step.shares
        if number in self.inner and around is not plainly:
            return self.inner[number].run(self.nested[owner], list(keras.tree.flatten(args)), around)
        in_training = not step.kind.startswith("ops.") and made._call_has_training_arg
        run = (lambda *a, **k: made(*a, **{"training": False, **k})) if in_training else made
        return around(self.names[number], self.steps[owner], made, run, args, kwargs)

    def run(self, description: Description, inputs: list[Any], around: Around = plainly) -> Any:
        """What the whole description gives, call by call."""
        values: dict[int, Any] = dict(zip(description.inputs, inputs, strict=True))
        for number, step in description.steps.items():
            if number not in values:
                values[number] = self.call(number, step, values, around)
        return mapped(lambda leaf: self.operand(leaf, values), description.outputs)


def build(description: Description, policy: str | None = None) -> Construction:
    """All steps of a description."""
    made = Construction(policy or description.policy, description.seed)
    with quick_keras():
        for number, step in description.steps.items():
            made.add(number, step)
    return made


def randomise(layer: Any, seed: int, key: str) -> None:
    """Weights that matter: no zero biases, no unit variances; a filter in eight is nothing but zeros."""
    fixed = {
        id(weight)
        for inner in flatten_layers(layer)
        if isinstance(inner, keras.layers.Normalization)
        for weight in inner.weights
    }
    for position, weight in enumerate(layer.weights):
        if id(weight) in fixed or "float" not in str(weight.dtype):
            continue
        rng = np.random.default_rng(zlib.crc32(f"{seed}/{key}/{position}".encode()))
        shape = tuple(weight.shape)
        if "variance" in weight.path or "gamma" in weight.path or "scale" in weight.path.rsplit("/", 1)[-1]:
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) < 2:
            values = rng.normal(0.0, 0.4, shape)
        else:
            values = rng.normal(0.0, 1.2 / np.sqrt(max(np.prod(shape[:-1]), 1)), shape)
            if seed % 4 == 0:
                values *= rng.random(shape[-1]) < 0.8
        weight.assign(values)


def sample(description: Description, seed: int = 0, batch: int = BATCH) -> list[Any]:
    """Inputs: integers are 0 to 3, the last of them 0, which masks."""
    inputs = [description.steps[number].options for number in description.inputs]
    return [sample_of(options, seed + place, batch) for place, options in enumerate(inputs)]


def sample_of(options: Mapping[str, Any], seed: int, batch: int = BATCH) -> Any:
    """One input."""
    rng = np.random.default_rng(seed)
    shape = (batch, *options["shape"])
    dtype = options.get("dtype", "float32")
    if "int" in dtype:
        values = rng.integers(1, 4, shape)
        values[..., -1] = 0
        return values.astype(dtype)
    if dtype == "bool":
        flags = rng.random(shape) < 0.6
        flags[..., 0] = True
        return flags
    numbers = rng.normal(size=shape)
    if len(shape) == 3:
        numbers[:, -1] = 0.0
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(numbers, dtype)))
