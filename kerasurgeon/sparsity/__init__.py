"""Zeros in kernels: which entries go together, which matter least, and how they come about.

* ``Structure`` says which entries are zeroed together, ``kept_masks`` which stay, by the importance of entries.
* ``KernelChoice`` says which kernels are looked at; ``importance`` what their entries are worth.
* In a graph: ``kernel_sites`` finds the layers, ``zero_kernels`` sets entries to zero.
* In training: ``GradualSparsity`` makes zeros step by step, ``KeepZeros`` keeps them.
"""

from kerasurgeon.sparsity.kernels import (
    KernelChoice,
    KernelCriterion,
    check_criterion,
    check_sparsity,
    importance,
)
from kerasurgeon.sparsity.schedule import SparsitySchedule
from kerasurgeon.sparsity.structures import STRUCTURES, Structure, kept_masks
from kerasurgeon.sparsity.training import GradualSparsity, KeepZeros
from kerasurgeon.sparsity.zeros import KernelSite, kernel_sites, zero_kernels

__all__ = [
    "STRUCTURES",
    "GradualSparsity",
    "KeepZeros",
    "KernelChoice",
    "KernelCriterion",
    "KernelSite",
    "SparsitySchedule",
    "Structure",
    "check_criterion",
    "check_sparsity",
    "importance",
    "kept_masks",
    "kernel_sites",
    "zero_kernels",
]
