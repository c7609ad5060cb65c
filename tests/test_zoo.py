"""The zoo itself: each model builds, computes something, has its feature, and saves where it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.applications import ARCHITECTURES, FAMILIES, SPREAD, application_inputs, shared_application
from tests.zoo import BAD, ZOO, build, flatten_layers, sample_inputs


def arrays(structure: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(leaf).astype("float64") for leaf in keras.tree.flatten(structure)]


def run(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    return arrays(model(inputs, training=False))


def tagged(tag: str) -> list[str]:
    return [name for name, case in ZOO.items() if tag in case.tags]


def calls(model: keras.Model) -> Iterator[Any]:
    """The call nodes of ``model`` and of the models in it."""
    for layer in flatten_layers(model):
        functional = getattr(layer, "_functional", None) or layer
        for nodes in getattr(functional, "_nodes_by_depth", {}).values():
            yield from nodes


def operands(model: keras.Model) -> Iterator[Any]:
    for node in calls(model):
        yield from keras.tree.flatten((node.arguments.args, node.arguments.kwargs))


@pytest.mark.spread(30)
@pytest.mark.parametrize("name", ZOO)
def test_runs_and_saves(name: str, tmp_path: Path) -> None:
    case = ZOO[name]
    model = build(name)
    inputs = sample_inputs(model)
    outputs = run(model, inputs)
    for output in outputs:
        assert np.isfinite(output).all()
        assert np.abs(output).max() < 100
        assert output.std() > 1e-3
        assert output.shape[0] != 2 or np.abs(output[0] - output[1]).max() > 1e-3, "samples do not differ"
    if "unsaveable" in case.tags:
        return
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(
        path, custom_objects=dict(case.custom_objects), safe_mode="lambda" not in case.tags
    )
    same = all(np.array_equal(a, b) for a, b in zip(outputs, run(loaded, inputs), strict=True))
    assert same == ("saves_differently" not in case.tags)


@pytest.mark.parametrize("name", tagged("unsaveable"))
def test_unsaveable(name: str, tmp_path: Path) -> None:
    model = build(name)

    def save_and_load() -> None:
        path = tmp_path / "model.keras"
        model.save(path)
        keras.saving.load_model(path, custom_objects=dict(ZOO[name].custom_objects))

    with pytest.raises((NotImplementedError, ValueError, UserWarning)):
        save_and_load()


@pytest.mark.parametrize("name", tagged("lambda"))
def test_lambda_needs_unsafe_mode(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    build(name).save(path)
    with pytest.raises(ValueError, match="safe_mode"):
        keras.saving.load_model(path)


HAS_TAG: dict[str, Callable[[keras.Model], bool]] = {
    "compiled": lambda model: bool(model.compiled),
    "low_precision": lambda model: any(
        kind in layer.dtype_policy.name or kind in layer.compute_dtype
        for layer in flatten_layers(model)
        for kind in ("float16", "bfloat16", "int8", "int4")
    ),
    "mask": lambda model: any(
        keras.src.backend.get_keras_mask(tensor) is not None or node.arguments.kwargs.get("mask") is not None
        for node in calls(model)
        for tensor in node.output_tensors
    ),
    "nested": lambda model: any(
        isinstance(layer, keras.Model) and layer not in (model, getattr(model, "_functional", None))
        for layer in flatten_layers(model)
    ),
    "random": lambda model: any(
        hasattr(layer, "seed_generator") or hasattr(layer, "generator") for layer in flatten_layers(model)
    ),
    "shared": lambda model: any(len(node.operation._inbound_nodes) > 1 for node in calls(model)),
    "tied": lambda model: any(isinstance(operand, keras.Variable) for operand in operands(model)),
}


@pytest.mark.spread(10)
@pytest.mark.parametrize("tag", HAS_TAG)
def test_tags_hold(tag: str) -> None:
    # A wrapper's layer is called by the wrapper, outside any graph.
    untraceable = {"shared": {"wrapper_shares_layer"}}.get(tag, set())
    wrong = [name for name in tagged(tag) if name not in untraceable and not HAS_TAG[tag](build(name))]
    assert not wrong


def repeats(values: list[Any]) -> bool:
    return len(set(values)) < len(values)


def paths(layer: keras.Layer) -> list[str]:
    return [weight.path for weight in layer.weights]


# What tags do not say, where one line can tell.
HAS_FEATURE: dict[str, Callable[[keras.Model], bool]] = {
    "boolean_input": lambda m: m.inputs[1].dtype == "bool",
    "comparison_logic": lambda m: m.outputs[1].dtype == "bool",
    "custom_equal_sublayer_names": lambda m: repeats(paths(m.get_layer("pair"))),
    "custom_equal_weight_names": lambda m: repeats(paths(m.get_layer("affine"))),
    "custom_without_build": lambda m: len(m.get_layer("block").weights) == 6,
    "dangling_branch": lambda m: "unused_head" not in [layer.name for layer in m.layers],
    "deep_chain": lambda m: len(m.operations) > 300,
    "fixed_batch": lambda m: m.inputs[0].shape[0] == 2,
    "float64": lambda m: m.outputs[0].dtype == "float64",
    "frozen_batch_norm": lambda m: not m.get_layer("bn").trainable,
    "frozen_layer": lambda m: len(m.trainable_weights) == 2 and len(m.weights) == 4,
    "frozen_model": lambda m: not m.trainable_weights and not m.get_layer("conv").trainable,
    "frozen_sublayer": lambda m: len(m.trainable_weights) == 6 and len(m.weights) == 8,
    "frozen_then_thawed": lambda m: not m.trainable and m.get_layer("logits").trainable,
    "frozen_variable": lambda m: m.get_layer("conv").trainable and not m.get_layer("conv").kernel.trainable,
    "functional_subclass": lambda m: type(m) is not keras.Model and len(m.inputs) == 1,
    "global_mixed_policy": lambda m: m.get_layer("dense").compute_dtype == "float16",
    "input_is_output": lambda m: m.outputs[1] is m.inputs[0],
    "lists_of_one": lambda m: isinstance(m.input, list) and isinstance(m.output, list),
    "lora": lambda m: bool(m.get_layer("adapted").lora_enabled),
    "no_weights": lambda m: not m.weights,
    "policy_map": lambda m: m.get_layer("attention").key_dense.compute_dtype == "float16",
    "quantized_int4": lambda m: m.get_layer("dense").quantization_mode == "int4",
    "quantized_int8": lambda m: "int8" in m.get_layer("dense").dtype_policy.name,
    "same_input_twice": lambda m: m.inputs[0] is m.inputs[1],
    "same_output_twice": lambda m: m.outputs[0] is m.outputs[1],
    "tuple_outputs": lambda m: isinstance(m.output, tuple),
    "zero_layers": lambda m: m.outputs[0] is m.inputs[0],
}


@pytest.mark.parametrize("name", HAS_FEATURE)
def test_features_hold(name: str) -> None:
    assert HAS_FEATURE[name](build(name))


@pytest.mark.parametrize("name", tagged("always_random"))
def test_always_random_until_told_otherwise(name: str) -> None:
    model = build(name)
    inputs = sample_inputs(model)
    assert np.any(arrays(model(inputs))[0] != arrays(model(inputs))[0])
    # An explicit `training` of the outer call wins over the one in the graph.
    np.testing.assert_array_equal(run(model, inputs)[0], run(model, inputs)[0])


@pytest.mark.parametrize("name", tagged("stateful"))
def test_stateful_changes_with_each_call(name: str) -> None:
    model = build(name)
    inputs = sample_inputs(model)
    assert np.any(run(model, inputs)[0] != run(model, inputs)[0])


def test_optional_input_may_be_none() -> None:
    model = build("optional_input")
    features, extra = sample_inputs(model)
    assert np.any(run(model, [features, None])[0] != run(model, [features, extra])[0])


def test_weights_and_inputs_follow_the_seed() -> None:
    first, again, other = build("residual"), build("residual"), build("residual", seed=1)
    pairs = list(zip(first.get_weights(), again.get_weights(), other.get_weights(), strict=True))
    assert all(np.array_equal(a, b) and not np.array_equal(a, c) for a, b, c in pairs)
    assert [layer.name for layer in first.layers] == [layer.name for layer in again.layers]
    np.testing.assert_array_equal(sample_inputs(first), sample_inputs(again))
    assert np.any(sample_inputs(first) != sample_inputs(first, seed=1))


def test_every_case_says_what_it_is_for() -> None:
    assert len(ZOO) >= 48
    assert not repeats([case.feature for case in ZOO.values()])
    assert all(case.feature and "\n" not in case.feature for case in ZOO.values())


@pytest.mark.parametrize("name", BAD)
def test_bad_ones_can_be_made(name: str) -> None:
    BAD[name]()


def test_applications_are_all_there() -> None:
    assert len(ARCHITECTURES) == 40
    assert set(FAMILIES.values()) <= set(ARCHITECTURES)
    assert set(SPREAD) <= set(ARCHITECTURES)


def test_application_computes_something(application: str) -> None:
    model = shared_application(application)
    outputs = run(model, application_inputs(model, batch=4))[0]
    assert outputs.shape == (4, 10)
    assert np.isfinite(outputs).all()
    assert np.abs(outputs).max() < 50
    assert outputs.std(axis=0).max() > 1e-3
