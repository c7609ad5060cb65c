"""Bad input: one clear error each, with what failed, where, what was expected and what to do; and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import kerasurgeon as ks
from kerasurgeon.passes import FoldBatchNorm
from tests.keras_io.facts import bitwise_equal, difference, predict, state
from tests.rewrite.own_passes import CutsTooMuch, LookOnly, Raises, Tears
from tests.zoo import BAD, ZOO, build, sample_inputs


def recipe(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return ks.Pipeline.from_recipe(path)


def hidden() -> Any:
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, keras.layers.Dense(2, name="dense")(keras.layers.Dense(6, name="hidden")(inputs)))


# What is done, the error, and what its message must hold: what failed, where, what to do.
CASES: dict[str, tuple[Callable[[Path], Any], type[ks.KerasurgeonError], list[str]]] = {
    "subclassed model": (
        lambda _: ks.apply_passes(BAD["subclassed_model"](), []),
        ks.LiftError,
        ["'subclassed' (Subclassed) is a subclassed model", "self.add_loss(keras.ops.sum(inputs))"],
    ),
    "unbuilt model": (
        lambda _: ks.apply_passes(BAD["unbuilt_sequential"](), []),
        ks.LiftError,
        ["'unbuilt' is not built", "model.build(input_shape)"],
    ),
    "a path for a model": (
        lambda _: ks.apply_passes("model.keras", []),
        ks.LiftError,
        ["not a Keras model", "keras.saving.load_model(path)"],
    ),
    "unknown layer by hand": (
        lambda _: ks.delete(ks.lift(build("plain_chain")), "conv2"),
        ks.GraphError,
        ["no node 'conv2'", "did you mean 'conv2d'"],
    ),
    "unknown pass in a recipe": (
        lambda path: recipe(path, '[[pass]]\nname = "FoldBatchnorm"\n'),
        ks.RecipeError,
        ["no pass 'FoldBatchnorm'", "recipe.toml, line 1", "did you mean 'FoldBatchNorm'"],
    ),
    "misspelt option in a recipe": (
        lambda path: recipe(path, '[[pass]]\nname = "TuckerSplit"\nenergi = 0.9\n'),
        ks.RecipeError,
        ["TuckerSplit has no option 'energi'", "recipe.toml, line 3", "did you mean 'energy'"],
    ),
    "an option out of range": (
        lambda path: recipe(path, '[[pass]]\nname = "TuckerSplit"\nenergy = 1.5\n'),
        ks.RecipeError,
        ["energy", "1.5", "recipe.toml, line 3"],
    ),
    "truncated recipe": (
        lambda path: recipe(path, '[[pass]]\nname = "Fold'),
        ks.RecipeError,
        ["recipe.toml' is not valid TOML", "Unterminated string", "fix the file there"],
    ),
    "missing recipe": (
        lambda path: ks.Pipeline.from_recipe(path / "none.toml"),
        ks.RecipeError,
        ["none.toml", "No such file", "check the path"],
    ),
    "a pass that raises": (
        lambda _: ks.apply_passes(hidden(), [Raises()]),
        ks.PassError,
        ["Pass Raises() failed: ZeroDivisionError", "node 'half_done'", "the model is untouched"],
    ),
    "a pass that leaves the graph inconsistent": (
        lambda _: ks.apply_passes(hidden(), [Tears()]),
        ks.PassError,
        ["Tears() failed: I2", "where: node 'dense'", "> dense = Dense(hidden)"],
    ),
    "a pass that leaves stale shapes": (
        lambda _: ks.apply_passes(hidden(), [CutsTooMuch()]),
        ks.PassError,
        ["CutsTooMuch", "where: node 'hidden'", "(?, 6) float32 (recorded)", "infer(graph)"],
    ),
    "NaN weights": (
        lambda _: ks.apply_passes(BAD["nan_weights"](), [FoldBatchNorm()]),
        ks.VerificationError,
        ["NaN or infinite", "where: broken.kernel", "train it to finite weights first"],
    ),
    "infinite weights": (
        lambda _: ks.apply_passes(BAD["infinite_weights"](), [FoldBatchNorm()]),
        ks.VerificationError,
        ["NaN or infinite", "where: broken.kernel"],
    ),
    "a layer without a config": (
        lambda _: ks.lift(build("custom_without_config")),
        ks.LiftError,
        ["Layer 'opaque' (NoConfig)", "give NoConfig a get_config()"],
    ),
    "a class for a pass": (
        lambda _: ks.apply_passes(hidden(), [FoldBatchNorm]),  # type: ignore[list-item]
        ks.OptionError,
        ["instances of Pass", "write FoldBatchNorm()"],
    ),
    "an unknown level of verification": (
        lambda _: ks.apply_passes(hidden(), [], verify="full"),
        ks.OptionError,
        ["verify='full'", "'structure'"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_clear_error(case: str, tmp_path: Path) -> None:
    act, error, parts = CASES[case]
    with pytest.raises(error) as caught:
        act(tmp_path)
    text = str(caught.value)
    for part in parts:
        assert part in text
    assert caught.value.hint or caught.value.expected, "it says what to do or what would do"
    assert "Traceback" not in text


def test_a_model_without_weights_works() -> None:
    model = build("no_weights")
    result = ks.Pipeline([FoldBatchNorm(), LookOnly()]).run(model)
    assert bitwise_equal(predict(model, sample_inputs(model)), predict(result.model, sample_inputs(model)))
    assert result.report.passes[0].before.parameters == 0
    assert "0" in str(result.report)


@pytest.mark.parametrize("name", ["lambda_layer", "lambda_named_function"])
def test_a_lambda_layer_works_in_memory_and_never_reads_byte_code(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras.src.utils.python_utils.func_load", _refuse)
    model = build(name)
    before = state(model)
    result = ks.apply_passes(model, [FoldBatchNorm()])
    assert bitwise_equal(predict(model, sample_inputs(model)), predict(result, sample_inputs(model)))
    assert difference(before, state(model)) is None
    monkeypatch.undo()
    if "lambda" in ZOO[name].tags:  # Keras' own safe mode stays on: what comes out is as safe as what went in
        result.save(tmp_path / "m.keras")
        with pytest.raises(ValueError, match="safe_mode"):
            keras.saving.load_model(tmp_path / "m.keras")


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("byte code was deserialised")


def test_a_truncated_model_file_is_no_model(tmp_path: Path) -> None:
    """What Keras says of a broken file is the caller's; lifting is never reached with half a model."""
    build("plain_chain").save(tmp_path / "m.keras")
    content = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "half.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(ks.LiftError, match="not a Keras model"):
        ks.lift(str(tmp_path / "half.keras"))
