"""Nested operands: walk and rebuild tuples, lists and dicts whose leaves may be values.

Keras flattens dicts in sorted key order; so does this module, so that the i-th leaf here is the i-th leaf there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kerasurgeon.ir.values import Value


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """Rebuild ``structure`` with ``function`` applied to every leaf."""
    if isinstance(structure, tuple):
        parts = [map_leaves(function, part) for part in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*parts)
        return tuple(parts)
    if isinstance(structure, list):
        return [map_leaves(function, part) for part in structure]
    if isinstance(structure, dict):
        return {key: map_leaves(function, part) for key, part in structure.items()}
    return function(structure)


def leaves(structure: Any) -> Iterator[Any]:
    """All leaves of ``structure``, dicts in sorted key order as Keras flattens them."""
    if isinstance(structure, (tuple, list)):
        for part in structure:
            yield from leaves(part)
    elif isinstance(structure, dict):
        for key in _sorted_keys(structure):
            yield from leaves(structure[key])
    else:
        yield structure


def values_in(structure: Any) -> tuple[Value, ...]:
    """The ``Value`` leaves of ``structure``, in order, repeated where they repeat."""
    return tuple(leaf for leaf in leaves(structure) if isinstance(leaf, Value))


def leaf_paths(structure: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every leaf with its path of indices and keys, in the order of ``leaves``."""
    if isinstance(structure, (tuple, list)):
        for index, part in enumerate(structure):
            yield from leaf_paths(part, (*prefix, index))
    elif isinstance(structure, dict):
        for key in _sorted_keys(structure):
            yield from leaf_paths(structure[key], (*prefix, key))
    else:
        yield prefix, structure


def unflatten(structure: Any, flat: list[Any]) -> Any:
    """Rebuild ``structure`` with its leaves taken from ``flat``, in the order of ``leaves``."""
    return _filled(structure, iter(flat))


def _filled(part: Any, replacements: Iterator[Any]) -> Any:
    if isinstance(part, tuple):
        parts = [_filled(item, replacements) for item in part]
        return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
    if isinstance(part, list):
        return [_filled(item, replacements) for item in part]
    if isinstance(part, dict):
        filled = {key: _filled(part[key], replacements) for key in _sorted_keys(part)}
        return {key: filled[key] for key in part}
    return next(replacements)


def _sorted_keys(mapping: dict[Any, Any]) -> list[Any]:
    try:
        return sorted(mapping)
    except TypeError:  # keys of several types: Keras keeps their order then
        return list(mapping)
