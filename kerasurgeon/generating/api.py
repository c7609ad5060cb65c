"""What users call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasurgeon.errors import OptionError
from kerasurgeon.generating.making import COUNT, SECONDS, Progress, TooLittleTime, made_inputs
from kerasurgeon.keras_io import lift
from kerasurgeon.rewrite.option_checks import check_count, is_number, wrong_option


def generate_inputs(
    model: keras.Model,
    count: int = COUNT,
    *,
    range: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    seconds: float = SECONDS,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = lambda fraction, message: None,
) -> Any:
    """Inputs for a trained model, made from the model alone: where there is no data, they calibrate in its place.

    They begin as smoothed noise and are moved, by the gradients of the network, until the tensors that its batch norms
    read have the means and variances that these hold from training. Integer inputs are ids, drawn at random below the
    vocabulary. Use them as the ``data=`` of passes and as calibration for int8. To look at, they are noise.

    Args:
        model: A functional or sequential model with trained batch norms; it is only read.
        count: How many. Fewer are made where the time does not do for as many.
        range: The least and the largest value of real inputs, as the model is fed: ``(0, 1)``, ``(0, 255)``; a dict
            gives ranges by the names of inputs. It matters much. By default the range is guessed from the statistics of
            the first batch norm.
        seconds: The time that it may take: how many inputs and steps it does for follows from the first step.
        steps: How many steps, whatever they take; by default up to 100, as the time allows, which may differ between
            runs: give it where they must repeat exactly.
        seed: Same seed, same inputs.
        progress: Called with the fraction done and a message. Ctrl-C ends the making with what is there.

    Returns:
        Arrays, nested as the model's inputs are, ``count`` samples each.

    Raises:
        OptionError: The model holds no statistics, an option cannot be used, the time does not do, or Keras does not
            run on TensorFlow.

    References:
        Cai et al., "ZeroQ", CVPR 2020; Yin et al., "Dreaming to Distill", CVPR 2020.

    Example:
        >>> inputs = ks.generate_inputs(model, 256, range=(0, 1))
        >>> small = ks.apply_passes(model, [PruneChannels(macs=0.5, compensate="least_squares")], data=inputs)
    """
    check_count("", "count", count)
    check_count("", "seed", seed, least=0)
    if steps is not None:
        check_count("", "steps", steps)
    if not is_number(seconds) or seconds <= 0:
        raise wrong_option("", "seconds", seconds, "a number above 0")
    graph = lift(model)
    try:
        made = made_inputs(graph, count, range=range, seconds=seconds, steps=steps, seed=seed, progress=progress)
    except TooLittleTime as outcome:
        raise OptionError(
            "No inputs can be generated in this time.", got=str(outcome), hint="a larger seconds=, or a smaller count="
        ) from None
    return keras.tree.pack_sequence_as(graph.inputs, [np.ascontiguousarray(array) for array in made.arrays])
