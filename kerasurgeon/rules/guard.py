"""Rules that users register, asked with care: what they return is checked, and what goes wrong in them has their name.

The library's own rules are asked as they are. To check a new method of ``Rule``, add a line to ``CHECKS``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from kerasurgeon.errors import RuleError
from kerasurgeon.rules import rule as rule_module
from kerasurgeon.rules.answer_checks import Wrong, a, flag, macs, shown, specs, text, tuple_of, written
from kerasurgeon.rules.answers import Affine, Join, Mixing, Movement, Normalisation, Product, Recurrent, Statistics, Sum
from kerasurgeon.rules.call import CannotTell
from kerasurgeon.rules.label_checks import before_channels, labels
from kerasurgeon.rules.linear import LinearForm
from kerasurgeon.rules.positions import Positions
from kerasurgeon.rules.rule import Rule

Check = Callable[[Any, Any], Any]

CHECKS: Mapping[str, Check] = {
    "macs": macs,
    "channels": labels,
    "keeps_batch": flag,
    "output_specs": specs,
    "linear": a(LinearForm, none=True),
    "recurrences": tuple_of(Recurrent),
    "positions": a(Positions),
    "channelwise": flag,
    "activation": text,
    "combination": a(Sum | Product | Join, none=True),
    "movement": a(Movement, none=True),
    "affine": a(Affine, none=True),
    "statistics": a(Statistics, none=True),
    "normalisation": a(Normalisation, none=True),
    "mixing": a(Mixing, none=True),
    "carries": flag,
    "multiplies": flag,
    "identity": text,
    "only_in_training": flag,
    "passes_mask": flag,
    "reads_shape_only": flag,
    "commutes": flag,
    "onnx": written,
    "tflite": written,
}
"""What is checked of each method's result: a function of the result and what the rule was asked about."""


def guarded(rule: Rule, kind: str) -> Rule:
    """A rule that answers as another one does, or raises ``RuleError`` where that goes wrong.

    Args:
        rule: A user's rule.
        kind: The kind that it was registered for.
    """
    cls = type(rule)
    own = {
        name: _guard(rule, kind, name, check)
        for name, check in CHECKS.items()
        if getattr(getattr(cls, name), "__module__", "") != rule_module.__name__
    }
    twin_cls: Any = type(cls.__name__, (cls,), {**own, "__module__": cls.__module__, "__doc__": cls.__doc__})
    twin: Rule = object.__new__(twin_cls)
    for name, value in getattr(rule, "__dict__", {}).items():
        object.__setattr__(twin, name, value)
    return twin


def _guard(rule: Rule, kind: str, name: str, check: Check) -> Any:
    method = getattr(rule, name)

    @functools.wraps(getattr(type(rule), name))
    def ask(_: Rule, about: Any, *more: Any, **named: Any) -> Any:
        named_as = f"{type(rule).__name__}.{name}(), the rule for {kind}"

        def guard_later(function: Callable[..., Any], wanted: Callable[[Any], None]) -> Callable[..., Any]:
            """A function that the rule left to be called at the cut, asked with the same care."""

            def later(*given: Any) -> Any:
                return _asked(named_as, about, lambda: _accepted(function(*given), wanted))

            return later

        if name != "channels":
            return _asked(named_as, about, lambda: check(method(about, *more, **named), about))
        before = before_channels(about, guard_later)
        return _asked(named_as, about, lambda: before.checked(method(about, *more, **named)))

    return ask


def _accepted(found: Any, wanted: Callable[[Any], None]) -> Any:
    wanted(found)
    return found


def _asked(rule: str, about: Any, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (CannotTell, RuleError):
        raise
    except Wrong as wrong:
        raise RuleError(
            f"{rule}, gives what cannot be used: {wrong.what}",
            where=f"{about.name!r}",
            expected=wrong.expected,
            got=wrong.got,
            hint="see kerasurgeon.rules.Rule and docs/channels.md; kerasurgeon.testing.assert_rule tests a rule",
        ) from None
    except Exception as error:
        raise RuleError(
            f"{rule}, failed: {type(error).__name__}: {shown(str(error), 300)}",
            where=f"{about.name!r}",
            hint="raise CannotTell(reason) for a call that the rule has no answer for",
        ) from error


__all__ = ["CHECKS", "guarded"]
