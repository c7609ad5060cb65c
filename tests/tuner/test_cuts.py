"""Which cuts a search may choose."""

from __future__ import annotations

import keras
import pytest

from kerasurgeon.errors import GraphError, OptionError
from kerasurgeon.keras_io import lift
from kerasurgeon.workflows.tuner import Cuts
from kerasurgeon.workflows.tuner.block_ends import block_ends
from kerasurgeon.workflows.tuner.cuts import ends_by_label
from tests.tuner.networks import inverted, separable

EVERY = Cuts(least_saved=0.0, most_saved=1.0, most=1000)


def ends(model: keras.Model) -> list[str]:
    return sorted(value.node for value in block_ends(lift(model)))


def test_the_blocks_of_a_chain_of_separable_convolutions_end_behind_the_pointwise_ones() -> None:
    assert ends(separable()) == ["pw_1_relu", "pw_2_relu", "pw_3_relu", "pw_4_relu", "stem_relu"]


def test_inverted_bottlenecks_end_where_they_are_narrow() -> None:
    # Behind the stem an expansion follows, so that a block ends there too.
    assert ends(inverted()) == ["add_3", "add_5", "project_1_bn", "project_2_bn", "project_4_bn", "stem_relu"]


def layers_at(model: keras.Model, places: str) -> set[str]:
    return {model.layers[int(place)].name for place in places.split()}


@pytest.mark.parametrize(
    ("name", "options", "before", "behind", "count"),
    [
        # Camacho et al.: behind which layers, before which ones, by their indices in Keras.
        ("MobileNet", {"alpha": 0.25}, "3 9 16 22 29 35 42 48 54 60 66", "73 80", 12),
        ("MobileNetV2", {"alpha": 0.35}, "8 17 26 35 44 53 62 71 80 89 97 106 115 124 133", "143 151", 16),
    ],
)
def test_the_cuts_of_the_paper_are_among_those_found(
    name: str, options: dict[str, float], before: str, behind: str, count: int
) -> None:
    model = getattr(keras.applications, name)(input_shape=(64, 64, 3), weights=None, include_top=False, **options)
    found = {(pair.first, pair.last) for pair in Cuts(0.0, 1.0, most=1000).find(lift(model))}
    listed = {(first, last) for first in layers_at(model, before) for last in layers_at(model, behind)}
    assert listed <= found
    assert len({first for first, _ in found}) == count  # and no layer inside of blocks


def test_limits() -> None:
    graph = lift(inverted())
    every = EVERY.find(graph)
    shares = [1 - pair.parameters_kept_ratio for pair in every]
    some = Cuts(least_saved=0.2, most_saved=0.6, most=1000).find(graph)
    assert [str(pair) for pair in some] == [
        str(pair) for pair, share in zip(every, shares, strict=True) if 0.2 <= share <= 0.6
    ]
    assert len(some) < len(every)


def test_of_many_cuts_those_are_taken_whose_savings_are_spread() -> None:
    graph = lift(inverted())
    every = sorted(1 - pair.parameters_kept_ratio for pair in EVERY.find(graph))
    few = sorted(1 - pair.parameters_kept_ratio for pair in Cuts(0.0, 1.0, most=4).find(graph))
    assert len(few) == 4
    assert (few[0], few[-1]) == (every[0], every[-1])
    step = (every[-1] - every[0]) / 3
    for index in (1, 2):
        wanted = every[0] + index * step
        assert abs(few[index] - wanted) == pytest.approx(min(abs(share - wanted) for share in every))


def test_cuts_inside_of_blocks_are_found_where_they_are_wanted() -> None:
    graph = lift(inverted())
    inside = Cuts(0.0, 1.0, most=1000, whole_blocks=False).find(graph)
    assert {str(pair) for pair in EVERY.find(graph)} < {str(pair) for pair in inside}
    assert "expand_2_relu" in {pair.entry.node for pair in inside}


def test_by_macs() -> None:
    graph = lift(separable())
    every = EVERY.find(graph, by_macs=True)
    some = Cuts(least_saved=0.3, most_saved=1.0, most=1000).find(graph, by_macs=True)
    assert {str(pair) for pair in some} == {str(pair) for pair in every if pair.macs_kept_ratio <= 0.7}
    assert {str(pair) for pair in some} != {str(pair) for pair in every if pair.parameters_kept_ratio <= 0.7}


def test_named_cuts() -> None:
    graph = lift(separable())
    wanted = ends_by_label(graph, [("pw_1_relu", "dw_4"), "stem_relu, dw_5"], by_macs=False)
    assert {label: [value.node for value in pair] for label, pair in wanted.items()} == {
        "pw_1_relu,dw_4": ["pw_1_relu", "pw_3_relu"],
        "stem_relu,dw_5": ["stem_relu", "pw_4_relu"],
    }


def chain_of_dense() -> keras.Model:
    image = keras.Input((8,))
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.Dense(6)(image)), name="dense")


def test_no_cuts() -> None:
    with pytest.raises(OptionError, match="no cut at all"):
        Cuts().find(lift(chain_of_dense()))
    with pytest.raises(OptionError, match="set least_saved and most_saved") as caught:
        Cuts(least_saved=0.99, most_saved=1.0).find(lift(separable()))
    assert "which save" in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"least_saved": -0.1}, {"most_saved": 2}, {"least_saved": 0.5, "most_saved": 0.4}, {"most": 0}]
)
def test_limits_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="Cuts: option"):
        Cuts(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("cuts", ["pw_1_relu,dw_4", [("pw_1_relu",)], [], [3], {"a": "b"}])
def test_what_names_no_cuts(cuts: object) -> None:
    with pytest.raises(OptionError, match="'cuts'"):
        ends_by_label(lift(separable()), cuts, by_macs=False)


def test_a_pair_that_is_no_cut() -> None:
    graph = lift(separable())
    with pytest.raises(GraphError, match="does not come before"):
        ends_by_label(graph, [("pw_3_relu", "dw_1")], by_macs=False)
    with pytest.raises(GraphError, match="pw_33"):
        ends_by_label(graph, [("pw_33", "dw_1")], by_macs=False)
