"""``Factorise(rescale="auto")``: chains of kernels that are like random ones get the norm of the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.errors import OptionError
from kerasurgeon.passes import Factorise
from tests.passes.checking import changed, model_of, run

layers = keras.layers
Array = np.ndarray[Any, Any]


def weights(model: keras.Model, name: str) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(model.get_layer(name).kernel), "float64")


def norms(model: keras.Model, small: keras.Model, name: str) -> tuple[float, float]:
    """Of a kernel, and of what the chain in its place multiplies to."""
    made = np.einsum("...cr,...rq->...cq", weights(small, f"{name}_in"), weights(small, f"{name}_core"))
    made = np.einsum("...cq,...qn->...cn", made, weights(small, f"{name}_out"))
    return float(np.linalg.norm(weights(model, name))), float(np.linalg.norm(made))


def network() -> keras.Model:
    """A kernel of independent normal entries, and one of ranks (6, 6) with as much noise as its half."""
    inputs = keras.Input((8, 8, 24), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="random")(inputs)
    x = layers.Conv2D(24, 3, padding="same", activation="relu", name="low")(x)
    model = model_of(inputs, layers.GlobalAveragePooling2D(name="pool")(x))
    rng = np.random.default_rng(4)
    model.get_layer("random").kernel.assign(rng.standard_normal((3, 3, 24, 32)))
    low = np.einsum("cr,xyrq,qn->xycn", *(rng.standard_normal(size) for size in ((32, 6), (3, 3, 6, 6), (6, 24))))
    noise = rng.standard_normal(low.shape)
    model.get_layer("low").kernel.assign(low + 0.5 * noise * np.linalg.norm(low) / np.linalg.norm(noise))
    return model


def test_only_the_chain_of_a_random_kernel_gets_its_norm() -> None:
    model = network()
    result = run(Factorise(ranks={"*": (8, 8)}), model)
    random, chain = norms(model, result.model, "random")
    assert chain == pytest.approx(random, rel=1e-5)
    low, chain = norms(model, result.model, "low")
    # What is lost is noise: at most the fifth of the energy that it is.
    assert 0.85 * low < chain < 0.98 * low
    assert "scaled to the kernel's norm" in changed(result)["random"]
    assert "scaled to the kernel's norm" not in changed(result)["low"]
    assert "rescale='auto': on for 1 of 2 layers" in " ".join(str(result.report).split())


@pytest.mark.parametrize("rescale", [True, False])
def test_both_answers_can_be_given(rescale: bool) -> None:
    model = network()
    result = run(Factorise(ranks={"*": (8, 8)}, rescale=rescale), model)
    for name in ("random", "low"):
        kernel, chain = norms(model, result.model, name)
        assert (chain == pytest.approx(kernel, rel=1e-5)) == rescale
    assert "rescale='auto'" not in str(result.report)


def test_a_bound_on_the_error_of_kernels_holds() -> None:
    """A random kernel scaled to its norm would miss more than the bound."""
    inputs = keras.Input((8, 8, 32), name="image")
    model = model_of(inputs, layers.Dense(32, name="dense")(layers.ReLU(name="act")(inputs)))
    kernel = np.random.default_rng(5).standard_normal((32, 32))
    model.get_layer("dense").kernel.assign(kernel)
    result = run(Factorise(error=0.6), model)
    parts = [weights(result.model, layer.name) for layer in result.model.layers if "dense" in layer.name]
    missed = np.linalg.norm(parts[0] @ parts[1] - kernel) / np.linalg.norm(kernel)
    assert 0.5 < missed <= 0.6 + 1e-6


def test_with_data_chains_are_fitted_instead() -> None:
    data = np.random.default_rng(6).standard_normal((32, 8, 8, 24)).astype("float32")
    result = run(Factorise(ranks={"*": (8, 8)}), network(), data=data)
    assert "rescale='auto'" not in str(result.report)


def test_it_is_kept_in_recipes_and_wrong_answers_are_refused(tmp_path: Path) -> None:
    for rescale in ("auto", True, False):
        path = tmp_path / "recipe.toml"
        ks.Pipeline([Factorise(macs=0.5, rescale=rescale)]).to_recipe().save(path)
        (again,) = ks.Pipeline.from_recipe(path).passes
        assert isinstance(again, Factorise)
        assert again.rescale == rescale
    for wrong in ("on", 1, None):
        with pytest.raises(OptionError, match="True, False or 'auto'"):
            Factorise(macs=0.5, rescale=wrong)  # type: ignore[arg-type]
