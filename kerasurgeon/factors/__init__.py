"""Kernels as chains of smaller kernels: the ways to factorise them, their errors and costs, and the choice of ranks."""

from kerasurgeon.factors.inputs import measure_inputs
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
from kerasurgeon.factors.plan import FactorPlan, PlannedFactors, fingerprint

__all__ = [
    "METHODS",
    "RESIDUALS",
    "FactorPlan",
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
    "fingerprint",
    "kept_groups",
    "measure_inputs",
    "one_blas_thread",
    "pareto",
    "residual_errors",
    "residual_mask",
    "stage_params",
    "with_residual",
    "within",
]
