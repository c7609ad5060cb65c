"""What a quantised file is held to: how far it may be from the model, on samples that no range was found from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kerasurgeon.errors import ExportError
from kerasurgeon.exporting.parity import OutputParity
from kerasurgeon.exporting.tensors import Feeds

FLOORS = {"float16": 0.02, "dynamic": 0.2, "int8": 0.4}
"""The largest RMS error, by the deviation of an output, unless the caller accepts another: by what is stored in how
many bits. Networks of random weights lose .1 to .3 in int8; swapped outputs or a range taken by a mask .5 to 1.4."""

_EVERY, _MOST, _ENOUGH = 8, 32, 32


def hold_out(batches: Sequence[Feeds]) -> tuple[list[Feeds], Feeds | None]:
    """Keep some calibration samples from the calibration, to compare the file on.

    Args:
        batches: Named arrays.

    Returns:
        What ranges are to be found from, and one sample in eight, at most 32; ``None`` if there are fewer than 32 in
        all, of which an eighth would say nothing.
    """
    total = sum(map(_samples, batches))
    if total < _ENOUGH:
        return list(batches), None
    every = max(_EVERY, -(-total // _MOST))
    rest: list[Feeds] = []
    held: list[Feeds] = []
    place = 0
    for feeds in batches:
        size = _samples(feeds)
        out = np.arange(place + 1, place + size + 1) % every == 0
        place += size
        if held and any(feeds[name].shape[1:] != array.shape[1:] for name, array in held[0].items()):
            out[:] = False  # of other sizes: one run cannot take both
        if out.any():
            held.append({name: array[out] for name, array in feeds.items()})
        if not out.all():
            rest.append({name: array[~out] for name, array in feeds.items()})
    return rest, {name: np.concatenate([each[name] for each in held]) for name in held[0]}


def _samples(feeds: Feeds) -> int:
    return int(next(iter(feeds.values())).shape[0])


def check_floor(
    outputs: Sequence[OutputParity],
    path: Path,
    quantize: str,
    accept: float | None,
    blame: Callable[[], Sequence[tuple[str, float]]],
) -> None:
    """Check that a quantised file is near enough to the model.

    Args:
        outputs: The measured differences.
        path: The file, for the error.
        quantize: How it is quantised.
        accept: The largest RMS error, by an output's deviation; by default ``FLOORS``, or a step of its integers.
        blame: Names the layers that add most, with what they add.

    Raises:
        ExportError: An output is further away.
    """
    limit = FLOORS[quantize] if accept is None else accept
    bad = [
        output
        for output in outputs
        # "not <=" so that NaN fails as well. Outputs that hardly vary are held to a step of their integers.
        if not output.rms_error <= limit and not (accept is None and output.steps <= 1.0)
    ]
    if not bad:
        return
    worst = max(bad, key=lambda output: output.rms_error)
    layers = [f"{name}: {added:.0%}" for name, added in blame()]
    less = "calibrate with more of the data that it is for, quantise less (quantize='dynamic')"
    raise ExportError(
        f"The {quantize} file is too far from the model; it was not kept.",
        where=f"{path}, output {worst.name!r}",
        expected=f"an RMS error of at most {limit:.0%} of the output's deviation",
        got=f"{worst.rms_error:.0%}",
        hint=f"{less if quantize == 'int8' else 'quantise less'}, or accept it: "
        f"accept={np.ceil(100 * worst.rms_error) / 100:.2f}",
        context="\n".join(["the layers that add most:", *layers]) if layers else None,
    )
