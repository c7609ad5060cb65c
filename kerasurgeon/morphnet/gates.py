"""How likely every unit of channels is to be let through by its gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from kerasurgeon.channels.analysis import Channels
from kerasurgeon.morphnet.alive import Term
from kerasurgeon.morphnet.twin_layers import GATE

THRESHOLD = 0.5
"""A channel all of whose gates are below this is multiplied with zero in inference."""


def gate_terms(channels: Channels) -> tuple[Term, ...]:
    """The gates of a model: see ``with_gates``."""
    layers = channels.graph.layers
    return tuple(
        Term(key, path, held.axes, channels.unit[held.ids])
        for (key, path), several in channels.weights.items()
        if layers[key].kind == GATE
        for held in several
    )


class Openness:
    """The probability that at least one gate of a unit is open, ``1 - prod(1 - p)``, as a tensor.

    Args:
        channels: The analysis.
        variables: The model's variables by layer and path.
        counted: For every unit whether it is regularised; others are zero.
    """

    def __init__(self, channels: Channels, variables: Mapping[tuple[str, str], Any], counted: Any) -> None:
        self.size = channels.units
        found = [term for term in gate_terms(channels) if counted[term.units].any()]
        self.parts = [variables[term.layer, term.weight] for term in found]
        units = np.concatenate([term.units for term in found])
        self.units = np.where(counted[units], units, self.size).astype("int32")

    @property
    def variables(self) -> list[Any]:
        """The variables that it looks at."""
        return self.parts

    def tensor(self) -> Any:
        """A float32 for every unit, zero for those that are not counted."""
        logits = ops.concatenate([ops.cast(ops.convert_to_tensor(variable), "float32") for variable in self.parts])
        # log(1 - p) is minus the softplus of the log-odds.
        shut = ops.segment_sum(ops.softplus(logits), self.units, num_segments=self.size + 1)
        return 1.0 - ops.exp(-shut[:-1])
