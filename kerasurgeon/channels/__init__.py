"""Channels: which of them go together, how they are cut, and plans of what to keep."""

from kerasurgeon.channels.analysis import Channels, Source, analyse
from kerasurgeon.channels.api import CutReport, cut, cut_channels, masked
from kerasurgeon.channels.groups import Group, Groups, Member, groups
from kerasurgeon.channels.plan import ChannelPlan

__all__ = [
    "ChannelPlan",
    "Channels",
    "CutReport",
    "Group",
    "Groups",
    "Member",
    "Source",
    "analyse",
    "cut",
    "cut_channels",
    "groups",
    "masked",
]
