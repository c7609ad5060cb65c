"""Factorise as a whole: how ranks are chosen, for one layer and for the model; bad input; with other passes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import BudgetError, OptionError, PassError, PlanError
from kerasurgeon.passes import ApplyFactors, Factorise, FoldBatchNorm, PruneChannels, TuckerSplit
from kerasurgeon.rewrite.pipeline import Pipeline
from tests.passes.checking import changed, decaying, difference, kinds, model_of, outputs_of, reasons, run

layers = keras.layers
Array = np.ndarray[Any, Any]


def network(*, norms: bool = False) -> keras.Model:
    """Every kind of layer that Factorise takes first: k x k, 1x1, strided, Dense, with decaying spectra."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=not norms, name="down")(x)
    x = layers.BatchNormalization(name="norm")(x) if norms else x
    x = layers.ReLU(name="act")(x)
    x = layers.Conv2D(48, 1, activation="relu", name="point")(x)
    x = layers.Conv2D(32, (3, 5), padding="same", activation="relu", name="wide")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(24, activation="relu", name="hidden")(x)
    model = model_of(inputs, layers.Dense(10, name="logits")(x))
    rng = np.random.default_rng(1)
    for name in ("stem", "down", "point", "wide", "hidden", "logits"):
        kernel = model.get_layer(name).kernel
        kernel.assign(decaying(rng, tuple(kernel.shape)))
    return model


def weights(model: keras.Model, name: str) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(model.get_layer(name).kernel), "float64")


def chain_kernel(model: keras.Model, name: str) -> Array:
    """The kernel that the layers of a Tucker or SVD chain stand for, put together by einsum."""
    names = [layer.name for layer in model.layers]
    # What gives the model's output keeps the name of the original.
    made = [f"{name}_{role}" if f"{name}_{role}" in names else name for role in ("in", "core", "out")]
    parts = [weights(model, part) for part in dict.fromkeys(made) if part in names]
    kernel = parts[0]
    for part in parts[1:]:
        kernel = np.einsum("...cr,...rn->...cn", kernel, part)
    return kernel


def relative(kernel: Array, other: Array) -> float:
    return float(np.linalg.norm(kernel - other) / np.linalg.norm(kernel))


FACTORISED = ("stem", "down", "point", "wide", "hidden", "logits")


# ---- budgets ----------------------------------------------------------------------------------------------------


@pytest.mark.spread(3)
@pytest.mark.parametrize("kept", [0.9, 0.6, 0.35])
@pytest.mark.parametrize("measure", ["macs", "params", "bytes"])
def test_a_budget_of_the_model_is_met(measure: str, kept: float) -> None:
    model = network()
    budget: dict[str, Any] = {measure: kept}
    result = run(Factorise(**budget), model)
    field = {"macs": "macs", "params": "parameters", "bytes": "weight_bytes"}[measure]
    before, after = getattr(ks.cost(model), field), getattr(ks.cost(result.model), field)
    assert 0.97 * kept <= after / before <= kept + 1e-9
    assert "asked for" in changed(result)[model.name]


def test_a_budget_may_be_a_number() -> None:
    model = network()
    wanted = int(0.6 * ks.cost(model).macs)
    assert 0.97 * wanted <= ks.cost(run(Factorise(macs=wanted), model).model).macs <= wanted


def test_a_compression_factor_is_of_the_layers_that_may_be_factorised() -> None:
    model = network()
    result = run(Factorise(compression_factor=0.5, cost="params", method="tucker"), model)
    names = ("stem", "down", "wide")
    before = sum(weights(model, name).size for name in names)
    left = sum(layer.kernel.numpy().size for layer in result.model.layers if layer.name.split("_")[0] in names)
    assert 0.98 * 0.5 <= left / before <= 0.5


def test_what_cannot_be_reached_is_come_near_to_where_that_is_asked_for() -> None:
    model = network()
    with pytest.raises(BudgetError, match="outside the layers that may be factorised") as caught:
        run(Factorise(macs=0.001), model)
    result = run(Factorise(macs=0.001, unreachable="nearest"), model)
    assert ks.cost(result.model).macs == caught.value.reachable
    least = min(ks.cost(result.model).macs, ks.cost(model).macs)
    assert least < 0.2 * ks.cost(model).macs
    assert "cannot be reached" in changed(result)[model.name]
    assert "Factorise: macs=0.001 cannot be reached" in " ".join(str(result.report).split())
    assert "outside the layers that may be factorised" in changed(result)[model.name]


def test_a_budget_above_the_model_changes_nothing() -> None:
    result = run(Factorise(macs=1.0), network())
    assert not changed(result)
    assert "there is no more than that" in reasons(result)[result.model.name]


def test_macs_need_a_fixed_size() -> None:
    inputs = keras.Input((None, None, 3), name="image")
    model = model_of(inputs, layers.Conv2D(8, 3, name="conv")(inputs))
    with pytest.raises(PassError, match="unknown for 1 call"):
        run(Factorise(macs=0.5), model)
    assert changed(run(Factorise(params=0.7), model))


def test_the_choice_for_all_layers_keeps_the_largest_product_of_energies() -> None:
    """Against every combination of a coarse grid of ranks, with errors by numpy."""
    inputs = keras.Input((6, 6, 8), name="image")
    x = layers.Conv2D(8, 1, name="one")(inputs)
    x = layers.Conv2D(12, 1, activation="relu", name="two")(x)
    model = model_of(inputs, layers.Dense(6, name="three")(layers.Flatten()(x)))
    rng = np.random.default_rng(2)
    for name in ("one", "two", "three"):
        kernel = model.get_layer(name).kernel
        kernel.assign(decaying(rng, tuple(kernel.shape)))
    budget = 0.6 * sum(weights(model, name).size for name in ("one", "two", "three"))
    options = []
    for name in ("one", "two", "three"):
        matrix = weights(model, name).reshape(-1, weights(model, name).shape[-1])
        energies = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2) / np.sum(matrix**2)
        rows = [(0.0, matrix.size)]
        rows += [
            (-np.log(max(energies[rank - 1], 1e-12)), rank * sum(matrix.shape)) for rank in range(1, min(matrix.shape))
        ]
        options.append(rows)
    best = min(sum(row[0] for row in rows) for rows in product(*options) if sum(row[1] for row in rows) <= budget)
    result = run(Factorise(compression_factor=0.6, cost="params", rescale=False), model)
    found = 0.0
    for name in ("one", "two", "three"):
        kernel = weights(model, name)
        made = chain_kernel(result.model, name).reshape(kernel.shape)
        found -= np.log(1 - relative(kernel, made) ** 2)
    assert found == pytest.approx(best, rel=1e-3)


# ---- one layer by itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [0.1, 0.3, 0.6])
def test_no_kernel_has_a_larger_error_than_asked_for(error: float) -> None:
    model = network()
    result = run(Factorise(error=error, rescale=False), model)
    assert changed(result)
    for name in FACTORISED:
        kernel = weights(model, name)
        found = relative(kernel, chain_kernel(result.model, name).reshape(kernel.shape))
        assert found <= error + 1e-6
    said = set(reasons(result).values())
    assert said <= {f"nothing cheaper has a relative kernel error of at most {error}"}


def test_vbmf_finds_planted_ranks() -> None:
    inputs = keras.Input((8, 8, 32), name="image")
    x = layers.Conv2D(40, 3, padding="same", name="conv")(inputs)
    model = model_of(inputs, layers.Dense(48, name="dense")(x))
    rng = np.random.default_rng(0)
    planted = np.einsum(
        "cr,xyrq,qn->xycn",
        rng.standard_normal((32, 4)),
        rng.standard_normal((3, 3, 4, 5)),
        rng.standard_normal((5, 40)),
    )
    model.get_layer("conv").kernel.assign(planted + 0.3 * rng.standard_normal(planted.shape))
    matrix = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 48))
    model.get_layer("dense").kernel.assign(matrix + 0.2 * rng.standard_normal(matrix.shape))
    result = run(Factorise(ranks="vbmf"), model)
    assert weights(result.model, "conv_core").shape[-2:] == (4, 5)
    assert weights(result.model, "dense_in").shape[-1] == 6


def test_methods_and_ranks_by_pattern() -> None:
    model = network()
    result = run(
        Factorise(
            method={"wide": "spatial", "down": "separable", "stem": "cp", "*": "auto"},
            ranks={"wide": 6, "down": 2, "stem": 4, "point": 5, "hidden": 3},
        ),
        model,
    )
    names = [layer.name for layer in result.model.layers]
    for made in ("wide_vertical", "wide_horizontal", "down_separable", "stem_depthwise", "point_in", "hidden_in"):
        assert made in names
    assert reasons(result)["logits"] == "no pattern of ranks= names it"
    assert weights(result.model, "wide_vertical").shape == (3, 1, 48, 6)


def test_a_wrong_number_of_ranks_is_an_error() -> None:
    with pytest.raises(PassError, match="another number of ranks than 'tucker' has"):
        run(Factorise(ranks={"wide": (3, 3, 3)}), network())


@pytest.mark.parametrize("method", ["svd", "tucker", "spatial", "separable", "cp"])
def test_full_rank_is_exact_by_every_method(method: str) -> None:
    inputs = keras.Input((9, 9, 3), name="image")
    kernel = 1 if method == "svd" else 3
    x = layers.Conv2D(4, kernel, padding="same", activation="relu", name="conv")(inputs)
    model = model_of(inputs, layers.Conv2D(5, 1, name="end")(x))
    result = run(Factorise(method=method, ratio=1.0, where="conv", only_if_cheaper=False), model)
    assert set(changed(result)) == {"conv"}
    assert difference(model, result.model) < 1e-4


def test_rescaling_keeps_the_norm_and_full_ranks() -> None:
    model = network()
    plain, scaled = (run(Factorise(ratio=0.3, rescale=rescale), model).model for rescale in (False, True))
    for name in ("down", "wide", "point"):
        kernel = weights(model, name)
        assert np.linalg.norm(chain_kernel(plain, name)) < np.linalg.norm(kernel) * 0.999
        assert np.linalg.norm(chain_kernel(scaled, name)) == pytest.approx(np.linalg.norm(kernel), rel=1e-5)
        assert (
            relative(
                chain_kernel(scaled, name) * np.linalg.norm(chain_kernel(plain, name)),
                np.linalg.norm(chain_kernel(scaled, name)) * chain_kernel(plain, name),
            )
            < 1e-5
        )  # a multiple of the plain one


# ---- residuals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["unstructured", "channel", "filter", "block"])
def test_residuals_have_their_structure_and_make_entries_exact(structure: str) -> None:
    model = network()
    block = (4, 4) if structure == "block" else None
    pass_ = TuckerSplit(ratio=0.4, sparsity=0.08, structure=structure, block_size=block, where="down")
    result = run(pass_, model)
    residual, kernel = weights(result.model, "down_residual"), weights(model, "down")
    kept = residual != 0
    assert 0 < kept.mean() <= 0.08 + 1e-9
    whole = chain_kernel(result.model, "down") + residual
    assert np.abs(whole - kernel)[kept].max() < 1e-6 * np.abs(kernel).max() + 1e-6
    if structure == "channel":
        assert np.all(kept.any(axis=2) == kept.all(axis=2))
    if structure == "filter":
        assert np.all(kept.any(axis=3) == kept.all(axis=3))
    if structure == "block":
        tiles = kept.reshape(3, 3, 4, 4, 8, 4)
        assert np.all(tiles.any(axis=(3, 5)) == tiles.all(axis=(3, 5)))


def test_a_residual_is_chosen_where_it_pays() -> None:
    """A kernel of low rank and a few large entries: factors alone would need full ranks."""
    inputs = keras.Input((8, 8, 16), name="image")
    model = model_of(inputs, layers.Conv2D(16, 3, padding="same", name="conv")(inputs))
    rng = np.random.default_rng(3)
    low = np.einsum("cr,xyrq,qn->xycn", *(rng.standard_normal(size) for size in ((16, 2), (3, 3, 2, 2), (2, 16))))
    spikes = np.zeros(low.size)
    spikes[rng.choice(low.size, 12, replace=False)] = 40.0
    model.get_layer("conv").kernel.assign(low + spikes.reshape(low.shape))
    kernel = weights(model, "conv")
    alone = run(TuckerSplit(compression_factor=0.4, rescale=False), model)
    assert relative(kernel, chain_kernel(alone.model, "conv")) > 0.1
    hybrid = run(TuckerSplit(compression_factor=0.4, sparsity="auto", rescale=False), model)
    whole = chain_kernel(hybrid.model, "conv") + weights(hybrid.model, "conv_residual")
    assert relative(kernel, whole) < 0.01


def test_blocks_that_divide_no_layer_are_an_error_and_others_are_left_alone() -> None:
    model = network()
    with pytest.raises(PassError, match="no layer can have such a residual"):
        run(TuckerSplit(ratio=0.4, sparsity=0.05, structure="block", block_size=(7, 7)), model)
    result = run(TuckerSplit(ratio=0.4, sparsity=0.05, structure="block", block_size=(16, 8)), model)
    assert "blocks of 16 x 8 do not divide its 3 x 16 channels" in reasons(result)["stem"]
    assert {"down", "wide"} <= set(changed(result))


# ---- data -------------------------------------------------------------------------------------------------------


def test_the_error_of_the_output_is_smaller_with_data() -> None:
    """Inputs that live in few dimensions: what the data does not show need not be kept."""
    inputs = keras.Input((10, 10, 16), name="image")
    model = model_of(inputs, layers.Conv2D(24, 3, padding="same", name="conv")(inputs))
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((64, 10, 10, 4)) @ rng.standard_normal((4, 16))).astype("float32")
    free, aware = (
        run(TuckerSplit(ranks={"conv": (4, 12)}, minimise=minimise, rescale=False), model, data=data)
        for minimise in ("kernel", "output")
    )
    wanted = outputs_of(model, data)[0]
    errors = [np.linalg.norm(outputs_of(result.model, data)[0] - wanted) for result in (free, aware)]
    assert errors[1] < 0.7 * errors[0]
    assert "relative output error" in changed(aware)["conv"]
    # The mean of the output is kept.
    np.testing.assert_allclose(outputs_of(aware.model, data)[0].mean(), wanted.mean(), atol=0.02 * wanted.std())


def test_the_error_of_the_output_needs_data() -> None:
    with pytest.raises(PassError, match="needs data"):
        run(Factorise(ratio=0.5, minimise="output"), network())


# ---- latency ----------------------------------------------------------------------------------------------------


def clock(model: keras.Model) -> float:
    """A latency model: MACs, and a fixed price for every convolution and Dense."""
    priced = sum(isinstance(layer, (layers.Conv2D, layers.Dense)) for layer in model.layers)
    return float(ks.cost(model).macs / 1e4 + 3 * priced)


def test_layers_whose_chain_is_slower_stay_whole() -> None:
    model = network()
    plain = run(Factorise(ratio=0.5), model)
    careful = run(Factorise(ratio=0.5, latency_of=clock), model)
    assert set(changed(careful)) < set(changed(plain))
    assert "by latency_of=" in reasons(careful)["hidden"]
    assert "wide" in changed(careful)
    assert clock(careful.model) < clock(plain.model)


def test_a_latency_is_met() -> None:
    model = network()
    result = run(Factorise(latency=0.6, latency_of=clock), model)
    assert 0.4 * clock(model) < clock(result.model) <= 0.6 * clock(model) * 1.02
    assert "by the latencies of layers" in changed(result)[model.name]


@pytest.mark.parametrize(
    ("latency_of", "message"), [(lambda model: float("nan"), "gives no latency"), (lambda model: 1 / 0, "raised")]
)
def test_a_latency_function_that_fails_is_said(latency_of: Any, message: str) -> None:
    with pytest.raises(PassError, match=message):
        run(Factorise(latency=0.6, latency_of=latency_of), network())


# ---- plans ------------------------------------------------------------------------------------------------------


def test_saved_factors_make_the_same_model(tmp_path: Path) -> None:
    model = network()
    result = run(Factorise(macs=0.5, sparsity="auto"), model)
    (plan,) = result.report.passes[0].plans
    plan.save(tmp_path / "factors")
    again = run(ApplyFactors(tmp_path / "factors"), model)
    assert difference(result.model, again.model) == 0
    assert kinds(result.model) == kinds(again.model)
    by_object = run(ApplyFactors(plan), model)
    assert difference(result.model, by_object.model) == 0


def test_factors_of_another_model_are_refused(tmp_path: Path) -> None:
    model = network()
    (plan,) = run(Factorise(macs=0.5), model).report.passes[0].plans
    other = network()
    kernel = other.get_layer("wide").kernel
    kernel.assign(kernel * 1.5)
    with pytest.raises(PassError, match="made for other weights"):
        run(ApplyFactors(plan), other)
    assert "wide" in changed(run(ApplyFactors(plan, any_weights=True), other))
    inputs = keras.Input((8, 8, 3), name="image")
    with pytest.raises(PassError, match="no layer '"):
        run(ApplyFactors(plan), model_of(inputs, layers.Conv2D(4, 3, name="conv")(inputs)))
    with pytest.raises((PlanError, PassError)):
        run(ApplyFactors(tmp_path / "nowhere"), model)
    with pytest.raises(OptionError, match="option 'plan' cannot be used"):
        ApplyFactors(3)  # type: ignore[arg-type]


# ---- with other passes ------------------------------------------------------------------------------------------

COMPOSED: dict[str, list[Any]] = {
    "prune then split": [PruneChannels(ratio=0.3), Factorise(ratio=0.5)],
    "split then prune": [Factorise(ratio=0.5), PruneChannels(ratio=0.3)],
    "fold then split": [FoldBatchNorm(), Factorise(ratio=0.5)],
    "split then fold": [Factorise(ratio=0.5), FoldBatchNorm()],
    "fold then hybrid": [FoldBatchNorm(), TuckerSplit(ratio=0.5, sparsity=0.1)],
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", COMPOSED)
def test_with_other_passes(name: str) -> None:
    model = network(norms=True)
    result = Pipeline(COMPOSED[name]).run(model)  # exact passes are compared on the way
    assert all(any(site.changed for site in report.sites) for report in result.report.passes)
    assert ks.cost(result.model).macs < 0.8 * ks.cost(model).macs or "hybrid" in name
    outputs_of(result.model, np.zeros((1, 12, 12, 3), "float32"))


def test_folding_before_or_after_comes_to_the_same_at_full_rank() -> None:
    model = network(norms=True)
    split = Factorise(ratio=1.0, only_if_cheaper=False)
    for passes in ([FoldBatchNorm(), split], [split, FoldBatchNorm()]):
        assert difference(model, ks.apply_passes(model, passes)) < 1e-4


def test_the_core_of_a_split_can_be_pruned() -> None:
    """Ranks are channels like others: the core shrinks with the 1x1 before and behind it."""
    model = network()
    split = ks.apply_passes(model, [Factorise(ratio=0.5, where="wide")])
    pruned = ks.apply_passes(split, [PruneChannels(ratio={"wide_in": 0.5, "wide_core": 0.5})])
    before, after = (weights(one, "wide_core").shape[-2:] for one in (split, pruned))
    assert after == (before[0] // 2, before[1] // 2)


def test_options_survive_a_recipe(tmp_path: Path) -> None:
    passes = [
        Factorise(macs=0.5, method={"block_*": "svd", "*": ("tucker", "spatial")}, round_to="tflite"),
        Factorise(max_accuracy_loss=0.01, search_log="log.json", sparsity="auto"),
        TuckerSplit(ranks={"a": 3, "b": (2, 4)}, structure="block", block_size=(8, 8)),
        Factorise(ranks="vbmf", minimise="output"),
    ]
    path = tmp_path / "recipe.toml"
    Pipeline(passes).to_recipe().save(path)
    again = Pipeline.from_recipe(path).passes
    assert [dict(one.options) for one in again] == [dict(one.options) for one in passes] or [
        repr(one) for one in again
    ] == [repr(one) for one in passes]
