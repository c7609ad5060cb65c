"""Structure files: how many channels of every convolution are alive, by its name. The form of MorphNet's own files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from kerasurgeon.atomic import write_text
from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.errors import PlanError, did_you_mean
from kerasurgeon.plan_files import parse_json, read_plan_text

OPERATION = re.compile(r"Conv[23]D|Conv2DTranspose|Conv2DBackpropInput|conv2d_transpose|MatMul")
"""What TensorFlow 1 puts behind the name of a layer: the name of the operation inside it."""


def read_structure(source: str | Path) -> dict[str, int]:
    """Read a structure file.

    Args:
        source: The path, or with a ``str`` the JSON text itself. A ``ChannelPlan`` file is read as numbers, too.

    Returns:
        Numbers of living channels by name.

    Raises:
        PlanError: It cannot be read, is no JSON, or holds something other than numbers by name.
    """
    where = str(source) if isinstance(source, Path) else None
    text = read_plan_text(source, "structure") if isinstance(source, Path) else source
    data = parse_json(text, "structure", where)
    if isinstance(data, dict) and "format" in data:
        return dict(ChannelPlan.from_data(data, where).counts)
    if not isinstance(data, dict):
        raise PlanError(
            "A structure is an object of layer names and numbers of channels.", where=where, got=type(data).__name__
        )
    for name, count in data.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise PlanError(
                f"What the structure says of {name!r} cannot be used.",
                where=where,
                expected="a number of channels from 0",
                got=repr(count)[:60],
            )
    return data


def write_structure(counts: Mapping[str, int], path: str | Path) -> None:
    """Write a structure file, sorted by name, and move it into place when it is whole.

    Raises:
        FileError: It cannot be written.
    """
    write_text(path, json.dumps(dict(counts), indent=2, sort_keys=True) + "\n", what="structure")


def structure_plan(channels: Channels, counts: Mapping[str, int]) -> ChannelPlan:
    """The plan that a structure means for a model: its names matched with the model's layers, its numbers checked.

    Args:
        channels: The analysis of the model.
        counts: Numbers by name; names may have the operation behind them and scopes before them.

    Raises:
        PlanError: A name is no layer of the model that makes channels, or a number is larger than the layer's width.
    """
    kept: dict[str, int] = {}
    unknown = []
    for name, count in counts.items():
        source = _source(name, channels)
        if source is None:
            unknown.append(name)
            continue
        width = channels.sources[source].ids.size
        if count > width:
            raise PlanError(
                f"The structure gives {source!r} more channels than it has.",
                expected=f"at most {width}",
                got=str(count),
                hint="start from the model that the structure was learned on; Expand makes a network wider",
            )
        if kept.setdefault(source, count) != count:
            raise PlanError(f"The structure names {source!r} twice.", got=f"{kept[source]} and {count} channels")
    if unknown:
        first = unknown[0]
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise PlanError(
            f"The model {channels.graph.name!r} has no layer {_layer(first)!r} that makes channels{more}.",
            got=f"{len(counts) - len(unknown)} of {len(counts)} names of the structure are in the model",
            hint=did_you_mean(_layer(first), channels.sources)
            if kept or get_close_matches(_layer(first), channels.sources)
            else "this is the structure of another model; start from the one it was learned on",
        )
    return ChannelPlan(kept, model=channels.graph.name)


def _layer(name: str) -> str:
    """A name without the operation that TensorFlow 1 puts behind it."""
    head, _, last = name.rpartition("/")
    return head if head and OPERATION.fullmatch(last) else name


def _source(name: str, channels: Channels) -> str | None:
    """The layer that a name means: itself, or without the scopes before it, if only one layer has that name."""
    layer = _layer(name)
    if layer in channels.sources:
        return layer
    parts = layer.split("/")
    for start in range(1, len(parts)):
        if (short := "/".join(parts[start:])) in channels.sources:
            return short
    ends = [source for source in channels.sources if source.endswith(f"/{layer}")]
    return ends[0] if len(ends) == 1 else None
