"""MorphNet: widths are learned in training, the network is cut to them, and grown to a budget."""

from kerasurgeon.morphnet.callback import MorphNetCallback
from kerasurgeon.morphnet.costs import TARGETS, Costs, costs
from kerasurgeon.morphnet.hardware import Hardware, hardware_for, known_hardware, measure_hardware, register_hardware
from kerasurgeon.morphnet.loop import Loop, Round, shrink_and_expand
from kerasurgeon.morphnet.morphnet import ALGORITHMS, MorphNet
from kerasurgeon.morphnet.records import write_records
from kerasurgeon.morphnet.steering import SteerStrength
from kerasurgeon.morphnet.twins import with_gates, with_scales, without_scales

__all__ = [
    "ALGORITHMS",
    "TARGETS",
    "Costs",
    "Hardware",
    "Loop",
    "MorphNet",
    "MorphNetCallback",
    "Round",
    "SteerStrength",
    "costs",
    "hardware_for",
    "known_hardware",
    "measure_hardware",
    "register_hardware",
    "shrink_and_expand",
    "with_gates",
    "with_scales",
    "without_scales",
    "write_records",
]
