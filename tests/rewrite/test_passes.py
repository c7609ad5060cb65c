"""The driver of rewriting passes: every outcome of a site, and every way to get it wrong."""

from __future__ import annotations

import copy
from typing import Any

import keras
import pytest
from keras import layers

from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.ir import Graph, verify_structure
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.context import Context, Site
from kerasurgeon.rewrite.option_checks import check_fraction
from kerasurgeon.rewrite.passes import Pass, Preserves, Skip
from tests.rewrite.own_passes import (
    Cascades,
    ChecksWithHands,
    DropRelu,
    Endless,
    LookOnly,
    Needs,
    NotADataclass,
    RewritesNothing,
    ScaleKernels,
)


def chain(*names: str) -> Graph:
    x = inputs = keras.Input((4,), name="x")
    for name in names:
        x = layers.ReLU(name=name)(x) if not name.startswith("tanh") else layers.Activation("tanh", name=name)(x)
    return lift(keras.Model(inputs, x))


def run(pass_: Pass, graph: Graph) -> list[Site]:
    context = Context()
    pass_.run(graph, context)
    verify_structure(graph)
    return context.sites


def test_every_site_has_an_outcome() -> None:
    graph = chain("first", "kept", "tanh", "silent", "tanh_out")
    assert run(DropRelu(), graph) == [
        Site("first", changed=True, what="removed"),
        Site("silent", changed=True, what="rewritten"),
        Site("kept", changed=False, what="it is to be kept"),
    ]
    assert [node.name for node in graph.nodes()] == ["x", "kept", "tanh", "tanh_out"]


def test_a_rewrite_may_make_the_next_site() -> None:
    graph = chain("a", "b", "c", "d", "tanh")
    sites = run(Cascades(), graph)
    assert sum(site.changed for site in sites) == 3
    assert len([node for node in graph if graph.kind(node) == "ReLU"]) == 1
    assert isinstance(emit(graph), keras.Model)


def test_near_misses_say_why() -> None:
    sites = run(Cascades(), chain("tanh", "only", "tanh_out"))
    (site,) = [site for site in sites if site.node == "only"]
    assert not site.changed
    assert "tanh" in site.what


def test_endless_rewriting_is_stopped() -> None:
    with pytest.raises(PassError, match=r"Endless does not come to an end(.|\n)*refuse that in check"):
        run(Endless(), chain("a", "tanh"))


def test_a_rewrite_without_a_change_is_an_error() -> None:
    with pytest.raises(PassError, match=r"RewritesNothing.rewrite\(\) left the graph unchanged(.|\n)*site 'a'"):
        run(RewritesNothing(), chain("a", "tanh"))


def test_a_check_that_changes_the_graph_is_an_error() -> None:
    with pytest.raises(PassError, match=r"ChecksWithHands.check\(\) changed the graph(.|\n)*site 'a'"):
        run(ChecksWithHands(), chain("a", "tanh"))


def test_progress_stays_between_0_and_1() -> None:
    seen: list[float] = []
    context = Context(progress=lambda fraction, message: seen.append(fraction))
    DropRelu().run(chain("a", "b", "c", "tanh"), context)
    assert seen
    assert all(0 <= fraction <= 1 for fraction in seen)


def test_what_a_pass_says_of_itself() -> None:
    assert ScaleKernels(3.0).name == "ScaleKernels"
    assert ScaleKernels(3.0).options == {"factor": 3.0, "kinds": ("Dense", "Conv2D"), "only": None, "table": {}}
    assert ScaleKernels.summary() == "Multiply kernels by a factor."
    assert NotADataclass().options == {}
    assert LookOnly.preserves is Preserves.EXACT
    assert ScaleKernels.preserves is Preserves.APPROXIMATE
    assert str(Skip("the reason")) == "the reason"


@pytest.mark.parametrize("value", [1.0, 0.3, 1])
def test_fractions(value: float) -> None:
    check_fraction("ScaleKernels", "factor", value)
    check_fraction("ScaleKernels", "factor", 0, zero=True)


@pytest.mark.parametrize("value", [0, -0.1, 1.01, float("nan"), True, "0.5", None])
def test_what_is_no_fraction(value: Any) -> None:
    with pytest.raises(OptionError, match=r"ScaleKernels: option 'factor' must be a fraction(.|\n)*got: "):
        check_fraction("ScaleKernels", "factor", value)


def test_a_required_option_that_is_not_given_is_named() -> None:
    with pytest.raises(OptionError, match=r"(?s)^Needs needs the option 'units'\..*kerasurgeon passes Needs"):
        Needs()  # type: ignore[call-arg]  # what must not be done
    assert Needs(3) == Needs(units=3) == copy.deepcopy(Needs(3))
