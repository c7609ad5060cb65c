"""What passes say of sites, and what reaches a report: whatever a pass hands over, the report can be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.authoring import Context, Graph, Pass
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.passes import PruneChannels
from kerasurgeon.rewrite.context import Site


@dataclass(frozen=True)
class Does(Pass):
    """Runs a function."""

    run_: Callable[[Graph, Context], Any] = field(default=lambda graph, context: None)

    def run(self, graph: Graph, context: Context) -> None:
        """As the function says."""
        return self.run_(graph, context)  # type: ignore[no-any-return]


def network() -> keras.Model:
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2, name="last")(keras.layers.Dense(6, name="first")(inputs)))


def report_of(run: Callable[[Graph, Context], Any]) -> dict[str, Any]:
    report = ks.Pipeline([Does(run)]).run(network()).report
    return dict(json.loads(report.to_json())["passes"][0])


def test_a_node_or_its_name() -> None:
    def run(graph: Graph, context: Context) -> None:
        context.changed(graph["first"], "by the node")
        context.changed("first", "by its name")
        context.left(graph["last"], "by the node")
        context.left(np.str_("last"), "by a name out of an array")

    found = report_of(run)
    assert found["changed"] == [{"node": "first", "what": "by the node"}, {"node": "first", "what": "by its name"}]
    assert [site["node"] for site in found["left"]] == ["last", "last"]


@pytest.mark.parametrize(
    "wrong",
    [lambda graph: graph.layer_of("first"), lambda graph: graph["first"].value, lambda graph: 3, lambda _: None],
)
def test_anything_else_is_named(wrong: Callable[[Graph], Any]) -> None:
    for method in ("changed", "left"):
        with pytest.raises(PassError, match=r"Does\(.*node of a site cannot be used") as caught:
            report_of(lambda graph, context, method=method: getattr(context, method)(wrong(graph), "said"))  # type: ignore[misc]
        assert "take a node or its name" in str(caught.value)


@pytest.mark.parametrize("said", [None, 3, np.float32(1.5), ["a"]])
def test_what_is_said_is_text(said: Any) -> None:
    with pytest.raises(PassError, match="What is said of a site cannot be used"):
        report_of(lambda graph, context: context.changed("first", said))
    with pytest.raises(OptionError, match="text"):
        Site("first", changed=True, what=said)


def test_logs_that_were_filled_past_the_methods() -> None:
    with pytest.raises(PassError, match=r"context.sites.*cannot be used"):
        report_of(lambda graph, context: context.sites.append(("first", "done")))  # type: ignore[arg-type]
    with pytest.raises(PassError, match="no plan"):
        report_of(lambda graph, context: context.plans.append({"first": 3}))
    kept = report_of(lambda graph, context: context.plans.append(ks.ChannelPlan({"first": 3})))
    assert kept["plans"]


def test_a_result_of_run_is_not_lost_in_silence() -> None:
    with pytest.raises(PassError, match="returned something, which is lost") as caught:
        report_of(lambda graph, context: network())
    assert "Functional" in str(caught.value)
    assert report_of(lambda graph, context: graph)["changed"] == [], "the graph itself says nothing new"


@pytest.mark.parametrize(
    ("value", "written"),
    [(np.int64(3), 3), (np.bool_(True), True), ({"a": np.float32(0.5)}, {"a": 0.5}), ({3}, "{3}"), (print, "print")],
)
def test_options_of_any_kind_are_written(value: Any, written: Any) -> None:
    @dataclass(frozen=True)
    class Holds(Pass):
        """Holds an option."""

        value: Any = None

        def run(self, graph: Graph, context: Context) -> None:
            """Nothing."""

    report = json.loads(ks.Pipeline([Holds(value)]).run(network()).report.to_json())
    assert report["passes"][0]["options"]["value"] == written


def test_numbers_of_numpy_stay_numbers() -> None:
    report = ks.Pipeline([PruneChannels(ratio=np.float64(0.5))]).run(network()).report
    assert json.loads(report.to_json())["passes"][0]["options"]["ratio"] == 0.5


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        (lambda model: [1.0, 2.0], "no finite number"),
        (lambda model: None, "no finite number"),
        (lambda model: float("nan"), "no finite number"),
        (lambda model: 1 / 0, "evaluate= raised ZeroDivisionError"),
    ],
)
def test_what_an_evaluation_gives_is_checked(evaluate: Callable[[Any], Any], said: str) -> None:
    pipeline = ks.Pipeline([PruneChannels(ratio=0.5, max_loss=0.1)])
    with pytest.raises(PassError, match=said):
        pipeline.run(network(), evaluate=evaluate)


def test_an_evaluation_may_give_a_tensor() -> None:
    result = ks.Pipeline([PruneChannels(ratio=0.5, max_loss=0.1)]).run(
        network(), evaluate=lambda model: keras.ops.convert_to_tensor(1.0)
    )
    assert result.model.get_layer("first").units == 3
