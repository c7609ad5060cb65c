"""Every op with its options, alone in a model, as .onnx and as .tflite: both compute what Keras does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.export.both_files import errors
from tests.export.moving_options import OPS
from tests.export.single_layers import Case

REFUSED: Mapping[str, str] = {
    "ops.gcd(": "no operator",
    "ops.lcm(": "no operator",
    "ops.nextafter(": "no operator",
    "ops.nanmedian(": "no numbers",
    "ops.adaptive_": "another shape",
}
"""What the names of cases begin with that are not written, and words of the reason."""


@pytest.mark.spread(40)
@pytest.mark.parametrize("case", OPS, ids=str)
def test_both_files_compute_what_keras_does(case: Case) -> None:
    why = next((why for name, why in REFUSED.items() if case.name.startswith(name)), None)
    for said in errors(case).values():
        if why is not None:
            assert isinstance(said, str)
            assert why in said
        else:
            assert isinstance(said, float), said
            assert said <= case.rtol


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in OPS}) == len(OPS) >= 1000
