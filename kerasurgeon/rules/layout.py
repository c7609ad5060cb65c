"""Where the channels and the positions of a tensor are, by a layer's config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def channel_axis(config: Mapping[str, Any], rank: int | None = None) -> int:
    """Which axis holds the channels: 1 where ``data_format`` says channels first, else the last.

    Args:
        config: A layer's config; one without ``data_format`` has its channels last.
        rank: How many axes the tensor has; without it the last axis is -1.
    """
    if config.get("data_format") == "channels_first" and rank != 2:
        return 1
    return -1 if rank is None else rank - 1


def spatial_axes(config: Mapping[str, Any], rank: int) -> range:
    """The axes between batch and channels, wherever these are."""
    return range(2, rank) if config.get("data_format") == "channels_first" else range(1, rank - 1)


def per_axis(setting: Any, axes: int) -> tuple[int, ...]:
    """A setting as one whole number per axis, where the config may have a single number for all."""
    return (int(setting),) * axes if isinstance(setting, int) else tuple(int(value) for value in setting)


def sides_per_axis(setting: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """What is put in front of and behind each axis, where the config of one axis has a single pair."""
    pairs = [setting] if axes == 1 else setting
    return tuple((int(front), int(behind)) for front, behind in pairs)
