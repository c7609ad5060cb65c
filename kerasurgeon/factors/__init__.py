"""Kernels as chains of smaller kernels.

* ``METHODS`` are the ways to factorise a kernel, in numpy alone. A ``Method`` says which ``Stage`` of a chain a kernel
  of a ``Shape`` becomes, and prepares it (``Prepared``), so that its errors at many ranks are known before any
  ``Factors`` are made.
* Beside the chain: the sparse residual (``with_residual``), what chains cost (``chain_macs``), choices of ranks that
  are best for what they cost (``pareto``), or within a budget for several kernels together (``cheapest``, ``within``).
* In a graph: ``factorise``, by ``FactoriseOptions``; ``FactorPlan``, what was found, as data that can be saved;
  ``put_plan`` puts it into a model; ``measure_inputs`` measures on data what layers read. ``share_budget`` shares a
  budget between pruning and factorising.
"""

from kerasurgeon.factors.inputs import measure_inputs
from kerasurgeon.factors.joint import share_budget
from kerasurgeon.factors.kernels.budget import cheapest, pareto, within
from kerasurgeon.factors.kernels.linear_algebra import one_blas_thread
from kerasurgeon.factors.kernels.method import Factors, Inputs, Method, Prepared, Ranks
from kerasurgeon.factors.kernels.methods import METHODS
from kerasurgeon.factors.kernels.residual import (
    RESIDUALS,
    check_residual,
    kept_groups,
    residual_errors,
    residual_mask,
    with_residual,
)
from kerasurgeon.factors.kernels.shape import Shape, Span, Stage, chain_macs, chain_params, compose, stage_params
from kerasurgeon.factors.options import FactoriseOptions
from kerasurgeon.factors.plan import FactorPlan, PlannedFactors, fingerprint
from kerasurgeon.factors.put import put_plan
from kerasurgeon.factors.run import factorise

__all__ = [
    "METHODS",
    "RESIDUALS",
    "FactorPlan",
    "FactoriseOptions",
    "Factors",
    "Inputs",
    "Method",
    "PlannedFactors",
    "Prepared",
    "Ranks",
    "Shape",
    "Span",
    "Stage",
    "chain_macs",
    "chain_params",
    "cheapest",
    "check_residual",
    "compose",
    "factorise",
    "fingerprint",
    "kept_groups",
    "measure_inputs",
    "one_blas_thread",
    "pareto",
    "put_plan",
    "residual_errors",
    "residual_mask",
    "share_budget",
    "stage_params",
    "with_residual",
    "within",
]
