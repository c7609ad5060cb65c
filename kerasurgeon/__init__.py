"""kerasurgeon: model surgery for Keras 3.

A trained model is lifted into a graph, composable passes rewrite its nodes and weights, and it comes out as a Keras
model, a TFLite file or an ONNX file, each proven to compute what it should::

    import kerasurgeon as ks
    from kerasurgeon.passes import FoldBatchNorm, TuckerSplit

    small = ks.apply_passes(model, [FoldBatchNorm(), TuckerSplit(energy=0.9)])
    ks.export(small, "small.tflite")
"""

from importlib.metadata import PackageNotFoundError, version

from kerasurgeon.cost import Cost, compare_costs, cost
from kerasurgeon.errors import (
    EmitError,
    ExportError,
    GraphError,
    KerasurgeonError,
    LiftError,
    MissingExtraError,
    ModelFileError,
    OptionError,
    PassError,
    RecipeError,
    VerificationError,
)
from kerasurgeon.export import ExportReport, compare, export
from kerasurgeon.ir import Graph, Layer, Node, TensorSpec, Value, Weight, format_graph
from kerasurgeon.keras_io import emit, lift
from kerasurgeon.rewrite.explain import explain
from kerasurgeon.rewrite.pipeline import Pipeline, Result, apply_passes
from kerasurgeon.rewrite.recipe import Recipe
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

try:
    __version__ = version("kerasurgeon")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Cost",
    "EmitError",
    "ExportError",
    "ExportReport",
    "Graph",
    "GraphError",
    "KerasurgeonError",
    "Layer",
    "LiftError",
    "MissingExtraError",
    "ModelFileError",
    "Node",
    "OptionError",
    "PassError",
    "Pipeline",
    "Recipe",
    "RecipeError",
    "Report",
    "Result",
    "TensorSpec",
    "Value",
    "VerificationError",
    "Weight",
    "__version__",
    "apply_passes",
    "compare",
    "compare_costs",
    "cost",
    "delete",
    "emit",
    "explain",
    "export",
    "extract",
    "format_graph",
    "insert_after",
    "insert_before",
    "lift",
    "register_rule",
    "rename",
    "replace_layer",
    "replace_region",
]
