"""Random cuts of every keras.applications network equal the masked twin, and no network is refused as a whole."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.channels import analyse, cut_channels
from kerasurgeon.channels.groups import groups
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.rewrite.outputs import relative_difference, rounding_sensitivity, run_model
from tests.applications import CLASSES, application_inputs, shared_application
from tests.channels.oracle import random_cut

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
# Random plans of the sweep; each ratio once for models of more weights, where a plan takes up to a minute.
SWEEP_PLANS = 20
MANY_WEIGHTS = 40_000_000
# A deep network's rounding is amplified; where 1e-4 is missed, this many times what the last bit of every weight of
# the masked model does to the outputs is allowed, and nothing more.
ROUNDINGS = 4


def test_random_cuts_equal_the_masked_twin(application: str, request: pytest.FixtureRequest) -> None:
    model = shared_application(application)
    graph = lift(model)
    channels = analyse(graph)
    assert not channels.barriers
    inputs = application_inputs(model, seed=5, batch=2)
    plans = 2
    if request.config.getoption("--all-architectures"):
        plans = SWEEP_PLANS if model.count_params() < MANY_WEIGHTS else len(RATIOS)
    for seed in range(plans):
        gone = random_cut(channels, seed, RATIOS[seed % len(RATIOS)])
        assert gone.sum() > 0.05 * channels.units
        small, masked = graph.copy(), graph.copy()
        report = cut_channels(small, gone, channels)
        assert report.exact
        assert not report.kept
        mask_units(masked, channels, gone)
        if not seed:
            check_types(small, everything=True)
        expected = run_model(emit(masked, compile=False), inputs)
        difference = relative_difference(expected, run_model(emit(small, compile=False), inputs))
        if difference > 1e-4:
            assert difference <= ROUNDINGS * rounding_sensitivity(masked, inputs, expected, seed=seed), f"plan {seed}"
        del small, masked
        keras.backend.clear_session()
        gc.collect()


def test_groups_cover_every_network(application: str) -> None:
    """All channels that layers make are in one group each, and only the classifier's may not go."""
    graph = lift(shared_application(application))
    found = groups(graph)
    assert found.channels.barriers == {}
    sources = [source.name for group in found for source in group.sources]
    assert sorted(sources) == sorted(set(sources)) == sorted(found.channels.sources)
    frozen = [group for group in found if group.frozen]
    assert [group.size for group in frozen] == [CLASSES]
    assert "output of the model" in frozen[0].frozen
    for group in found:
        assert group.size * group.granularity >= 1
        assert group.members
        assert group.macs is not None
        assert group.parameters > 0
    norms = {graph.kind(name) for name in {about for _, about in found.channels.inexact.values()}}
    assert norms <= {"LayerNormalization"}
    assert bool(norms) == application.startswith("ConvNeXt")


@pytest.mark.sweep
def test_inexact_channels_are_reported() -> None:
    model = shared_application("ConvNeXtTiny")
    group = next(group for group in groups(model) if group.inexact)
    plan = ks.ChannelPlan({group.name: range(group.sources[0].ids.size // 2)})
    graph = lift(model)
    report = cut_channels(graph, plan)
    assert not report.exact
    assert all("normalised" in reason for reason in report.inexact.values())
    assert np.isfinite(np.asarray(emit(graph)(application_inputs(model)))).all()
