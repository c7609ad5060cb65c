"""The data sets and networks that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kerasurgeon.workflows.data import cifar, digits, segmentation_records, shapes
from kerasurgeon.workflows.networks import application, application_names, inverted_bottlenecks, lraspp


@dataclass(frozen=True)
class Source:
    """A function that a recipe can name.

    Attributes:
        function: The function.
        reserved: Arguments that do not come from the recipe.
    """

    function: Callable[..., Any]
    reserved: tuple[str, ...] = ()


DATA_SETS = {
    "digits": Source(digits),
    "cifar10": Source(partial(cifar, "cifar10"), ("name", "arrays")),
    "cifar100": Source(partial(cifar, "cifar100"), ("name", "arrays")),
    "shapes": Source(shapes),
    "records": Source(segmentation_records),
}
NETWORKS = {
    "inverted_bottlenecks": Source(inverted_bottlenecks, ("input_shape", "classes", "name")),
    "lraspp": Source(lraspp, ("input_shape", "classes", "name")),
    **{name: Source(partial(application, name), ("name", "input_shape", "classes")) for name in application_names()},
}
