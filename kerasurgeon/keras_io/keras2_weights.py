"""Weights from the HDF5 groups that Keras 2 wrote: by name where names say it, else by order, checked by shape."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from kerasurgeon.errors import ModelFileError
from kerasurgeon.keras_io.keras2_changed import GATES, from_cudnn

# States of random generators, which Keras 3 has in other forms.
_NO_WEIGHT = "StateVar"


def load_weights(group: Any, model: Any, names: Sequence[str], cudnn: Mapping[str, int], where: str) -> None:
    """Give the layers of a model the weights that Keras 2 saved.

    Args:
        group: The HDF5 group with one group for each layer.
        model: The model; its layers have the names that they had.
        names: The names of its layers in the order of the file's config.
        cudnn: Layers that were cuDNN's, by name, with the number of their gates.
        where: The file, for errors.

    Raises:
        ModelFileError: The weights of a layer are not there, or do not fit; the layer is named.
    """
    saved = {name: _arrays(group, name, where) for name in _texts(group, "layer_names")}
    saved = {name: arrays for name, arrays in saved.items() if arrays}
    order = {name: position for position, name in enumerate(names)}
    layers = [layer for layer in model.layers if _variables(layer)]
    layers.sort(key=lambda layer: order.get(layer.name, len(order)))
    if not {layer.name for layer in layers} <= set(saved):  # made anew, and numbered on
        if len(layers) != len(saved):
            missing = [layer.name for layer in layers if layer.name not in saved]
            raise ModelFileError(
                "The weights are those of another network.",
                where=where,
                expected=f"weights of {len(layers)} layers, also of {', '.join(map(repr, missing[:5]))}",
                got=f"weights of {len(saved)}: {', '.join(map(repr, list(saved)[:5]))}",
            )
        saved = {layer.name: arrays for layer, arrays in zip(layers, saved.values(), strict=True)}
    for name in saved:
        if name not in {layer.name for layer in layers}:
            raise ModelFileError(f"The file has weights for {name!r}, which has none in the network.", where=where)
    for layer in layers:
        _load(layer, saved[layer.name], cudnn, where)


def _load(layer: Any, saved: list[tuple[str, Any]], cudnn: Mapping[str, int], where: str) -> None:
    variables = _variables(layer)
    if len(variables) != len(saved):
        raise ModelFileError(
            f"Layer {layer.name!r} has another number of weights than the file has for it.",
            where=where,
            expected=f"{len(variables)}: {', '.join(variable.name for variable in variables)}",
            got=f"{len(saved)}: {', '.join(name for name, _ in saved)}",
        )
    for variable, (name, data) in _paired(variables, saved):
        gates = next((cudnn[part] for part in _bare(variable.path) if part in cudnn), None)
        two = gates is not None and variable.name == "bias"
        shape = tuple(variable.shape)
        stored = (2 * shape[-1] if gates == GATES["CuDNNLSTM"] else int(np.prod(shape)),) if two else shape
        if tuple(data.shape) != stored:  # before it is read: what a file says of sizes may be anything
            raise ModelFileError(
                f"Layer {layer.name!r}: the file's weights do not fit.",
                where=where,
                expected=f"{variable.path} of shape {stored}",
                got=f"{name} of shape {tuple(data.shape)}",
            )
        array = np.asarray(data[()])
        variable.assign(array if gates is None else from_cudnn(array, variable.name, gates))


def _paired(variables: list[Any], saved: list[tuple[str, Any]]) -> list[tuple[Any, tuple[str, Any]]]:
    """Variables with what was saved for them: by the ends of names, where these are the same and tell all apart."""
    for length in (2, 3, 4):
        ends = [_end(variable.path, length) for variable in variables]
        by_end = {_end(name, length): (name, data) for name, data in saved}
        if len(by_end) == len(ends) and set(ends) == set(by_end):
            return [(variable, by_end[end]) for variable, end in zip(variables, ends, strict=True)]
    return list(zip(variables, saved, strict=True))


def _end(path: str, length: int) -> str:
    return "/".join(path.partition(":")[0].split("/")[-length:])


def _bare(path: str) -> list[str]:
    """The names of layers in a path; a wrapper for two directions has renamed what it holds."""
    parts = path.split("/")
    return [*parts, *(part.removeprefix("forward_").removeprefix("backward_") for part in parts)]


def _variables(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _arrays(group: Any, layer: str, where: str) -> list[tuple[str, Any]]:
    """What is stored for a layer, unread."""
    inner = _member(group, layer, where)
    if not isinstance(inner, h5py.Group):
        raise ModelFileError(f"The file has no group of weights for {layer!r}.", where=where)
    return [(name, _dataset(inner, name, where)) for name in _texts(inner, "weight_names") if _NO_WEIGHT not in name]


def _dataset(group: Any, name: str, where: str) -> Any:
    found = _member(group, name, where)
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise ModelFileError(f"The file's weight {name!r} is no array in it.", where=where)
    return found


def _member(group: Any, path: str, where: str) -> Any:
    for part in path.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) and part else None
        if not isinstance(link, h5py.HardLink):
            raise ModelFileError(f"The file does not hold {path!r}, or in another file.", where=where)
        group = group[part]
    return group


def _texts(group: Any, name: str) -> list[str]:
    """A list of texts in the attributes; long ones are in several."""
    if name in group.attrs:
        found = list(group.attrs[name])
    else:
        numbered = itertools.takewhile(lambda key: key in group.attrs, (f"{name}{i}" for i in itertools.count()))
        found = [text for key in numbered for text in group.attrs[key]]
    return [text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in found]


__all__ = ["load_weights"]
