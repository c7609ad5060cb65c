"""Check a pass or a rule in one call: for the tests of yours as well as of the library's."""

from kerasurgeon.testing.passes import assert_pass, assert_same_outputs
from kerasurgeon.testing.rules import assert_rule

__all__ = ["assert_pass", "assert_rule", "assert_same_outputs"]
