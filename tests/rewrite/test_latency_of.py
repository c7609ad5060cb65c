"""What a function that measures latency may give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerasurgeon.authoring import latency_by
from kerasurgeon.errors import PassError


@pytest.mark.parametrize("found", [2, 0.5, np.float32(0.5), np.int64(3)])
def test_numbers_are_latencies(found: Any) -> None:
    assert latency_by(lambda model: found if model == "it" else None, "it", "the model") == float(found)


@pytest.mark.parametrize("found", [0, -1.0, float("nan"), float("inf"), None, "3", True, 1j, np.ones(2)])
def test_what_is_no_latency(found: Any) -> None:
    with pytest.raises(PassError, match=r"(?s)gives no latency.*layer 'conv'.*a number above 0"):
        latency_by(lambda model: found, "it", "layer 'conv'")


def test_a_function_that_raises() -> None:
    with pytest.raises(PassError, match=r"(?s)latency_of= raised ZeroDivisionError.*the model") as caught:
        latency_by(lambda model: 1 / 0, "it", "the model")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
