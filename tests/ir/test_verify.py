"""Break each invariant by hand: the verifier must name it, and the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kerasurgeon.errors import VerificationError
from kerasurgeon.ir import Graph, Value, WeightRef, verify_structure
from tests.ir.making import SPEC, dense, diamond, input_layer, plain, put


def payload(graph: Graph, node: str, /, **changes: Any) -> None:
    """Change a node behind the graph's back."""
    graph._digraph.nodes[node]["node"] = replace(graph[node], **changes)


def cycle(graph: Graph) -> None:
    graph._digraph.add_edge("add", "relu", key=1, output=0)


def missing_edge(graph: Graph) -> None:
    graph._digraph.remove_edge("shared", "add", 0)


def extra_edge(graph: Graph) -> None:
    graph._digraph.add_edge("x", "add", key=7, output=0)


def edge_of_another_output(graph: Graph) -> None:
    graph._digraph.edges["shared", "relu", 0]["output"] = 1


def operand_of_no_output(graph: Graph) -> None:
    payload(graph, "relu", args=(Value("shared", 1),))
    graph._digraph.edges["shared", "relu", 0]["output"] = 1


def operand_of_negative_output(graph: Graph) -> None:
    payload(graph, "relu", args=(Value("shared", -1),))
    graph._digraph.edges["shared", "relu", 0]["output"] = -1


def no_outputs(graph: Graph) -> None:
    payload(graph, "tied", outputs=())
    graph.outputs = graph.outputs["side"]


def output_of_no_node(graph: Graph) -> None:
    graph.outputs = Value("nope")


def output_of_no_output(graph: Graph) -> None:
    graph.outputs = Value("relu", 2)


def call_of_no_layer(graph: Graph) -> None:
    payload(graph, "relu", layer="nope")


def uncalled_layer(graph: Graph) -> None:
    graph.add_layer(dense("idle"))


def call_not_recorded(graph: Graph) -> None:
    graph._calls["relu"] = []


def call_recorded_elsewhere(graph: Graph) -> None:
    graph._calls["relu"] = ["relu", "add"]


def layer_name_with_slash(graph: Graph) -> None:
    graph._layers["relu"] = replace(graph.layers["relu"], name="a/b")


def node_name_differs(graph: Graph) -> None:
    payload(graph, "relu", name="other")


def input_is_no_input_layer(graph: Graph) -> None:
    graph.inputs = [graph.inputs, Value("relu")]


def no_inputs(graph: Graph) -> None:
    graph.inputs = []


def no_model_outputs(graph: Graph) -> None:
    graph.outputs = {}


def input_layer_beside_the_inputs(graph: Graph) -> None:
    put(graph, input_layer("stray"))


def writable_weight(graph: Graph) -> None:
    object.__setattr__(graph.layers["shared"].weights["kernel"], "array", np.zeros((4, 4)))


def reference_to_no_weight(graph: Graph) -> None:
    payload(graph, "tied", args=(Value("shared:1"), WeightRef("shared", "nope")))


def reference_to_no_layer(graph: Graph) -> None:
    payload(graph, "tied", args=(Value("shared:1"), WeightRef("nope", "kernel")))


def scope_that_is_not_there(graph: Graph) -> None:
    payload(graph, "relu", scope="inner")


BREAKS: dict[Callable[[Graph], None], str] = {
    cycle: "I1: the graph has a cycle",
    missing_edge: "I2: the edges do not agree",
    extra_edge: "I2: the edges do not agree",
    edge_of_another_output: "I2: the edges do not agree",
    operand_of_no_output: "I3: operand 0 is shared#1, which does not exist",
    operand_of_negative_output: "I3: operand 0 is shared#-1, which does not exist",
    no_outputs: "I3: the node has no outputs",
    output_of_no_node: "I3: model output nope does not exist",
    output_of_no_output: "I3: model output relu#2 does not exist",
    call_of_no_layer: "I4: node 'relu' calls layer 'nope', which does not exist",
    uncalled_layer: r"I4: layer 'idle' \(Dense\) is never called",
    call_not_recorded: "I4: layer 'relu'",
    call_recorded_elsewhere: "I4: layer 'relu'",
    layer_name_with_slash: "I5: layer name 'a/b' contains '/'",
    node_name_differs: "I5: node 'relu' is recorded as 'other'",
    input_is_no_input_layer: "I6: model input relu is not an InputLayer",
    no_inputs: "I6: the model has no input",
    no_model_outputs: "I6: the model has no output",
    input_layer_beside_the_inputs: "I6: InputLayer nodes that are no model input: stray",
    writable_weight: "I7: weight 'kernel' of layer 'shared' can be written into",
    reference_to_no_weight: "I8: operand 1 is the weight shared.nope, which does not exist",
    reference_to_no_layer: "I8: operand 1 is the weight nope.kernel, which does not exist",
    scope_that_is_not_there: "I9: the node belongs to scope 'inner', which does not exist",
}


@pytest.mark.parametrize("broken", BREAKS, ids=lambda function: function.__name__)
def test_every_broken_invariant_is_named(broken: Callable[[Graph], None]) -> None:
    graph = diamond()
    verify_structure(graph)
    broken(graph)
    with pytest.raises(VerificationError, match=BREAKS[broken]):
        verify_structure(graph)


def test_the_message_shows_the_neighbours() -> None:
    graph = diamond()
    missing_edge(graph)
    with pytest.raises(VerificationError) as caught:
        verify_structure(graph)
    text = str(caught.value)
    assert "where: node 'add'" in text
    assert "> add = Add([shared, relu])" in text
    assert "tied" not in text


def test_a_graph_without_its_outputs_names_them_first() -> None:
    graph = diamond()
    graph.set_signature(outputs=put(graph, plain("last"), Value("add")))
    verify_structure(graph)
    assert graph.spec(Value("last")) == SPEC
