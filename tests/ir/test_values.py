"""Values, specs, nested structures and the names of kinds. Keras itself is the oracle for flattening."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasurgeon.ir import Layer, TensorSpec, Value, Weight, WeightRef
from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.ir.structure import leaf_paths, leaves, map_leaves, unflatten, values_in
from kerasurgeon.ir.values import dtype_bytes
from tests.zoo.custom import Scale

Pair = namedtuple("Pair", "first second")

NESTED = st.recursive(
    st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("dbca"), inner, max_size=3)
        | st.tuples(inner, inner).map(lambda parts: Pair(*parts))
    ),
    max_leaves=12,
)


@given(NESTED)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_flattening_is_kerass(structure: Any) -> None:
    flat = list(leaves(structure))
    assert flat == keras.tree.flatten(structure)
    assert unflatten(structure, flat) == structure
    assert map_leaves(lambda leaf: leaf, structure) == structure
    shifted = unflatten(structure, [leaf + 1 for leaf in flat])
    assert shifted == keras.tree.map_structure(lambda leaf: leaf + 1, structure)
    assert type(shifted) is type(structure)


@given(NESTED)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_paths_lead_to_the_leaves(structure: Any) -> None:
    found = list(leaf_paths(structure))
    assert [leaf for _, leaf in found] == list(leaves(structure))
    for path, leaf in found:
        part = structure
        for step in path:
            part = part[step]
        assert part == leaf


def test_dict_order_is_kept_and_mixed_keys_are_allowed() -> None:
    structure = {"z": 1, "a": (2,)}
    assert list(map_leaves(str, structure)) == ["z", "a"]
    assert list(leaves(structure)) == [2, 1]
    assert list(leaves({1: "one", "a": "letter"})) == ["one", "letter"]


def test_values_in() -> None:
    assert values_in(([Value("a"), 1], {"k": Value("b", 2), "j": None})) == (Value("a"), Value("b", 2))


def test_names_of_leaves() -> None:
    assert str(Value("conv")) == "conv"
    assert str(Value("lstm", 2)) == "lstm#2"
    assert str(WeightRef("conv", "kernel")) == "conv.kernel"
    assert str(TensorSpec((None, 3), "int8")) == "(?, 3) int8"
    assert str(TensorSpec((), "bool")) == "() bool"


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float16", "bfloat16", "int32", "float64", "complex64"])
def test_bytes_of_dtypes(dtype: str) -> None:
    assert dtype_bytes(dtype) == np.dtype(getattr(ml_dtypes, dtype, None) or dtype).itemsize
    assert dtype_bytes("int4") == 0.5


def test_sizes_of_specs() -> None:
    spec = TensorSpec((None, None, 3), "float16")
    assert spec.elements() == 3
    assert spec.elements(batch_size=2, unknown=5) == 30
    assert spec.bytes(batch_size=4) == 24
    assert TensorSpec((), "float32").bytes() == 4


@pytest.mark.parametrize(
    ("mine", "theirs", "accepts"),
    [
        (TensorSpec((None, 3), "float32"), TensorSpec((2, 3), "float32"), True),
        (TensorSpec((2, 3), "float32"), TensorSpec((None, 3), "float32"), False),
        (TensorSpec((None, 3), "float32"), TensorSpec((None, 4), "float32"), False),
        (TensorSpec((None, 3), "float32"), TensorSpec((None, 3, 1), "float32"), False),
        (TensorSpec((None, 3), "float32"), TensorSpec((None, 3), "float16"), False),
        (TensorSpec((None, 3), "float32"), TensorSpec((None, 3), "float32", sparse=True), False),
    ],
)
def test_which_specs_stand_for_which(mine: TensorSpec, theirs: TensorSpec, accepts: bool) -> None:
    assert mine.accepts(theirs) == accepts


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (keras.layers.Add(), "Add"),
        (keras.layers.Conv2D(1, 1), "Conv2D"),
        (Scale(), "custom:tests.zoo.custom.Scale"),
    ],
)
def test_kinds_of_layers(operation: Any, kind: str) -> None:
    cls: Any = type(operation)
    assert kind_of(cls) == kind


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x + 1, "ops.add"),
        (lambda x: x[:, 0], "ops.get_item"),
        (keras.ops.relu6, "ops.relu6"),
        (keras.ops.log1p, "ops.log1p"),
        (lambda x: keras.ops.expand_dims(x, 1), "ops.expand_dims"),
        (lambda x: keras.ops.image.resize(x[..., None], (2, 2)), "ops.resize"),
    ],
)
def test_kinds_of_ops(function: Any, kind: str) -> None:
    result = function(keras.Input((4, 4)))
    cls: Any = type(result._keras_history.operation)
    assert kind_of(cls) == kind


def layer() -> Layer:
    weights = {"kernel": Weight(np.ones((2, 3), "float16")), "bias": Weight(np.zeros(3, "float16"), trainable=False)}
    config = {"name": "dense", "units": 3, "use_bias": True}
    record = {"input_shape": (None, 2)}
    return Layer(
        "dense", keras.layers.Dense, config, weights=weights, build_config=record, paths={"kernel": "dense/kernel"}
    )


def test_a_layers_size() -> None:
    assert layer().parameters == 9
    assert layer().weight_bytes == 18
    assert layer().array("gamma") is None
    assert "inputs" in layer().call_parameters


def test_new_weights_take_the_dtype_and_the_flag_of_the_old() -> None:
    changed = layer().with_weights(kernel=np.full((2, 3), 2.0), bias=np.ones(3))
    assert changed.weights["kernel"].array.dtype == "float16"
    assert changed.weights["kernel"].trainable is True
    assert changed.weights["bias"].trainable is False
    assert changed.build_config == {"input_shape": (None, 2)}


def test_a_change_of_form_forgets_what_no_longer_holds() -> None:
    assert layer().with_weights(kernel=np.ones((5, 3))).build_config is None
    assert layer().with_config(units=4).build_config is None
    assert layer().with_name("other").paths == {}
    assert layer().with_name("dense").paths == {"kernel": "dense/kernel"}
    assert layer().with_config(trainable=False).build_config is not None


def test_weights_are_added_and_removed() -> None:
    changed = layer().with_weights(bias=None, gamma=np.ones(3, "float32"))
    assert set(changed.weights) == {"kernel", "gamma"}
    assert changed.weights["gamma"].array.dtype == "float32"
    assert changed.weights["gamma"].trainable is None
    given = Weight(np.zeros(3), trainable=False)
    assert layer().with_weights(bias=given).weights["bias"] is given
    assert set(layer().weights) == {"kernel", "bias"}, "the layer itself stays as it is"
