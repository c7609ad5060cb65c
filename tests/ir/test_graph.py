"""Each way to read and to change a graph, and each refusal: a refused change leaves the graph as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from kerasurgeon.errors import GraphError
from kerasurgeon.ir import Graph, Layer, TensorSpec, Use, Value, Weight, WeightRef, verify_structure
from tests.ir.making import SPEC, dense, diamond, input_layer, picture, plain, put

WIDE = TensorSpec((None, 8), "float32")


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes()]


# Reading


def test_nodes_are_in_topological_order_and_oldest_first() -> None:
    graph = diamond()
    assert names(graph) == ["x", "shared", "relu", "add", "shared:1", "tied"]
    assert names(graph) == names(graph.copy())


def test_near_puts_a_node_behind_another() -> None:
    graph = diamond()
    put(graph, plain("late"), Value("shared"))
    put(graph, plain("early"), Value("shared"), near="shared")
    order = names(graph)
    assert order.index("early") < order.index("relu") < order.index("late")


def test_reads() -> None:
    graph = diamond()
    assert graph.name == "diamond"
    assert len(graph) == 6
    assert "relu" in graph
    assert [node.name for node in graph] == names(graph)
    assert graph.layer_of("shared:1").name == "shared"
    assert graph.kind("relu") == "ReLU"
    assert [node.name for node in graph.calls("shared")] == ["shared", "shared:1"]
    assert graph.spec(Value("add")) == SPEC
    assert graph.producer(Value("add")).name == "add"
    assert graph.uses(Value("shared")) == (Use("relu", 0), Use("add", 0))
    assert [node.name for node in graph.users("shared")] == ["relu", "add"]
    assert graph.is_output(Value("relu"))
    assert not graph.is_output(Value("add"))
    assert [node.name for node in graph.input_nodes()] == ["x"]
    assert graph.weight_users("shared") == ("tied",)
    assert graph.tied_layers() == {"shared"}
    assert graph.unique_name("relu") == "relu_1"
    assert graph.unique_name("free") == "free"
    assert "6 nodes" in repr(graph)


def test_one_tensor_used_twice_has_two_uses() -> None:
    graph = diamond()
    put(graph, plain("double", keras.layers.Add), [Value("add"), Value("add")])
    assert graph.uses(Value("add")) == (Use("shared:1", 0), Use("double", 0), Use("double", 1))


def test_other_outputs_have_uses_of_their_own() -> None:
    graph = diamond()
    graph.add_layer(plain("two"))
    graph.add_node("two", (Value("add"),), outputs=[SPEC, WIDE])
    put(graph, plain("reads"), Value("two", 1))
    assert graph.uses(Value("two")) == ()
    assert graph.uses(Value("two", 1)) == (Use("reads", 0),)
    assert graph.spec(Value("two", 1)) == WIDE


def test_the_networkx_view_is_read_only() -> None:
    with pytest.raises(Exception, match=r"[Ff]rozen"):
        diamond().digraph.add_node("stray")
    with pytest.raises(TypeError):
        diamond().layers["stray"] = dense("stray")  # type: ignore[index]


READ_REFUSALS: dict[str, tuple[Callable[[Graph], Any], str]] = {
    "unknown node": (lambda g: g["sahred"], "did you mean 'shared'"),
    "unknown layer": (lambda g: g.calls("rleu"), "did you mean 'relu'"),
    "unknown output": (lambda g: g.spec(Value("relu", 1)), "has no output 1"),
    "negative output": (lambda g: g.spec(Value("relu", -1)), "has no output -1"),
}


@pytest.mark.parametrize("case", READ_REFUSALS)
def test_reading_what_is_not_there(case: str) -> None:
    read, message = READ_REFUSALS[case]
    with pytest.raises(GraphError, match=message):
        read(diamond())


# Changing


def test_add_node_names_later_calls_by_number() -> None:
    graph = diamond()
    assert graph.add_node("shared", (Value("add"),), outputs=[SPEC]).name == "shared:2"
    assert graph.add_node("relu", (Value("add"),), outputs=[SPEC], name="other").name == "other"
    assert "other" in graph.unchecked
    verify_structure_after_use(graph, "shared:2", "other")


def verify_structure_after_use(graph: Graph, *loose: str) -> None:
    graph.set_signature(outputs=[*(Value(name) for name in loose), graph.outputs])
    verify_structure(graph)


def test_set_operands_moves_the_edges() -> None:
    graph = diamond()
    graph.set_operands("add", ([Value("relu"), Value("x")],))
    assert graph.uses(Value("shared")) == (Use("relu", 0),)
    assert graph["add"].inputs == (Value("relu"), Value("x"))
    assert graph.unchecked == {"add"}
    graph.set_operands("add", kwargs={"extra": Value("x")})
    extended: tuple[Value, ...] = (Value("relu"), Value("x"), Value("x"))
    assert graph["add"].inputs == extended
    verify_structure(graph)


def test_replace_uses_reaches_outputs_and_keeps_who_is_told_to() -> None:
    graph = diamond()
    new = put(graph, plain("gate"), Value("relu"))
    assert graph.replace_uses(Value("relu"), new, keep=["gate"]) == 2
    assert graph["add"].inputs == (Value("shared"), new)
    assert graph["gate"].inputs == (Value("relu"),)
    assert graph.outputs["side"] == new
    verify_structure(graph)


def test_set_outputs_lets_the_users_be_checked_again() -> None:
    graph = diamond()
    graph.set_outputs("shared", [WIDE])
    assert graph.spec(Value("shared")) == WIDE
    assert graph.unchecked == {"shared", "relu", "add"}
    revision = graph.revision
    graph.set_outputs("shared", [WIDE])
    assert graph.revision == revision


def test_remove_takes_the_layer_with_its_last_call() -> None:
    graph = diamond()
    graph.set_signature(outputs=Value("add"))
    graph.remove("tied")
    assert "tied" not in graph.layers
    graph.remove("shared:1")
    assert "shared" in graph.layers
    assert names(graph) == ["x", "shared", "relu", "add"]
    verify_structure(graph)


def test_remove_unused_keeps_inputs_and_what_owns_a_tied_weight() -> None:
    graph = diamond()
    put(graph, plain("dead"), put(graph, plain("dying"), Value("add")))
    assert graph.remove_unused() == ("dead", "dying")
    graph.set_operands("tied", (Value("relu"), WeightRef("shared", "kernel")))
    # The second call of `shared` is not needed any more; the first owns the kernel.
    assert set(graph.remove_unused()) == {"shared:1", "add"}
    verify_structure(graph)


def test_remove_unused_leaves_what_it_is_told_to() -> None:
    graph = diamond()
    put(graph, plain("dead"), put(graph, plain("dying"), Value("add")))
    put(graph, plain("other"), Value("add"))
    assert set(graph.unused()) == {"other", "dead", "dying"}
    assert graph.remove_unused(keep=["dead", "gone"]) == ("other",)
    assert set(graph.unused()) == {"dead", "dying"}


def test_update_layer_and_set_weight() -> None:
    graph = diamond()
    graph.set_weight("shared", "kernel", np.full((4, 4), 2.0))
    kernel = graph.layers["shared"].array("kernel")
    assert kernel is not None
    assert kernel.dtype == "float32"
    assert np.all(kernel == 2)
    assert not graph.unchecked, "values alone change no shape"
    graph.update_layer("shared", graph.layers["shared"].with_config(units=4, use_bias=True))
    assert graph.unchecked == {"shared", "shared:1"}


def test_fork_layer_gives_one_call_a_copy() -> None:
    graph = diamond()
    key = graph.fork_layer("shared:1")
    assert key == "shared_1"
    assert graph.layer_of("shared:1").name == "shared_1"
    assert graph.layers[key].array("kernel") is graph.layers["shared"].array("kernel")
    assert graph.fork_layer("shared") == "shared"
    verify_structure(graph)


def test_rename_follows_every_reference() -> None:
    graph = diamond()
    graph.rename("relu", "act")
    assert graph["add"].inputs == (Value("shared"), Value("act"))
    assert graph.outputs["side"] == Value("act")
    assert graph.layers["act"].config["name"] == "act"
    graph.rename("x", "image")
    assert graph.inputs == Value("image")
    assert [node.name for node in graph.input_nodes()] == ["image"]
    verify_structure(graph)


def test_rename_of_a_shared_layers_call_leaves_the_layer() -> None:
    graph = diamond()
    graph.rename("shared:1", "second")
    assert graph["second"].layer == "shared"
    assert [node.name for node in graph.calls("shared")] == ["shared", "second"]
    verify_structure(graph)


def test_rename_takes_tied_references_along() -> None:
    graph = diamond()
    graph.set_operands("tied", (Value("add"), WeightRef("shared", "kernel")))
    graph.remove("shared:1")
    graph.rename("shared", "owner")
    assert graph["tied"].args[1] == WeightRef("owner", "kernel")
    assert graph.weight_users("owner") == ("tied",)
    verify_structure(graph)


def test_set_output_leaves_other_users() -> None:
    graph = diamond()
    graph.set_output(Value("relu"), Value("add"))
    assert graph.outputs["side"] == Value("add")
    assert graph["add"].inputs[1] == Value("relu")


CHANGE_REFUSALS: dict[str, tuple[Callable[[Graph], Any], str]] = {
    "layer name with a slash": (lambda g: g.add_layer(plain("a/b")), "contains '/'"),
    "layer key taken": (lambda g: g.add_layer(plain("relu"), "relu"), "a layer 'relu' already"),
    "node of no layer": (lambda g: g.add_node("nope", outputs=[SPEC]), "no layer 'nope'"),
    "node name taken": (lambda g: g.add_node("relu", outputs=[SPEC], name="add"), "a node 'add' already"),
    "node in no scope": (lambda g: g.add_node("relu", outputs=[SPEC], scope="inner"), "no scope 'inner'"),
    "operand of no node": (lambda g: g.add_node("relu", (Value("nope"),), outputs=[SPEC]), "no node 'nope'"),
    "operand of no output": (lambda g: g.add_node("relu", (Value("x", 3),), outputs=[SPEC]), "no output 3"),
    "operand of no weight": (
        lambda g: g.add_node("relu", (WeightRef("shared", "nope"),), outputs=[SPEC]),
        "names a weight shared.nope",
    ),
    "reads itself": (lambda g: g.set_operands("relu", (Value("relu"),)), "computed from it"),
    "reads its successor": (lambda g: g.set_operands("relu", (Value("add"),)), "computed from it"),
    "operands of no node": (lambda g: g.set_operands("nope", ()), "no node 'nope'"),
    "replacement reads the replaced": (
        lambda g: g.replace_uses(Value("shared"), Value("relu")),
        "computed from shared through 'relu'",
    ),
    "replacement of nothing": (lambda g: g.replace_uses(Value("nope"), Value("relu")), "no node 'nope'"),
    "not an output": (lambda g: g.set_output(Value("add"), Value("relu")), "not an output"),
    "no input layer": (lambda g: g.set_signature(inputs=Value("relu")), "cannot be a model input"),
    "output of no node": (lambda g: g.set_signature(outputs=Value("nope")), "no node 'nope'"),
    "removes what is used": (lambda g: g.remove("relu"), "its result is used"),
    "removes an output": (lambda g: g.remove("tied"), "it is an output"),
    "removes an input": (lambda g: g.remove("x"), "its result is used"),
    "updates no layer": (lambda g: g.update_layer("nope", plain("nope")), "no layer 'nope'"),
    "sets no weight": (lambda g: g.set_weight("shared", "kernle", 0), "did you mean 'kernel'"),
    "sets a weight of no layer": (lambda g: g.set_weight("nope", "kernel", 0), "no weight 'kernel'"),
    "name taken": (lambda g: g.rename("relu", "add"), "'add_1' is free"),
    "illegal name": (lambda g: g.rename("relu", "a/b"), "not a legal name"),
    "empty name": (lambda g: g.rename("relu", ""), "not a legal name"),
    "drops no scope": (lambda g: g.drop_scope("inner"), "no scope 'inner'"),
}


@pytest.mark.parametrize("case", CHANGE_REFUSALS)
def test_refusals_leave_the_graph_as_it_was(case: str) -> None:
    graph = diamond()
    change, message = CHANGE_REFUSALS[case]
    before = picture(graph)
    with pytest.raises(GraphError, match=message):
        change(graph)
    if case != "removes an input":  # that one adds a node first
        assert picture(graph) == before


def test_remove_refuses_an_unused_input_and_the_owner_of_a_tied_weight() -> None:
    graph = diamond()
    extra = put(graph, input_layer("extra"))
    graph.set_signature(inputs=[graph.inputs, extra])
    with pytest.raises(GraphError, match="it is an input"):
        graph.remove("extra")
    graph.set_operands("tied", (Value("x"), WeightRef("shared", "kernel")))
    graph.set_signature(outputs=Value("tied"))
    for name in ("shared:1", "add", "relu"):
        graph.remove(name)
    with pytest.raises(GraphError, match="its weights are used by tied"):
        graph.remove("shared")


def test_remove_refuses_a_layer_that_another_holds() -> None:
    graph = diamond()
    graph.add_layer(Layer("holder", keras.layers.TimeDistributed, {"name": "holder"}, parts={"layer": "relu"}))
    graph.add_node("holder", (Value("add"),), outputs=[SPEC])
    graph.set_operands("add", ([Value("shared"), Value("x")],))
    graph.set_signature(outputs=[Value("tied"), Value("holder")])
    with pytest.raises(GraphError, match="used by holder"):
        graph.remove("relu")
    graph.rename("relu", "act")
    assert graph.layers["holder"].parts == {"layer": "act"}


# Copies


def test_a_copy_is_independent_and_shares_the_weights() -> None:
    graph = diamond()
    before = picture(graph)
    twin = graph.copy()
    assert picture(twin) == before
    assert twin.layers["shared"].array("kernel") is graph.layers["shared"].array("kernel")
    twin.rename("relu", "act")
    twin.set_weight("shared", "kernel", np.zeros((4, 4)))
    twin.add_node("shared", (Value("add"),), outputs=[SPEC])
    twin.set_signature(outputs=Value("add"))
    twin.remove_unused()
    assert picture(graph) == before


def test_adopt_takes_a_trial_over_as_one_change() -> None:
    graph = diamond()
    trial = graph.copy()
    trial.rename("relu", "act")
    revision = graph.revision
    graph.adopt(trial)
    assert graph.revision > max(revision, trial.revision)
    assert "act" in graph
    trial.rename("act", "other")
    assert "act" in graph, "adopting shares nothing that changes"


def test_weights_cannot_be_written_into() -> None:
    mine = np.ones((4, 4), "float32")
    weight = Weight(mine)
    mine[0] = 7
    assert np.all(weight.array == 1), "what was writable has been copied"
    with pytest.raises(ValueError, match="read-only"):
        weight.array[0] = 7
