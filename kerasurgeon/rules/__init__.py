"""Rules: what the library asks of a family of layers, and how users add their own.

* A rule derives from ``Rule`` (``Free``, if the layer multiplies nothing) and is registered with ``register_rule``.
  It sees calls as ``Call`` and ``ChannelCall`` and answers with ``Labels``, ``LinearForm``, ``Window``, ``Sum`` ...,
  or raises ``CannotTell``.
* Passes ask by the functions of ``asking``: ``linear_form(layer)``, ``positions_of(graph, node)`` ...

The library's own rules are in ``kerasurgeon.layers``, one family a file.
"""

from kerasurgeon.rules.answers import Affine, Join, Moved, Permuted, Product, Recurrent, Regrouped, Statistics, Sum
from kerasurgeon.rules.asking import (
    activation_of,
    affine_of,
    channel_form,
    combination_of,
    commutes,
    identity_of,
    is_channelwise,
    is_elementwise,
    is_join,
    is_product,
    is_sum,
    linear_form,
    linear_kinds,
    may_be_linear,
    movement_of,
    positions_of,
    recurrences_of,
)
from kerasurgeon.rules.call import OPEN_SIZE, Call, CannotTell, call_of, elements
from kerasurgeon.rules.channel_call import ChannelCall
from kerasurgeon.rules.keep import Keep
from kerasurgeon.rules.labels import Factor, Labels
from kerasurgeon.rules.linear import Kernel, LinearForm
from kerasurgeon.rules.positions import Border, Each, Enlarged, Gone, Resized, Window
from kerasurgeon.rules.reasons import Reason
from kerasurgeon.rules.registry import has_rule, known_kinds, register_rule, rule_for, unregister_rule
from kerasurgeon.rules.rule import Free, Rule
from kerasurgeon.rules.sizes import Sizes, input_shapes, plain_sizes, resolve

__all__ = [
    "OPEN_SIZE",
    "Affine",
    "Border",
    "Call",
    "CannotTell",
    "ChannelCall",
    "Each",
    "Enlarged",
    "Factor",
    "Free",
    "Gone",
    "Join",
    "Keep",
    "Kernel",
    "Labels",
    "LinearForm",
    "Moved",
    "Permuted",
    "Product",
    "Reason",
    "Recurrent",
    "Regrouped",
    "Resized",
    "Rule",
    "Sizes",
    "Statistics",
    "Sum",
    "Window",
    "activation_of",
    "affine_of",
    "call_of",
    "channel_form",
    "combination_of",
    "commutes",
    "elements",
    "has_rule",
    "identity_of",
    "input_shapes",
    "is_channelwise",
    "is_elementwise",
    "is_join",
    "is_product",
    "is_sum",
    "known_kinds",
    "linear_form",
    "linear_kinds",
    "may_be_linear",
    "movement_of",
    "plain_sizes",
    "positions_of",
    "recurrences_of",
    "register_rule",
    "resolve",
    "rule_for",
    "unregister_rule",
]
