"""The loss and the metrics of a training, and whether its labels suit them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerasurgeon.errors import OptionError
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.structure import values_in
from kerasurgeon.recover.batches import Source
from kerasurgeon.recover.labels import check_labels
from kerasurgeon.recover.progress import direction

COMPILED = "compiled"


def compiled(graph: Graph, loss: Any, metrics: Any) -> tuple[Any, Any, str]:
    """Loss and metrics, taken from how the model is compiled where nothing else was said."""
    wants = [isinstance(one, str) and one == COMPILED for one in (loss, metrics)]
    if not any(wants):
        return loss, metrics, ""
    config = graph.model.compile_config
    if config is None:
        if wants[0]:
            raise OptionError(
                "The model is not compiled, so that its loss is not known.",
                hint="pass loss= (and metrics=), or loss=None to learn from the teacher alone",
            )
        return loss, None, ""
    with keras.saving.custom_object_scope(dict(graph.model.custom_objects)):
        found = keras.saving.deserialize_keras_object(dict(config))
    return found.get("loss") if wants[0] else loss, found.get("metrics") if wants[1] else metrics, ""


def check_source(graph: Graph, found: Source, loss: Any, terms: Sequence[tuple[Any, float]], option: str) -> None:
    """Refuse data without labels, or with labels that the loss or a distillation loss cannot take.

    Args:
        graph: The graph of the model.
        found: The data.
        loss: The loss of the labels, or ``None``.
        terms: Distillation losses with their factors.
        option: What the data is called.

    Raises:
        OptionError: The labels cannot be used.
    """
    if found.first is None:
        return
    if len(found.first) < 2:
        raise OptionError(
            f"{option!r} has no labels.", expected="(inputs, labels)",
            hint="loss=None learns from the teacher alone" if terms else None,
        )  # fmt: skip
    outputs = values_in(graph.outputs)
    labels = found.first[1] if found.labels is None else found.labels
    if len(outputs) != 1 or isinstance(labels, (dict, list, tuple)):
        return
    ignored = next((term.ignore_label for term, _ in terms if hasattr(term, "ignore_label")), None)
    check_labels(loss, labels, graph.spec(outputs[0]), f"labels of {option!r}", ignored)
    for term, _ in terms:
        if getattr(term, "needs_labels", False):
            wanted = keras.losses.SparseCategoricalCrossentropy(ignore_class=getattr(term, "ignore_label", None))
            check_labels(wanted, labels, graph.spec(outputs[0]), f"labels of {option!r}")


def metric_names(metrics: Any, outputs: Sequence[str] | None) -> list[str]:
    """What metrics are called in the logs of validation, as they were given; those whose names tell what is better."""
    names = []
    for one in keras.tree.flatten(metrics) if metrics is not None else []:
        name = one if isinstance(one, str) else str(getattr(one, "name", None) or getattr(one, "__name__", ""))
        if direction(name) is not None:
            names += [f"val_{name}", *(f"val_{output}_{name}" for output in outputs or ())]
    return names


def fresh(metrics: Any) -> Any:
    """Metrics of a training's own: those that were passed in keep their counts."""

    def copied(metric: Any) -> Any:
        return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

    return None if metrics is None else keras.tree.map_structure(copied, metrics)


def output_names(model: keras.Model, graph: Graph) -> list[str] | None:
    """What Keras calls the outputs of a model, one name for each."""
    names = getattr(model, "output_names", None)
    return list(names) if names and len(values_in(graph.outputs)) == len(names) else None


def text_of(item: Any) -> Any:
    """A loss, or a structure of them, as text that is the same for the same losses."""
    if isinstance(item, (list, tuple)):
        return [text_of(one) for one in item]
    if isinstance(item, dict):
        return {str(key): text_of(one) for key, one in item.items()}
    if item is None or isinstance(item, str):
        return item
    if hasattr(item, "get_config"):
        try:
            return f"{type(item).__name__} {sorted(item.get_config().items(), key=lambda pair: pair[0])}"
        except Exception:  # noqa: BLE001 - a loss of the user's need not have a config
            return type(item).__name__
    return getattr(item, "__name__", type(item).__name__)


__all__ = ["COMPILED", "check_source", "compiled", "fresh", "metric_names", "output_names", "text_of"]
