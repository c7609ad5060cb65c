"""What lifting records beside the graph, and what it refuses."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.errors import EmitError, LiftError
from kerasurgeon.ir import Graph, WeightRef, format_graph
from kerasurgeon.keras_io import emit, layer_from_keras, lift
from kerasurgeon.keras_io.custom_objects import foreign_names, harvest
from kerasurgeon.keras_io.samples import sample_inputs as drawn
from tests.keras_io.facts import bitwise_equal, predict, state
from tests.zoo import BAD, build, sample_inputs
from tests.zoo.custom import unregistered_activation
from tests.zoo.state import scaled_error

PLAIN = """\
graph 'plain'
  image = InputLayer() -> (?, 8, 8, 3) float32
  conv2d = Conv2D(image) {kernel 3x3x3x4, bias 4} -> (?, 8, 8, 4) float32
  batch_normalization = BatchNormalization(conv2d, mask=None) -> (?, 8, 8, 4) float32"""


def test_a_plain_chain_reads_as_expected() -> None:
    lines = format_graph(lift(build("plain_chain"))).splitlines()
    assert lines[:3] == PLAIN.splitlines()[:3]
    assert lines[3].startswith("  batch_normalization = BatchNormalization(conv2d")
    assert lines[-1] == "  return logits"


def test_nodes_of_nested_models_keep_their_scope() -> None:
    graph = lift(build("doubly_nested"))
    assert set(graph.scopes) == {"middle", "middle/core"}
    assert graph["middle/core/conv"].scope == "middle/core"
    assert graph.layers["middle/core/conv"].name == "conv"
    assert graph["middle/core/conv"].origin == ("middle/core/conv",)


def test_calls_of_a_shared_layer_are_numbered() -> None:
    graph = lift(build("shared_conv"))
    assert [node.name for node in graph.calls("conv")] == ["conv", "conv:1"]
    assert [node.name for node in lift(build("nested_called_twice")).calls("backbone/conv")] == [
        "backbone/conv",
        "backbone:1/conv",
    ]


def test_tied_weights_are_references() -> None:
    graph = lift(build("tied_embedding"))
    assert WeightRef("embedding", "embeddings") in graph["einsum"].args


def test_a_fresh_lift_is_revision_0_and_repeats() -> None:
    model = build("residual")
    one, other = lift(model), lift(model)
    assert one.revision == 0
    assert format_graph(one) == format_graph(other)


REFUSED = {
    "subclassed_model": ("is a subclassed model", "self.add_loss(keras.ops.sum(inputs))"),
    "unbuilt_subclassed_model": ("is a subclassed model", "call it once on a batch"),
    "unbuilt_sequential": ("'unbuilt' is not built", "model.build"),
    "empty_sequential": ("'empty' is not built", "keras.Input"),
    "layer_only": ("is not a Keras model", "a keras.Model"),
    "symbolic_tensor": ("is not a Keras model", "a keras.Model"),
    "path_to_nothing": ("is not a Keras model", "load_model"),
    "nothing": ("'NoneType' object is not a Keras model", "a keras.Model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_lifted(name: str) -> None:
    what, hint = REFUSED[name]
    with pytest.raises(LiftError) as caught:
        lift(BAD[name]())
    assert what in caught.value.what
    assert hint in str(caught.value)


def test_a_layer_without_a_config_is_named() -> None:
    with pytest.raises(LiftError, match=r"Layer 'opaque' \(NoConfig\) cannot say how it was made(.|\n)*get_config\(\)"):
        lift(build("custom_without_config"))


def test_a_config_that_makes_no_layer_is_an_emit_error() -> None:
    graph = lift(build("plain_chain"))
    graph.update_layer("conv2d", graph.layers["conv2d"].with_config(nonsense=1))
    graph.mark_checked("conv2d")
    with pytest.raises(EmitError, match=r"Layer 'conv2d' \(Conv2D\) cannot be made from its config(.|\n)*nonsense"):
        emit(graph)


def test_a_map_of_policies_keeps_its_names_in_the_users_model() -> None:
    """Keras' get_config() of such a map forgets them; lifting must not."""
    model = build("policy_map")
    policies = model.get_layer("attention").dtype_policy
    lift(model)
    assert {policy.name for policy in policies.values()} == {"mixed_float16"}
    emitted = emit(lift(model))
    assert emitted.get_layer("attention").dtype_policy is not policies
    assert emitted.get_layer("attention").query_dense.compute_dtype == "float16"


# Custom objects


def test_unregistered_functions_are_found_in_the_layer() -> None:
    graph = lift(build("activation_unregistered"))
    (key,) = [key for key in graph.layers if graph.layers[key].kind == "Dense"]
    assert graph.layers[key].custom_objects == {"unregistered_activation": unregistered_activation}


def test_foreign_names() -> None:
    config = {
        "activation": {"module": "builtins", "class_name": "function", "config": "mine", "registered_name": "function"},
        "kernel_initializer": {"module": "keras.initializers", "class_name": "Zeros", "config": {}},
        "inner": [{"module": "pkg", "class_name": "Thing", "config": {"units": 1}, "registered_name": "pkg>Thing"}],
    }
    assert foreign_names(config) == {"mine", "Thing", "pkg>Thing"}
    assert foreign_names({"units": 3}) == set()


def test_harvest_looks_through_containers_and_ends() -> None:
    class Holder:
        pass

    holder = Holder()
    holder.__dict__.update(parts=[{"f": unregistered_activation}], me=holder, text="unregistered_activation")
    assert harvest(holder, {"unregistered_activation", "Holder", "nope"}) == {
        "unregistered_activation": unregistered_activation,
        "Holder": Holder,
    }


def test_layer_from_keras_refuses_what_is_none() -> None:
    with pytest.raises(LiftError, match=r"is not a Keras layer(.|\n)*got: str"):
        layer_from_keras("dense")
    built = layers.Dense(2)
    built.build((None, 3))
    assert layer_from_keras(built).weights["kernel"].shape == (3, 2)
    assert not layer_from_keras(layers.Dense(2)).weights


# Compile state


def test_compile_state_is_carried_with_a_fresh_optimizer() -> None:
    model = build("compiled_and_fitted")
    before = state(model)
    emitted = emit(lift(model))
    assert emitted.compiled
    assert emitted.get_compile_config() == model.get_compile_config()
    assert emitted.optimizer is not model.optimizer
    assert int(model.optimizer.iterations) == 1
    assert int(emitted.optimizer.iterations) == 0
    after = state(model)
    assert bitwise_equal(before["optimizer"], after["optimizer"])
    x, y = np.zeros((2, 8, 8, 3), "float32"), np.zeros((2, 3), "float32")
    assert {"loss", "mae"} <= set(emitted.train_on_batch(x, y, return_dict=True))


def test_an_unregistered_loss_is_carried() -> None:
    emitted = emit(lift(build("compiled_custom_loss")))
    assert emitted.compiled
    assert emitted.loss is scaled_error


def test_compile_false_leaves_it_out() -> None:
    assert not emit(lift(build("compiled")), compile=False).compiled


def test_compile_state_that_cannot_be_said_is_a_note() -> None:
    model = build("plain_chain")
    model.compile("sgd", loss=lambda y, p: keras.ops.mean(keras.ops.abs(y - p)))
    graph = lift(model)
    emitted = emit(graph)
    carried = emitted.compiled and emitted.loss is model.loss
    assert carried or any("compile state was not carried over" in note for note in graph.model.notes)


# Samples


def seen(graph: Graph, **options: Any) -> Any:
    return drawn(graph, **options)


def test_samples_have_the_structure_dtypes_and_batch() -> None:
    graph = lift(build("dict_io"))
    samples = seen(graph, batch_size=3)
    assert {key: (array.shape, array.dtype) for key, array in samples.items()} == {
        "image": ((3, 8, 8, 3), np.dtype("float32")),
        "meta": ((3, 4), np.dtype("float32")),
    }
    assert all(np.abs(array).max() <= 1 for array in samples.values())


def test_samples_follow_the_seed() -> None:
    graph = lift(build("plain_chain"))
    assert np.array_equal(seen(graph), seen(graph))
    assert not np.array_equal(seen(graph), seen(graph, seed=1))


def test_tokens_stay_inside_the_vocabulary() -> None:
    graph = lift(build("tied_embedding"))
    samples = seen(graph, batch_size=64)
    assert samples.dtype == "int32"
    assert samples.min() >= 0
    assert 5 < samples.max() < 10


@pytest.mark.parametrize("name", ["fixed_batch", "boolean_input", "float64", "residual", "integer_lookup"])
def test_samples_run(name: str) -> None:
    model = build(name)
    outputs = predict(model, seen(lift(model)))
    wanted = predict(model, sample_inputs(model))
    assert [array.dtype for array in outputs] == [array.dtype for array in wanted]
