"""The steps as they are done unless the user puts functions in their place.

Each is given the run and does three things: make something, keep it in the run's folder, and return what it found as
plain data. A user's function in its place only makes: see ``Procedure``.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasurgeon.blocks.measuring import knowledge_quotients
from kerasurgeon.blocks.plan import BlockPlan
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.errors import KerasurgeonError, ModelFileError, OptionError
from kerasurgeon.exporting.benchmark import latency
from kerasurgeon.exporting.opening import open_runner
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.loading import load_model
from kerasurgeon.recover import Bridge, check_distillation, fine_tune, recalibrate_batch_norm, train_bridges
from kerasurgeon.recover.batches import EpochOrder
from kerasurgeon.rewrite.drop_strides import drop_strides
from kerasurgeon.rewrite.pipeline import Pipeline
from kerasurgeon.trust import import_object
from kerasurgeon.workflows.networks.backbones import set_momentum
from kerasurgeon.workflows.procedure.choosing import regions_for_shunts
from kerasurgeon.workflows.procedure.measuring import metric_name, metric_of, unlearned
from kerasurgeon.workflows.procedure.run import Run, call_with
from kerasurgeon.workflows.procedure.segmentations import write_pictures
from kerasurgeon.workflows.procedure.sources import NETWORKS
from kerasurgeon.workflows.procedure.summary import summarise
from kerasurgeon.workflows.procedure.training import distillation_of, loss_of, metrics_of, optimizer_of, schedule_of

Facts = dict[str, Any]


def data(run: Run) -> Facts:
    """Read the data set and look at it."""
    found = run.data
    sizes = {part: _length(getattr(found, part)) for part in ("train", "validation", "test")}
    return {
        "name": found.name,
        "task": found.task,
        "classes": found.classes,
        "input_shape": list(found.input_shape),
        "samples": sizes,
        "facts": found.facts,
    }


def original(run: Run) -> Facts:
    """Build the network, or read it."""
    function, table = run.function("original"), run.recipe["original"]
    if function is not None:
        model = function(run)
    elif table["file"] is not None:
        model = _read(Path(table["file"]), unsafe=run.folder.unsafe)
    else:
        name = table["network"]
        build = NETWORKS[name].function if name in NETWORKS else import_object(name, "original.network")
        offered = {"input_shape": run.data.input_shape, "classes": run.data.classes}
        model = call_with(build, run.recipe.arguments["original"], **offered)
    if function is None and table["change_stride_layers"]:
        graph = lift(model)
        for node, what in drop_strides(graph, table["change_stride_layers"]).items():
            run.log.info("%s: %s", node, what)
        model = emit(graph)
    model = run.keep("original", model, "original")
    _check_fit(model, run)
    _check_trainings(model, run)
    return run.measure(model)


def _check_trainings(model: keras.Model, run: Run) -> None:
    """Make what all trainings are made with once, so that options that cannot be used are told of before the first."""
    for step in ("train_original", "train_shunt", "train_final"):
        table = run.recipe[step]
        if run.recipe.runs(step) and run.function(step) is None:
            try:
                optimizer_of(table)
                schedule_of(table)
                if step != "train_shunt":
                    loss_of(model, run.data, table["class_weights"], table["losses"])
                    metrics_of(table["metrics"])
                if step == "train_final":
                    distillation_of(table, run.data, ())
            except KerasurgeonError as error:
                error.add_note(f"asked for by [{step}], which is looked at before the first training")
                raise


def train_original(run: Run) -> Facts:
    """Train the network, and see whether it has learned what all later choices go by."""
    function = run.function("train_original")
    if not run.recipe.runs("train_original"):
        facts = run.measure(run.keep("trained", run.model("original"), "train_original"))
    elif function is not None:
        facts = run.measure(run.keep("trained", function(run), "train_original"))
    else:
        facts = _tuned(run, "train_original", run.model("original"), "trained")
    facts["warning"] = unlearned(run.original, run.data)
    if facts["warning"]:
        run.warn(facts["warning"])
    return facts


def quotients(run: Run) -> Facts:
    """Measure how much each region matters."""
    function, table = run.function("quotients"), run.recipe["quotients"]
    path = run.folder.path / "quotients.json"
    if not run.recipe.runs("quotients"):
        return {}
    if function is not None:
        found = function(run)
        if not isinstance(found, Quotients):
            raise OptionError("The step 'quotients' gave no quotients.", got=type(found).__name__)
        found.save(path)
    else:
        part = run.part(table["part"])
        metric = "accuracy" if run.data.task == "classification" else metric_of(run.data)
        found = knowledge_quotients(
            run.original,
            data=part,
            metric=metric,
            which=table["which"],
            min_nodes=table["min_nodes"],
            samples=table["samples"],
            log=path,
            sizes=run.sizes(run.original),
            seed=run.seed("quotients"),
            progress=run.tell,
        )
    run.log.info("%s", found)
    return {"regions": len(found), "least": [[row.region, row.quotient] for row in found.ranked()[:5]]}


def shunt(run: Run) -> Facts:
    """Choose where shunts go, build them, fit them to images, and put them in, untrained."""
    function, table = run.function("shunt"), run.recipe["shunt"]
    if function is not None:
        model, plan = _made_by_user(function(run))
    else:
        from kerasurgeon.passes import ReplaceWithShunt

        sizes = run.sizes(run.original)
        regions = table["regions"]
        if regions is None:
            found = Quotients.load(run.folder.path / "quotients.json")
            regions, said = regions_for_shunts(
                lift(run.original), found, table["choose"], table["arch"], sizes=sizes, tell=run.tell
            )
            run.log.info("chosen: %s: %s", ", ".join(regions), said)
        regions = tuple(regions) if isinstance(regions, list) else regions
        result = Pipeline([ReplaceWithShunt(regions, table["arch"], fit=table["fit"])]).run(
            run.original, data=run.part("train"), sizes=sizes, seed=run.seed("shunt")
        )
        plan = result.report.passes[0].plans[0]
        model = result.model if table["momentum"] is None else _with_momentum(result.model, plan, table["momentum"])
    model = run.keep("shunted", model, "shunt")
    plan.save(run.folder.path / "shunts.json")
    for line in str(plan).splitlines():
        run.log.info("%s", line)
    check_lessons(run, model, plan.bridges)
    bridges = [dataclasses.asdict(bridge) for bridge in plan.bridges]
    facts = {**run.measure(model), "bridges": [{**item, "layers": list(item["layers"])} for item in bridges]}
    before = run.found["train_original"]
    for what in ("macs", "parameters"):
        if facts[what] > before[what]:
            more = f"MORE {what} than the original: {facts[what]:,} instead of {before[what]:,}"
            facts["warning"] = f"WARNING: with its shunts the network has {more}"
            run.warn(facts["warning"])
    return facts


def check_lessons(run: Run, student: keras.Model, bridges: Sequence[Bridge]) -> None:
    """Check, before anything is trained on, that the last training can compare what it is to compare."""
    table = run.recipe["train_final"]
    if run.recipe.runs("train_final") and run.function("train_final") is None:
        lessons = distillation_of(table, run.data, tuple(bridges))
        freeze = tuple(bridges) if table["freeze_before_shunt"] else None
        check_distillation(student, run.original, lessons, freeze_before=freeze)


def train_shunt(run: Run) -> Facts:
    """Train the shunts to make what the regions made."""
    function, table = run.function("train_shunt"), run.recipe["train_shunt"]
    if not run.recipe.runs("train_shunt"):
        return run.measure(run.keep("shunt_trained", run.model("shunted"), "train_shunt"))
    if function is not None:
        return run.measure(run.keep("shunt_trained", function(run), "train_shunt"))
    folder = run.folder.training("shunt")
    cache = None if table["cache"] == "none" or run.augment() is not None else table["cache"]
    batches = run.part("train", training=True, batch_size=table["batch_size"], step="train_shunt")
    result = train_bridges(
        run.original,
        run.model("shunted"),
        run.bridges,
        run.part("train") if cache is not None else batches,
        run.part("validation"),
        epochs=table["epochs"],
        batch_size=table["batch_size"],
        optimizer=optimizer_of(table),
        schedule=schedule_of(table),
        restore_best=table["keep_best"],
        cache=cache,
        folder=folder,
        callbacks=[EpochOrder(batches), *_telling(run, table["epochs"])],
        seed=run.seed("train_shunt"),
        verbose=run.verbose,
        **({} if table["recalibrate"] is None else {"recalibrate": table["recalibrate"]}),
    )
    _noted(run, result.notes)
    for bridge in run.bridges:
        run.folder.keep_history(bridge.name, folder / bridge.name / "history.csv")
    return run.measure(run.keep("shunt_trained", result.model, "train_shunt"))


def insert(run: Run) -> Facts:
    """Put the trained shunts into the original network, for good."""
    function = run.function("insert")
    if function is not None:
        return run.measure(run.keep("inserted", function(run), "insert"))
    model = run.model("shunt_trained")
    batches = run.recipe["insert"]["recalibrate"]
    if batches is not None:
        part = run.part("train")
        inputs = part[0] if isinstance(part, tuple) else part
        model = recalibrate_batch_norm(model, inputs, batches=batches)
    return run.measure(run.keep("inserted", model, "insert"))


def train_final(run: Run) -> Facts:
    """Train the whole, from labels and from the original."""
    function = run.function("train_final")
    if not run.recipe.runs("train_final"):
        return run.measure(run.keep("final", run.model("inserted"), "train_final"))
    if function is not None:
        return run.measure(run.keep("final", function(run), "train_final"))
    return _tuned(run, "train_final", run.model("inserted"), "final")


def measure_latency(run: Run) -> Facts:
    """Time the original and the final network, side by side."""
    function, table = run.function("latency"), run.recipe["latency"]
    if not run.recipe.runs("latency"):
        return {}
    if function is not None:
        return _plain_rows(function(run))
    runners = {"original": open_runner(run.original), "final": open_runner(run.model("final"))}
    times = latency(runners, rounds=table["rounds"], batch_size=table["batch_size"], seed=run.seed("latency"))
    run.log.info("%s", times)
    return {"rows": times.to_dict()["rows"], "batch_size": table["batch_size"]}


def _plain_rows(made: Any) -> Facts:
    """What a user's step ``latency`` gives: any data that JSON can hold, rows or a mapping."""
    facts = {"rows": list(made)} if isinstance(made, (list, tuple)) else made
    try:
        return dict(json.loads(json.dumps(facts)))
    except (TypeError, ValueError) as error:
        raise OptionError(
            "The step 'latency' gave something else than plain data.",
            expected="a list of rows or a mapping, of numbers, texts, lists and mappings; rows with name and median_ms "
            "are shown in the summary",
            got=f"{type(made).__name__}: {error}",
        ) from error


def summary(run: Run) -> Facts:
    """Put together what was found."""
    found = summarise(run.found, metric_name(run.data), run.recipe.name, run.recipe.runs)
    if run.data.task == "segmentation":
        write_pictures(run.folder.path, run.data, (run.original, run.model("final")))
    function = run.function("summary")
    if function is not None:
        found = {**found, **(function(run) or {})}
    return found


DEFAULTS: dict[str, Callable[[Run], Facts]] = {
    "data": data,
    "original": original,
    "train_original": train_original,
    "quotients": quotients,
    "shunt": shunt,
    "train_shunt": train_shunt,
    "insert": insert,
    "train_final": train_final,
    "latency": measure_latency,
    "summary": summary,
}


def _tuned(run: Run, step: str, model: keras.Model, name: str) -> Facts:
    """One of the two trainings of a whole network."""
    table = run.recipe[step]
    final = step == "train_final"
    lessons = distillation_of(table, run.data, run.bridges) if final else []
    history = "final" if final else "original"
    folder = run.folder.training(history)
    batches = run.part("train", training=True, batch_size=table["batch_size"], step=step)
    labels = not final or table["labels"]
    result = fine_tune(
        model,
        batches,
        run.part("validation"),
        loss=loss_of(model, run.data, table["class_weights"], table["losses"]) if labels else None,
        metrics=[metric_of(run.data), *metrics_of(table["metrics"])],
        teacher=run.original if lessons else None,
        distillation=lessons,
        schedule=schedule_of(table),
        epochs=table["epochs"],
        batch_size=table["batch_size"],
        optimizer=optimizer_of(table),
        freeze_before=run.bridges if final and table["freeze_before_shunt"] else None,
        restore_best=table["keep_best"],
        recalibrate=table["recalibrate"],
        folder=folder,
        callbacks=[EpochOrder(batches), *_telling(run, table["epochs"])],
        seed=run.seed(step),
        verbose=run.verbose,
    )
    _noted(run, result.notes)
    run.folder.keep_history(history, folder / "history.csv")
    return run.measure(run.keep(name, result.model, step))


def _telling(run: Run, epochs: int) -> Sequence[Any]:
    def told(epoch: int, logs: dict[str, float]) -> None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(logs.items()) if name != "learning_rate")
        run.log.info("epoch %d of %d: %s", epoch + 1, epochs, values)
        run.tell((epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}")

    return [keras.callbacks.LambdaCallback(on_epoch_end=told)]


def _noted(run: Run, notes: Sequence[str]) -> None:
    for text in notes:
        run.log.info("note: %s", text)


def _made_by_user(made: Any) -> tuple[keras.Model, BlockPlan]:
    """The model and the plan of a user's step."""
    if hasattr(made, "report") and hasattr(made, "model"):
        plans = [plan for item in made.report.passes for plan in item.plans if isinstance(plan, BlockPlan)]
        made = (made.model, plans[-1] if plans else None)
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[1], BlockPlan):
        raise OptionError(
            "The step 'shunt' gave something else than a model with shunts.",
            expected="what Pipeline([ReplaceWithShunt(...)]).run(model) gives, or (model, plan)",
            got=type(made).__name__,
        )
    return made


def _with_momentum(model: keras.Model, plan: BlockPlan, momentum: float) -> keras.Model:
    """The model with another momentum in the shunts' batch norms: 0.999 is for trainings of many thousand steps."""
    graph = lift(model)
    set_momentum(graph, momentum, [node for bridge in plan.bridges for node in bridge.layers])
    return emit(graph)


def _read(path: Path, *, unsafe: bool) -> keras.Model:
    if not os.path.isfile(path):
        raise ModelFileError("The network's file does not exist.", where=str(path))
    return load_model(path, compile=False, unsafe=unsafe)


def _check_fit(model: keras.Model, run: Run) -> None:
    """Compare the network with the data set, before hours of training."""
    shape, classes = tuple(model.inputs[0].shape[1:]), model.outputs[0].shape[-1]
    wanted = run.data.input_shape
    fits = len(shape) == len(wanted) and all(a in (None, b) for a, b in zip(shape, wanted, strict=True))
    if not fits or classes != run.data.classes:
        raise OptionError(
            "The network does not fit the data set.",
            where=f"model {model.name!r}",
            expected=f"images of shape {wanted}, {run.data.classes} classes",
            got=f"images of shape {shape}, {classes} outputs",
        )


def _length(part: Any) -> int | None:
    try:
        return len(part)
    except TypeError:
        return None


__all__ = ["DEFAULTS"]
