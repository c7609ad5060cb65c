"""MorphNet: widths are learned in training, the network is cut to them, and grown to a budget.

* ``MorphNet`` is the regulariser, for a model ``with_gates`` or ``with_scales`` where it has no batch norms;
  ``MorphNetCallback`` and ``SteerStrength`` go along in training; ``shrink_and_expand`` does all of it in rounds.
* ``costs`` says what each channel costs, on ``Hardware`` too.
* ``living`` says which channels of a graph are alive, ``settle`` makes that a cut that can be had, ``alive_plan`` a
  plan;
  ``read_structure`` and ``structure_plan`` take the structure files that MorphNet writes.
* ``Widths`` is a network at any multiple of its widths; ``fresh_weights`` makes all weights anew.
"""

from kerasurgeon.morphnet.alive import alive_plan, living, settle
from kerasurgeon.morphnet.callback import MorphNetCallback
from kerasurgeon.morphnet.costs import TARGETS, Costs, costs
from kerasurgeon.morphnet.fresh import fresh_weights
from kerasurgeon.morphnet.hardware import Hardware, hardware_for, known_hardware, measure_hardware, register_hardware
from kerasurgeon.morphnet.loop import Loop, Round, shrink_and_expand
from kerasurgeon.morphnet.morphnet import ALGORITHMS, MorphNet
from kerasurgeon.morphnet.records import write_records
from kerasurgeon.morphnet.steering import SteerStrength
from kerasurgeon.morphnet.structure import read_structure, structure_plan
from kerasurgeon.morphnet.twins import with_gates, with_scales, without_scales
from kerasurgeon.morphnet.widen import Widths, layers_to_ignore, macs_of, params_of

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
    "Widths",
    "alive_plan",
    "costs",
    "fresh_weights",
    "hardware_for",
    "known_hardware",
    "layers_to_ignore",
    "living",
    "macs_of",
    "measure_hardware",
    "params_of",
    "read_structure",
    "register_hardware",
    "settle",
    "shrink_and_expand",
    "structure_plan",
    "with_gates",
    "with_scales",
    "without_scales",
    "write_records",
]
