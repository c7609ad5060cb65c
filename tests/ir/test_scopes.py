"""Scopes: which nodes belong to them, and what becomes of them when a nested model is forgotten."""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.ir import Graph, Scope, Value, verify_structure
from tests.ir.making import SPEC, diamond, input_layer, plain


def scoped() -> Graph:
    """x -> [inner: a -> [deep: b]] -> out, called with training=False; ``inner_deep`` is a scope name already."""
    graph = diamond()

    def scope(path: str, **kwargs: Any) -> Scope:
        name = path.rpartition("/")[2]
        return Scope(path, path, name, keras.Model, True, (input_layer("in"),), 0, (Value("add"),), kwargs, None)

    graph.set_scope(scope("inner", training=False))
    graph.set_scope(scope("inner/deep"))
    graph.set_scope(scope("inner_deep"))
    graph.add_layer(plain("a", keras.layers.Dropout), "inner/a")
    graph.add_node("inner/a", (Value("add"),), outputs=[SPEC], scope="inner")
    graph.add_layer(plain("b"), "inner/deep/b")
    graph.add_node("inner/deep/b", (Value("inner/a"),), {"note": 1}, outputs=[SPEC], scope="inner/deep")
    graph.set_signature(outputs=[graph.outputs, Value("inner/deep/b")])
    return graph


def test_nodes_of_a_scope() -> None:
    graph = scoped()
    assert [node.name for node in graph.nodes_in("inner")] == ["inner/a", "inner/deep/b"]
    assert [node.name for node in graph.nodes_in("inner/deep")] == ["inner/deep/b"]
    assert graph.nodes_in("inn") == ()


def test_a_dropped_scope_hands_training_down_and_keeps_names_apart() -> None:
    graph = scoped()
    graph.drop_scope("inner")
    assert set(graph.scopes) == {"inner_deep", "inner_deep_1"}
    assert graph["inner/a"].scope == ""
    assert graph["inner/a"].kwargs == {"training": False}
    assert graph["inner/deep/b"].scope == "inner_deep_1"
    assert graph["inner/deep/b"].kwargs == {"note": 1}, "the call of the inner model says it"
    assert graph.scopes["inner_deep_1"].kwargs == {"training": False}
    verify_structure(graph)


def test_rename_stays_in_the_scope() -> None:
    graph = scoped()
    assert graph.rename("inner/a", "c").name == "inner/c"
    assert graph.layers["inner/c"].name == "c"
    verify_structure(graph)


def test_removing_a_scopes_output_is_noted_in_the_scope() -> None:
    graph = scoped()
    graph.set_scope(Scope(**{**fields(graph.scopes["inner"]), "outputs": [Value("inner/deep/b"), Value("inner/a")]}))
    graph.set_signature(outputs=graph.outputs[0])
    graph.remove("inner/deep/b")
    assert graph.scopes["inner"].outputs == [None, Value("inner/a")]


def fields(scope: Scope) -> dict[str, Any]:
    return {name: getattr(scope, name) for name in Scope.__slots__}
