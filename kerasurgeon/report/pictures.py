"""Pictures: whole files, and learning curves in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasurgeon.atomic import staged
from kerasurgeon.errors import OptionError, missing_extra

SUFFIXES = (".png", ".pdf", ".svg")


@contextmanager
def picture(
    path: str | Path, needed_for: str, width: float, height: float, *, dpi: int, overwrite: bool = True
) -> Iterator[Any]:
    """A figure to draw on, written when the block ends, whole or not at all.

    Args:
        path: Where to write: .png, .pdf or .svg.
        needed_for: What is drawn, for the error where matplotlib is missing.
        width: In inches.
        height: In inches.
        dpi: Dots per inch of a .png.
        overwrite: Whether a file that is there may be replaced.

    Yields:
        A figure of matplotlib.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: The suffix is another.
        FileError: The file cannot be written, or another is there and may not be replaced.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(
            "The picture cannot be written: the suffix names no kind of picture.",
            where=str(path),
            expected=f"a name ending in {', '.join(SUFFIXES)}",
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "plot", needed_for) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    with staged(path, overwrite=overwrite, what="picture") as temporary:
        figure.savefig(temporary, dpi=dpi)


@dataclass(frozen=True)
class Curve:
    """One value over the epochs of one training.

    Attributes:
        training: ``"original"``, ``"shunt_1"``, ..., ``"final"``.
        field: ``"loss"``, ``"accuracy"``, ...
        train: After each epoch, on the training data.
        validation: On the validation data; empty without any.
    """

    training: str
    field: str
    train: tuple[float, ...]
    validation: tuple[float, ...]


def plot_curves(curves: Sequence[Curve], path: str | Path, *, title: str = "", overwrite: bool = True) -> Path:
    """Draw learning curves, one below the other.

    Args:
        curves: What to draw.
        path: The picture: .png, .svg or .pdf.
        title: What stands above.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: The suffix names no kind of picture.
        FileError: The file cannot be written, or another is there and may not be replaced.
    """
    height = 2.2 * len(curves) + 0.6
    with picture(path, "A plot of learning curves", 7, height, dpi=120, overwrite=overwrite) as figure:
        for place, curve in enumerate(curves):
            axes = figure.add_subplot(len(curves), 1, place + 1)
            for name, values in (("training", curve.train), ("validation", curve.validation)):
                if values:
                    axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
            axes.set_title(f"{curve.training}: {curve.field}", loc="left", fontsize="medium")
            axes.grid(alpha=0.3)
            if place == 0:
                axes.legend()
            if place == len(curves) - 1:
                axes.set_xlabel("epoch")
        if title:
            figure.suptitle(title)
    return Path(path)


__all__ = ["SUFFIXES", "Curve", "picture", "plot_curves"]
