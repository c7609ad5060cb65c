"""Fixtures of the tests of rules."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture
def fresh_names() -> None:
    """Ops and layers have names without numbers, and weights follow from a seed."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
