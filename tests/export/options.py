"""Sets of options and shapes as cases: what the sweep of single layers is written with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from tests.export.single_layers import Case, In

ROWS, IMAGES, VOLUMES = (In((9, 4)),), (In((7, 9, 4)),), (In((5, 6, 7, 4)),)
BY_RANK = {1: ROWS, 2: IMAGES, 3: VOLUMES}
FIRST = {1: (In((4, 9)),), 2: (In((4, 7, 9)),), 3: (In((4, 5, 6, 7)),)}
OPEN = {1: (In((None, 4)),), 2: (In((None, None, 4)),), 3: (In((None, None, None, 4)),)}
VECTOR, SEQUENCE = (In((6,)),), (In((6, 4)),)
MASK = In((6,), values=[True, True, False], dtype="bool")
FILMS = {1: (In((3, 6, 2)),), 2: (In((3, 5, 6, 2)),), 3: (In((3, 4, 5, 3, 2)),)}
IDS = (In((5,), "int32", 0, 6),)
FIRST_OPTION = {"data_format": "channels_first"}

Options = Mapping[str, Any]


def cases_of(kind: str, inputs: Sequence[In], *several: Options, **more: Any) -> Iterator[Case]:
    """One case per set of options."""
    for options in several:
        said = ", ".join(f"{key}={_shown(value)}" for key, value in options.items())
        yield Case(f"{kind}({said})", _layer(kind, options), inputs, reference=False, **more)


def _shown(value: Any) -> str:
    if isinstance(value, keras.layers.Layer):
        return type(value).__name__
    return str(value)


def _layer(kind: str, options: Options) -> Any:
    def make(*xs: Any) -> Any:
        return getattr(layers, kind)(**options)(xs[0] if len(xs) == 1 else list(xs))

    return make


def called(name: str, make: Any, inputs: Sequence[In], **more: Any) -> Case:
    return Case(name, make, inputs, reference=False, **more)


def named(cases: Iterator[Case]) -> Iterator[Case]:
    for case in cases:
        shapes = [
            ("" if each.dtype == "float32" else each.dtype) + str(each.shape).replace("None", "?")
            for each in case.inputs
        ]
        name = f"{case.name} of {' and '.join(shapes)}"
        yield Case(name, case.make, case.inputs, case.rtol, case.opset, case.reference, case.turned, case.fixed)
