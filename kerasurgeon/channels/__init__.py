"""Channels: which of them go together, what they are worth, how they are cut, and plans of what to keep.

* ``analyse`` labels all channels of a graph (``Channels``); ``groups`` says which go together and what may go.
* ``criterion_for`` and ``score`` judge a group by ``Evidence``; ``register_criterion`` adds a criterion.
* ``candidates`` within ``Limits``, a ``Chooser`` over ``sections`` and a ``Budget`` choose; ``prune`` does all of it,
  by ``PruneOptions``.
* ``ChannelPlan`` says what is kept, as data; ``chosen_units`` fills in numbers; ``plan_option`` and ``read_plan`` are
  for passes that take one.
* ``cut``, ``masked`` for models; ``cut_channels``, ``mask_units``, ``cut_and_log``, ``compensate``, ``remove_dead`` for
  graphs; ``loosen_shortcuts``, ``close_shortcuts`` and ``close_and_log`` for branches of sums that shrink alone.
"""

from kerasurgeon.channels import (  # criteria are registered there
    importance_data,
    importance_reconstruction,
    importance_weights,
)
from kerasurgeon.channels.analysis import Channels, Source, analyse
from kerasurgeon.channels.api import CutReport, cut, cut_channels, masked
from kerasurgeon.channels.budget import Budget
from kerasurgeon.channels.candidates import Candidate, Limits, candidates, round_to_number, rounding, unit_steps
from kerasurgeon.channels.compensate import compensate
from kerasurgeon.channels.counts import chosen_units
from kerasurgeon.channels.dead import DeadReport, remove_dead
from kerasurgeon.channels.groups import Group, Groups, Member, groups
from kerasurgeon.channels.importance import (
    NORMALISERS,
    REDUCTIONS,
    Criterion,
    Evidence,
    criterion_for,
    known_criteria,
    register_criterion,
    score,
)
from kerasurgeon.channels.masked import mask_units
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.channels.prune_options import PruneOptions, check_shortcuts, check_ways, plan_option, read_plan
from kerasurgeon.channels.prune_report import close_and_log, closed, cut_and_log, log_compensation
from kerasurgeon.channels.prune_rounds import FinishedRounds, prune
from kerasurgeon.channels.scatter import close_shortcuts, loosen_shortcuts, scatter_cut
from kerasurgeon.channels.selection import Chooser, Chosen, Section, sections

__all__ = [
    "NORMALISERS",
    "REDUCTIONS",
    "Budget",
    "Candidate",
    "ChannelPlan",
    "Channels",
    "Chooser",
    "Chosen",
    "Criterion",
    "CutReport",
    "DeadReport",
    "Evidence",
    "FinishedRounds",
    "Group",
    "Groups",
    "Limits",
    "Member",
    "PruneOptions",
    "Section",
    "Source",
    "analyse",
    "candidates",
    "check_shortcuts",
    "check_ways",
    "chosen_units",
    "close_and_log",
    "close_shortcuts",
    "closed",
    "compensate",
    "criterion_for",
    "cut",
    "cut_and_log",
    "cut_channels",
    "groups",
    "importance_data",
    "importance_reconstruction",
    "importance_weights",
    "known_criteria",
    "log_compensation",
    "loosen_shortcuts",
    "mask_units",
    "masked",
    "plan_option",
    "prune",
    "read_plan",
    "register_criterion",
    "remove_dead",
    "round_to_number",
    "rounding",
    "scatter_cut",
    "score",
    "sections",
    "unit_steps",
]
