"""Channels: which of them go together, how they are cut, and plans of what to keep."""

from kerasurgeon.channels import importance_data, importance_weights  # criteria are registered there
from kerasurgeon.channels.analysis import Channels, Source, analyse
from kerasurgeon.channels.api import CutReport, cut, cut_channels, masked
from kerasurgeon.channels.budget import Budget
from kerasurgeon.channels.candidates import Candidate, Limits, candidates, round_to_number
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
    "Group",
    "Groups",
    "Limits",
    "Member",
    "Section",
    "Source",
    "analyse",
    "candidates",
    "chosen_units",
    "close_shortcuts",
    "compensate",
    "criterion_for",
    "cut",
    "cut_channels",
    "groups",
    "importance_data",
    "importance_weights",
    "known_criteria",
    "loosen_shortcuts",
    "mask_units",
    "masked",
    "register_criterion",
    "remove_dead",
    "round_to_number",
    "scatter_cut",
    "score",
    "sections",
]
