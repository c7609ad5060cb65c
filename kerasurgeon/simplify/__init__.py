"""Simplifying a graph: rules that remove and merge nodes, batch norms folded, linear layers merged into one.

* ``apply_rules`` applies rules until none applies; ``RULES`` are those of ``Simplify``, each a ``Rule`` that ``rule``
  made.
  What rules are made of stands in ``kerasurgeon.simplify.rules``.
* ``folded`` gives the linear layer that takes a batch norm up, ``merged`` the layer that computes what two compute.
"""

from kerasurgeon.simplify import borders, constants, identities, reshapes
from kerasurgeon.simplify.applying import apply_rules
from kerasurgeon.simplify.batch_norms import folded
from kerasurgeon.simplify.merging import merged
from kerasurgeon.simplify.rules import Rule, rule

RULES: tuple[Rule, ...] = (*identities.RULES, *reshapes.RULES, *borders.RULES, *constants.RULES)
"""What ``Simplify`` applies, in order."""

__all__ = ["RULES", "Rule", "apply_rules", "folded", "merged", "rule"]
