"""Rebuild a network with the widths that a structure file lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from kerasurgeon.authoring import MASKED_EXACT, Context, Graph, Pass, Preserves, check_choice, wrong_option
from kerasurgeon.channels import Evidence, analyse, chosen_units, criterion_for, cut_and_log
from kerasurgeon.morphnet import fresh_weights, read_structure, structure_plan

WEIGHTS = ("sliced", "fresh")


@final
@dataclass(frozen=True)
class ReconstructWidths(Pass):
    """Give layers the numbers of channels that a structure file lists, with all that depends on them.

    The file is what MorphNet writes: numbers of living channels by the name of a convolution. 0 means that nothing is
    left of the layer: its branch is removed.

    Matches:
        The layers that the file names, and those whose channels go with theirs.
    Leaves alone:
        All else.
    Preserves:
        With sliced weights the outputs of the masked model: that in which the removed channels contribute nothing; what
        a removed branch still gave, a constant, becomes a bias. With fresh weights nothing but the structure.

    Args:
        structure: Path of the JSON file, or the numbers by layer, ``{"conv1_conv": 13, "conv2_block2_1_conv": 0}``.
            Names as TensorFlow 1 writes them are understood: ``"resnet50/conv1_conv/Conv2D"``.
        weights: ``"sliced"``: the channels that matter most stay, with their weights. ``"fresh"``: all weights are made
            anew by the layers' initialisers, for training from the start.
        importance: What matters least, for sliced weights: as for ``PruneChannels``.

    Raises:
        OptionError: An option has a value that it may not have.
        PlanError: The file cannot be read, is about another model, or its numbers cannot be had: they are larger than
            the widths, or disagree about layers whose channels go together.

    Reference:
        Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks", CVPR 2018,
        arXiv:1711.06798.
    """

    preserves: ClassVar[Preserves] = MASKED_EXACT

    structure: str | Path | Mapping[str, int]
    weights: str = "sliced"
    importance: str = "l2"

    def __post_init__(self) -> None:
        if isinstance(self.structure, Path):
            object.__setattr__(self, "structure", str(self.structure))
        if isinstance(self.structure, Mapping):
            object.__setattr__(self, "structure", read_structure(json.dumps(dict(self.structure), default=repr)))
        elif not isinstance(self.structure, str) or not self.structure:
            raise wrong_option(self.name, "structure", self.structure, "the path of a JSON file, or numbers by layer")
        check_choice(self.name, "weights", self.weights, WEIGHTS)
        criterion_for(self.importance)

    def idle(self) -> str | None:
        """A structure that names no layer."""
        return None if self._read() else "the structure names no layer"

    def run(self, graph: Graph, context: Context) -> None:
        """Choose the channels, cut, and make new weights where they are asked for."""
        structure = self._read()
        channels = analyse(graph)
        evidence = Evidence(channels, context.data, context.loss, context.rng)
        gone = chosen_units(structure_plan(channels, structure), criterion_for(self.importance), evidence)
        fresh = self.weights == "fresh"
        if fresh:
            context.changed(graph.name, "all weights are made anew")
        elif not gone.any():
            context.left(graph.name, "the structure keeps every channel")
            return
        cut_and_log(graph, channels, gone, context, constants=not fresh)
        if fresh:
            fresh_weights(graph)

    def _read(self) -> Mapping[str, int]:
        return self.structure if isinstance(self.structure, Mapping) else read_structure(Path(self.structure))


__all__ = ["ReconstructWidths"]
