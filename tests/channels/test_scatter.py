"""Branches that shrink while the sums that they join keep their width, against the masked twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.channels import analyse, cut_channels
from kerasurgeon.channels.compensate import compensate
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.scatter import close_shortcuts, loosen_shortcuts, scatter_cut
from kerasurgeon.errors import GraphError, OptionError
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.keras_io.samples import sample_inputs
from tests.applications import shared_application
from tests.channels.oracle import outputs, random_cut
from tests.zoo.sampling import randomise

layers = keras.layers


def residual(rank: int = 2, layout: str = "channels_last", *, pre_activation: bool = False) -> keras.Model:
    """A projection, then two identity blocks."""
    conv = getattr(layers, f"Conv{rank}D")
    axis = 1 if layout == "channels_first" else -1
    options: dict[str, Any] = {"padding": "same", "data_format": layout}
    inputs = keras.Input((3, *(6,) * rank) if layout == "channels_first" else (*(6,) * rank, 3))
    x = conv(8, 3, name="stem", **options)(inputs)
    for block in range(2):
        y = layers.BatchNormalization(axis=axis)(x) if pre_activation else x
        y = conv(5, 3, activation="relu", name=f"{block}_one", **options)(y)
        y = conv(8, 3, name=f"{block}_two", **options)(y)
        y = y if pre_activation else layers.BatchNormalization(axis=axis)(y)
        x = layers.Add(name=f"{block}_sum")([x, y])
        x = x if pre_activation else layers.ReLU()(x)
    outputs_ = layers.Dense(4)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs_)
    randomise(model)
    return model


def assert_scatter_is_exact(model: keras.Model, *, form: str = "auto", compensated: bool = False) -> tuple[Any, int]:
    graph = lift(model)
    made = loosen_shortcuts(graph)
    channels = analyse(graph)
    gone = random_cut(channels, 1)
    assert gone.any()
    if compensated:
        compensate(graph, channels, gone)
    twin = graph.copy()
    mask_units(twin, channels, gone)
    inputs = sample_inputs(graph, batch_size=3)
    expected = outputs(emit(twin), inputs)
    cut_channels(graph, gone, channels)
    closed = close_shortcuts(graph, form)
    assert len(closed) == len(made)
    check_types(graph, everything=True)
    small = emit(graph)
    assert not any(type(layer).__module__.startswith("kerasurgeon") for layer in small._flatten_layers())
    for one, other in zip(expected, outputs(small, inputs), strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()
    return small, len(made)


@pytest.mark.spread(4)
@pytest.mark.parametrize("form", ["gather", "conv"])
@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("pre_activation", [False, True])
def test_residual_nets(form: str, compensated: bool, pre_activation: bool) -> None:
    model = residual(pre_activation=pre_activation)
    small, made = assert_scatter_is_exact(model, form=form, compensated=compensated)
    assert made == 3  # the first sum has two branches: nothing comes from an earlier sum there
    assert small.count_params() < model.count_params()


@pytest.mark.spread(2)
@pytest.mark.parametrize("form", ["gather", "conv"])
def test_sequences_and_volumes(form: str) -> None:
    for rank in (1, 3):
        assert_scatter_is_exact(residual(rank), form=form)


def test_vectors() -> None:
    inputs = keras.Input((5,))
    x = layers.Dense(8)(inputs)
    y = layers.Dense(8, name="two")(layers.Dense(6, activation="relu", name="one")(layers.Activation("tanh")(x)))
    model = keras.Model(inputs, layers.Dense(2)(keras.ops.add(x, y)))
    randomise(model)
    for form in ("gather", "conv"):
        assert_scatter_is_exact(model, form=form, compensated=True)


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50V2"])
def test_applications(name: str) -> None:
    model = shared_application(name)
    small, made = assert_scatter_is_exact(model)
    assert made >= 10
    assert small.count_params() < 0.7 * model.count_params()


def test_channels_first_is_cut_as_well() -> None:
    graph = lift(residual(layout="channels_first"))
    loosen_shortcuts(graph)
    channels = analyse(graph)
    cut_channels(graph, random_cut(channels, 1), channels)
    close_shortcuts(graph, "conv")
    check_types(graph, everything=True)


def test_the_sum_keeps_its_width_and_the_branch_shrinks() -> None:
    model = residual()
    graph = lift(model)
    report = scatter_cut(graph, ks.ChannelPlan({"1_two": [0, 3, 5]}), form="gather")
    assert report.widths == {"1_two": (8, 3)}
    assert graph["1_sum"].spec.shape == (None, 6, 6, 8)
    kinds = [graph.kind(node) for node in graph.nodes()]
    assert kinds.count("ops.take") == 1


@pytest.mark.parametrize("compensated", [False, True])
def test_a_branch_that_vanishes_is_removed(compensated: bool) -> None:
    graph = lift(residual())
    loosen_shortcuts(graph)
    channels = analyse(graph)
    gone = np.zeros(channels.units, bool)
    gone[channels.unit[channels.sources["1_two"].ids]] = True
    if compensated:
        compensate(graph, channels, gone)
        assert graph.layer_of("1_sum_scatter").weights["fill"].array.any()
    twin = graph.copy()
    mask_units(twin, channels, gone)
    inputs = sample_inputs(graph, batch_size=3)
    report = cut_channels(graph, gone, channels)
    close_shortcuts(graph)
    assert not report.kept
    assert "1_sum" in report.removed
    assert not {"1_one", "1_two", "1_sum_scatter", "1_sum"} & {node.name for node in graph.nodes()}
    for one, other in zip(outputs(emit(twin), inputs), outputs(emit(graph), inputs), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * np.abs(one).max())


def test_nothing_cut_leaves_the_graph_as_it_was() -> None:
    model = residual()
    graph = lift(model)
    names = [node.name for node in graph.nodes()]
    assert loosen_shortcuts(graph, ["1_sum"]) == ["1_sum_scatter"]
    assert close_shortcuts(graph) == []
    assert [node.name for node in graph.nodes()] == names


def test_converted_files_agree(tmp_path: Path) -> None:
    graph = lift(residual())
    scatter_cut(graph, ks.ChannelPlan({"0_two": [1, 2, 6], "1_two": [0, 3, 5, 7]}), form="gather")
    model = emit(graph)
    for suffix in (".tflite", ".onnx"):
        report = ks.export(model, tmp_path / f"small{suffix}")
        assert report is not None  # the file was run and compared, or there would be an error


def test_bad_input() -> None:
    graph = lift(residual())
    with pytest.raises(GraphError, match="no sum '1_summ'"):
        loosen_shortcuts(graph, ["1_summ"])
    with pytest.raises(GraphError, match="no sum 'stem'"):
        loosen_shortcuts(graph, ["stem"])
    with pytest.raises(OptionError, match="no form 'scatter'"):
        close_shortcuts(graph, "scatter")
