"""Kernels as chains of smaller kernels: the ways to factorise them, their errors and costs, and the choice of ranks."""

from kerasurgeon.factors.linear_algebra import one_blas_thread
from kerasurgeon.factors.method import Factors, Inputs, Method, Prepared, Ranks
from kerasurgeon.factors.methods import METHODS
from kerasurgeon.factors.shape import Shape, Span, Stage, chain_macs, chain_params, compose, stage_params

__all__ = [
    "METHODS",
    "Factors",
    "Inputs",
    "Method",
    "Prepared",
    "Ranks",
    "Shape",
    "Span",
    "Stage",
    "chain_macs",
    "chain_params",
    "compose",
    "one_blas_thread",
    "stage_params",
]
