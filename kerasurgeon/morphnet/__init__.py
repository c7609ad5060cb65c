"""MorphNet: widths are learned in training, the network is cut to them, and grown to a budget."""

from kerasurgeon.morphnet.callback import MorphNetCallback
from kerasurgeon.morphnet.costs import TARGETS, Costs, costs
from kerasurgeon.morphnet.hardware import Hardware, hardware_for, known_hardware, measure_hardware, register_hardware
from kerasurgeon.morphnet.morphnet import ALGORITHMS, MorphNet
from kerasurgeon.morphnet.structure import write_structure

__all__ = [
    "ALGORITHMS",
    "TARGETS",
    "Costs",
    "Hardware",
    "MorphNet",
    "MorphNetCallback",
    "costs",
    "hardware_for",
    "known_hardware",
    "measure_hardware",
    "register_hardware",
    "write_structure",
]
