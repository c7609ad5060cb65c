"""The tables of a procedure's recipe: their keys, what may stand there, and what stands there otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kerasurgeon.rewrite.option_checks import is_count, is_number

STEPS = (
    "data",
    "original",
    "train_original",
    "quotients",
    "shunt",
    "train_shunt",
    "insert",
    "train_final",
    "latency",
    "summary",
)
"""The steps, in order; each has a table of its name."""


@dataclass(frozen=True)
class Key:
    """A key of a table.

    Attributes:
        default: What it is when it is not given.
        expected: What may stand there, for people.
        allows: Whether a value may.
        doc: What it means.
    """

    default: Any
    expected: str
    allows: Callable[[Any], bool]
    doc: str


def _count(default: int | None, doc: str, least: int = 1) -> Key:
    return Key(default, f"a whole number from {least}", lambda value: is_count(value, least), doc)


def _number(default: float | None, expected: str, allows: Callable[[float], bool], doc: str) -> Key:
    return Key(default, expected, lambda value: is_number(value) and allows(value), doc)


def _rate(default: float | None, doc: str) -> Key:
    return _number(default, "a number above 0", lambda value: value > 0, doc)


def _flag(default: bool, doc: str) -> Key:
    return Key(default, "true or false", lambda value: isinstance(value, bool), doc)


def _text(default: str | None, doc: str, expected: str = "a text") -> Key:
    return Key(default, expected, lambda value: isinstance(value, str) and bool(value), doc)


def _word(default: str, doc: str, *words: str) -> Key:
    return Key(default, " or ".join(map(repr, words)), lambda value: value in words, doc)


def _table(doc: str, expected: str = "a table") -> Key:
    return Key(None, expected, lambda value: isinstance(value, Mapping), doc)


def _texts(default: Any, doc: str, expected: str) -> Key:
    def allows(value: Any) -> bool:
        several = value if isinstance(value, (list, tuple)) else [value]
        return bool(several) and all(isinstance(item, str) and item for item in several)

    return Key(default, expected, allows, doc)


def _own(what: str) -> dict[str, Key]:
    """Losses and metrics of one's own, of the two trainings of whole networks."""
    names = 'names of Keras, or "module:name"; one or a list'
    return {
        "losses": _texts(None, f"In place of the crossentropy, added up: {what}.", names),
        "metrics": _texts(None, f"Logged beside accuracy or mean IoU: {what}.", names),
    }


def _step(*, run: bool | None = None) -> dict[str, Key]:
    """What every step has: a function in its place and, where it may be left out, whether it runs."""
    keys = {"function": _text(None, "Does the step instead; other keys are its arguments.", '"module:function"')}
    return keys if run is None else {"run": _flag(run, "Whether the step is done."), **keys}


def _training(*, epochs: int, rate: float, schedule: str, optimizer: str) -> dict[str, Key]:
    share = "a number in [0, 1)"
    return {
        "epochs": _count(epochs, "How often all images are seen."),
        "batch_size": _count(32, "Images per step."),
        "learning_rate": _rate(rate, "At the beginning."),
        "optimizer": _word(optimizer, "What makes the steps.", "sgd", "adam", "adamw", "rmsprop"),
        "momentum": _number(0.9, share, lambda value: 0 <= value < 1, "Of sgd."),
        "weight_decay": _number(0.0, "a number from 0", lambda value: value >= 0, "Decoupled from the gradient."),
        "schedule": _word(schedule, "How the learning rate goes.", "poly", "plateau", "two_cycles", "constant"),
        "power": _number(0.9, "a number from 0", lambda value: value >= 0, "Of poly."),
        "factor": _number(
            0.1, "a number in (0, 1)", lambda value: 0 < value < 1, "Of plateau: the rate is multiplied."
        ),
        "patience": _count(4, "Of plateau: epochs without a better validation loss."),
        "second_at": _count(None, "Of two_cycles: the epoch in which the second begins."),
        "second_rate": _rate(None, "Of two_cycles: the learning rate at its beginning."),
        "keep_best": _flag(True, "Take the weights of the epoch that was best in validation."),
        "recalibrate": _count(None, "Batches to estimate batch-norm statistics from at the end."),
    }


DISTILLATION = {
    "dark_knowledge": "Scores of the original, softened: temperature, strength.",
    "attention_transfer": "Where its features are large, behind residual sums.",
    "feature_matching": "Its features at the ends of the shunts, or at layers.",
    "ace": "Adaptive cross-entropy, for segmentation: kappa.",
}

CHOICE = {"macs": 0.7}
"""What is kept where a recipe does not say where shunts go."""

TOP = {
    "seed": _count(0, "All random choices follow from it.", least=0),
    "name": _text("procedure", "What the run is called."),
    "versions": _table("Of what made the recipe; not looked at."),
}

_CLASS_WEIGHTS = Key(
    None, "a number per class", lambda value: isinstance(value, (list, tuple)), "Of the loss, for segmentation."
)

TABLES: dict[str, dict[str, Key]] = {
    "data": {
        **_step(),
        "name": _text(
            "digits", "The data set; other keys are its arguments.", 'the name of a data set or "module:function"'
        ),
        "augment": _table("How images are changed in training.", "a table with shift and flip"),
    },
    "original": {
        **_step(),
        "network": _text(
            "inverted_bottlenecks",
            "The network; other keys are its arguments.",
            'the name of a network, also of keras.applications, or "module:function"',
        ),
        "file": _text(None, "Read the network instead.", "a .keras file"),
        "change_stride_layers": _count(
            0, "For images smaller than the network was made for: its first strides that become 1.", least=0
        ),
    },
    "train_original": {
        **_step(run=True),
        **_training(epochs=20, rate=5e-2, schedule="poly", optimizer="sgd"),
        **_own("functions of labels and scores, or classes"),
        "class_weights": _CLASS_WEIGHTS,
    },
    "quotients": {
        **_step(run=False),
        "which": _texts(None, "Which regions are measured; all by default.", "names or patterns of regions"),
        "min_nodes": _count(2, "Smaller regions are left alone."),
        "samples": _count(512, "Images that each region is judged on."),
        "part": _word("validation", "Of the data.", "validation", "test", "train"),
    },
    "shunt": {
        **_step(),
        "regions": _texts(
            None, "What gives way to shunts.", "names of regions, as 'first..last', or patterns of names"
        ),
        "choose": _table(
            f"Instead: those that matter least, until this is kept, shunts included. Default: macs = {CHOICE['macs']}.",
            "a table with macs or params, and unreachable",
        ),
        "momentum": _number(None, "a number in [0, 1)", lambda value: 0 <= value < 1, "Of the batch norms in shunts."),
        "arch": Key(
            "1",
            "the name of an architecture ('1' to '5'), \"module:function\", or a table of them by region",
            lambda value: bool(value),
            "What shunts are made of.",
        ),
    },
    "train_shunt": {
        **_step(run=True),
        **_training(epochs=20, rate=1e-3, schedule="plateau", optimizer="adam"),
        "cache": _word("memory", "Where features of the original are kept.", "memory", "disk", "none"),
    },
    "insert": {
        **_step(),
        "recalibrate": _count(None, "Batches to estimate batch-norm statistics from."),
    },
    "train_final": {
        **_step(run=True),
        **_training(epochs=20, rate=1e-2, schedule="poly", optimizer="sgd"),
        **_own("functions of labels and scores, or classes"),
        "class_weights": _CLASS_WEIGHTS,
        "labels": _flag(True, "Whether the labels' loss counts, beside what is learned from the original."),
        "freeze_before_shunt": _flag(False, "Leave alone what lies before the first shunt."),
        **{name: _table(doc, "a table of its options, {} for none") for name, doc in DISTILLATION.items()},
    },
    "latency": {
        **_step(run=True),
        "rounds": _count(15, "How often both networks are timed."),
        "batch_size": _count(1, "Images at once."),
    },
    "summary": _step(),
}

NAMING = ("function", "name", "network", "arch", "losses", "metrics")
"""The keys whose values may name functions, as ``"module:function"``."""

# What stands in these beside the keys are arguments of the data set or the network that they name.
OPEN = ("data", "original")
