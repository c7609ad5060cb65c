"""The registry: what is known, what users add, and that every layer and op of Keras is one or the other."""

# mypy: disallow-subclassing-any=False
# Keras ships no types: its classes are Any.

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import keras
import keras.src.ops
import pytest
from keras import layers
from keras.src.applications import convnext, inception_resnet_v2

from kerasurgeon.channels.scatter_layer import Scatter
from kerasurgeon.costs import cost
from kerasurgeon.errors import OptionError
from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.morphnet.twin_layers import ChannelGate, ChannelScale
from kerasurgeon.rules import (
    Call,
    CannotTell,
    Free,
    Rule,
    elements,
    has_rule,
    known_kinds,
    register_rule,
    rule_for,
    unregister_rule,
)
from tests.cost.counting import called

# What runs code that is not Keras', needs training, or costs what no simple product says.
UNKNOWN_LAYERS = {
    "FlaxLayer",
    "JaxLayer",
    "Lambda",
    "Layer",
    "MaxNumBoundingBoxes",
    "Pipeline",
    "TFSMLayer",
    "TorchModuleWrapper",
    "Wrapper",
}
UNKNOWN_OPS = {
    # Control flow around functions of the user
    *(
        "associative_scan",
        "cond",
        "fori_loop",
        "function",
        "map",
        "scan",
        "switch",
        "vectorized_map",
        "while_loop",
    ),
    # Decompositions, solvers, filters
    *("cholesky", "cholesky_inverse", "det", "eig", "eigh", "inv", "jvp", "logdet", "lstsq", "lu_factor"),
    *("matrix_rank", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd"),
    *("cdist", "corrcoef", "correlate", "ctc_decode", "ctc_loss", "gaussian_blur", "sobel_edges", "ssim"),
    # The bases of others
    *("operation", "segment_reduction"),
}


def is_op(item: Any) -> bool:
    return inspect.isclass(item) and issubclass(item, keras.Operation) and not issubclass(item, layers.Layer)


def op_kinds() -> Iterator[str]:
    for module in pkgutil.iter_modules(keras.src.ops.__path__):
        if module.name.endswith("_test"):
            continue
        found: dict[str, Any] = vars(importlib.import_module(f"keras.src.ops.{module.name}"))
        for item in found.values():
            if is_op(item):
                yield kind_of(item)


def layer_classes() -> Iterator[tuple[str, Any]]:
    for name in dir(layers):
        item = getattr(layers, name)
        if inspect.isclass(item) and issubclass(item, layers.Layer):
            yield name, item


def test_every_layer_of_keras_has_a_rule_or_is_known_to_have_none() -> None:
    without = {name for name, cls in layer_classes() if not has_rule(cls)}
    assert without == UNKNOWN_LAYERS


def test_every_op_of_keras_has_a_rule_or_is_known_to_have_none() -> None:
    without = {kind.removeprefix("ops.") for kind in op_kinds() if not has_rule(kind)}
    assert without == UNKNOWN_OPS


def test_no_rule_is_for_something_that_is_not_there() -> None:
    there = {*op_kinds(), *(kind_of(cls) for _, cls in layer_classes()), "Functional", "Sequential"}
    # Scatter stands in a graph only while shortcuts are loose, gates and scales in twins that are trained.
    own = (Scatter, ChannelGate, ChannelScale)
    theirs = (convnext.LayerScale, convnext.StochasticDepth, inception_resnet_v2.CustomScaleLayer)
    there |= {kind_of(cls) for cls in (*own, *theirs)}
    assert set(known_kinds()) - there == set()


class LowRank(layers.Layer):
    """Two dense layers in one."""

    def __init__(self, rank: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rank, self.units = rank, units

    def build(self, shape: Any) -> None:
        self.down = self.add_weight(shape=(shape[-1], self.rank), name="down")
        self.up = self.add_weight(shape=(self.rank, self.units), name="up")

    def call(self, inputs: Any) -> Any:
        return inputs @ self.down @ self.up

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank, "units": self.units}


class LowRankRule(Rule):
    def macs(self, call: Call) -> int:
        features, units = call.input.shape[-1], call.output.shape[-1]
        assert features is not None
        assert units is not None
        return elements(call.input.shape[:-1]) * int(call.config["rank"]) * (features + units)


@pytest.fixture
def low_rank() -> Iterator[None]:
    register_rule(LowRank, LowRankRule())
    yield
    unregister_rule(LowRank)


@pytest.mark.usefixtures("low_rank")
def test_a_user_rule_makes_a_custom_layer_known() -> None:
    found = cost(called(LowRank(2, 5), (4, 6)))
    assert (found.macs, found.unknown) == (4 * 2 * (6 + 5), ())


@pytest.mark.usefixtures("low_rank")
def test_wrappers_ask_user_rules_too() -> None:
    keras.saving.register_keras_serializable("cost_tests")(LowRank)
    found = cost(called(layers.TimeDistributed(LowRank(2, 5)), (4, 6)))
    assert (found.macs, found.unknown) == (4 * 2 * (6 + 5), ())


def test_after_unregistering_the_layer_is_unknown_again() -> None:
    register_rule(LowRank, LowRankRule())
    unregister_rule(LowRank)
    assert not has_rule(LowRank)
    assert [item.what for item in cost(called(LowRank(2, 5), (6,))).unknown] == ["macs"]


def test_a_user_rule_goes_before_the_library_s() -> None:
    before = rule_for("Dense")
    register_rule("Dense", Free(keeps_batch=True))
    try:
        assert cost(called(layers.Dense(5), (6,))).macs == 0
    finally:
        unregister_rule("Dense")
    assert rule_for("Dense") is before
    assert rule_for(layers.Dense) is before


def test_a_subclass_is_a_kind_of_its_own_and_can_take_the_rule_of_its_base() -> None:
    class MyDense(layers.Dense):
        pass

    assert not has_rule(MyDense)
    register_rule(MyDense, rule_for("Dense"))
    try:
        assert cost(called(MyDense(5), (6,))).macs == 30
    finally:
        unregister_rule(MyDense)


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(OptionError, match="register an object, not its class"):
        register_rule(LowRank, LowRankRule)  # type: ignore[arg-type] # what is tested
    with pytest.raises(OptionError, match="derive a class from Rule"):
        register_rule(LowRank, 3)  # type: ignore[arg-type] # what is tested
    with pytest.raises(OptionError, match="No rule was registered for 'Dense'"):
        unregister_rule("Dense")


def test_a_rule_says_only_what_it_was_taught() -> None:
    """A rule written for another question does not make a layer free."""
    register_rule(LowRank, Rule())
    try:
        found = cost(called(LowRank(2, 5), (6,)))
    finally:
        unregister_rule(LowRank)
    assert found.macs == 0
    assert "does not say what a call costs" in found.unknown[0].reason


def test_operands_of_a_call() -> None:
    from kerasurgeon.ir import Layer, TensorSpec

    spec = TensorSpec((2, 3), "float32")
    call = Call("dot", Layer("dot", layers.Dense, {}), (spec, 2.0), {"mask": None, "third": spec}, (spec,))
    assert call.inputs == (spec, spec)
    assert (call.operand(0, "x1"), call.operand(9, "third"), call.operand(9, "none")) == (spec, spec, None)
    assert call.tensor(1, "x2").shape == ()
    with pytest.raises(CannotTell, match="'mask' is no tensor"):
        call.tensor(7, "mask")
    with pytest.raises(CannotTell, match="no operands"):
        _ = Call("empty", Layer("empty", layers.Dense, {}), ()).input
    with pytest.raises(CannotTell, match="a size is unknown"):
        elements((2, None))
