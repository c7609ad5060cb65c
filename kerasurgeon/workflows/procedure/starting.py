"""A recipe to begin with: every key of a procedure, with its meaning, what may stand there, and its default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from kerasurgeon.workflows.procedure.keys import STEPS, TABLES, TOP, Key
from kerasurgeon.workflows.procedure.sources import DATA_SETS

_ABOUT = """A recipe of the shunt procedure: kerasurgeon shunt --recipe FILE. Lines without # are what to look at first;
the others show what is in force without them. Where shunts go is chosen by itself, for the budget of [shunt]."""

_SHOWN = {("data", "name"), ("original", "network"), ("shunt", "choose"), ("train_original", "epochs")}
_SHOWN |= {("train_shunt", "epochs"), ("train_final", "epochs")}

_EXAMPLES = {
    "function": '"my_steps:my_function"',
    "augment": "{shift = 0.1, flip = true}",
    "file": '"model.keras"',
    "which": '"block*"',
    "regions": '["block3..block5"]',
    "choose": "{macs = 0.7}",
    "class_weights": "[1.0, 2.0]",
    "losses": '["my_losses:dice", "sparse_categorical_crossentropy"]',
    "metrics": '"my_metrics:Recall"',
    "versions": "{}",
}


def starting_recipe() -> str:
    """A recipe as TOML, which runs as it is: scikit-learn's digits, a small network, regions by their quotients."""
    lines = list(_comment(_ABOUT))
    for name, key in TOP.items():
        if name != "versions":
            lines += ["", *_entry(name, key, shown=True)]
    for step in STEPS:
        lines += ["", f"[{step}]"]
        for name, key in TABLES[step].items():
            lines += _entry(name, key, shown=(step, name) in _SHOWN)
            if (step, name) == ("data", "name"):
                lines += _comment(f"Data sets: {', '.join(DATA_SETS)}.")
    return "\n".join(lines) + "\n"


def _entry(name: str, key: Key, *, shown: bool) -> list[str]:
    value = _EXAMPLES.get(name, "{}") if key.default is None else json.dumps(key.default)
    line = f"{name} = {value}" if key.default is not None or shown else f"{name} = {value}  # not set"
    if key.default is None and name not in _EXAMPLES and "table" not in key.expected:
        line = f"{name} = ...  # not set"
    return [*_comment(f"{key.doc} {key.expected[:1].upper()}{key.expected[1:]}."), line if shown else f"# {line}"]


def _comment(text: Any) -> Iterator[str]:
    yield from wrap(text, 100, initial_indent="# ", subsequent_indent="# ")


__all__ = ["starting_recipe"]
