"""What must hold of every model. An oracle raises AssertionError, or says in a word what it found to do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasurgeon as ks
from kerasurgeon.passes import (
    ApplyPlan,
    Factorise,
    FoldBatchNorm,
    MergeBlocks,
    PruneChannels,
    RemoveDeadChannels,
    Simplify,
)
from tests.cost.profiler import profiled_macs
from tests.export.runtimes import run_onnx, run_tflite
from tests.fuzz.case import Case, arrays, difference
from tests.fuzz.kinds.registry import words
from tests.fuzz.masking import known, masked_outputs
from tests.keras_io.facts import bitwise_equal, facts, state
from tests.keras_io.facts import difference as unlike
from tests.keras_io.stepping import training_step

Oracle = Callable[[Case], str]


def round_trip(case: Case) -> str:
    """emit(lift(m)) is m: outputs bit for bit, configuration, names, order of weights; m itself is left alone."""
    before = state(case.model)
    emitted = ks.emit(ks.lift(case.model))
    assert (found := unlike(before, state(case.model))) is None, f"lift changed the model: {found}"
    assert (found := unlike(facts(case.model), facts(emitted))) is None, found
    assert bitwise_equal(case.outputs, case.run(emitted)), f"differs by {difference(case.outputs, case.run(emitted))}"
    return "done"


def training(case: Case) -> str:
    """One step of training does the same to m and to emit(lift(m))."""
    try:
        training_step(case.twin(), case.given(case.model))
    except Exception:  # noqa: BLE001 - TensorFlow has no gradient of it
        return "cannot be trained"
    one = case.twin()
    other = ks.emit(ks.lift(one))
    keras.utils.set_random_seed(case.seed)
    loss, after = training_step(one, case.given(one))
    keras.utils.set_random_seed(case.seed)
    other_loss, other_after = training_step(other, case.given(other))
    if not np.isfinite(loss):
        return "not finite"
    assert abs(loss - other_loss) <= 1e-3 * abs(loss) + 1e-6, f"loss {other_loss} instead of {loss}"
    found = difference([a.astype("float64") for a in after], [a.astype("float64") for a in other_after])
    assert found <= max(1e-4, 64 * case.eps), f"weights differ by {found:.2g} after a step"
    return "done"


def cut(case: Case) -> str:
    """Random channels of random groups cut: the outputs of the model in which they are multiplied by zero."""
    stepped = arrays(masked_outputs(case.made, case.description, case.inputs, {}))
    if difference(case.outputs, stepped) > case.tolerance:
        return "masks end at a nested model, or complex numbers do"
    groups = ks.groups(case.model)
    steps = _steps_by_name(case.made)
    channels = groups.channels
    chosen = [
        group
        for group in groups
        if group.free.any() and not group.inexact and group.size > 1 and all(_known(steps, x) for x in group.sources)
    ]
    if not chosen:
        return "nothing may go"
    going = np.zeros(channels.units, bool)
    gone: dict[str, np.ndarray[Any, Any]] = {}
    for group in chosen:
        if len(chosen) > 1 and case.rng.random() < 0.3:
            continue
        free = group.units[group.free]
        most = min(len(free), group.size - 1)
        going[case.rng.permutation(free)[: int(case.rng.integers(1, most + 1))]] = True
        for source in group.sources:
            gone[source.name] = going[channels.unit[source.ids.ravel()]]
    if not going.any():
        return "nothing may go"
    kept = {name: np.flatnonzero(~mask).tolist() for name, mask in gone.items()}
    try:
        small = ks.cut(case.model, ks.ChannelPlan(kept))
    except ks.PlanError as error:
        if "in two" not in str(error) and "may not have" not in str(error):
            raise
        return _refused(error)
    expected = arrays(masked_outputs(case.made, case.description, case.inputs, gone))
    case.assert_close(expected, case.run(small), f"cut of {kept}")
    for name, mask in gone.items():
        layer, _, part = name.partition("#")
        kind = steps[layer][0].kind + f" {part}" * bool(part)
        case.cut[kind] = case.cut.get(kind, 0) + int(mask.sum())
    return "done"


def _steps_by_name(made: Any) -> dict[str, tuple[Any, Any]]:
    found = {name: (made.steps[number], made.tensors[number]) for number, name in made.names.items()}
    for inside in made.inner.values():
        found |= _steps_by_name(inside)
    return found


def _known(steps: dict[str, tuple[Any, Any]], source: Any) -> bool:
    step, result = steps.get(source.layer, (None, None))
    return step is not None and known(step, source.name, source.ids.size, result)


EXACT = (FoldBatchNorm(), Simplify(duplicates=True), MergeBlocks(), RemoveDeadChannels())


def exact(case: Case) -> str:
    """Passes that claim to be exact are, one or all in a row."""
    way = case.seed // len(IN_TURN) % 8
    passes = EXACT[way : way + 1] or EXACT
    result = ks.Pipeline(passes).run(case.model, verify="structure")
    case.assert_close(case.outputs, case.run(result.model), " ".join(pass_.name for pass_ in passes))
    case.result = result.model
    return "done" if any(report.changed or report.removed for report in result.report.passes) else "changed nothing"


def _refused(error: ks.KerasurgeonError) -> str:
    if not (error.hint or error.expected or error.got):
        raise AssertionError(f"the refusal says nothing: {error}") from error
    return "refused"


def full_rank(case: Case) -> str:
    """Factorised at full rank, a model computes the same."""
    method = ("auto", "svd", "tucker", "spatial", "cp")[case.seed // len(IN_TURN) % 5]
    pass_ = Factorise(method=method, ratio=1.0, only_if_cheaper=False)
    result = ks.Pipeline([pass_]).run(case.model, verify="structure")
    slack = 16 if method == "spatial" else 4
    if not result.report.passes[0].changed:
        return "changed nothing"
    found = difference(case.outputs, case.run(result.model))
    allowed = slack * case.tolerance
    if found > allowed:
        allowed = max(allowed, 1000 * case.noise())
    assert found <= allowed, f"{pass_.name}({method!r}): outputs differ by {found:.2g}, allowed are {allowed:.2g}"
    case.result = result.model
    return "done"


def budget(case: Case) -> str:
    """Pruned to a budget: it is kept, and the cost that is reported is the one counted otherwise."""
    share = (0.5, 0.7, 0.9)[case.seed % 3]
    key = ("macs", "params")[case.seed // 3 % 2]
    try:
        options: dict[str, Any] = {key: share}
        result = ks.Pipeline([PruneChannels(**options)]).run(case.model, verify="structure")
    except ks.KerasurgeonError as error:
        return _refused(error)
    (report,) = result.report.passes
    for model, cost in ((case.model, report.before), (result.model, report.after)):
        counted = sum(int(np.prod(weight.shape)) for weight in model.weights)
        assert cost.parameters == counted, f"{cost.parameters} parameters reported, {counted} counted"
    if key == "params":
        assert report.after.parameters <= share * report.before.parameters, "the budget of parameters is not kept"
    else:
        assert report.after.macs <= share * report.before.macs, "the budget of MACs is not kept"
    if _is_counted(case) and not ks.cost(result.model).unknown:
        macs = profiled_macs(result.model)
        assert report.after.macs == macs, f"{report.after.macs} MACs reported, {macs} counted by TensorFlow"
    case.result = result.model
    assert all(np.isfinite(each).all() for each in case.run(result.model)), "the pruned model gives NaN"
    return "done"


def _is_counted(case: Case) -> bool:
    """Whether TensorFlow's profiler knows all that costs something."""
    return case.description.policy in ("float32", "float64") and all(
        kind in COUNTED or kind.removeprefix("ops.") in COUNTED for kind in case.description.kinds()
    )


COUNTED = frozenset(
    words(
        "InputLayer Dense Conv1D Conv2D Conv3D DepthwiseConv1D DepthwiseConv2D Activation ReLU BatchNormalization Add "
        "Concatenate Multiply Flatten Reshape Permute Dropout MaxPooling1D MaxPooling2D AveragePooling2D Functional "
        "Sequential LayerNormalization Softmax add multiply tanh relu sigmoid reshape transpose"
    )
)


def lives(case: Case) -> str:
    """What a pass has made is saved, loaded as the same, and trained for a step."""
    plan = PruneChannels(ratio=0.4, scope="local", compensate="none")
    model = case.result or ks.Pipeline([plan]).run(case.model, verify="structure").model
    if any(kind in ("Lambda",) for kind in case.description.kinds()):
        return "not to be saved"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        original = _saved(case.twin(), path)
        loaded = _saved(model, path)
    if isinstance(original, Exception):
        return "Keras cannot load the original"
    assert not isinstance(loaded, Exception), f"Keras cannot load the result: {type(loaded).__name__}: {loaded}"
    if not bitwise_equal(case.outputs, case.run(original)):
        return "Keras loads another model"
    assert bitwise_equal(case.run(model), case.run(loaded)), "loads as another model"
    try:
        wanted, _ = training_step(original, case.given(original))
    except Exception:  # noqa: BLE001 - TensorFlow has no gradient of it
        return "cannot be trained"
    loss, after = training_step(loaded, case.given(loaded))
    constant = "AutoContrast" in case.description.kinds()  # its gradient is NaN where a channel is constant in an image
    if np.isfinite(wanted) and not constant and case.description.policy in ("float32", "float64"):
        assert np.isfinite([loss, *(each.astype("float64").sum() for each in after)]).all(), "trains to NaN"
    return "done"


def _saved(model: Any, path: Path) -> Any:
    """The model as it is loaded, or what Keras raises."""
    try:
        model.save(path)
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # noqa: BLE001 - whatever Keras raises
        return error


def export(case: Case) -> str:
    """The file, run by its runtime, gives what the model gives; what cannot be written is refused."""
    suffix = ".tflite" if case.seed % 3 == 0 else ".onnx"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        try:
            ks.export(case.model, path)
        except ks.KerasurgeonError as error:
            if path.exists():
                raise AssertionError("a refused file is there") from error
            return _refused(error)
        feeds = case.feeds
        if case.description.policy != "float64":
            feeds = {
                name: array if array.dtype.kind in "iub" else array.astype("float32") for name, array in feeds.items()
            }
        try:
            found = list((run_tflite if suffix == ".tflite" else run_onnx)(path, feeds).values())
        except Exception as error:
            raise AssertionError(f"the runtime cannot run the file: {type(error).__name__}: {error}") from error
    for expected in case.outputs:
        best = min(
            (difference([expected], [got]) for got in found if got.shape == expected.shape), default=float("inf")
        )
        assert best <= max(1e-3, 200 * case.noise() * (2.0**-23 / case.eps if case.eps < 2.0**-23 else 1)), (
            f"{suffix}: no output within {best:.2g} of one of the model"
        )
    return "done"


def plan_file(case: Case) -> str:
    """A plan that is saved, loaded and applied as a pass gives what the cut gives."""
    channels = ks.groups(case.model).channels
    free = [group for group in ks.groups(case.model) if group.free.any() and group.size > 1 and not group.inexact]
    if not free:
        return "nothing may go"
    going = np.zeros(channels.units, bool)
    for group in free:
        going[group.units[group.free][: max(1, group.size // 2)]] = True
        if going[group.units].all():
            going[group.units[0]] = False
    plan = ks.ChannelPlan.of(channels, going)
    refused, expected = None, None
    try:
        expected = ks.cut(case.model, plan)
    except ks.PlanError as error:  # what is left of a group may be what nobody reads
        refused = error
    with tempfile.TemporaryDirectory() as folder:
        plan.save(Path(folder) / "plan.json")
        pass_ = ApplyPlan(str(Path(folder) / "plan.json"))
        try:
            result = ks.Pipeline([pass_]).run(case.model, verify="structure")
        except ks.PassError:
            if refused is None:
                raise
            return _refused(refused)
    assert refused is None, f"the pass does what the cut refuses: {refused}"
    one, other = case.run(result.model), case.run(expected)
    assert bitwise_equal(one, other), "the pass and the cut differ"
    return "done"


ORACLES: dict[str, Oracle] = {
    "round_trip": round_trip, "cut": cut, "training": training, "exact": exact, "full_rank": full_rank,
    "budget": budget, "lives": lives, "plan_file": plan_file, "export": export,
}  # fmt: skip


IN_TURN = (
    ("cut", "round_trip"), ("exact", "cut"), ("round_trip", "full_rank"), ("cut", "exact"), ("budget", "round_trip"),
    ("full_rank", "cut"), ("plan_file", "exact"), ("training", "cut"), ("round_trip", "cut"), ("lives", "cut"),
)  # fmt: skip


def oracles_of(seed: int) -> list[str]:
    """The two oracles of the model of a seed, the first of which is run with the tests; export too for one in fifty."""
    return [*IN_TURN[seed % len(IN_TURN)], *["export"] * (seed % 50 == 7)]


__all__ = ["ORACLES", "oracles_of"]
