"""Read what TensorFlow saved as a checkpoint into a network: by name and shape, with a report of what fitted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import ModelFileError, OptionError
from kerasurgeon.keras_io.checkpoint_names import Row, Shape, is_for_training, match
from kerasurgeon.keras_io.emit import emit
from kerasurgeon.keras_io.layers import keyed_variables
from kerasurgeon.keras_io.lift import lift
from kerasurgeon.quiet import quiet, require

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_FILE = re.compile(r"\.(index|data-\d{5}-of-\d{5}|meta)$")
_SHOWN = 20


@dataclass(frozen=True)
class FromCheckpoint:
    """A network with the weights of a checkpoint, and what fitted.

    Attributes:
        model: The network.
        rows: What became of each of its variables: ``variable``, ``shape``, ``status``, ``names``, ``saved``.
        unused: Names in the checkpoint that nothing was read from.
        left_out: How many more there are that only training needs: of optimizers, averages, counters.
    """

    model: Any
    rows: tuple[Row, ...]
    unused: tuple[str, ...]
    left_out: int

    @property
    def complete(self) -> bool:
        """Whether every variable of the network was read."""
        return all(row.status == "read" for row in self.rows)

    def lines(self, most: int = _SHOWN) -> list[str]:
        """What fitted and what did not, for people.

        Args:
            most: How many names are listed of each kind.
        """
        other = [row for row in self.rows if row.status != "read"]
        read = len(self.rows) - len(other)
        training = f", and {self.left_out} that only training needs" if self.left_out else ""
        said = [
            f"{read} of {len(self.rows)} variables were read; {len(self.unused)} of the checkpoint were not{training}"
        ]
        for heading, texts in (
            ("as they were", [str(row) for row in other]),
            ("not read from the checkpoint", list(self.unused)),
        ):
            said += [f"{heading}:"] * bool(texts) + [f"  {text}" for text in texts[:most]]
            said += [f"  ... {len(texts) - most} more"] * (len(texts) > most)
        return said

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        rows = [
            {
                "variable": row.variable,
                "shape": list(row.shape),
                "status": row.status,
                "names": list(row.names),
                "saved": None if row.saved is None else list(row.saved),
            }
            for row in self.rows
        ]
        return {"variables": rows, "unused": list(self.unused), "left_out": self.left_out}

    def __str__(self) -> str:
        return "\n".join(self.lines())


def load_checkpoint(
    model: Any,
    path: str | Path,
    *,
    scope: str | None = None,
    rename: Mapping[str, str] | None = None,
    partial: bool = False,
) -> FromCheckpoint:
    r"""A network with the weights that TensorFlow 1 or 2 saved as a checkpoint, matched by name and shape.

    A layer is found by the end of its name in the checkpoint: ``MobilenetV3/expanded_conv_1/expand/BatchNorm/gamma`` is
    ``gamma`` of ``expanded_conv_1_expand_bn`` (docs/old_files.md). Variables of optimizers and moving averages of
    weights are left out.

    Args:
        model: A Keras model; it is not changed.
        path: The checkpoint: its name without ``.index``, one of its files, or a folder with checkpoints (the last one
            counts) or a SavedModel (of which weights alone are read).
        scope: Only layers right in this scope of the checkpoint count; by default the scope in which most fit.
        rename: Regular expressions for names of layers in the checkpoint, and what takes the place of what they find,
            one after the other: ``{r"expanded_conv_(\d+)": r"block_\1"}``.
        partial: Whether some variables of the network may stay as they are.

    Returns:
        The new model as ``model``, and what fitted; printing it shows that.

    Raises:
        ModelFileError: There is no such checkpoint, it cannot be read, or does not have all that the network needs
            (with ``partial``: nothing that it needs).
        OptionError: ``rename`` has something that is no regular expression.
        MissingExtraError: TensorFlow is not installed.
    """
    try:
        for pattern, new in (rename or {}).items():
            re.compile(pattern).sub(new, "")
    except (re.error, TypeError, IndexError) as error:
        raise OptionError("load_checkpoint: a name in 'rename' is no regular expression.", got=str(error)) from error
    reader, keys, left_out = _opened(Path(path))
    made = emit(lift(model))
    named = _named(made)
    saved = {name: shape for name, (_, shape) in keys.items()}
    wanted = [(name, tuple(item.shape), depth) for name, depth, item in named]
    rows = match(wanted, saved, scope=scope, rename=rename)
    used = {row.names[0] for row in rows if row.status == "read"}
    result = FromCheckpoint(made, tuple(rows), tuple(name for name in saved if name not in used), left_out)
    if not used or not (partial or result.complete):
        raise ModelFileError(
            "The checkpoint does not have all that the network needs."
            if used
            else "The checkpoint has nothing that the network needs.",
            where=os.fsdecode(path),
            hint=_hint(scope, rows, partial=bool(used)),
            context="\n".join(result.lines(most=8)),
        )
    for (_, _, variable), row in zip(named, rows, strict=True):
        if row.status == "read":
            array = _array(reader, keys[row.names[0]][0], path)
            variable.assign(array.reshape(row.shape))
    return result


def _named(model: Any) -> list[tuple[str, int, Any]]:
    """The variables of a model: the path (models that the layer is inside of, the layer, its own), how many models."""
    found: dict[int, tuple[str, int, Any]] = {}
    for inside, layer in _layers(model):
        for key, variable in keyed_variables(layer, layer.weights).items():
            path = "/".join((*inside, layer.name, key))
            found.setdefault(id(variable), (path, len(inside), variable))
    for variable in model.weights:
        found.setdefault(id(variable), (variable.path, 0, variable))
    return list(found.values())


def _layers(model: Any, inside: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, (*inside, layer.name))
        else:
            yield inside, layer


def _hint(scope: str | None, rows: Iterable[Row], *, partial: bool) -> str:
    ways = ["rename={'pattern': 'name'} where layers have other names"]
    if any(row.status == "ambiguous" for row in rows):
        ways.append("rename={'one of those names': 'model_inside/layer'}, or scope=, where several may be meant")
    elif scope is not None:
        ways.append("another scope, or none")
    if partial:
        ways.append("partial=True to leave such variables as they are")
    return "; ".join(ways)


def _opened(path: Path) -> tuple[Any, dict[str, tuple[str, Shape]], int]:
    """A reader of the checkpoint, key and shape of its variables by name, and how many were left out."""
    wanted = {"package": "tensorflow", "extra": "tensorflow", "needed_for": "reading a checkpoint"}
    tensorflow = require("tensorflow", **wanted)
    graphs = require("tensorflow.core.protobuf.trackable_object_graph_pb2", **wanted)
    if (path / "saved_model.pb").exists():
        path = path / "variables" / "variables"
    prefix = _FILE.sub("", os.fsdecode(path))
    try:
        with quiet():
            reader = tensorflow.train.load_checkpoint(prefix)
            shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
            graph = graphs.TrackableObjectGraph()
            if _GRAPH in shapes:
                graph.ParseFromString(reader.get_tensor(_GRAPH))
    except Exception as error:  # its own classes, Python's, and those of protocol buffers
        raise ModelFileError(
            "The checkpoint cannot be read.",
            where=os.fsdecode(path),
            expected="a folder, or the name that TensorFlow's files share, as model.ckpt-9 of model.ckpt-9.index",
            got=str(error).strip().splitlines()[0][:200] or type(error).__name__,
        ) from error
    full = {
        item.checkpoint_key: item.full_name for node in graph.nodes for item in node.attributes if item.checkpoint_key
    }
    several: dict[str, list[str]] = {}
    left_out = 0
    for key in sorted(shapes.keys() - {_GRAPH}):
        name = full.get(key) or key.removesuffix(_VALUE)
        if is_for_training(name) or is_for_training(key.removesuffix(_VALUE)):
            left_out += 1
        else:
            several.setdefault(name, []).append(key)
    apart = {
        name.rpartition("/")[0] for name, own in several.items() if not all(_same(reader, own[0], key) for key in own)
    }
    keys: dict[str, tuple[str, Shape]] = {}
    for name, own in several.items():
        for key in own if name.rpartition("/")[0] in apart else own[:1]:
            # Of layers that share a name: where they are among the objects that were saved tells them apart.
            place = key.removesuffix(_VALUE).rpartition("/")[0] if len(own) > 1 else ""
            keys[f"{place}/{name}" if place else name] = (key, shapes[key])
    return reader, keys, left_out


def _same(reader: Any, one: str, other: str) -> bool:
    """Whether two variables of one name are one, which is saved in two places."""
    return one == other or np.array_equal(reader.get_tensor(one), reader.get_tensor(other))


def _array(reader: Any, key: str, path: str | Path) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(reader.get_tensor(key))
    except Exception as error:
        raise ModelFileError(
            f"The checkpoint's {key!r} cannot be read.",
            where=os.fsdecode(path),
            got=str(error).strip().splitlines()[0][:200],
            hint="are all of its files there (.index and every .data)?",
        ) from error


__all__ = ["FromCheckpoint", "load_checkpoint"]
