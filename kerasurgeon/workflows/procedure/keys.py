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
    """

    default: Any
    expected: str
    allows: Callable[[Any], bool]


def _count(default: int | None, least: int = 1) -> Key:
    return Key(default, f"a whole number from {least}", lambda value: is_count(value, least))


def _number(default: float | None, expected: str, allows: Callable[[float], bool]) -> Key:
    return Key(default, expected, lambda value: is_number(value) and allows(value))


def _rate(default: float | None) -> Key:
    return _number(default, "a number above 0", lambda value: value > 0)


def _flag(default: bool) -> Key:
    return Key(default, "true or false", lambda value: isinstance(value, bool))


def _text(default: str | None, expected: str = "a text") -> Key:
    return Key(default, expected, lambda value: isinstance(value, str) and bool(value))


def _word(default: str, *words: str) -> Key:
    return Key(default, " or ".join(map(repr, words)), lambda value: value in words)


def _table(expected: str = "a table") -> Key:
    return Key(None, expected, lambda value: isinstance(value, Mapping))


def _texts(default: Any, expected: str) -> Key:
    def allows(value: Any) -> bool:
        several = value if isinstance(value, (list, tuple)) else [value]
        return bool(several) and all(isinstance(item, str) and item for item in several)

    return Key(default, expected, allows)


def _step(*, run: bool | None = None) -> dict[str, Key]:
    """What every step has: a function in its place and, where it may be left out, whether it runs."""
    keys = {"function": _text(None, '"module:function" that does the step instead')}
    return keys if run is None else {**keys, "run": _flag(run)}


def _training(*, epochs: int, rate: float, schedule: str, optimizer: str) -> dict[str, Key]:
    return {
        "epochs": _count(epochs),
        "batch_size": _count(32),
        "learning_rate": _rate(rate),
        "optimizer": _word(optimizer, "sgd", "adam", "adamw", "rmsprop"),
        "momentum": _number(0.9, "a number in [0, 1)", lambda value: 0 <= value < 1),
        "weight_decay": _number(0.0, "a number from 0", lambda value: value >= 0),
        "schedule": _word(schedule, "poly", "plateau", "two_cycles", "constant"),
        "power": _number(0.9, "a number from 0", lambda value: value >= 0),
        "factor": _number(0.1, "a number in (0, 1)", lambda value: 0 < value < 1),
        "patience": _count(4),
        "second_at": _count(None),
        "second_rate": _rate(None),
        "keep_best": _flag(True),
        "recalibrate": _count(None),
    }


DISTILLATION = ("dark_knowledge", "attention_transfer", "feature_matching", "ace")

TOP = {
    "seed": _count(0, least=0),
    "name": _text("procedure"),
    "versions": _table(),
}

TABLES: dict[str, dict[str, Key]] = {
    "data": {
        **_step(),
        "name": _text("digits", 'the name of a data set or "module:function"'),
        "augment": _table("a table with shift and flip"),
    },
    "original": {
        **_step(),
        "network": _text("inverted_bottlenecks", 'the name of a network or "module:function"'),
        "file": _text(None, "a .keras file"),
    },
    "train_original": {
        **_step(run=True),
        **_training(epochs=20, rate=5e-2, schedule="poly", optimizer="sgd"),
        "class_weights": Key(None, "a number per class", lambda value: isinstance(value, (list, tuple))),
    },
    "quotients": {
        **_step(run=False),
        "which": _texts(None, "names or patterns of regions"),
        "min_nodes": _count(2),
        "samples": _count(512),
        "part": _word("validation", "validation", "test", "train"),
    },
    "shunt": {
        **_step(),
        "regions": _texts(None, "names of regions, as 'first..last', or patterns of names"),
        "choose": _table("a table with macs or params: what is kept by leaving regions out; and unreachable"),
        "momentum": _number(None, "a number in [0, 1)", lambda value: 0 <= value < 1),
        "arch": Key("1", "the name of an architecture, or a table of them by region", lambda value: bool(value)),
    },
    "train_shunt": {
        **_step(run=True),
        **_training(epochs=20, rate=1e-3, schedule="plateau", optimizer="adam"),
        "cache": _word("memory", "memory", "disk", "none"),
    },
    "insert": {
        **_step(),
        "recalibrate": _count(None),
    },
    "train_final": {
        **_step(run=True),
        **_training(epochs=20, rate=1e-2, schedule="poly", optimizer="sgd"),
        "class_weights": Key(None, "a number per class", lambda value: isinstance(value, (list, tuple))),
        "labels": _flag(True),
        "freeze_before_shunt": _flag(False),
        **{name: _table("a table of its options") for name in DISTILLATION},
    },
    "latency": {
        **_step(run=True),
        "rounds": _count(15),
        "batch_size": _count(1),
    },
    "summary": _step(),
}

NAMING = ("function", "name", "network", "arch")
"""The keys whose values may name functions, as ``"module:function"``."""

# What stands in these beside the keys are arguments of the data set or the network that they name.
OPEN = ("data", "original")
