"""Small graphs to search, and what a search of them should come to."""

from __future__ import annotations

from typing import Any

import keras

from kerasurgeon.ir import Graph
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.rewrite.matches import Match, NearMiss
from kerasurgeon.rewrite.matching import find, near_misses
from kerasurgeon.rewrite.pattern_nodes import Pattern
from kerasurgeon.rewrite.patterns import anything, layers

CONV_BN = layers.BatchNormalization(layers.Conv2D(anything("x")).bind("conv")).bind("bn")


def image() -> Any:
    return keras.Input((8, 8, 3), name="image")


def graph_of(inputs: Any, outputs: Any) -> Graph:
    return lift(keras.Model(inputs, outputs))


def conv_bn(**conv: Any) -> Graph:
    x = image()
    y = keras.layers.Conv2D(4, 3, name="conv", **conv)(x)
    return graph_of(x, keras.layers.BatchNormalization(name="bn")(y))


def only(graph: Graph, pattern: Pattern) -> Match:
    matches = find(graph, pattern)
    assert len(matches) == 1, [str(match) for match in matches + near_misses(graph, pattern)]
    return matches[0]


def why_not(graph: Graph, pattern: Pattern) -> NearMiss:
    assert not find(graph, pattern)
    misses = near_misses(graph, pattern)
    assert len(misses) == 1, [str(miss) for miss in misses]
    return misses[0]
