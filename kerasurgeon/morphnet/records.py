"""What training has chosen, written down step by step: in the Model Zoo's form and in our own."""

from __future__ import annotations

from pathlib import Path

from kerasurgeon.atomic import make_folder
from kerasurgeon.morphnet.structure import write_structure
from kerasurgeon.morphnet.watched import Watched

FOLDER = "learned_structure"


def write_records(morph: Watched, folder: str | Path, step: int) -> tuple[Path, Path]:
    """Write what is alive at a step, twice.

    ``learned_structure/alive_<step>`` is the Model Zoo's: alive channels of every convolution by its name, sorted, as
    JSON indented by two. ``learned_structure/plan_<step>.json`` is a ``ChannelPlan``: which channels of which layers.

    Args:
        morph: The MorphNet.
        folder: The folder of the run; made where it is not there.
        step: Number of the training step.

    Returns:
        The paths of the two files.

    Raises:
        FileError: They cannot be written.
    """
    place = Path(folder) / FOLDER
    counts, plan = place / f"alive_{step}", place / f"plan_{step}.json"
    make_folder(place)
    write_structure(morph.structure(), counts)
    morph.plan().save(plan)
    return counts, plan
