"""Rules: what the library knows about each family of layers, and how users add their own."""

from kerasurgeon.rules.call import OPEN_SIZE, Call, CannotTell, call_of, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Labels
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import has_rule, known_kinds, register_rule, rule_for, unregister_rule
from kerasurgeon.rules.rule import Free, Rule
from kerasurgeon.rules.sizes import resolve

__all__ = [
    "OPEN_SIZE",
    "Call",
    "CannotTell",
    "ChannelCall",
    "Factor",
    "Free",
    "Keep",
    "Labels",
    "Reason",
    "Rule",
    "call_of",
    "elements",
    "has_rule",
    "known_kinds",
    "register_rule",
    "resolve",
    "rule_for",
    "unregister_rule",
]
