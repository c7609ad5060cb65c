"""How large every unit of channels is by its weights, and which units are alive: above a threshold.

This is the definition that training and surgery share. A *term* is one weight that speaks for some channels: the kernel
that makes them (group lasso), or the scale of a batch normalisation behind them (gamma). A term gives one magnitude per
position of the channels; a unit has the largest of all its positions and terms, so that it is alive as soon as one of
them is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.channels.avoided import kept_for_numbers
from kerasurgeon.channels.plan import ChannelPlan
from kerasurgeon.errors import OptionError, did_you_mean
from kerasurgeon.ir.graph import Graph
from kerasurgeon.ir.layer import Layer
from kerasurgeon.ir.name_patterns import names_match
from kerasurgeon.rewrite.option_checks import check_choice, is_count, is_number, wrong_option
from kerasurgeon.rules.asking import affine_of, channel_form
from kerasurgeon.rules.labels import Ids

Array = np.ndarray[Any, Any]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

ALGORITHMS = ("group_lasso", "gamma")
THRESHOLD = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One weight that says how large some channels are.

    Attributes:
        layer: Key of the layer.
        weight: Path of the weight.
        axes: Its axes that hold the channels, ascending; a magnitude is taken over all others.
        units: The unit of every position along these axes, of the shape of these axes.
    """

    layer: str
    weight: str
    axes: tuple[int, ...]
    units: Ids


def terms(channels: Channels, algorithm: str) -> tuple[Term, ...]:
    """The weights that speak for channels.

    Args:
        channels: The analysis of a model.
        algorithm: ``"group_lasso"``: kernels (weights of two axes and more) of the layers that make the channels, along
            the axes of what they make. ``"gamma"``: scales of batch normalisations.

    Raises:
        OptionError: The algorithm is none of these.
    """
    check_choice("", "algorithm", algorithm, ALGORITHMS)
    layers = channels.graph.layers
    made: dict[str, list[Ids]] = {}
    for source in channels.sources.values():
        made.setdefault(source.layer, []).append(source.ids.ravel())
    found = []
    for (key, path), several in channels.weights.items():
        layer = layers[key]
        affine = affine_of(layer) if algorithm == "gamma" else None
        for held in several:
            if held.contracted:
                continue
            if algorithm == "gamma":
                speaks = affine is not None and affine.scale_key == path
            else:
                # Of a separable convolution the depthwise kernel holds what is read, which another layer has made.
                own = made.get(key, ())
                speaks = layer.weights[path].array.ndim > 1 and any(np.isin(held.ids, ids).all() for ids in own)
            if speaks:
                found.append(Term(key, path, held.axes, channels.unit[held.ids]))
    return tuple(found)


def magnitudes(array: Array, axes: tuple[int, ...], algorithm: str, l1_fraction: float = 0.0) -> Array:
    """The magnitude of every position along some axes of a weight, as float64.

    Group lasso: ``(1 - l1_fraction) sqrt(mean w^2) + l1_fraction mean |w|`` over all other axes. Gamma: ``|w|``.
    """
    others = tuple(axis for axis in range(array.ndim) if axis not in axes)
    values = np.abs(array.astype(np.float64))
    if algorithm == "gamma":
        return np.asarray(values.max(axis=others)) if others else values
    root = np.sqrt(np.square(values).mean(axis=others))
    return np.asarray(root if not l1_fraction else (1 - l1_fraction) * root + l1_fraction * values.mean(axis=others))


def norms(graph: Graph, channels: Channels, algorithm: str = "group_lasso", *, l1_fraction: float = 0.0) -> Array:
    """How large every unit is: the largest magnitude of its positions in all its terms.

    Args:
        graph: Holds the weights: the graph that was analysed, or a later lift of the same model.
        channels: The analysis.
        algorithm: ``"group_lasso"`` or ``"gamma"``: see ``terms``.
        l1_fraction: Share of the mean magnitude, beside the root of the mean square, in [0, 1]; group lasso only.

    Returns:
        A float64 for every unit of the analysis; NaN for units that no term speaks for.

    Raises:
        OptionError: The algorithm is not known, or ``l1_fraction`` lies outside [0, 1].

    Reference:
        Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks", CVPR 2018,
        arXiv:1711.06798, section 3.
    """
    if not is_number(l1_fraction) or not 0 <= l1_fraction <= 1:
        raise wrong_option("", "l1_fraction", l1_fraction, "a number in [0, 1]")
    largest = np.full(channels.units, -np.inf)
    layers = graph.layers
    for term in terms(channels, algorithm):
        array = layers[term.layer].weights[term.weight].array
        np.maximum.at(largest, term.units.ravel(), magnitudes(array, term.axes, algorithm, l1_fraction).ravel())
    return np.where(np.isneginf(largest), np.nan, largest)


def living(
    graph: Graph,
    channels: Channels,
    algorithm: str = "group_lasso",
    threshold: float = THRESHOLD,
    *,
    l1_fraction: float = 0.0,
    keep_first: bool = False,
    floors: int | Mapping[str, int] | None = None,
) -> Mask:
    """Which units are alive: those whose magnitude is above a threshold, and those that nothing may be said of.

    Args:
        graph: As for ``norms``.
        channels: Likewise.
        algorithm: Likewise.
        threshold: Magnitudes up to this are dead.
        l1_fraction: As for ``norms``.
        keep_first: Keep the first channel of every layer of which else nothing would be alive.
        floors: Fewest channels of a layer that stay alive, its largest: a number for all layers that make channels, or
            numbers by name pattern, the first that names a layer counts.

    Returns:
        True for every unit that stays. Units that may not go are alive.

    Raises:
        OptionError: An option has a value that it may not have.
    """
    if not is_number(threshold) or threshold < 0:
        raise wrong_option("", "threshold", threshold, "a number from 0")
    sizes = norms(graph, channels, algorithm, l1_fraction=l1_fraction)
    result = np.isnan(sizes) | (sizes > threshold)
    result[list(channels.frozen)] = True
    return settle(channels, result, sizes, keep_first=keep_first, floors=floors)


def settle(
    channels: Channels,
    alive: Mask,
    sizes: Array,
    *,
    keep_first: bool = False,
    floors: int | Mapping[str, int] | None = None,
) -> Mask:
    """Masks with floors put under them: see ``alive``.

    Args:
        channels: The analysis.
        alive: For every unit whether it is alive; stays as it is.
        sizes: How large every unit is: the largest of those that are dead come back first, earlier ones before later.
        keep_first: As for ``alive``.
        floors: Likewise.

    Raises:
        OptionError: The floors cannot be used.
    """
    result = np.array(alive, bool)
    known = _floors(floors, channels)
    for name, source in channels.sources.items():
        units = channels.unit[source.ids.ravel()]
        missing = known.get(name, 0) - int(result[units].sum())
        if missing > 0:
            dead = units[~result[units]]
            order = dead[np.argsort(-np.nan_to_num(sizes[dead], nan=np.inf), kind="stable")]
            for unit in order.tolist():
                if missing <= 0:
                    break
                if not result[unit]:
                    result[unit] = True
                    missing -= int(np.count_nonzero(units == unit))
        if keep_first and not result[units].any():
            result[units[0]] = True
    return result


def vanished(channels: Channels, alive: Mask) -> tuple[str, ...]:
    """The layers, of those that make channels, of which nothing is alive."""
    return tuple(
        name for name, source in channels.sources.items() if not alive[channels.unit[source.ids.ravel()]].any()
    )


def counts(channels: Channels, alive: Mask, only: Callable[[Layer], bool] | None = None) -> dict[str, int]:
    """How many channels of every layer are alive, by its name, sorted.

    Args:
        channels: The analysis.
        alive: For every unit whether it is alive.
        only: Which layers; ``is_convolution`` gives those that the Model Zoo writes into a structure file.
    """
    layers = channels.graph.layers
    return {
        name: int(np.count_nonzero(alive[channels.unit[source.ids.ravel()]]))
        for name, source in sorted(channels.sources.items())
        if only is None or only(layers[source.layer])
    }


def is_convolution(layer: Layer) -> bool:
    """Whether a layer convolves over images or volumes, not channel by channel."""
    form = channel_form(layer)
    return form is not None and form.single is not None and form.window is not None and len(form.window.size) > 1


def alive_plan(channels: Channels, alive: Mask, note: str = "") -> ChannelPlan:
    """The plan that keeps what is alive.

    Args:
        channels: The analysis.
        alive: For every unit of it whether it is alive.
        note: A line about the plan, for its file.
    """
    gone = ~np.asarray(alive, bool)
    kept_for_numbers(channels, gone)
    return ChannelPlan.of(channels, gone, note)


def _floors(floors: int | Mapping[str, int] | None, channels: Channels) -> dict[str, int]:
    if floors is None:
        return {}
    by_pattern = {"*": floors} if not isinstance(floors, Mapping) else floors
    for pattern, least in by_pattern.items():
        if not is_count(least, 0):
            raise wrong_option("", "floors", least, "whole numbers from 0, one or by name pattern")
        if pattern != "*" and not any(names_match([source.layer], pattern) for source in channels.sources.values()):
            raise OptionError(
                f"floors= names no layer that makes channels by {pattern!r}.",
                hint=did_you_mean(pattern, channels.sources),
            )
    found = {}
    for name, source in channels.sources.items():
        fits = (least for pattern, least in by_pattern.items() if names_match([source.layer], pattern))
        found[name] = next(fits, 0)
    return found
