"""Models made to fit other inputs, classes and vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasurgeon.adapting.classes import resize_outputs
from kerasurgeon.adapting.inputs import CHANNELS, DENSE, resize_inputs
from kerasurgeon.adapting.kept_ids import KeptIds
from kerasurgeon.adapting.options import Shape, check_shape, read_ids
from kerasurgeon.adapting.vocabulary import HEADS, cut_vocabulary
from kerasurgeon.keras_io import check_types, emit, lift
from kerasurgeon.keras_io.seeding import python_kept
from kerasurgeon.rewrite.option_checks import check_choice, check_count


@python_kept()
def change_input(
    model: Any,
    shape: Shape | Mapping[str, Shape],
    *,
    channels: str = "average",
    keep: Sequence[int] | None = None,
    dense: str = "refuse",
) -> Any:
    """A model that takes another input, with the weights of the old one.

    The new model computes what the old one computes of ``x @ mix``; the kernels that read the input are all that
    changes. Layers that work on each channel by itself (normalisations, depthwise convolutions) get channels as their
    input does: a copy of what there was, or the mean. Through these it is exact for copies of one image in several
    channels, and for the average where such a layer treats all channels alike.

    Args:
        model: A Keras model; it is not changed.
        shape: The new shape without the batch, ``None`` for a size that is left open; a dict of shapes by name where
            there are several inputs.
        channels: What new channels are made of. ``"average"``: each counts as an equal share of every old channel, so
            that grey images give what they gave as three equal channels. ``"repeat"``: new channel ``i`` is old channel
            ``i`` modulo their number, shared out among its copies. ``"cut"``: some stay, the others count as zero.
        keep: For ``"cut"``: which stay, in their new order; by default the first ones.
        dense: A Dense layer behind a Flatten has a weight for each position: ``"refuse"`` it, or ``"resample"`` its
            kernel, so that it computes what it did of the new map resized to the old size.

    Returns:
        A new Keras model.

    Raises:
        GraphError: A layer cannot work on the new input; the message names it and what to do.
        OptionError: An option has a value that it may not have, or names an input that is not there.
    """
    check_choice("change_input", "channels", channels, CHANNELS)
    check_choice("change_input", "dense", dense, DENSE)
    graph = lift(model)
    chosen = None if keep is None else read_ids("change_input", "keep", keep)
    resize_inputs(graph, check_shape("change_input", shape), channels=channels, keep=chosen, dense=dense)
    check_types(graph)
    return emit(graph)


@python_kept()
def change_classes(
    model: Any,
    classes: int | None = None,
    *,
    keep: Sequence[int] | str | Path | None = None,
    output: str | None = None,
    seed: int = 0,
) -> Any:
    """A model with other classes, with the weights of those that stay.

    What makes the classes (a Dense layer, a convolution, and what lies between it and the output) gets as many channels
    as there are classes. New ones have kernels that are drawn with the deviation of the old ones, and their mean bias.

    Args:
        model: A Keras model; it is not changed.
        classes: How many classes there are afterwards; as many as are kept by default.
        keep: Old classes by number, in their new order (or a file of them); by default the first ones. ``()`` keeps
            none.
        output: The layer that gives the output; needed where there are several outputs.
        seed: The new kernels follow from it.

    Returns:
        A new Keras model.

    Raises:
        GraphError: What leads to the classes is not known well enough; the message says where.
        OptionError: A class is not there, or there is no such output.
    """
    if classes is not None:
        check_count("change_classes", "classes", classes)
    graph = lift(model)
    chosen = None if keep is None else read_ids("change_classes", "keep", keep)
    resize_outputs(graph, classes, keep=chosen, output=output, rng=np.random.default_rng(seed))
    check_types(graph)
    return emit(graph)


@python_kept()
def prune_vocabulary(
    model: Any, keep: Sequence[int] | str | Path, *, layer: str | None = None, head: str = "tied"
) -> tuple[Any, KeptIds]:
    """A model that knows fewer ids: an embedding with some of its rows, and a head that follows.

    The new model takes new ids: ``i`` for what was ``keep[i]``.

    Args:
        model: A Keras model; it is not changed.
        keep: The old ids that stay, in their new order; or a file of them (.npy, or a text with one on each line).
        layer: The embedding; needed where there are several.
        head: ``"tied"``: outputs by the embedding's own table lose the rows too. ``"cut"``: those of layers with
            weights of their own as well.

    Returns:
        A new Keras model, and what turns old ids into new ones.

    Raises:
        GraphError: Something further on needs all rows.
        OptionError: An id is not there; or there is no such embedding, or there are several.
    """
    check_choice("prune_vocabulary", "head", head, HEADS)
    graph = lift(model)
    kept, _ = cut_vocabulary(graph, read_ids("prune_vocabulary", "keep", keep), layer=layer, head=head)
    check_types(graph)
    return emit(graph), kept


__all__ = ["change_classes", "change_input", "prune_vocabulary"]
