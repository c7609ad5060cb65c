"""Golden texts: what a graph, a node and its neighbourhood look like."""

from __future__ import annotations

import numpy as np

from kerasurgeon.ir import TensorSpec, Value, WeightRef, describe_node, format_graph, neighbourhood
from tests.ir.making import SPEC, diamond, plain, put

DIAMOND = """\
graph 'diamond'
  x = InputLayer() -> (?, 4) float32
  shared = Dense(x) {kernel 4x4, bias 4} -> (?, 4) float32
  relu = ReLU(shared) -> (?, 4) float32
  add = Add([shared, relu]) -> (?, 4) float32
  shared:1 = Dense [shared](add) {kernel 4x4, bias 4} -> (?, 4) float32
  tied = Dot(shared:1, shared.kernel) -> (?, 4) float32
  return {main: tied, side: relu}"""


def test_graph() -> None:
    assert format_graph(diamond()) == DIAMOND


def test_operands_of_every_sort() -> None:
    graph = diamond()
    graph.add_layer(plain("op"))
    node = graph.add_node(
        "op",
        (Value("add"), (1, "two"), np.array([1, 2]), np.zeros((3, 5), "float32"), slice(None, 3)),
        {"mask": None, "by": {"a": Value("relu"), "w": WeightRef("shared", "bias")}},
        outputs=[SPEC, TensorSpec((2,), "int32")],
    )
    assert describe_node(graph, node) == (
        "op = ReLU(add, (1, 'two'), array([1, 2]), array(3x5 float32), slice(None, 3, None), "
        "by={a: relu, w: shared.bias}) -> (?, 4) float32, (2,) int32"
    )


def test_neighbourhood() -> None:
    graph = diamond()
    assert neighbourhood(graph, "relu").splitlines() == [
        "  shared = Dense(x) {kernel 4x4, bias 4} -> (?, 4) float32",
        "> relu = ReLU(shared) -> (?, 4) float32",
        "  add = Add([shared, relu]) -> (?, 4) float32",
    ]
    assert neighbourhood(graph, "nope") == ""


def test_neighbourhood_is_bounded() -> None:
    graph = diamond()
    for index in range(9):
        put(graph, plain(f"user_{index}"), Value("relu"))
    assert len(neighbourhood(graph, "relu").splitlines()) == 1 + 1 + 3
