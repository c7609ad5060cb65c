"""What every pass needs.

Beside this, passes use the public fronts of the rooms (``kerasurgeon.channels``, ``kerasurgeon.blocks`` ...); the
built-in ones use nothing else, so what they can do, any pass can do.

A pass is a frozen dataclass; its fields are its options. Most are a pattern and a rewrite::

    from dataclasses import dataclass
    from kerasurgeon.authoring import EXACT, Graph, Context, Match, Pattern, RewritePass, anything, call, layers

    @dataclass(frozen=True)
    class DropUnitPooling(RewritePass):
        \"\"\"Remove poolings over windows of one pixel.\"\"\"

        preserves = EXACT

        def pattern(self) -> Pattern:
            return layers.MaxPooling2D(anything("x"), where=lambda node, layer: layer.config["pool_size"] == (1, 1))

        def rewrite(self, match: Match, graph: Graph, context: Context) -> str:
            graph.replace_uses(match.root.value, match.value("x"))
            graph.remove(match.root)
            return "removed"

See docs/writing_a_pass.md, and docs/authoring.md for all names.
"""

from kerasurgeon.errors import GraphError, OptionError, PassError, PlanError, VerificationError, did_you_mean
from kerasurgeon.ir.graph import Graph, Use
from kerasurgeon.ir.layer import Layer, Weight
from kerasurgeon.ir.name_patterns import names_match, where_refusal
from kerasurgeon.ir.node import Node, Scope
from kerasurgeon.ir.structure import leaves, map_leaves, values_in
from kerasurgeon.ir.values import TensorSpec, Value, WeightRef
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.keras_io.derive import infer, keras_layer
from kerasurgeon.keras_io.emit import emit_with_variables
from kerasurgeon.keras_io.layers import layer_from_keras
from kerasurgeon.rewrite.calls import call, splice, substitute
from kerasurgeon.rewrite.context import Context, Site
from kerasurgeon.rewrite.dilate import dilate_strides
from kerasurgeon.rewrite.drop_strides import drop_strides
from kerasurgeon.rewrite.latency_of import latency_by
from kerasurgeon.rewrite.matching import Match, NearMiss, find, match_at, near_misses
from kerasurgeon.rewrite.option_checks import (
    check_choice,
    check_count,
    check_flag,
    check_fraction,
    check_function,
    check_known_patterns,
    check_patterns,
    check_several,
    is_count,
    is_number,
    wrong_option,
)
from kerasurgeon.rewrite.passes import APPROXIMATE, EXACT, MASKED_EXACT, Pass, Preserves, RewritePass, Skip
from kerasurgeon.rewrite.patterns import Pattern, any_op, anything, constant, layers, one_of, ops, optional
from kerasurgeon.rewrite.regions import Region, region_between, regions
from kerasurgeon.rewrite.surgery import (
    as_value,
    delete,
    extract,
    insert_after,
    insert_before,
    replace_layer,
    replace_region,
)
from kerasurgeon.trust import import_object, import_path

__all__ = [  # noqa: RUF022 - by what they are for
    # Passes
    "APPROXIMATE",
    "EXACT",
    "MASKED_EXACT",
    "Context",
    "Pass",
    "Preserves",
    "RewritePass",
    "Site",
    "Skip",
    # Patterns
    "Match",
    "NearMiss",
    "Pattern",
    "any_op",
    "anything",
    "constant",
    "find",
    "layers",
    "match_at",
    "near_misses",
    "one_of",
    "ops",
    "optional",
    # The graph
    "Graph",
    "Layer",
    "Node",
    "Scope",
    "TensorSpec",
    "Use",
    "Value",
    "Weight",
    "WeightRef",
    "leaves",
    "map_leaves",
    "values_in",
    # Surgery
    "as_value",
    "call",
    "delete",
    "dilate_strides",
    "drop_strides",
    "extract",
    "infer",
    "insert_after",
    "insert_before",
    "replace_layer",
    "replace_region",
    "splice",
    "substitute",
    # Regions
    "Region",
    "region_between",
    "regions",
    # Keras
    "emit",
    "emit_with_variables",
    "keras_layer",
    "layer_from_keras",
    "lift",
    # Options
    "check_choice",
    "check_count",
    "check_flag",
    "check_fraction",
    "check_function",
    "check_known_patterns",
    "check_patterns",
    "check_several",
    "import_object",
    "import_path",
    "is_count",
    "is_number",
    "latency_by",
    "names_match",
    "where_refusal",
    "wrong_option",
    # Errors
    "GraphError",
    "OptionError",
    "PassError",
    "PlanError",
    "VerificationError",
    "did_you_mean",
]
