"""Everything that a pass needs. The built-in passes import from here only, so what they can do, any pass can do.

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

See docs/writing_a_pass.md.
"""

from kerasurgeon.atomic import staged, write_text
from kerasurgeon.blocks.bridges import build_shunt, check_architecture
from kerasurgeon.blocks.compensation import CORRECTIONS, drop_steps
from kerasurgeon.blocks.cuts import between, cut_pairs
from kerasurgeon.blocks.geometry import Geometry, data_format_of, geometry
from kerasurgeon.blocks.inserts import INSERTS, passes_through
from kerasurgeon.blocks.places import find_region, find_regions, without_overlap
from kerasurgeon.blocks.plan import BlockPlan, BlockStep
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.blocks.translator import translator
from kerasurgeon.channels import (
    NORMALISERS,
    REDUCTIONS,
    Budget,
    Candidate,
    ChannelPlan,
    Channels,
    Chooser,
    Chosen,
    Criterion,
    CutReport,
    DeadReport,
    Evidence,
    Group,
    Groups,
    Limits,
    Section,
    analyse,
    candidates,
    chosen_units,
    close_shortcuts,
    compensate,
    criterion_for,
    cut_channels,
    groups,
    known_criteria,
    loosen_shortcuts,
    mask_units,
    register_criterion,
    remove_dead,
    round_to_number,
    score,
    sections,
)
from kerasurgeon.costs import cost
from kerasurgeon.errors import GraphError, OptionError, PassError, PlanError, VerificationError, did_you_mean
from kerasurgeon.factors import (
    METHODS,
    FactorPlan,
    Factors,
    Inputs,
    Method,
    Prepared,
    Ranks,
    Shape,
    Span,
    Stage,
    chain_macs,
    chain_params,
    cheapest,
    compose,
    measure_inputs,
    one_blas_thread,
    pareto,
    residual_errors,
    with_residual,
)
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
from kerasurgeon.morphnet.alive import alive_plan, living, settle
from kerasurgeon.morphnet.fresh import fresh_weights
from kerasurgeon.morphnet.structure import read_structure, structure_plan
from kerasurgeon.morphnet.widen import Widths, macs_of, params_of
from kerasurgeon.recover.batch_norm import recalibrate_graph
from kerasurgeon.recover.bridges import Bridge
from kerasurgeon.report import format_count
from kerasurgeon.rewrite.calls import call, splice, substitute
from kerasurgeon.rewrite.context import Context, Site
from kerasurgeon.rewrite.dilate import dilate_strides
from kerasurgeon.rewrite.importing import import_object, import_path
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
from kerasurgeon.rewrite.passes import (
    APPROXIMATE,
    EXACT,
    MASKED_EXACT,
    Pass,
    Preserves,
    RewritePass,
    Skip,
)
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
from kerasurgeon.rules import Call, call_of, rule_for
from kerasurgeon.sparsity.kernels import (
    KernelChoice,
    KernelCriterion,
    check_criterion,
    check_sparsity,
    importance,
)
from kerasurgeon.sparsity.structures import Structure, kept_masks

__all__ = [
    "APPROXIMATE",
    "CORRECTIONS",
    "EXACT",
    "INSERTS",
    "MASKED_EXACT",
    "METHODS",
    "NORMALISERS",
    "REDUCTIONS",
    "BlockPlan",
    "BlockStep",
    "Bridge",
    "Budget",
    "Call",
    "Candidate",
    "ChannelPlan",
    "Channels",
    "Chooser",
    "Chosen",
    "Context",
    "Criterion",
    "CutReport",
    "DeadReport",
    "Evidence",
    "FactorPlan",
    "Factors",
    "Geometry",
    "Graph",
    "GraphError",
    "Group",
    "Groups",
    "Inputs",
    "KernelChoice",
    "KernelCriterion",
    "Layer",
    "Limits",
    "Match",
    "Method",
    "NearMiss",
    "Node",
    "OptionError",
    "Pass",
    "PassError",
    "Pattern",
    "PlanError",
    "Prepared",
    "Preserves",
    "Ranks",
    "Region",
    "RewritePass",
    "Scope",
    "Section",
    "Shape",
    "Site",
    "Skip",
    "Span",
    "Stage",
    "Structure",
    "TensorSpec",
    "Use",
    "Value",
    "VerificationError",
    "Weight",
    "WeightRef",
    "Widths",
    "alive_plan",
    "analyse",
    "any_op",
    "anything",
    "as_value",
    "between",
    "build_shunt",
    "call",
    "call_of",
    "candidates",
    "carry_out",
    "chain_macs",
    "chain_params",
    "cheapest",
    "check_architecture",
    "check_choice",
    "check_count",
    "check_criterion",
    "check_flag",
    "check_fraction",
    "check_function",
    "check_known_patterns",
    "check_patterns",
    "check_several",
    "check_sparsity",
    "chosen_units",
    "close_shortcuts",
    "compensate",
    "compose",
    "constant",
    "cost",
    "criterion_for",
    "cut_channels",
    "cut_pairs",
    "data_format_of",
    "delete",
    "did_you_mean",
    "dilate_strides",
    "drop_steps",
    "emit",
    "emit_with_variables",
    "extract",
    "find",
    "find_region",
    "find_regions",
    "format_count",
    "fresh_weights",
    "geometry",
    "groups",
    "import_object",
    "import_path",
    "importance",
    "infer",
    "insert_after",
    "insert_before",
    "is_count",
    "is_number",
    "kept_masks",
    "keras_layer",
    "known_criteria",
    "latency_by",
    "layer_from_keras",
    "layers",
    "leaves",
    "lift",
    "living",
    "loosen_shortcuts",
    "macs_of",
    "map_leaves",
    "mask_units",
    "match_at",
    "measure_inputs",
    "names_match",
    "near_misses",
    "one_blas_thread",
    "one_of",
    "ops",
    "optional",
    "params_of",
    "pareto",
    "passes_through",
    "read_structure",
    "recalibrate_graph",
    "region_between",
    "regions",
    "register_criterion",
    "remove_dead",
    "replace_layer",
    "replace_region",
    "residual_errors",
    "round_to_number",
    "rule_for",
    "score",
    "sections",
    "settle",
    "splice",
    "staged",
    "structure_plan",
    "substitute",
    "translator",
    "values_in",
    "where_refusal",
    "with_residual",
    "without_overlap",
    "write_text",
    "wrong_option",
]
