"""Layers whose own code cannot make them again: the error names the layer, its class and module, and blames no pass."""

# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import pytest
from keras import layers, ops

import kerasurgeon as ks
from kerasurgeon.authoring import APPROXIMATE, Context, Graph, Pass, Preserves
from kerasurgeon.passes import FoldBatchNorm, PruneChannels
from tests.zoo.sampling import randomise


def base_config(layer: Any) -> dict[str, Any]:
    """A config without the arguments of the layer's own constructor."""
    return dict(layers.Layer.get_config(layer))


class Scaled(layers.Layer):
    """Multiplies by a number that its config does not tell."""

    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


class Forgetful(Scaled):
    """get_config() without the argument: the constructor refuses."""

    get_config = base_config


class Raises(Scaled):
    """from_config() raises whatever it is told to."""

    error: type[Exception] = ValueError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        raise cls.error("not from a config")


class RaisesTypeError(Raises):
    """See ``Raises``."""

    error = TypeError


class RaisesKeyError(Raises):
    """See ``Raises``."""

    error = KeyError


class RaisesAttributeError(Raises):
    """See ``Raises``."""

    error = AttributeError


class RaisesNotImplementedError(Raises):
    """See ``Raises``."""

    error = NotImplementedError


class NoLayer(Scaled):
    """from_config() gives something else."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return dict(config)


class LosesUnits(layers.Layer):
    """build() needs what the config has lost."""

    def __init__(self, units: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units + 0), name="kernel")  # type: ignore[operator]

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, self.kernel)

    get_config = base_config


class LosesFunction(layers.Layer):
    """call() needs what the config has lost."""

    def __init__(self, function: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)

    get_config = base_config


class LosesWidth(layers.Layer):
    """Made with another width than it had."""

    def __init__(self, units: int = 3, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, self.kernel)

    get_config = base_config


class LosesCell(layers.SimpleRNNCell):
    """A cell that cannot be made from its config; the layer around it is Keras'."""

    def __init__(self, units: int, secret: int, **options: Any) -> None:
        super().__init__(units, **options)
        self.secret = secret


def around(middle: Any) -> keras.Model:
    """A convolution and a batch norm, which a pass can fold, before the layer."""
    x = keras.Input((8, 4))
    y = layers.BatchNormalization(name="bn")(layers.Conv1D(6, 3, name="conv")(x))
    y = middle(y)
    model = keras.Model(x, layers.Dense(2, name="head")(y))
    randomise(model, 0)
    return model


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "its config loses an argument": (lambda: Forgetful(2.0, name="odd"), "TypeError"),
    "ValueError": (lambda: Raises(2.0, name="odd"), "ValueError: not from a config"),
    "TypeError": (lambda: RaisesTypeError(2.0, name="odd"), "TypeError: not from a config"),
    "KeyError": (lambda: RaisesKeyError(2.0, name="odd"), "KeyError: 'not from a config'"),
    "AttributeError": (lambda: RaisesAttributeError(2.0, name="odd"), "AttributeError: not from a config"),
    "NotImplementedError": (lambda: RaisesNotImplementedError(2.0, name="odd"), "NotImplementedError: not from"),
    "no layer": (lambda: NoLayer(2.0, name="odd"), "from_config() returned dict"),
    "build": (lambda: LosesUnits(5, name="odd"), "TypeError"),
    "call": (lambda: LosesFunction(ops.relu, name="odd"), "TypeError"),
    "another width": (lambda: LosesWidth(5, name="odd"), "shape (6, 5)"),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", FAULTS)
def test_whose_fault_it_is(name: str) -> None:
    make, said = FAULTS[name]
    model = around(make())
    cls = type(model.get_layer("odd")).__name__
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Keras says of it
        keras.models.clone_model(model).set_weights(model.get_weights())
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: ks.emit(ks.lift(model)),
        lambda: ks.apply_passes(model, [FoldBatchNorm()]),
        lambda: ks.apply_passes(model, [PruneChannels(ratio=0.3)]),
        lambda: ks.apply_passes(model, [FoldBatchNorm()], verify="structure"),
    )
    for attempt in attempts:
        with pytest.raises(ks.EmitError) as caught:
            attempt()
        text = str(caught.value)
        assert "'odd'" in text
        assert f"{cls} of {__name__}" in text
        assert said in text
        assert "clone_model" in text
        assert "FoldBatchNorm" not in text
        assert "PruneChannels" not in text


def test_a_cell_inside_keras_own_layer_is_named() -> None:
    model = around(layers.RNN(LosesCell(4, 7), return_sequences=True, name="odd"))
    with pytest.raises(ks.EmitError, match=r"'odd' \(RNN\)") as caught:
        ks.apply_passes(model, [FoldBatchNorm()])
    assert f"LosesCell of {__name__}" in str(caught.value)


class NoConfig(Scaled):
    """get_config() raises."""

    def get_config(self) -> dict[str, Any]:
        raise KeyError("factor")


class EmptyConfig(Scaled):
    """get_config() forgets to return anything."""

    def get_config(self) -> Any:
        return None


class NoAssets(Scaled):
    """save_assets() raises."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}

    def save_assets(self, folder: str) -> None:
        raise AttributeError("no table")


@pytest.mark.parametrize(
    ("cls", "said"),
    [(NoConfig, "KeyError: 'factor'"), (EmptyConfig, "returned NoneType"), (NoAssets, "AttributeError: no table")],
)
def test_what_cannot_be_lifted(cls: Any, said: str) -> None:
    with pytest.raises(ks.LiftError, match="'odd'") as caught:
        ks.apply_passes(around(cls(2.0, name="odd")), [FoldBatchNorm()])
    assert said in str(caught.value)
    assert f"{cls.__name__} of {__name__}" in str(caught.value)


class ForgetsFactor(layers.Layer):
    """Comes back with another factor, without a word."""

    get_config = base_config

    def __init__(self, factor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


@pytest.mark.parametrize("item", [FoldBatchNorm(), PruneChannels(ratio=0.3)])
def test_a_layer_that_comes_back_as_another_one_is_found(item: Any) -> None:
    model = around(ForgetsFactor(3.0, name="odd"))
    with pytest.raises(ks.EmitError, match=r"'odd' \(.*\) computes something else") as caught:
        ks.apply_passes(model, [item])
    assert f"ForgetsFactor of {__name__}" in str(caught.value)
    assert item.name not in str(caught.value)
    ks.apply_passes(around(ForgetsFactor(name="odd")), [item])


class Loud(keras.Model):
    """A functional model whose constructor takes what it likes."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **options: Any) -> None:
        if name and name.startswith("loud"):
            raise RuntimeError("once only")
        super().__init__(inputs=inputs, outputs=outputs, name=name, **options)


def test_a_model_class_that_cannot_be_made_again() -> None:
    x = keras.Input((3,))
    model = Loud(x, layers.Dense(2)(x), name="first")
    model.name = "loud"
    with pytest.raises(ks.EmitError, match="'loud'") as caught:
        ks.emit(ks.lift(model))
    assert "RuntimeError: once only" in str(caught.value)
    assert f"Loud of {__name__}" in str(caught.value)


@dataclass(frozen=True)
class Breaks(Pass):
    """Raises."""

    preserves: ClassVar[Preserves] = APPROXIMATE

    def run(self, graph: Graph, context: Context) -> None:
        raise ValueError("of its own")


def test_the_fault_of_a_pass_stays_the_pass_fault() -> None:
    """With a layer of one's own that comes back well, errors are told as before."""
    with pytest.raises(ks.PassError, match="Pass Breaks"):
        ks.apply_passes(around(ForgetsFactor(name="odd")), [Breaks()])
