"""Which rule is asked about which kind: the user's first, then the library's.

The library's own rules are registered by the files of ``kerasurgeon.layers`` as users register theirs. They are loaded
when a rule is first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.kinds import kind_of
from kerasurgeon.keras_io.open_lifting import ANSWERED
from kerasurgeon.rules.guard import guarded
from kerasurgeon.rules.rule import NoRule, Rule

_BUILT_IN: dict[str, Rule] = {}
_REGISTERED: dict[str, Rule] = {}
_TABLE: ContextVar[dict[str, Rule]] = ContextVar("table", default=_REGISTERED)
_NO_RULE = NoRule()
FOREIGN = "custom:"
"""Whose rule answers for layers from outside Keras that have none: by what lifting has seen their code do."""


def register_rule(kind: str | type[Any] | Iterable[str | type[Any]], rule: Rule) -> None:
    """Let ``rule`` answer for a kind of layer or op from now on, in place of any rule there was.

    Args:
        kind: The class of the layer or op, or its kind (``"Conv2D"``, ``"ops.add"``,
            ``"custom:module.Class"``), or several of these. A subclass is a kind of its own: register
            ``rule_for("Conv2D")`` for it if it does what its base does.
        rule: The rule.

    Raises:
        OptionError: ``rule`` is not an instance of ``Rule``, or ``kind`` names no kind.
    """
    if not isinstance(rule, Rule):
        raise OptionError(
            "A rule must be an instance of kerasurgeon.rules.Rule.",
            got=repr(rule),
            hint="register an object, not its class" if isinstance(rule, type) else "derive a class from Rule",
        )
    several: Any = [kind] if isinstance(kind, (str, type)) else kind
    several = list(several) if isinstance(several, Iterable) else [several]
    if not several or not all(isinstance(each, (str, type)) and each for each in several):
        raise OptionError(
            "A rule is registered for a kind of layer or op, or for several.",
            expected="a class, a kind as 'Conv2D', 'ops.add' or 'custom:module.Class', or a list of these",
            got=repr(kind),
            hint="of a layer object, register its class: type(layer)" if hasattr(kind, "get_config") else None,
        )
    table = _TABLE.get()
    for each in map(_kind, several):
        table[each] = guarded(rule, each) if table is _REGISTERED else rule


def unregister_rule(kind: str | type[Any]) -> None:
    """Forget a registered rule; the library's own, if there is one, answers again.

    Raises:
        OptionError: No rule was registered for this kind.
    """
    if _REGISTERED.pop(_kind(kind), None) is None:
        raise OptionError(f"No rule was registered for {_kind(kind)!r}.", hint=did_you_mean(_kind(kind), _REGISTERED))


def rule_for(kind: str | type[Any]) -> Rule:
    """The rule for a kind or a class of layer or op; where ``has_rule`` says no, one that knows nothing."""
    kind = _kind(kind)
    found = _REGISTERED.get(kind) or _built_in().get(kind)
    return found or _built_in().get(FOREIGN if kind.startswith(FOREIGN) else kind, _NO_RULE)


def has_rule(kind: str | type[Any]) -> bool:
    """Whether there is a rule for a kind."""
    return _kind(kind) in _REGISTERED or _kind(kind) in _built_in()


def known_kinds() -> tuple[str, ...]:
    """All kinds that have a rule, sorted."""
    return tuple(sorted({*_built_in(), *_REGISTERED} - {FOREIGN}))


@contextmanager
def built_in() -> Iterator[None]:
    """Take what is registered inside for the library's own: what answers where users have registered nothing."""
    token = _TABLE.set(_BUILT_IN)
    try:
        yield
    finally:
        _TABLE.reset(token)


@cache
def _built_in() -> dict[str, Rule]:
    importlib.import_module("kerasurgeon.layers")
    return _BUILT_IN


def _kind(kind: str | type[Any]) -> str:
    if isinstance(kind, str):
        return kind
    cls: Any = kind  # mypy holds that classes cannot be hashed, which a cached function asks for
    return kind_of(cls)


ANSWERED.append(has_rule)
