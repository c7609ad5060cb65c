"""Layers, functions and models that are not Keras' own."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
# Keras ships no types: its classes and decorators are Any.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from tests.zoo.registry import Tensor, case, image, sequence, vector

PACKAGE = "kerasurgeon_tests"


# Functions


@keras.saving.register_keras_serializable(PACKAGE)
def registered_activation(x: Tensor) -> Tensor:
    return x * ops.sigmoid(1.5 * x)


def unregistered_activation(x: Tensor) -> Tensor:
    return ops.tanh(x) + 0.1 * x


def halve(x: Tensor) -> Tensor:
    return x * 0.5


@case("a registered custom function as activation, in a layer and in Activation", "custom")
def activation_registered() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4, activation=registered_activation)(inputs)
    return keras.Model(inputs, layers.Activation(registered_activation)(layers.Dense(3)(x)))


@case(
    "an activation function that is not registered",
    "custom",
    "unregistered",
    custom_objects={"unregistered_activation": unregistered_activation},
)
def activation_unregistered() -> keras.Model:
    inputs = vector()
    x = layers.Dense(4, activation=unregistered_activation)(inputs)
    return keras.Model(inputs, layers.Activation(unregistered_activation)(x))


@case("Lambda with a named Python function", "custom", "unregistered", custom_objects={"halve": halve})
def lambda_named_function() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(layers.Lambda(halve)(inputs)))


@case("Lambda with a Python lambda: code inside the file, refused by safe_mode", "custom", "lambda")
def lambda_layer() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(layers.Lambda(lambda x: x * 2.0 + 1.0, output_shape=(6,))(inputs)))


# Layers


@keras.saving.register_keras_serializable(PACKAGE)
class Scale(layers.Layer):
    """Multiplies every channel by a weight."""

    def __init__(self, start: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.start), name="factor"
        )

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start}


class UnregisteredScale(Scale):
    """The same, unknown to Keras."""


@case("a registered custom layer with a weight", "custom")
def custom_registered() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(Scale(0.5, name="scale")(inputs)))


@case(
    "a custom layer that is not registered",
    "custom",
    "unregistered",
    custom_objects={"UnregisteredScale": UnregisteredScale},
)
def custom_unregistered() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(UnregisteredScale(0.5, name="scale")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class TwoOfOneName(layers.Layer):
    """Two sublayers with one name, so that their weights have one path."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units, activation="relu", name="dense")
        self.second = layers.Dense(units, name="dense")

    def build(self, input_shape: Any) -> None:
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], self.units))

    def call(self, inputs: Tensor) -> Tensor:
        return self.second(self.first(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@case("a custom layer whose sublayers share a name: colliding weight paths", "custom")
def custom_equal_sublayer_names() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(TwoOfOneName(4, name="pair")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class TwoWeightsOfOneName(layers.Layer):
    """Two weights with one name and one shape, and one without a name."""

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[-1],)
        self.scale_up = self.add_weight(shape=shape, initializer="ones", name="w")
        self.shift = self.add_weight(shape=shape, initializer="zeros", name="w")
        self.slope = self.add_weight(shape=shape, initializer="ones")

    def call(self, inputs: Tensor) -> Tensor:
        return ops.where(inputs > 0, inputs * self.scale_up, inputs * self.slope) + self.shift


@case("a custom layer with two weights of one name and one without", "custom")
def custom_equal_weight_names() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(TwoWeightsOfOneName(name="affine")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class NoBuild(layers.Layer):
    """Makes its sublayers in the constructor and leaves building them to Keras; keeps some in a list."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.steps = [layers.Dense(units, activation="tanh") for _ in range(2)]
        self.norm = layers.LayerNormalization()
        self.dropout = layers.Dropout(0.2)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = inputs
        for step in self.steps:
            x = step(x)
        return self.dropout(self.norm(x), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@case("a custom layer without build(): sublayers in a list, built by its first call", "custom", "random")
def custom_without_build() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(NoBuild(4, name="block")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class RunningMean(layers.Layer):
    """Subtracts a running mean that training updates, and counts its training calls."""

    def build(self, input_shape: Any) -> None:
        self.mean = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False, name="mean")
        self.count = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False, name="count")

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(inputs, axis=0))
            self.count.assign_add(1)
        return inputs - self.mean


@case("a custom layer with non-trainable state, one of it an integer", "custom")
def custom_state() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(RunningMean(name="running")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class Statistics(layers.Layer):
    """Returns a dict with a nested tuple."""

    def call(self, inputs: Tensor) -> dict[str, Any]:
        mean = ops.mean(inputs, axis=-1, keepdims=True)
        return {"mean": mean, "centred": (inputs - mean, inputs * 0.5)}


@case("a custom layer that returns a dict with a tuple inside, one member unused", "custom")
def custom_dict_output() -> keras.Model:
    inputs = vector()
    result = Statistics(name="statistics")(layers.Dense(4)(inputs))
    return keras.Model(inputs, {"mean": result["mean"], "x": layers.Dense(3)(result["centred"][0])})


@keras.saving.register_keras_serializable(PACKAGE)
class Blend(layers.Layer):
    """Takes operands in every way: positional, in a dict, by keyword, and a plain Python value."""

    def call(self, first: Tensor, others: dict[str, Any], *, extra: Tensor | None = None, ratio: float = 0.5) -> Tensor:
        x = ratio * first + (1 - ratio) * others["a"] * others["b"][0]
        return x if extra is None else x + extra

    def compute_output_shape(self, first_shape: Any, **_: Any) -> Any:
        return first_shape


@case(
    "a custom layer with operands in positions, dicts, lists, keywords; and a plain float argument",
    "custom",
    "shared",
)
def custom_operands() -> keras.Model:
    a, b = vector(name="a"), vector(name="b")
    blend = Blend(name="blend")
    x = blend(a, {"b": [b], "a": a}, extra=b, ratio=0.25)
    return keras.Model([a, b], layers.Dense(3)(blend(x, {"a": b, "b": [x]})))


@keras.saving.register_keras_serializable(PACKAGE)
class AroundModel(layers.Layer):
    """Holds a Functional model as a sublayer: a nested model that no graph shows."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        inner_in = keras.Input((units,))
        self.inner = keras.Model(inner_in, layers.Dense(units, activation="tanh")(inner_in))

    def call(self, inputs: Tensor) -> Tensor:
        return inputs + self.inner(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@case("a custom layer that holds a Functional model", "custom", "nested")
def custom_around_model() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(AroundModel(6, name="around")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class LinearStack(keras.Model):
    """A subclassed model."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="relu")
        self.final = layers.Dense(units)

    def build(self, input_shape: Any) -> None:
        self.hidden.build(input_shape)
        self.final.build((*input_shape[:-1], self.units))

    def call(self, inputs: Tensor) -> Tensor:
        return self.final(self.hidden(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@case("a subclassed model used as a layer: it has no graph and stays whole", "custom", "nested")
def subclassed_inside() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(LinearStack(name="stack")(inputs)))


class NoConfig(layers.Layer):
    """Its constructor takes a function, which no config can hold."""

    def __init__(self, function: Callable[[Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def build(self, input_shape: Any) -> None:
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="offset")

    def call(self, inputs: Tensor) -> Tensor:
        return self.function(inputs + self.offset)


@case("a custom layer whose get_config() fails", "custom", "unregistered", "unsaveable")
def custom_without_config() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(NoConfig(lambda x: x * 2.0, name="opaque")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class OwnNoise(layers.Layer):
    """Draws from a seed generator of its own in training."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training:
            inputs = inputs + keras.random.normal(ops.shape(inputs), seed=self.seed_generator)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@case("a custom layer with a seed generator", "custom", "random")
def custom_seed_generator() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(OwnNoise(3, name="noise")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class LossAdder(layers.Layer):
    """Calls add_loss."""

    def call(self, inputs: Tensor) -> Tensor:
        self.add_loss(1e-3 * ops.mean(ops.square(inputs)))
        return inputs


@case("a custom layer that adds a loss", "custom")
def custom_add_loss() -> keras.Model:
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(LossAdder(name="penalty")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class MaskMaker(layers.Layer):
    """Computes a mask of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor) -> Tensor:
        return inputs[..., 0] > 0


@case("a custom layer that makes a Keras mask", "custom", "mask")
def custom_mask() -> keras.Model:
    inputs = sequence()
    return keras.Model(inputs, layers.LSTM(3)(MaskMaker(name="gate")(inputs)))


@keras.saving.register_keras_serializable(PACKAGE)
class OwnCell(layers.Layer):
    """A recurrent cell."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = self.units = units
        self.mix = layers.Dense(units, activation="tanh")

    def build(self, input_shape: Any) -> None:
        self.mix.build((*input_shape[:-1], input_shape[-1] + self.units))

    def call(self, inputs: Tensor, states: Any) -> tuple[Tensor, list[Tensor]]:
        state = self.mix(ops.concatenate([inputs, states[0]], axis=-1))
        return state, [state]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@case("RNN over a custom cell", "custom")
def custom_cell() -> keras.Model:
    inputs = sequence()
    return keras.Model(inputs, layers.RNN(OwnCell(3), return_sequences=True, name="rnn")(inputs))


# Operations


@keras.saving.register_keras_serializable(PACKAGE)
class CubeRoot(keras.Operation):
    """A custom Operation that is no Layer."""

    def call(self, x: Tensor) -> Tensor:
        return ops.sign(x) * ops.power(ops.abs(x), 1 / 3)

    def compute_output_spec(self, x: Tensor) -> Tensor:
        return keras.KerasTensor(x.shape, x.dtype)


@case("a custom Operation that is no layer, called twice", "custom", "shared")
def custom_operation() -> keras.Model:
    inputs = vector()
    root = CubeRoot(name="cube_root")
    return keras.Model(inputs, layers.Dense(3)(root(inputs) + root(1.0 - inputs)))


# Models


@keras.saving.register_keras_serializable(PACKAGE)
class OwnTraining(keras.Model):
    """A Functional model by construction, with a training step of its own."""

    def train_step(self, data: Any) -> dict[str, Any]:
        logs: dict[str, Any] = super().train_step(data)
        return {**logs, "extra": ops.zeros(())}


@case("a subclass of Model made with inputs and outputs: Functional, with its own train_step", "custom")
def functional_subclass() -> keras.Model:
    inputs = vector()
    return OwnTraining(inputs, layers.Dense(3, name="logits")(inputs), name="own_training")


@keras.saving.register_keras_serializable(PACKAGE)
class WithOptions(keras.Model):
    """A Functional model by construction, whose constructor takes options of its own."""

    def __init__(self, units: int = 3, **kwargs: Any) -> None:
        inputs = image()
        x = layers.Conv2D(units, 3, name="conv")(inputs)
        super().__init__(inputs, layers.GlobalAveragePooling2D(name="pool")(x), **kwargs)
        self.units = units

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units, "name": self.name, "trainable": self.trainable}


@case("a subclass of Model that builds its own graph in the constructor from its options", "custom")
def functional_subclass_with_options() -> keras.Model:
    return WithOptions(4, name="with_options")


class UnregisteredModel(OwnTraining):
    """Not registered; Keras loads it by module and name."""


@case(
    "an unregistered Functional subclass nested in a Functional model",
    "custom",
    "nested",
    "unregistered",
    custom_objects={"UnregisteredModel": UnregisteredModel},
)
def functional_subclass_nested() -> keras.Model:
    inner_in = vector(name="inner_in")
    inner = UnregisteredModel(inner_in, layers.Dense(4, name="dense")(inner_in), name="inner")
    inputs = vector()
    return keras.Model(inputs, layers.Dense(3)(inner(inputs)))
