"""Whatever of the library is called leaves the process as it was: logging, warnings, random numbers, files, threads.

Every public function and class has a call here, and so has every pass. What one call needs is made before the state is
looked at.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import threadpoolctl
from tensorflow.python.eager import context

import kerasurgeon as ks
from kerasurgeon import passes as library
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.rules import Rule
from tests.keras_io.checkpoints import write_checkpoint
from tests.procedure import tiny
from tests.recover.networks import bridged, images, residual

pytestmark = pytest.mark.plain

IMAGES, LABELS = images(16)
SEED = 11


class Given:
    """What calls are made with: made once, and only read."""

    def __init__(self) -> None:
        self.model = residual(2, drop=0.3)
        self.student, self.bridge = bridged(self.model)
        self.graph = ks.lift(self.model)
        self.cut = ks.cut_pairs(self.graph)[0]
        self.quotients = ks.knowledge_quotients(self.model, data=(IMAGES, LABELS))
        self.plan = ks.ChannelPlan({"b0_conv": [0, 1, 3]})
        self.own = [keras.models.clone_model(self.model) for _ in range(12)]


@pytest.fixture(scope="session")  # processes that share tests come back to a module, and it takes seconds
def given() -> Given:
    made = Given()
    # What is imported, and what TensorFlow starts, when it is first needed, stays.
    for call in ("export", "Quotients", "fine_tune", "Procedure"):
        tf.config.run_functions_eagerly(call != "export")
        CALLS[call](made, Path(tempfile.mkdtemp()))
    tf.config.run_functions_eagerly(False)
    gc.collect()
    gc.freeze()  # what all tests before have left is not looked through twice per call
    return made


def train(model: keras.Model, *callbacks: Any, weights: bool = False) -> None:
    """As a user would."""
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(IMAGES, LABELS, batch_size=8, callbacks=list(callbacks), verbose=0)


def exported(given: Given, folder: Path) -> None:
    ks.export(given.model, folder / "a.keras")
    ks.export(given.model, folder / "a.tflite")
    ks.export(given.model, folder / "a.onnx", quantize="int8", calibration=IMAGES)


def opened(given: Given, folder: Path) -> None:
    for suffix in ("keras", "h5"):
        given.model.save(folder / f"a.{suffix}")
        ks.open_runner(folder / f"a.{suffix}").run(IMAGES)


def plotted(given: Given, folder: Path) -> None:
    given.quotients.plot(folder / "a.png")
    given.quotients.save(folder / "a.json")
    ks.Quotients.load(folder / "a.json")


def allowing(given: Given, _: Path) -> None:
    with ks.allow_imports("tests"):
        str(ks.cost(given.graph))


def procedure(given: Given, folder: Path) -> None:
    changes = {f"{step}.run": False for step in ("train_shunt", "train_final", "quotients", "latency")}
    changes |= {"train_original.run": False}
    ks.Procedure.from_recipe(tiny.RECIPE, allow="tests", changes=changes).run(folder / "run")


def morphnet(given: Given, folder: Path) -> None:
    model = given.own.pop()
    morph = ks.MorphNet(model, "group_lasso", target="macs")
    train(model, morph.callback(folder, tensorboard=False))
    morph.plan()


def surgery(change: Callable[[Any], Any]) -> Callable[[Given, Path], Any]:
    def act(given: Given, folder: Path) -> None:
        graph = given.graph.copy()
        change(graph)
        ks.emit(graph)

    return act


def layer(cls: Any, *args: Any, **options: Any) -> Any:
    """A layer of the user's own, for which Keras draws a seed: the user's generator is left as it was."""
    with python_kept():
        return cls(*args, **options)


class Doubled(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


def saved_plan(kind: Any, made: Callable[[Given], Any]) -> Callable[[Given, Path], Any]:
    def act(given: Given, folder: Path) -> None:
        made(given).save(folder / "plan.json")
        kind.load(folder / "plan.json")

    return act


def factors(given: Given) -> Any:
    return ks.Pipeline([library.TuckerSplit(ratio=0.5)]).run(given.model).report.passes[0].plans[0]


def blocks(given: Given) -> Any:
    return ks.Pipeline([library.ReplaceWithShunt("b0_conv..b0_add")]).run(given.model).report.passes[0].plans[0]


def reader() -> keras.Model:
    """A network that has a vocabulary."""
    with python_kept():
        embedding, pool = keras.layers.Embedding(9, 4), keras.layers.GlobalAveragePooling1D()
        return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, pool, keras.layers.Dense(2)])


def loaded(given: Given, folder: Path) -> None:
    for suffix in ("keras", "h5"):
        given.model.save(folder / f"a.{suffix}")
        ks.load_model(folder / f"a.{suffix}")


def from_checkpoint(given: Given, folder: Path) -> None:
    write_checkpoint(folder / "a.ckpt", {weight.path: np.asarray(weight) for weight in given.model.weights})
    str(ks.load_checkpoint(given.model, folder / "a.ckpt"))


Call = Callable[[Given, Path], Any]
CALLS: dict[str, Call] = {
    "BlockPlan": saved_plan(ks.BlockPlan, blocks),
    "ChannelPlan": saved_plan(ks.ChannelPlan, lambda given: given.plan),
    "Cost": lambda given, _: str(ks.cost(given.graph)),
    "FactorPlan": saved_plan(ks.FactorPlan, factors),
    "KeptIds": saved_plan(ks.KeptIds, lambda _: ks.prune_vocabulary(reader(), [0, 2, 5])[1]),
    "GradualSparsity": lambda given, _: train(given.student, ks.GradualSparsity(0.5, end_step=2)),
    "Groups": lambda given, _: str(ks.groups(given.model)),
    "KeepZeros": lambda given, _: train(given.student, ks.KeepZeros()),
    "MorphNet": morphnet,
    "Pipeline": lambda given, _: ks.Pipeline([library.FoldBatchNorm()]).run(given.model, verify="outputs"),
    "Procedure": procedure,
    "allow_imports": allowing,
    "Quotients": plotted,
    "Recipe": lambda given, folder: ks.Recipe.of([library.Simplify()]).save(folder / "r.toml"),
    "SteerStrength": lambda given, _: ks.SteerStrength(ks.MorphNet(given.own.pop()), 0.5),
    "apply_passes": lambda given, _: ks.apply_passes(given.model, [library.Simplify(training_layers=True)]),
    "change_classes": lambda given, _: ks.change_classes(given.model, 3),
    "change_input": lambda given, _: ks.change_input(given.model, (*IMAGES.shape[1:-1], 2)),
    "choose_regions": lambda given, _: ks.choose_regions(given.quotients, macs=0.7),
    "compare": lambda given, _: ks.compare(given.model, given.student),
    "compare_costs": lambda given, _: str(ks.compare_costs(ks.cost(given.model), ks.cost(given.student))),
    "cost": lambda given, _: ks.cost(given.model),
    "cut": lambda given, _: ks.cut(given.model, given.plan),
    "cut_pairs": lambda given, _: ks.cut_pairs(given.graph),
    "delete": surgery(lambda graph: ks.delete(graph, "b0_relu")),
    "emit": lambda given, _: ks.emit(given.graph),
    "explain": lambda given, _: str(ks.explain(library.FoldBatchNorm(), given.model)),
    "export": exported,
    "extract": lambda given, _: ks.extract(given.graph, "stem", "b0_add"),
    "fine_tune": lambda given, folder: ks.fine_tune(
        given.student, (IMAGES, LABELS), (IMAGES, LABELS), teacher=given.model,
        distillation=[ks.recover.DarkKnowledge()], epochs=1, folder=folder / "tuned", recalibrate=1, verbose=0,
    ),
    "format_graph": lambda given, _: ks.format_graph(given.graph),
    "generate_inputs": lambda given, _: ks.generate_inputs(ks.recalibrate_batch_norm(given.model, IMAGES), 4, steps=2),
    "groups": lambda given, _: ks.groups(given.graph),
    "insert_after": surgery(lambda graph: ks.insert_after(graph, "stem", layer(keras.layers.Dropout, 0.1))),
    "insert_before": surgery(lambda graph: ks.insert_before(graph, "scores", layer(keras.layers.Dropout, 0.1))),
    "knowledge_quotients": lambda given, folder: ks.knowledge_quotients(
        given.model, data=(IMAGES, LABELS), method="projection", log=folder / "log.json"
    ),
    "latency_on": lambda given, _: ks.latency_on("tflite", rounds=1)(given.model),
    "lift": lambda given, _: ks.lift(given.model),
    "load_checkpoint": from_checkpoint,
    "load_model": loaded,
    "masked": lambda given, _: ks.masked(given.model, given.plan),
    "open_runner": opened,
    "prune_vocabulary": lambda given, _: ks.prune_vocabulary(reader(), [0, 2, 5]),
    "recalibrate_batch_norm": lambda given, _: ks.recalibrate_batch_norm(given.model, IMAGES),
    "regions": lambda given, _: ks.regions(given.graph),
    "register_rule": lambda given, _: ks.register_rule(Doubled, Rule()),
    "rename": surgery(lambda graph: ks.rename(graph, "stem", "first")),
    "replace_layer": surgery(lambda graph: ks.replace_layer(graph, "b0_relu", keras.layers.Activation("silu"))),
    "replace_region": surgery(
        lambda graph: ks.replace_region(graph, "stem_bn", "b0_add", layer(keras.layers.Conv2D, 4, 1, name="new"))
    ),
    "shrink_and_expand": lambda given, _: ks.shrink_and_expand(given.model, lambda model, number: None),
    "train_bridges": lambda given, folder: ks.train_bridges(
        given.model, given.student, given.bridge, IMAGES, IMAGES, epochs=1, cache="disk", folder=folder / "bridges",
        verbose=0,
    ),
    "with_gates": lambda given, _: ks.with_gates(given.model),
    "with_scales": lambda given, _: ks.with_scales(given.model),
}  # fmt: skip

PLAIN = {
    *("Bridge", "ExportReport", "FromCheckpoint", "Graph", "Group", "Layer", "Node", "Region", "Report", "Result"),
    *("TensorSpec", "TrainResult", "Value", "Weight"),
}
"""What the functions above give and take: these classes do nothing by themselves."""

# Passes with what they need; the others take no options.
OPTIONS: dict[str, Callable[[Given], dict[str, Any]]] = {
    "ApplyBlocks": lambda given: {"plan": blocks(given)},
    "ApplyFactors": lambda given: {"plan": factors(given)},
    "ApplyPlan": lambda given: {"plan": given.plan},
    "ChangeClasses": lambda _: {"classes": 3},
    "ChangeInput": lambda _: {"shape": (*IMAGES.shape[1:-1], 2)},
    "Compress": lambda _: {"params": 0.6},
    "DropBlock": lambda _: {"region": "b0_conv..b0_add", "correction": "affine"},
    "Expand": lambda _: {"width": 1.5},
    "Factorise": lambda _: {"max_accuracy_loss": 0.5, "evaluations": 4},
    "InsertBlock": lambda _: {"at": "b0_add"},
    "PruneEmbedding": lambda _: {"keep": (0, 2, 5)},
    "PruneChannels": lambda _: {"ratio": 0.3, "importance": "taylor", "compensate": "data"},
    "ReconstructWidths": lambda _: {"structure": {"b0_conv": 2}, "weights": "fresh"},
    "ReplaceLayers": lambda _: {"pattern": "ReLU", "function": lambda layer: keras.layers.ELU(name=layer.name)},
    "ReplaceWithShunt": lambda _: {"region": "b0_conv..b0_add"},
    "ReplaceWithTranslator": lambda given: {"cuts": (given.cut.first, given.cut.last)},
    "SetOutputStride": lambda _: {"stride": 1},
    "SliceStream": lambda _: {"ratio": 0.25},
    "Sparsify": lambda _: {"sparsity": 0.5},
    "TuckerSplit": lambda _: {"ratio": 0.5},
}


def state() -> dict[str, Any]:
    """All that a call could change and should not."""
    gc.collect()
    root = logging.getLogger()
    loggers = {name: it for name, it in logging.Logger.manager.loggerDict.items() if isinstance(it, logging.Logger)}
    numbers = np.random.get_state()  # noqa: NPY002 - the one that users share
    tensorflow = context.context()
    return {
        "handlers of logging": list(root.handlers),
        "filters of logging": list(root.filters),
        "levels of logging": {"": root.level, **{name: it.level for name, it in loggers.items() if it.level}},
        "handlers of loggers": {name: list(it.handlers) for name, it in loggers.items() if it.handlers},
        "loggers switched off": {name for name, it in loggers.items() if it.disabled or not it.propagate},
        "logging switched off": logging.root.manager.disable,
        "warnings": list(warnings.filters),
        "how warnings are shown": warnings.showwarning,
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": (numbers[1].tobytes(), numbers[2:]),  # type: ignore[index]
        "TensorFlow's random numbers": (tensorflow._seed, tensorflow._rng.getstate()),
        "Keras' random numbers": np.asarray(
            keras.src.backend.common.global_state.get_global_attribute("global_seed_generator").state
        ).tolist(),
        "recursion": sys.getrecursionlimit(),
        "open files": open_files(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "threads": [thread.name for thread in threading.enumerate() if thread.is_alive()],
        "threads of BLAS": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
        "errors of numpy": np.geterr(),
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "streams": (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__),
        "path": list(sys.path),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, sys.gettrace(), sys.getprofile()),
        "Keras": (keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format()),
        "Keras' errors": keras.config.is_traceback_filtering_enabled(),
        "Keras' methods": (keras.Layer.add_weight, keras.Layer.__call__, keras.Model.__init__, keras.Layer.__setattr__),
        "eager": (tf.executing_eagerly(), tf.config.functions_run_eagerly()),
        # TensorFlow keeps the source that it has made of a function until the process ends.
        "temporary files": [name for name in os.listdir(tempfile.gettempdir()) if "autograph" not in name],
    }


def open_files() -> list[str]:
    """What descriptors are open on, but for what has numbers that change.

    matplotlib keeps a few dozen fonts open, for each thread that has drawn.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # the descriptor of the listing
            continue
    plain = [item.split(":")[0] if item.startswith(("anon_inode", "pipe", "socket")) else item for item in found]
    return sorted(item for item in plain if "/mpl-data/fonts/" not in item)


class Heard(logging.Handler):
    """A user's handler."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def check(call: Call, given: Given, folder: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call once in each of some threads, and compare the state before with that after all have ended."""
    (folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    heard = Heard()
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers, heard])
    keras.utils.set_random_seed(SEED)
    keras.random.uniform((1,))  # Keras makes its generator when it is first asked
    folders = [folder / str(number) for number in range(threads)]
    for each in folders:
        each.mkdir()
    failed: list[BaseException] = []

    def run(own: Path) -> None:
        try:
            call(given, own)
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            failed.append(error)

    before = state()
    if threads == 1:
        run(folders[0])
    else:
        started = [threading.Thread(target=run, args=(own,)) for own in folders]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    after = state()
    for error in failed:
        raise error
    changed = {what: (before[what], after[what]) for what in before if before[what] != after[what]}
    assert {what: shown(*pair) for what, pair in changed.items()} == {}
    logging.getLogger("user").error("heard")
    assert heard.lines[-1] == "heard"


def shown(before: Any, after: Any) -> str:
    """What is different, as short as can be."""
    if isinstance(before, dict):
        keys = {key for key in {**before, **after} if before.get(key) != after.get(key)}
        return "; ".join(f"{key}: {before.get(key)} -> {after.get(key)}" for key in sorted(keys, key=str))[:500]
    if isinstance(before, list):
        old, new = Counter(map(str, before)), Counter(map(str, after))
        return f"gone: {list((old - new).elements())}, new: {list((new - old).elements())}"
    return f"{str(before)[:200]} -> {str(after)[:200]}"


def test_nothing_public_is_left_out() -> None:
    public = {name: getattr(ks, name) for name in ks.__all__}
    mistakes = {name for name, it in public.items() if inspect.isclass(it) and issubclass(it, BaseException)}
    do = {name for name, it in public.items() if callable(it)} - mistakes - PLAIN
    assert set(CALLS) == do
    assert {name for name in PLAIN if name not in public} == set()


@pytest.fixture(autouse=True)
def mostly_untraced(request: pytest.FixtureRequest) -> None:
    if not any(name in request.node.name for name in ("export", "latency_on", "open_runner")):
        request.getfixturevalue("untraced")


@pytest.mark.spread(6)
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_public(name: str, threads: int, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(CALLS[name], given, tmp_path, threads, monkeypatch)


def by_pass(name: str, given: Given) -> Call:
    options = OPTIONS[name](given) if name in OPTIONS else {}
    item = getattr(library, name)(**options)
    if name == "PruneEmbedding":
        return lambda given, _: ks.apply_passes(reader(), [item])
    loss = "sparse_categorical_crossentropy"
    return lambda given, _: ks.apply_passes(given.model, [item], data=(IMAGES, LABELS), loss=loss)


@pytest.mark.parametrize("name", sorted(library.__all__))
def test_passes(name: str, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(by_pass(name, given), given, tmp_path, 1, monkeypatch)


@pytest.mark.sweep  # keras_io/test_threads.py runs several at once in every run
def test_passes_at_once(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads, in each of which every fourth pass runs."""
    calls = [by_pass(name, given) for name in sorted(library.__all__)]

    def several(given: Given, folder: Path) -> None:
        for call in calls[int(folder.name) :: 4]:
            call(given, folder)

    check(several, given, tmp_path, 4, monkeypatch)
