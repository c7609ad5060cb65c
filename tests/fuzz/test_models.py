"""Three hundred random models, two thirds of them in every run; ``python -m tests.fuzz`` runs more of them."""

from __future__ import annotations

import warnings

import pytest

from kerasurgeon.rules.registry import known_kinds
from tests.fuzz.case import Case
from tests.fuzz.description import Description, Ref, Step
from tests.fuzz.kinds import LEFT_OUT, MAKERS
from tests.fuzz.models import KINDS, PATTERNS, draw_model, focus
from tests.fuzz.oracles import ORACLES, oracles_of
from tests.fuzz.shrinking import candidates

MODELS, CHUNK = 300, 10
# The sweep has these tens: they take no branch of the library that nothing else in every run takes.
SWEPT = {10, 30, 40, 60, 90, 100, 130, 140, 230, 240, 260}


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=[pytest.mark.sweep] * (first in SWEPT)) for first in range(0, MODELS, CHUNK)],
)
def test_random_models(first: int) -> None:
    """What fails is printed as Keras code; ``python -m tests.fuzz --seed N --models 1`` makes it smaller."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(first, first + CHUNK):
            description, made = draw_model(seed)
            case = Case(description, seed, made)
            for name in oracles_of(seed)[::2]:
                try:
                    ORACLES[name](case)
                except Exception as error:  # noqa: BLE001 - every one is a finding
                    pytest.fail(f"seed {seed}, {name}: {type(error).__name__}: {error}\n{description}")


def test_every_kind_with_a_rule_is_drawn_or_left_out_with_a_reason() -> None:
    kinds = {kind for kind in known_kinds() if not kind.startswith("custom:") or kind.startswith("custom:keras.")}
    assert kinds - set(MAKERS) - set(LEFT_OUT) == set()
    assert set(MAKERS) & set(LEFT_OUT) == set()
    assert set(MAKERS) - kinds == set(PATTERNS)
    assert set(LEFT_OUT) <= kinds
    assert all(LEFT_OUT.values())


def test_three_hundred_models_have_every_kind_in_focus() -> None:
    assert {kind for seed in range(MODELS) for kind in focus(seed)} == set(KINDS)


def test_a_seed_is_a_model() -> None:
    assert str(draw_model(5)[0]) == str(draw_model(5)[0])
    assert str(draw_model(5)[0]) != str(draw_model(6)[0])


def chain() -> Description:
    steps = {
        0: Step("InputLayer", options={"shape": (4,), "dtype": "float64"}),
        1: Step("Dense", (Ref(0),), {}, {"units": 6}),
        2: Step("ops.tanh", (Ref(1),)),
        3: Step("Dense", (Ref(2),), {}, {"units": 2}),
    }
    return Description(steps, Ref(3), "float64")


def test_the_oracle_of_cuts_sees_a_wrong_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that drops other channels than it was told to."""
    import kerasurgeon as ks

    right = ks.cut

    def wrong(model: object, plan: ks.ChannelPlan) -> object:
        kept = {name: [(index + 1) % 6 for index in wanted] for name, wanted in plan.kept.items()}  # type: ignore[union-attr]
        return right(model, ks.ChannelPlan(kept))

    assert ORACLES["cut"](Case(chain(), 0)) == "done"
    monkeypatch.setattr(ks, "cut", wrong)
    with pytest.raises(AssertionError, match="outputs differ"):
        ORACLES["cut"](Case(chain(), 0))


def test_a_model_is_made_smaller_by_one_thing_at_a_time() -> None:
    smaller = [str(candidate) for candidate in candidates(chain())]
    assert any("tanh" not in text for text in smaller)
    assert any(text.count("Dense") == 1 for text in smaller)
    assert len(set(smaller)) == len(smaller)
