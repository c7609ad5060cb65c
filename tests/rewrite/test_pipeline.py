"""Pipelines: what they report, what they verify, what they refuse; the model that goes in is never touched."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasurgeon.errors import OptionError, PassError, VerificationError
from kerasurgeon.rewrite.passes import VERIFY_LEVELS, Pass
from kerasurgeon.rewrite.pipeline import Pipeline, apply_passes
from tests.keras_io.facts import bitwise_equal, difference, predict, state, values
from tests.rewrite.own_passes import (
    AddRandom,
    BreaksNumbers,
    CutsTooMuch,
    DropRelu,
    Endless,
    Liar,
    LookOnly,
    Raises,
    SayNothing,
    ScaleKernels,
    Tears,
)
from tests.zoo import BAD, build, randomise, sample_inputs


@pytest.fixture
def model() -> Any:
    x = inputs = keras.Input((4,), name="x")
    x = layers.Dense(8, name="hidden")(x)
    x = layers.ReLU(name="act")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x), name="small")
    randomise(model)
    model.compile("sgd", "mse")
    return model


# What comes out


def test_an_empty_pipeline_gives_the_model_again(model: Any) -> None:
    result = Pipeline([]).run(model)
    x = sample_inputs(model)
    assert bitwise_equal(predict(result.model, x), predict(model, x))
    assert result.model is not model
    assert result.report.passes == ()
    assert result.recipe.steps == ()
    assert apply_passes(model, []).name == "small"


def test_the_report_counts_what_keras_counts(model: Any) -> None:
    result = Pipeline([LookOnly(), DropRelu(), AddRandom()]).run(model, verify="types")
    look, drop, add = result.report.passes
    assert look.before.parameters == look.after.parameters == model.count_params()
    assert add.after.parameters == result.model.count_params() == model.count_params() + 3 * 3 + 3
    assert (look.before.nodes, drop.after.nodes, add.after.nodes) == (4, 3, 4)
    assert look.before.macs == 4 * 8 + 8 * 3
    assert add.after.macs == look.before.macs + 3 * 3
    assert look.before.weight_bytes == 4 * model.count_params()
    assert drop.after.peak_activation_bytes <= drop.before.peak_activation_bytes
    assert [site.node for site in drop.changed] == ["act"]
    assert [site.what for site in look.left] == ["it is only looked at"] * 4
    assert look.seconds >= 0
    assert look.verify_seconds >= 0
    assert result.report.seconds >= sum(item.seconds + item.verify_seconds for item in result.report.passes)
    assert result.graph.revision > 0


def test_differences_are_reported_where_outputs_are_compared(model: Any) -> None:
    passes = [LookOnly(), ScaleKernels(2.0, only="logits")]
    exact, approximate = Pipeline(passes).run(model, verify="outputs").report.passes
    assert exact.difference == 0
    assert approximate.difference == pytest.approx(relative(model, passes), rel=1e-5)
    assert [item.difference for item in Pipeline(passes).run(model, verify="exact").report.passes] == [0, None]
    assert [item.difference for item in Pipeline(passes).run(model, verify="types").report.passes] == [None, None]


def relative(model: Any, passes: list[Pass]) -> float:
    """The largest difference over the largest magnitude, by the library's own sample inputs."""
    from kerasurgeon.keras_io import lift
    from kerasurgeon.keras_io.samples import sample_inputs as drawn

    x = drawn(lift(model))
    before = predict(model, x)[0]
    kernel, bias = (np.asarray(weight) for weight in model.get_layer("logits").weights)
    hidden = np.maximum(np.asarray(model.get_layer("hidden")(x)), 0)
    return float(np.abs(hidden @ (2 * kernel) + bias - before).max() / np.abs(before).max())


def test_nodes_that_become_unused_are_removed_and_named(model: Any) -> None:
    class Shortcut(Pass):
        def run(self, graph: Any, context: Any) -> None:
            graph.set_output(graph["logits"].value, graph["hidden"].value)

    (report,) = Pipeline([Shortcut()]).run(model).report.passes
    assert set(report.removed) == {"act", "logits"}


def test_what_led_nowhere_before_stays() -> None:
    model = build("nested_unused_output")
    result = Pipeline([LookOnly(), ScaleKernels()]).run(model)
    assert [report.removed for report in result.report.passes] == [(), ()]
    assert [weight.path for weight in result.model.weights] == [weight.path for weight in model.weights]


def test_notes_reach_the_report() -> None:
    notes = Pipeline([]).run(build("functional_subclass_with_options")).report.notes
    assert any("WithOptions" in note for note in notes)


@pytest.mark.parametrize("name", ["conv_1d", "shared_conv_three_sizes", "mask_into_nested", "dict_io", "no_weights"])
@pytest.mark.parametrize("verify", VERIFY_LEVELS)
def test_models_of_all_sorts_can_be_sized_and_verified(name: str, verify: str) -> None:
    model = build(name)
    (report,) = Pipeline([LookOnly()]).run(model, verify=verify).report.passes
    assert report.before == report.after
    assert report.before.parameters == sum(int(np.prod(weight.shape)) for weight in model.weights)


# Seeds


def test_same_seed_same_bytes(model: Any) -> None:
    def run(seed: int) -> list[bytes]:
        result = Pipeline([AddRandom(), ScaleKernels()]).run(model, seed=seed)
        return [array.tobytes() for array in values(result.model.weights)]

    keras.utils.set_random_seed(1)
    first = run(0)
    keras.utils.set_random_seed(2)  # what the user draws beside it does not matter
    assert run(0) == first
    assert run(1) != first


def test_the_users_generators_are_left_alone(model: Any) -> None:
    import random

    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy generator is the user's, and global
    wanted = random.Random(5).random(), np.random.RandomState(5).random()
    Pipeline([AddRandom()]).run(model)
    assert (random.random(), np.random.random()) == wanted  # noqa: NPY002


def test_each_pass_draws_its_own_numbers(model: Any) -> None:
    class Draw(Pass):
        def run(self, graph: Any, context: Any) -> None:
            drawn.append((context.seed, context.rng.random()))

    drawn: list[tuple[int, float]] = []
    Pipeline([Draw(), Draw()]).run(model)
    assert drawn[0] != drawn[1]


def test_the_context_holds_what_the_user_gave(model: Any) -> None:
    class Look(Pass):
        def run(self, graph: Any, context: Any) -> None:
            seen.append((context.data, context.loss, context.evaluate(None)))

    seen: list[Any] = []
    Pipeline([Look()]).run(model, data="data", loss="loss", evaluate=lambda _: 0.5)
    assert seen == [("data", "loss", 0.5)]


def test_progress_never_goes_back_and_ends_at_1(model: Any) -> None:
    seen: list[tuple[float, str]] = []
    passes = [LookOnly(), ScaleKernels(), DropRelu()]
    apply_passes(model, passes, progress=lambda fraction, message: seen.append((fraction, message)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert {"LookOnly", "ScaleKernels", "DropRelu"} <= {message for _, message in seen}


# What is refused


def test_a_pass_that_raises_is_named_with_its_node(model: Any) -> None:
    before = state(model)
    with pytest.raises(PassError) as caught:
        apply_passes(model, [LookOnly(), Raises()])
    error = caught.value
    assert error.what == "Pass Raises() failed: ZeroDivisionError: no way to go on at 'half_done'"
    assert error.where == "node 'half_done'"
    assert "passes that ran before: LookOnly" in str(error.hint)
    assert "> half_done = Dense" in str(error.context)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert difference(before, state(model)) is None


@pytest.mark.parametrize("verify", VERIFY_LEVELS)
def test_a_pass_that_leaves_the_graph_inconsistent(model: Any, verify: str) -> None:
    before = state(model)
    with pytest.raises(PassError, match=r"Tears\(\) failed: I2: the edges do not agree") as caught:
        apply_passes(model, [Tears()], verify=verify)
    assert caught.value.where == "node 'logits'"
    assert "> logits = Dense(act)" in str(caught.value)
    assert isinstance(caught.value.__cause__, VerificationError)
    assert difference(before, state(model)) is None


def test_a_pass_that_leaves_stale_shapes(model: Any) -> None:
    before = state(model)
    with pytest.raises(PassError) as caught:
        apply_passes(model, [CutsTooMuch()])
    text = str(caught.value)
    assert "Node 'hidden' (Dense) does not give what the graph records" in text
    assert "expected: (?, 8) float32 (recorded)" in text
    assert "got: (?, 2) float32 (derived by Keras)" in text
    assert "> hidden = Dense(x) {kernel 4x2, bias 2}" in text
    assert difference(before, state(model)) is None


def test_a_pass_that_forgets_a_reader(model: Any) -> None:
    with pytest.raises(PassError) as caught:
        apply_passes(model, [CutsTooMuch()], data="infer")
    text = str(caught.value)
    assert "Weight 'kernel' of layer 'logits' (Dense) does not fit" in text
    assert "where: node 'logits'" in text
    assert "expected: shape (2, 3)" in text
    assert "got: shape (8, 3)" in text
    assert "  act = ReLU(hidden)" in text


def test_an_exact_pass_that_lies_is_caught(model: Any) -> None:
    before = state(model)
    for verify in ("exact", "outputs"):
        with pytest.raises(VerificationError, match="Liar claims to be exact, but the outputs changed"):
            apply_passes(model, [LookOnly(), Liar(1.5, only="logits")], verify=verify)
    assert difference(before, state(model)) is None
    for verify in ("structure", "types"):
        assert apply_passes(model, [Liar(1.5)], verify=verify).name == "small"


def test_exactness_is_judged_by_what_the_pass_was_given(model: Any) -> None:
    # An honest approximate pass before an exact one is no excuse and no fault of the latter.
    passes = [ScaleKernels(3.0), LookOnly(), Liar(1.0)]
    differences = [item.difference for item in Pipeline(passes).run(model).report.passes]
    assert differences == [None, 0.0, 0.0]


@pytest.mark.parametrize("name", ["nan_weights", "infinite_weights"])
def test_weights_that_are_not_finite(name: str) -> None:
    bad = BAD[name]()
    with pytest.raises(VerificationError, match=r"NaN or infinite: 1 of them(.|\n)*where: broken.kernel"):
        apply_passes(bad, [LookOnly()])
    assert apply_passes(bad, [LookOnly()], verify="types").name == "nan_weights"


def test_a_pass_that_makes_nan_is_named(model: Any) -> None:
    with pytest.raises(PassError, match=r"BreaksNumbers\(\) failed(.|\n)*where: hidden.kernel"):
        apply_passes(model, [BreaksNumbers()])
    assert np.isnan(values(apply_passes(model, [BreaksNumbers()], verify="structure").weights)[0]).all()


def test_an_endless_pass_ends(model: Any) -> None:
    with pytest.raises(PassError, match="Endless does not come to an end"):
        apply_passes(model, [Endless()])


def test_a_model_for_which_no_inputs_are_found_is_not_compared(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = np.zeros((2, 9), "float32")
    monkeypatch.setattr("kerasurgeon.rewrite.outputs._candidates", lambda *_: [wrong])
    report = Pipeline([Liar(1.0)]).run(model).report
    assert report.passes[0].difference is None
    (note,) = [note for note in report.notes if "not compared" in note]
    assert "no inputs were found" in note
    assert "give data=" in note


def test_what_is_no_pass() -> None:
    with pytest.raises(OptionError, match=r"made of passes(.|\n)*write LookOnly\(\) to make an instance"):
        Pipeline([LookOnly])  # type: ignore[list-item]
    with pytest.raises(OptionError, match=r"got: 'FoldBatchNorm'"):
        Pipeline(["FoldBatchNorm"])  # type: ignore[list-item]


def test_what_is_no_level(model: Any) -> None:
    with pytest.raises(OptionError, match=r"verify='all' is not a level(.|\n)*'structure' or 'types'"):
        apply_passes(model, [], verify="all")


# What is shown


def test_the_report_as_json_and_text(model: Any) -> None:
    report = Pipeline([LookOnly(), ScaleKernels(kinds=("Dense",)), SayNothing()]).run(model).report
    content = json.loads(report.to_json())
    assert content["model"] == "small"
    look, scale, nothing = content["passes"]
    assert look["left"][0] == {"node": "x", "why": "it is only looked at"}
    assert scale["changed"] == [{"node": name, "what": "scaled by 2.0"} for name in ("hidden", "logits")]
    assert scale["options"] == {"factor": 2.0, "kinds": ["Dense"], "only": None, "table": {}}
    assert scale["before"]["parameters"] == model.count_params()
    assert nothing["changed"] == nothing["left"] == []
    text = str(report)
    assert "ScaleKernels" in text
    assert "LookOnly: left 4 alone (x, ...): it is only looked at" in text
    assert "SayNothing: changed nothing; it found no site to look at" in text
    html = report._repr_html_()
    assert "<table>" in html
    assert "LookOnly: left 4 alone" in html


def test_html_is_escaped(model: Any) -> None:
    class Odd(Pass):
        def run(self, graph: Any, context: Any) -> None:
            context.left("<b>", "a < b & c")

    html = Pipeline([Odd()]).run(model).report._repr_html_()
    assert "a &lt; b &amp; c" in html
    assert "<b>" not in html
