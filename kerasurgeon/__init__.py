"""kerasurgeon: model surgery for Keras 3.

A trained model is lifted into a graph, composable passes rewrite its nodes and weights, and it comes out as a
Keras model, a TFLite file or an ONNX file, each proven to compute what it should::

    import kerasurgeon as ks
    from kerasurgeon.passes import FoldBatchNorm, TuckerSplit

    small = ks.apply_passes(model, [FoldBatchNorm(), TuckerSplit(energy=0.9)])
    ks.export(small, "small.tflite")
"""

from __future__ import annotations

import importlib
import os.path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasurgeon import recover
    from kerasurgeon.adapting import KeptIds, change_classes, change_input, prune_vocabulary
    from kerasurgeon.blocks.choose import choose_regions
    from kerasurgeon.blocks.cuts import cut_pairs
    from kerasurgeon.blocks.measuring import knowledge_quotients
    from kerasurgeon.blocks.plan import BlockPlan
    from kerasurgeon.blocks.quotients import Quotients
    from kerasurgeon.channels import ChannelPlan, Group, Groups, cut, groups, masked
    from kerasurgeon.costs import Cost, compare_costs, cost
    from kerasurgeon.errors import (
        BudgetError,
        CannotRunError,
        EmitError,
        ExportError,
        FileError,
        GraphError,
        KerasurgeonError,
        LiftError,
        MissingExtraError,
        ModelFileError,
        OptionError,
        PassError,
        PlaceError,
        PlanError,
        RecipeError,
        RoundError,
        RuleError,
        UnknownKerasError,
        VerificationError,
    )
    from kerasurgeon.exporting import ExportReport, compare, export, latency_on, open_runner
    from kerasurgeon.factors import FactorPlan
    from kerasurgeon.generating import generate_inputs
    from kerasurgeon.ir import Graph, Layer, Node, TensorSpec, Value, Weight, format_graph
    from kerasurgeon.keras_io import emit, lift
    from kerasurgeon.keras_io.checkpoint import FromCheckpoint, load_checkpoint
    from kerasurgeon.keras_io.loading import load_model
    from kerasurgeon.morphnet import MorphNet, SteerStrength, shrink_and_expand, with_gates, with_scales
    from kerasurgeon.recover import Bridge, TrainResult, fine_tune, train_bridges
    from kerasurgeon.recover.batch_norm import recalibrate_batch_norm
    from kerasurgeon.rewrite.explain import explain
    from kerasurgeon.rewrite.pipeline import Pipeline, Result, apply_passes
    from kerasurgeon.rewrite.recipe import Recipe
    from kerasurgeon.rewrite.regions import Region, regions
    from kerasurgeon.rewrite.report import Report
    from kerasurgeon.rewrite.surgery import (
        delete,
        extract,
        insert_after,
        insert_before,
        rename,
        replace_layer,
        replace_region,
    )
    from kerasurgeon.rules import register_rule
    from kerasurgeon.sparsity import GradualSparsity, KeepZeros
    from kerasurgeon.trust import allow_imports
    from kerasurgeon.workflows.procedure import Procedure

    __version__: str

# Importing Keras imports its backend, which takes seconds. Names are imported when they are first asked for,
# so that `kerasurgeon --help` answers at once. The imports above are the same, for type checkers: add a name
# in both.
_HOMES = {
    "adapting": ("KeptIds", "change_classes", "change_input", "prune_vocabulary"),
    "blocks.cuts": ("cut_pairs",),
    "blocks.plan": ("BlockPlan",),
    "blocks.choose": ("choose_regions",),
    "blocks.measuring": ("knowledge_quotients",),
    "blocks.quotients": ("Quotients",),
    "channels": ("ChannelPlan", "Group", "Groups", "cut", "groups", "masked"),
    "costs": ("Cost", "compare_costs", "cost"),
    "errors": (
        "BudgetError",
        "CannotRunError",
        "EmitError",
        "ExportError",
        "FileError",
        "GraphError",
        "KerasurgeonError",
        "LiftError",
        "MissingExtraError",
        "ModelFileError",
        "OptionError",
        "PassError",
        "PlaceError",
        "PlanError",
        "RecipeError",
        "RoundError",
        "RuleError",
        "UnknownKerasError",
        "VerificationError",
    ),
    "exporting": ("ExportReport", "compare", "export", "latency_on", "open_runner"),
    "factors": ("FactorPlan",),
    "generating": ("generate_inputs",),
    "ir": ("Graph", "Layer", "Node", "TensorSpec", "Value", "Weight", "format_graph"),
    "keras_io": ("emit", "lift"),
    "keras_io.checkpoint": ("FromCheckpoint", "load_checkpoint"),
    "keras_io.loading": ("load_model",),
    "workflows.procedure": ("Procedure",),
    "recover": ("Bridge", "TrainResult", "fine_tune", "recover", "train_bridges"),
    "morphnet": ("MorphNet", "SteerStrength", "shrink_and_expand", "with_gates", "with_scales"),
    "recover.batch_norm": ("recalibrate_batch_norm",),
    "sparsity": ("GradualSparsity", "KeepZeros"),
    "trust": ("allow_imports",),
    "rewrite.explain": ("explain",),
    "rewrite.pipeline": ("Pipeline", "Result", "apply_passes"),
    "rewrite.recipe": ("Recipe",),
    "rewrite.regions": ("Region", "regions"),
    "rewrite.report": ("Report",),
    "rewrite.surgery": (
        "delete",
        "extract",
        "insert_after",
        "insert_before",
        "rename",
        "replace_layer",
        "replace_region",
    ),
    "rules": ("register_rule",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

if os.path.isfile(os.path.join(os.path.dirname(__file__), "passes")):  # a link that git wrote as a file
    from kerasurgeon.source_tree import find_passes_here

    find_passes_here()

__all__ = [
    "BlockPlan",
    "Bridge",
    "BudgetError",
    "CannotRunError",
    "ChannelPlan",
    "Cost",
    "EmitError",
    "ExportError",
    "ExportReport",
    "FactorPlan",
    "FileError",
    "FromCheckpoint",
    "GradualSparsity",
    "Graph",
    "GraphError",
    "Group",
    "Groups",
    "KeepZeros",
    "KeptIds",
    "KerasurgeonError",
    "Layer",
    "LiftError",
    "MissingExtraError",
    "ModelFileError",
    "MorphNet",
    "Node",
    "OptionError",
    "PassError",
    "Pipeline",
    "PlaceError",
    "PlanError",
    "Procedure",
    "Quotients",
    "Recipe",
    "RecipeError",
    "Region",
    "Report",
    "Result",
    "RoundError",
    "RuleError",
    "SteerStrength",
    "TensorSpec",
    "TrainResult",
    "UnknownKerasError",
    "Value",
    "VerificationError",
    "Weight",
    "__version__",
    "allow_imports",
    "apply_passes",
    "change_classes",
    "change_input",
    "choose_regions",
    "compare",
    "compare_costs",
    "cost",
    "cut",
    "cut_pairs",
    "delete",
    "emit",
    "explain",
    "export",
    "extract",
    "fine_tune",
    "format_graph",
    "generate_inputs",
    "groups",
    "insert_after",
    "insert_before",
    "knowledge_quotients",
    "latency_on",
    "lift",
    "load_checkpoint",
    "load_model",
    "masked",
    "open_runner",
    "prune_vocabulary",
    "recalibrate_batch_norm",
    "recover",
    "regions",
    "register_rule",
    "rename",
    "replace_layer",
    "replace_region",
    "shrink_and_expand",
    "train_bridges",
    "with_gates",
    "with_scales",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOME_OF:
        home = importlib.import_module(f"{__name__}.{_HOME_OF[name]}")
        value = home if name == _HOME_OF[name] else getattr(home, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kerasurgeon")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
