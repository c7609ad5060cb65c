"""The nine laws of the design, each as one test over many models; the parts have tests of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasurgeon as ks
from kerasurgeon.blocks.plan import BlockPlan
from kerasurgeon.passes import FoldBatchNorm
from kerasurgeon.rewrite.catalogue import catalogue, find_pass
from kerasurgeon.rewrite.passes import Preserves
from tests.keras_io.facts import arrays, bitwise_equal, difference, facts, predict, state, values
from tests.rewrite.own_passes import AddRandom, DropRelu, Liar, LookOnly, Raises, ScaleKernels
from tests.zoo import BAD, build, sample_inputs

pytestmark = pytest.mark.plain

MANY = ("plain_chain", "nested_functional", "shared_conv", "compiled_and_fitted", "frozen_backbone", "dict_io")


REQUIRED: dict[str, dict[str, Any]] = {
    "ApplyBlocks": {"plan": BlockPlan()},
    "ApplyFactors": {"plan": ks.FactorPlan()},
    "ApplyPlan": {"plan": {}},
    "Compress": {"macs": 0.6},
    "ChangeClasses": {"classes": 3},
    "ChangeInput": {"shape": (8, 8, 1)},
    "DropBlock": {"region": "*"},
    "Expand": {"width": 1.0},
    "Factorise": {"macs": 0.5},
    "InsertBlock": {"at": "none", "block": "residual"},
    "PruneChannels": {"ratio": 0.4},
    "PruneEmbedding": {"keep": (0, 1)},
    "ReconstructWidths": {"structure": {"none": 1}},
    "ReplaceWithShunt": {"region": "*"},
    "ReplaceWithTranslator": {"cuts": [("none", "nothing")]},
    "SetOutputStride": {"stride": 64},
    "SliceStream": {"ratio": 0.25},
    "Sparsify": {"sparsity": 0.5},
    "TuckerSplit": {"energy": 0.9},
    "ReplaceLayers": {"pattern": "Conv3D", "function": "kerasurgeon.replacing.replacements:two_3x3"},
}

NAMES_PLACES = {"DropBlock", "InsertBlock", "ReconstructWidths", "ReplaceWithShunt", "ReplaceWithTranslator"}
NAMES_PLACES |= {"ChangeClasses", "ChangeInput", "PruneEmbedding"}
"""Passes that are told where to work: a place that is not there is an error."""


def close(one: list[np.ndarray[Any, Any]], other: list[np.ndarray[Any, Any]], rtol: float) -> bool:
    """Within ``rtol`` of the largest magnitude of each output."""
    return all(
        np.max(np.abs(a.astype("float64") - b.astype("float64")), initial=0.0)
        <= rtol * max(np.max(np.abs(a.astype("float64")), initial=0.0), 1e-6)
        for a, b in zip(one, other, strict=True)
    )


# 1. The model that was passed in is not changed.


@pytest.mark.parametrize("name", MANY)
def test_law_1_the_model_is_not_changed(name: str) -> None:
    model = build(name)
    before = state(model)
    ks.apply_passes(model, [FoldBatchNorm(), DropRelu(), ScaleKernels(0.5)])
    for bad in (Raises(), Liar(3.0)):
        with pytest.raises(ks.KerasurgeonError):
            ks.apply_passes(model, [FoldBatchNorm(), bad])
    ks.explain(FoldBatchNorm(), model)
    ks.cost(model)
    graph = ks.lift(model)
    ks.insert_after(graph, next(node.name for node in graph if node.inputs), keras.layers.Activation("tanh"))
    trained = ks.emit(graph)
    for weight in trained.weights:
        weight.assign(keras.ops.zeros_like(weight))
    assert difference(before, state(model)) is None


# 2. emit(lift(m)) is m: tests/keras_io/test_round_trip.py, over the whole zoo. Here: any number of times.


@pytest.mark.parametrize("name", MANY)
def test_law_2_there_and_back_twice(name: str) -> None:
    model = build(name)
    twice = ks.emit(ks.lift(ks.emit(ks.lift(model))))
    assert difference(facts(model), facts(twice)) is None
    assert bitwise_equal(predict(model, sample_inputs(model)), predict(twice, sample_inputs(model)))


# 3. What claims to be exact is: tests/passes, over the whole zoo and keras.applications. Here: every such pass.


def made(name: str) -> Any:
    return find_pass(name)(**REQUIRED.get(name, {}))


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", [name for name in sorted(catalogue()) if find_pass(name).preserves is Preserves.EXACT])
@pytest.mark.parametrize("case", [*MANY, "residual", "no_weights", "nested_unused_output", "tied_embedding"])
def test_law_3_what_claims_to_be_exact_is(name: str, case: str) -> None:
    model = build(case)
    inputs = sample_inputs(model)
    result = ks.Pipeline([made(name)]).run(model, verify="types")
    (report,) = result.report.passes
    assert close(predict(model, inputs), predict(result.model, inputs), 1e-4)
    assert report.before.parameters == sum(int(np.prod(weight.shape)) for weight in model.weights)
    assert report.after.parameters == sum(int(np.prod(weight.shape)) for weight in result.model.weights)
    if not report.changed and not report.removed:
        assert difference(facts(model), facts(result.model)) is None


# 4. The result is a plain Keras model.

WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "kerasurgeon":
            raise ImportError("kerasurgeon is not installed here")

sys.meta_path.insert(0, Refuse())
try:
    import kerasurgeon
except ImportError:
    pass
else:
    raise SystemExit("kerasurgeon can be imported")

import keras
import numpy as np

model = keras.saving.load_model(sys.argv[1])
inputs = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(inputs, verbose=0))
model.compile("sgd", "mse")
model.fit(inputs, np.zeros((len(inputs), *model.output_shape[1:]), "float32"), epochs=1, verbose=0)
assert not any(name.split(".")[0] == "kerasurgeon" for name in sys.modules)
"""


def test_law_4_the_file_works_where_kerasurgeon_is_not_installed(tmp_path: Path) -> None:
    model = build("nested_functional")
    result = ks.apply_passes(model, [FoldBatchNorm(), ScaleKernels(0.5), AddRandom()])
    inputs = sample_inputs(model)
    result.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", inputs)
    (tmp_path / "run.py").write_text(WITHOUT)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("PYTHONPATH", None)
    names = ("run.py", "m.keras", "x.npy", "y.npy")
    done = subprocess.run(
        [sys.executable, *(str(tmp_path / name) for name in names)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), predict(result, inputs)[0], rtol=1e-5, atol=1e-6)


# 5 and 6. Exported files are compared, and appear whole or not at all: tests/export. Here: the plainest case of each.


def test_law_5_an_exported_file_is_compared(tmp_path: Path) -> None:
    report = ks.export(build("plain_chain"), tmp_path / "m.keras")
    assert (tmp_path / "m.keras").stat().st_size == report.bytes
    assert [output.relative_error for output in report.outputs] == [0.0]


def test_law_6_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ks.KerasurgeonError):
        ks.export(BAD["nan_weights"](), tmp_path / "m.keras")
    with pytest.raises(ks.KerasurgeonError):
        ks.export(build("plain_chain"), tmp_path / "m.unknown")
    assert os.listdir(tmp_path) == []


# 7. No silent no-op.


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", sorted(catalogue()))
def test_law_7_every_built_in_pass_says_why_it_changed_nothing(name: str) -> None:
    pass_ = made(name)
    for case in ("no_weights", "deep_chain", "plain_chain"):
        model = build(case)
        try:
            result = ks.Pipeline([pass_]).run(model, verify="types", data=sample_inputs(model))
        except ks.PassError:  # what it is told to change is not there
            if name not in NAMES_PLACES:
                raise
            continue
        (report,) = result.report.passes
        if not report.changed and not report.removed:
            assert result.graph.revision == 0
            assert result.report.reasons()
            assert all(site.what.strip() for site in report.left)


def test_law_7_a_pass_that_says_nothing_is_spoken_for() -> None:
    from tests.rewrite.own_passes import SayNothing

    assert "changed nothing" in str(ks.Pipeline([SayNothing()]).run(build("plain_chain")).report)


# 8. Same recipe, same seed, same bytes.


def test_law_8_same_recipe_same_bytes_in_another_process(tmp_path: Path) -> None:
    first = ks.Pipeline([AddRandom(), FoldBatchNorm()]).run(build("plain_chain"), seed=11)
    first.recipe.save(tmp_path / "r.toml")
    script = (
        "import sys, numpy as np, kerasurgeon as ks\n"
        "from tests.zoo import build\n"
        "model = ks.Pipeline.from_recipe(sys.argv[1], allow='tests').run(build('plain_chain')).model\n"
        "np.savez(sys.argv[2], *[np.asarray(weight) for weight in model.weights])\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "r.toml"), str(tmp_path / "w.npz")],
        cwd=Path(__file__).parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    other = list(np.load(tmp_path / "w.npz").values())
    assert bitwise_equal(values(first.model.weights), other)


# 9. Bad input gets one error: tests/test_bad_input.py.


def test_law_9_no_error_is_foreign() -> None:
    for name, make in BAD.items():
        with pytest.raises(ks.KerasurgeonError) as caught:
            ks.apply_passes(make(), [LookOnly()])
        assert caught.value.what, name
        assert caught.value.hint or caught.value.expected, name
        assert arrays([]) == []
