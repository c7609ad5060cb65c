"""What surgery by hand refuses, and that the graph is then as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from kerasurgeon.errors import GraphError, VerificationError
from kerasurgeon.ir import Graph
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.surgery import (
    delete,
    extract,
    insert_after,
    insert_before,
    rename,
    replace_layer,
    replace_region,
)
from tests.ir.making import picture
from tests.rewrite.test_surgery import network


@pytest.fixture
def graph() -> Graph:
    return lift(network())


def two_inputs() -> Any:
    a, b = keras.Input((6,)), keras.Input((6,))
    return keras.Model([a, b], layers.Add()([a, b]))


REFUSALS: dict[str, tuple[Callable[[Graph], Any], type[Exception], str]] = {
    "after no node": (lambda g: insert_after(g, "frist", layers.ReLU()), GraphError, "did you mean 'first'"),
    "after no output": (lambda g: insert_after(g, "split#2", layers.ReLU()), GraphError, "has no output 2"),
    "after, two outputs": (lambda g: insert_after(g, "act", lambda t: [t, t + 1]), GraphError, "returns 2 tensors"),
    "after, two inputs": (lambda g: insert_after(g, "act", two_inputs()), GraphError, "takes 2 inputs"),
    "after, no tensors": (lambda g: insert_after(g, "act", lambda t: 3), VerificationError, "not return Keras tensors"),
    "after, it raises": (lambda g: insert_after(g, "act", lambda t: 1 / 0), VerificationError, "division by zero"),
    "before no operand": (lambda g: insert_before(g, "add", layers.ReLU(), operand=2), GraphError, "no operand 2"),
    "before an input": (lambda g: insert_before(g, "x", layers.ReLU()), GraphError, "no operand 0"),
    "before, a bad shape": (lambda g: insert_before(g, "second", layers.Dense(2)), VerificationError, "'second'"),
    "replace, a bad shape": (lambda g: replace_layer(g, "second", layers.Dense(2)), VerificationError, "'add'"),
    "replace, too few outputs": (lambda g: replace_layer(g, "split", layers.ReLU()), GraphError, "has 1 outputs"),
    "replace, a bad rank": (lambda g: replace_layer(g, "act", layers.Conv2D(3, 3)), VerificationError, "conv2d"),
    "replace an input": (lambda g: replace_layer(g, "x", layers.ReLU()), Exception, "re_lu|input"),
    "delete a merge": (lambda g: delete(g, "add"), GraphError, "what should its users read"),
    "delete an input": (lambda g: delete(g, "x"), GraphError, "0 in"),
    "delete a split": (lambda g: delete(g, "split"), GraphError, r"outputs in use: \[0, 1\]"),
    "delete, a bad shape": (lambda g: delete(g, "first"), VerificationError, "'second'"),
    "rename to a taken name": (lambda g: rename(g, "act", "add"), GraphError, "is taken"),
    "rename to an illegal name": (lambda g: rename(g, "act", "a/b"), GraphError, "not a legal name"),
    "extract around": (lambda g: extract(g, "second", "add"), GraphError, "also depend on model input x"),
    "extract nothing": (lambda g: extract(g, [], "add"), GraphError, "No tensor was named"),
    "region around": (lambda g: replace_region(g, "second", "add", lambda t: t), GraphError, "also enter: .*x"),
    "region leaks": (lambda g: replace_region(g, "first", "second", lambda t: t), GraphError, "also leave: act"),
    "region is empty": (lambda g: replace_region(g, "add", "add", lambda t: t), GraphError, "nothing between"),
    "region, a bad shape": (
        lambda g: replace_region(g, "act", "add", layers.Dense(5)),
        GraphError,
        "does not fit at add",
    ),
    "region, too many outputs": (
        lambda g: replace_region(g, "act", "add", lambda t: [t, t + 1]),
        GraphError,
        "replacement has 2 outputs",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_leave_the_graph_as_it_was(graph: Graph, case: str) -> None:
    act, error, message = REFUSALS[case]
    before = picture(graph)
    with pytest.raises(error, match=message):
        act(graph)
    assert picture(graph) == before
