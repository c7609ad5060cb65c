"""What PruneChannels does where nobody says how: with data, with labels, with nothing; what it says of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError, PassError
from kerasurgeon.generating import made_inputs, standing_in
from kerasurgeon.passes import PruneChannels
from tests.generating.test_generate_inputs import network, pictures

layers = keras.layers
Array = np.ndarray[Any, Any]


def error(model: keras.Model, other: keras.Model, inputs: Array) -> float:
    one, two = (np.asarray(item(inputs, training=False)) for item in (model, other))
    return float(np.sqrt(np.mean(np.square(one - two))) / one.std())


def pruned(model: keras.Model, data: Any = None, **options: Any) -> tuple[keras.Model, str]:
    options = {"ratio": 0.4, **options}
    result = ks.Pipeline([PruneChannels(**options)]).run(model, data=data)
    said = [site.what for report in result.report.passes for site in report.sites if site.node == model.name]
    return result.model, "\n".join(said)


@pytest.mark.spread(3)
@pytest.mark.parametrize("form", ["array", "labels", "labels of a loss that nobody knows"])
def test_with_data_what_a_fit_leaves_of_the_error_decides(form: str) -> None:
    data = pictures(64, 0)
    model = network(data)
    given = {
        "array": data,
        "labels": (data, np.asarray(model(data)).argmax(axis=-1)),
        "labels of a loss that nobody knows": (data, np.zeros((64, 3, 2))),
    }[form]
    made, said = pruned(model, given, round_to=1)
    explicit, _ = pruned(
        model, data, round_to=1, importance="reconstruction", scope="global", compensate="least_squares"
    )
    assert "least squares on the data; importance 'reconstruction'" in said
    assert error(made, explicit, data) < 1e-6


@pytest.mark.parametrize("compensate", ["none", "batch_norm", "data"])
def test_data_decides_where_kernels_are_not_fitted_as_well(compensate: str) -> None:
    data = pictures(64, 0)
    model = network(data)
    made, said = pruned(model, data, round_to=1, compensate=compensate)
    explicit, unsaid = pruned(
        model, data, round_to=1, importance="reconstruction", scope="global", compensate=compensate
    )
    by_size, nothing = pruned(model, round_to=1, compensate="none")
    assert said.startswith("importance 'reconstruction'")
    assert "importance" not in unsaid + nothing
    assert error(made, explicit, data) < 1e-6
    assert error(made, by_size, data) > 0.01


def test_what_is_only_zeroed_is_what_would_go() -> None:
    data = pictures(64, 0)
    model = network(data)
    zeros, said = pruned(model, data, round_to=1, try_zeros=True)
    cut, _ = pruned(model, data, round_to=1, compensate="none")
    assert "importance 'reconstruction'" in said
    assert zeros.count_params() == model.count_params() > cut.count_params()
    assert error(cut, zeros, data) < 1e-5


def test_data_that_can_be_read_once_is_kept_for_the_fit() -> None:
    data = pictures(64, 0)
    model = network(data)
    made, said = pruned(model, iter([data[:32], data[32:]]))
    explicit, _ = pruned(model, data, importance="l2", scope="local", compensate="least_squares")
    assert "importance 'l2': the data can be read only once" in said
    assert error(made, explicit, data) < 1e-6


@pytest.mark.parametrize("labelled", [True, False])
def test_groups_that_nothing_measurable_reads_are_judged_by_labels_or_size(labelled: bool) -> None:
    inputs = keras.Input((6, 4))
    x = layers.Dense(8, activation="relu", name="wide")(inputs)
    x = layers.RNN(layers.LSTMCell(6), name="memory")(x)
    model = keras.Model(inputs, layers.Dense(3, name="classes")(x), name="net")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(600, 6, 4)).astype("float32")
    labels = np.sort(rng.integers(0, 3, 600))
    made, said = pruned(model, (data, labels) if labelled else data, round_to=1)
    chosen = np.arange(512) * 600 // 512
    explicit, _ = pruned(
        model, (data[chosen], labels[chosen]), round_to=1, importance="taylor" if labelled else "l2", scope="local",
        compensate="least_squares",
    )  # fmt: skip
    assert ("'taylor', by the labels of at most 512 samples" if labelled else "and there are no labels") in said
    assert "reads the channels of 'wide'" in said
    assert [made.get_layer("wide").units, made.get_layer("memory").cell.units] == [
        explicit.get_layer("wide").units,
        explicit.get_layer("memory").cell.units,
    ]
    for name in ("kernel", "bias"):
        one, other = (np.asarray(getattr(each.get_layer("wide"), name)) for each in (made, explicit))
        np.testing.assert_array_equal(one, other)


@pytest.mark.generates
def test_without_data_inputs_are_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    data, test = pictures(128, 0), pictures(64, 1)
    model = network(data)
    quick = {"generate_seconds": 600.0, "round_to": 1}  # far more than it takes, on any machine
    monkeypatch.setattr("kerasurgeon.generating.making._LADDER", ((0.25, 30),))
    made, said = pruned(model, **quick)
    assert "least squares on generated inputs; importance 'reconstruction'" in said
    assert "64 inputs were generated" in said
    assert "[0, 1], as the first statistics" in said
    assert "data= (some hundred inputs)" in said
    by_means, _ = pruned(model, compensate="batch_norm", scope="local", round_to=1)
    whole, _ = pruned(model, data, round_to=1)
    assert error(model, whole, test) < error(model, made, test) < 0.8 * error(model, by_means, test)
    again, _ = pruned(model, **quick)
    assert error(made, again, test) < 1e-5


@pytest.mark.generates
def test_what_was_generated_serves_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(pictures(64, 0))
    calls = []
    original = made_inputs

    def counted(graph: Any, **options: Any) -> Any:
        calls.append(options["range"])
        return original(graph, 8, steps=2, **options)

    monkeypatch.setattr(standing_in, "made_inputs", counted)
    as_in_recipes: Any = [0, 1]
    passes = [PruneChannels(ratio=0.3, steps=2, input_range=as_in_recipes), PruneChannels(ratio=0.2)]
    ks.Pipeline(passes).run(model)
    assert calls == [(0, 1)]


def test_too_little_time_means_batch_norms() -> None:
    model = network(pictures(64, 0))
    made, said = pruned(model, generate_seconds=0)
    explicit, _ = pruned(model, importance="l2", scope="local", compensate="batch_norm")
    assert "batch-norm means are put in their place" in said
    assert "generate_seconds= gives more time" in said
    assert error(made, explicit, pictures(8, 1)) < 1e-6


@pytest.mark.generates
def test_what_was_asked_for_is_not_replaced() -> None:
    with pytest.raises(PassError, match="in this time"):
        pruned(network(pictures(64, 0)), compensate="generated", generate_seconds=0)


def test_networks_without_statistics_say_what_data_would_add() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="one")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2D(8, 3, name="two")(x))))
    _, said = pruned(model)
    assert "no trained batch norm to generate inputs from" in said
    assert "data= (some hundred inputs)" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_range": (1, 0)}, "upside down"),
        ({"input_range": 3}, "range= cannot be used"),
        ({"generate_seconds": -1}, "generate_seconds"),
        ({"generate_seconds": float("nan")}, "generate_seconds"),
        ({"compensate": "best"}, "compensate"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        PruneChannels(ratio=0.5, **options)


def test_a_range_of_an_input_that_is_not_there_is_refused() -> None:
    with pytest.raises(PassError, match="names the input 'picture'"):
        pruned(network(pictures(8, 0)), input_range={"picture": (0, 1)})


def wide() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for place, width in enumerate((24, 72, 200, 10)):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{place}")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def test_widths_pay_and_budgets_are_met() -> None:
    model = wide()
    whole = ks.cost(model).macs
    for kept in (0.8, 0.45, 0.2):
        small, _ = pruned(model, ratio=None, macs=kept)
        assert (kept - 0.01) * whole <= ks.cost(small).macs <= kept * whole
        for name, multiple in (("conv0", 4), ("conv1", 4), ("conv2", 4)):
            assert small.get_layer(name).filters % multiple == 0
    small, _ = pruned(model, ratio=0.5, scope="local")
    widths = [small.get_layer(f"conv{place}").filters for place in range(4)]
    assert 151 <= sum(widths) <= 153 * 1.01 + 1
    assert all(width % 4 == 0 for width in widths[:3])


def test_from_data_every_output_is_scaled_and_moved_to_what_it_was() -> None:
    """The normal equations of a factor and a shift, computed from what Keras gives; without batch norms."""
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(10, 3, activation="relu", name="one")(inputs)
    x = layers.Conv2D(12, 3, strides=2, activation="relu", name="two")(x)
    x = layers.MaxPooling2D()(x)
    model = keras.Model(inputs, layers.Conv2D(7, 2, name="three")(x))
    data = pictures(64, 0)
    made, _ = pruned(model, data, ratio=0.5, scope="local", importance="l2", compensate="data")
    assert [made.get_layer(name).filters for name in ("one", "two", "three")] == [5, 6, 7]
    was, now = (np.asarray(item(data), np.float64).reshape(-1, 7) for item in (model, made))
    left = was - now
    assert np.abs(left.mean(axis=0)).max() < 1e-4 * was.std()
    slopes = (left * (now - now.mean(axis=0))).mean(axis=0) / now.var(axis=0)
    assert np.abs(slopes).max() < 1e-3
    plain, _ = pruned(model, ratio=0.5, scope="local", importance="l2", compensate="none")
    assert error(model, made, pictures(64, 1)) < 0.8 * error(model, plain, pictures(64, 1))
